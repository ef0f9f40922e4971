// Package gor reads and writes .gor recordings, the format of GoReplay: HTTP
// messages as they were sent, each behind a line of text and before a
// separator.
//
//	record    = header payload separator
//	header    = kind SP id SP timestamp [SP latency] LF
//	separator = LF F0 9F 90 B5 F0 9F 99 88 F0 9F 99 89 LF
//
// kind is 1 for a request, 2 for production's answer, 3 for staging's answer to
// the copy. id is hexadecimal, and the same for a request and its answers.
// timestamp is when the first byte was seen, in Unix nanoseconds; latency is how
// long after it the last one was (of kind 3: the round trip), in nanoseconds, −1
// or absent where it is not known. A file has no magic number, version or end
// mark. A file whose name ends in .gz is one gzip stream of the same.
//
// What the format has no place for is lost in it: the server's address, the
// protocol and the flags of a message. Of the rest this package gets back what
// it can: see [Reader].
//
// The format does not escape the separator: a body may contain it. [Reader]
// therefore believes a message's own framing (RFC 9112 §6) before it believes
// a separator.
package gor

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strconv"
	"time"

	"kagami"
)

// Separator ends every record.
const Separator = "\n" + mark

// mark is the line of a separator that is rare in anything else.
const mark = "🐵🙈🙉\n"

// maxHeader bounds the header line of a record, in bytes with its line end.
const maxHeader = 1024

// header is the first line of a record.
type header struct {
	kind    kagami.Kind
	id      kagami.ID
	start   time.Time
	latency time.Duration // −1: unknown
}

// parseHeader reads a header line without its line end. Kinds that this version
// does not know are accepted: 0 to 9 are kinds.
func parseHeader(line []byte) (h header, ok bool) {
	kind, rest, _ := bytes.Cut(line, []byte{' '})
	id, rest, _ := bytes.Cut(rest, []byte{' '})
	stamp, rest, _ := bytes.Cut(rest, []byte{' '})
	if len(kind) != 1 || kind[0] < '0' || kind[0] > '9' || len(id) == 0 {
		return header{}, false
	}
	ns, err := strconv.ParseInt(string(stamp), 10, 64)
	if err != nil {
		return header{}, false
	}
	latency, _, _ := bytes.Cut(rest, []byte{' '})
	d, err := strconv.ParseInt(string(latency), 10, 64)
	if err != nil || d < 0 {
		d = -1
	}
	return header{
		kind:    kagami.Kind(kind[0] - '0'),
		id:      readID(id),
		start:   time.Unix(0, ns).UTC(),
		latency: time.Duration(d),
	}, true
}

// mayBeHeader reports whether line can be how a header begins.
func mayBeHeader(line []byte) bool {
	for i, c := range line {
		if i == 0 && (c < '0' || c > '9') || i == 1 && c != ' ' || c < ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}

// readID reads an id. One that is not hexadecimal, or is longer than an ID can
// be, becomes the first 16 bytes of its SHA-256: not what it was, but the same
// for a request and its answers, and the same whenever the file is read.
func readID(s []byte) kagami.ID {
	var b [20]byte
	if len(s) <= 2*len(b) && len(s)%2 == 0 {
		if n, err := hex.Decode(b[:], s); err == nil {
			return makeID(b[:n])
		}
	}
	sum := sha256.Sum256(s)
	return makeID(sum[:16])
}

// makeID makes an ID of 1 to 20 bytes.
func makeID(b []byte) kagami.ID {
	id, err := kagami.IDFromBytes(b)
	if err != nil {
		panic(err) // the callers see to the length
	}
	return id
}

// addresses recovers from an id what it says about the connection: the two
// ports and the client's IPv4 address (of an IPv6 address its last four bytes,
// which is wrong as an address and still tells clients apart). That is enough
// to sample by connection as the listener did. ids of 12 bytes are GoReplay's,
// and ids of 20 bytes ours if the second they hold goes with the record's time;
// of any other, which old versions of GoReplay made by hashing, the addresses
// are not known.
func addresses(id kagami.ID, start time.Time) (client, server netip.AddrPort) {
	var room [20]byte
	b := id.Append(room[:0])
	switch len(b) {
	case 12:
	case 20:
		const hour = 3600
		behind := int32(uint32(start.Unix()) - binary.BigEndian.Uint32(b[16:]))
		if behind < -1 || behind > hour { // an answer comes after its request
			return client, server
		}
	default:
		return client, server
	}
	addr := netip.AddrFrom4([4]byte(b[4:8]))
	return netip.AddrPortFrom(addr, binary.BigEndian.Uint16(b)),
		netip.AddrPortFrom(netip.Addr{}, binary.BigEndian.Uint16(b[2:]))
}
