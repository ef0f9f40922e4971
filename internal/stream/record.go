package stream

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"

	"kagami"
	"kagami/internal/http1"
)

// A record is
//
//	u32 length of the record, these eight bytes included
//	u8  kind
//	u8  proto
//	u16 flags
//	…   fields: u8 type, uvarint length, value
//
// Integers are big-endian. docs/format.md has the rest.
const recordHead = 8

// The types of field.
const (
	fieldID      = 1 // 1 to 20 bytes
	fieldClient  = 2 // 4 or 16 bytes of address, u16 port
	fieldServer  = 3
	fieldStart   = 4 // i64 Unix nanoseconds
	fieldEnd     = 5 // absent: the same as start
	fieldWireLen = 6 // u64, absent: the length of raw
	fieldMethod  = 7 // of the request, in an answer
	fieldRaw     = 8
)

// fieldsMax is more than all fields but method and raw take, with their heads.
const fieldsMax = recordHead + (2 + 20) + 2*(2+18) + 2*(2+8) + (2 + 8)

// ErrTooLarge is what is returned for a message, a record or a batch that is
// larger than the limits allow.
var ErrTooLarge = errors.New("too large")

// RecordBound returns at least the size of the record of m, in bytes, and not
// much more.
func RecordBound(m *kagami.Message) int {
	return fieldsMax + len(m.Exchange.Method) + len(m.Raw) + 2*(1+binary.MaxVarintLen32)
}

// AppendRecord appends the record of m to b. Times outside the years 1678 to
// 2262 and zones of IPv6 addresses do not survive it. The hop is not part of
// a record but of its batch, and Due is of no record.
func AppendRecord(b []byte, m *kagami.Message) []byte {
	start := len(b)
	b = append(b, 0, 0, 0, 0, byte(m.Kind), byte(m.Proto), byte(m.Flags>>8), byte(m.Flags))
	if n := m.Exchange.ID.Len(); n > 0 {
		b = append(b, fieldID, byte(n))
		b = m.Exchange.ID.Append(b)
	}
	b = appendAddrPort(b, fieldClient, m.Client)
	b = appendAddrPort(b, fieldServer, m.Server)
	b = appendTimes(b, m)
	if m.WireLen > 0 && m.WireLen != len(m.Raw) {
		b = append(b, fieldWireLen, 8)
		b = binary.BigEndian.AppendUint64(b, uint64(m.WireLen))
	}
	if n := len(m.Exchange.Method); n > 0 && n <= maxMethod && m.Kind != kagami.Request {
		b = append(b, fieldMethod)
		b = binary.AppendUvarint(b, uint64(n))
		b = append(b, m.Exchange.Method...)
	}
	if len(m.Raw) > 0 {
		b = append(b, fieldRaw)
		b = binary.AppendUvarint(b, uint64(len(m.Raw)))
		b = append(b, m.Raw...)
	}
	binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start))
	return b
}

func appendAddrPort(b []byte, field byte, a netip.AddrPort) []byte {
	switch ip := a.Addr(); {
	case ip.Is4():
		v := ip.As4()
		b = append(b, field, 6, v[0], v[1], v[2], v[3])
	case ip.Is6():
		v := ip.As16()
		b = append(append(b, field, 18), v[:]...)
	default:
		return b
	}
	return binary.BigEndian.AppendUint16(b, a.Port())
}

func appendTimes(b []byte, m *kagami.Message) []byte {
	if !m.Start.IsZero() {
		b = append(b, fieldStart, 8)
		b = binary.BigEndian.AppendUint64(b, uint64(m.Start.UnixNano()))
	}
	if !m.End.IsZero() && !m.End.Equal(m.Start) {
		b = append(b, fieldEnd, 8)
		b = binary.BigEndian.AppendUint64(b, uint64(m.End.UnixNano()))
	}
	return b
}

// recordLen checks the head of the record at the start of b and returns the
// record's length, which is at most len(b).
func recordLen(b []byte, limit int) (int, error) {
	if len(b) < recordHead {
		return 0, fmt.Errorf("record of %d bytes: want at least %d", len(b), recordHead)
	}
	n := binary.BigEndian.Uint32(b)
	switch {
	case n < recordHead:
		return 0, fmt.Errorf("record of %d bytes: want at least %d", n, recordHead)
	case uint64(n) > uint64(limit):
		return 0, fmt.Errorf("record of %d bytes: %w, the limit is %d", n, ErrTooLarge, limit)
	case uint64(n) > uint64(len(b)):
		return 0, fmt.Errorf("record of %d bytes where %d are left of its batch", n, len(b))
	}
	return int(n), nil
}

