package kagami

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
)

// idLen is the length of an ID made by MakeID, in bytes.
const idLen = 20

// An ID names an exchange. It is made from packets alone, so that reading the
// same capture twice gives the same IDs. IDs are comparable; one that was read
// from a recording is opaque and may be shorter.
type ID struct {
	b [idLen]byte
	n uint8
}

// MakeID returns the ID of the exchange whose request is the ordinal-th
// (from 0) that the client sent with the TCP acknowledgement number ack, and
// whose first byte was seen in the given Unix second.
//
// The first 12 bytes are those of a GoReplay id: client port, server port, the
// client's IPv4 address (of an IPv6 address the last four bytes), ack; then
// come the ordinal and the low 32 bits of the second. All are big-endian.
func MakeID(client, server netip.AddrPort, ack, ordinal uint32, second int64) ID {
	id := ID{n: idLen}
	binary.BigEndian.PutUint16(id.b[0:], client.Port())
	binary.BigEndian.PutUint16(id.b[2:], server.Port())
	a := client.Addr().As16()
	copy(id.b[4:8], a[12:])
	binary.BigEndian.PutUint32(id.b[8:], ack)
	binary.BigEndian.PutUint32(id.b[12:], ordinal)
	binary.BigEndian.PutUint32(id.b[16:], uint32(second))
	return id
}

// IDFromBytes returns the ID with the given bytes, 1 to 20 of them.
func IDFromBytes(b []byte) (ID, error) {
	if len(b) == 0 || len(b) > idLen {
		return ID{}, fmt.Errorf("id of %d bytes: want 1 to %d", len(b), idLen)
	}
	id := ID{n: uint8(len(b))}
	copy(id.b[:], b)
	return id, nil
}

// ParseID reads the hexadecimal form that String writes: an even number of
// digits, 2 to 40 (GoReplay writes 24, and wrote 40).
func ParseID(s string) (ID, error) {
	if len(s) == 0 || len(s) > 2*idLen || len(s)%2 != 0 {
		return ID{}, fmt.Errorf("id %.50q: want an even number of hexadecimal digits, 2 to %d", s, 2*idLen)
	}
	id := ID{n: uint8(len(s) / 2)}
	if _, err := hex.Decode(id.b[:], []byte(s)); err != nil {
		return ID{}, fmt.Errorf("id %.50q: %w", s, err)
	}
	return id, nil
}

// IsZero reports whether id names nothing.
func (id ID) IsZero() bool { return id.n == 0 }

// Len is how many bytes id has, 0 to 20.
func (id ID) Len() int { return int(id.n) }

// Append appends the bytes of id to b.
func (id ID) Append(b []byte) []byte { return append(b, id.b[:id.n]...) }

// AppendHex appends the hexadecimal form of id to b.
func (id ID) AppendHex(b []byte) []byte { return hex.AppendEncode(b, id.b[:id.n]) }

// String returns id in lower-case hexadecimal digits, 40 for one made by MakeID.
func (id ID) String() string { return hex.EncodeToString(id.b[:id.n]) }

// MarshalText makes an ID a JSON string, the zero ID an empty one.
func (id ID) MarshalText() ([]byte, error) { return id.AppendHex(nil), nil }

// UnmarshalText is the opposite of MarshalText.
func (id *ID) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*id = ID{}
		return nil
	}
	v, err := ParseID(string(b))
	if err == nil {
		*id = v
	}
	return err
}