// known reports whether this version knows the kind of a record.
func known(record []byte) bool {
	k := kagami.Kind(record[4])
	return k >= kagami.Request && k <= kagami.Replayed
}

// Known returns which records of a batch's body, counted from 0, Messages makes
// messages of: those of a kind that this version knows. Messages had no error.
func (h *Head) Known(body []byte) []int {
	body, err := h.unpack(body, nil)
	if err != nil {
		return nil
	}
	index := make([]int, 0, h.Records)
	for i := 0; len(body) >= recordHead; i++ {
		n := int(binary.BigEndian.Uint32(body))
		if n < recordHead || n > len(body) {
			return index
		}
		if known(body) {
			index = append(index, i)
		}
		body = body[n:]
	}
	return index
}

// parseRecord reads the record b, whose length and kind were checked, into m
// and e, which are zero. Raw aliases b.
func parseRecord(b []byte, m *kagami.Message, e *kagami.Exchange) error {
	m.Kind = kagami.Kind(b[4])
	m.Proto = kagami.Proto(b[5])
	m.Flags = kagami.Flags(binary.BigEndian.Uint16(b[6:]))
	m.Exchange = e
	var seen uint32
	for rest := b[recordHead:]; len(rest) > 0; {
		field := rest[0]
		length, n := binary.Uvarint(rest[1:])
		if n <= 0 || length > uint64(len(rest)-1-n) {
			return fmt.Errorf("field %d does not fit its record", field)
		}
		v := rest[1+n : 1+n+int(length)]
		rest = rest[1+n+int(length):]
		if field <= fieldRaw {
			if seen&(1<<field) != 0 {
				return fmt.Errorf("field %d occurs twice in a record", field)
			}
			seen |= 1 << field
		}
		if err := parseField(field, v, m, e); err != nil {
			return err
		}
	}
	if seen&(1<<fieldEnd) == 0 {
		m.End = m.Start
	}
	if m.WireLen == 0 {
		m.WireLen = len(m.Raw)
	}
	if m.Kind == kagami.Request {
		e.Method = methodOf(m)
	}
	return nil
}

func parseField(field byte, v []byte, m *kagami.Message, e *kagami.Exchange) (err error) {
	switch field {
	case fieldID:
		e.ID, err = kagami.IDFromBytes(v)
	case fieldClient:
		m.Client, err = parseAddrPort(v)
	case fieldServer:
		m.Server, err = parseAddrPort(v)
	case fieldStart:
		m.Start, err = parseTime(v)
	case fieldEnd:
		m.End, err = parseTime(v)
	case fieldWireLen:
		if len(v) != 8 || v[0] >= 0x80 || binary.BigEndian.Uint64(v) > math.MaxInt {
			return fmt.Errorf("wire length % x: want 8 bytes, not negative", v)
		}
		m.WireLen = int(binary.BigEndian.Uint64(v))
	case fieldMethod:
		if len(v) > maxMethod {
			return fmt.Errorf("method of %d bytes: want at most %d", len(v), maxMethod)
		}
		e.Method = http1.MethodName(v)
	case fieldRaw:
		m.Raw = v[:len(v):len(v)]
	case 0:
		return errors.New("field of type 0")
	}
	return err
}

func parseAddrPort(v []byte) (netip.AddrPort, error) {
	var ip netip.Addr
	switch len(v) {
	case 6:
		ip = netip.AddrFrom4([4]byte(v))
	case 18:
		ip = netip.AddrFrom16([16]byte(v))
	default:
		return netip.AddrPort{}, fmt.Errorf("address of %d bytes: want 6 or 18", len(v))
	}
	return netip.AddrPortFrom(ip, binary.BigEndian.Uint16(v[len(v)-2:])), nil
}

func parseTime(v []byte) (time.Time, error) {
	if len(v) != 8 {
		return time.Time{}, fmt.Errorf("time of %d bytes: want 8", len(v))
	}
	return time.Unix(0, int64(binary.BigEndian.Uint64(v))).UTC(), nil
}

// maxMethod bounds the length of a request's method. RFC 9110 sets no bound;
// the longest registered one has 17 letters.
const maxMethod = 256

// methodOf returns the method of a request: its first bytes up to a space. It
// does not alias Raw, for the Exchange outlives the message.
func methodOf(m *kagami.Message) string {
	if m.Proto != kagami.HTTP1 && m.Proto != kagami.HTTP2 {
		return ""
	}
	for i, c := range m.Raw[:min(len(m.Raw), maxMethod)] {
		if c == ' ' {
			return http1.MethodName(m.Raw[:i])
		}
		if c <= ' ' || c >= 0x7f {
			break
		}
	}
	return ""
}
