package kagami

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
)

// A Share is the part of messages that a stage lets through. The zero value is
// nothing at all. Shares nest: what a smaller one includes, a larger one that
// sees the same hash includes too.
type Share struct{ threshold uint64 } // 0 … 1<<32

// Whole is the share of 100 %.
var Whole = Share{1 << 32}

// ShareOf returns the share of so many percent, 0 to 100.
func ShareOf(percent float64) (Share, error) {
	if !(percent >= 0 && percent <= 100) {
		return Share{}, fmt.Errorf("share of %v%%: want 0%% to 100%%", percent)
	}
	return Share{uint64(math.RoundToEven(percent / 100 * (1 << 32)))}, nil
}

// ParseShare reads a share as users write it: "10%", "0.5%".
func ParseShare(s string) (Share, error) {
	number, ok := strings.CutSuffix(s, "%")
	percent, err := strconv.ParseFloat(number, 64)
	if !ok || err != nil {
		return Share{}, fmt.Errorf("share %q: want a percentage, as in 10%% or 0.5%%", s)
	}
	return ShareOf(percent)
}

// Percent returns the share in percent.
func (s Share) Percent() float64 { return float64(s.threshold) / (1 << 32) * 100 }

// Threshold returns the number below which a hash belongs to the share: 0 for
// nothing, 1<<32 for all. It is for those who compare hashes elsewhere, as the kernel does.
func (s Share) Threshold() uint64 { return s.threshold }

// Includes reports whether what has the hash h belongs to the share.
func (s Share) Includes(h uint32) bool { return uint64(h) < s.threshold }

// String returns the share as users write it.
func (s Share) String() string { return strconv.FormatFloat(s.Percent(), 'g', 6, 64) + "%" }

// A Side tells the samples taken at a process's inputs from those at its outputs.
type Side uint8

// The sides.
const (
	InputSide  Side = 1
	OutputSide Side = 2
)

// A Salt makes the samples of different stages independent of each other.
type Salt uint32

// NewSalt returns the salt for a stage. All outputs behind the same hop have
// the same salt, so that their shares nest; what differs in seed, hop or side
// is independent.
func NewSalt(seed uint64, hop uint8, side Side) Salt {
	h := absorb(0, uint32(seed>>32))
	h = absorb(h, uint32(seed))
	h = absorb(h, uint32(hop))
	h = absorb(h, uint32(side))
	return Salt(finish(h))
}

// Connection returns the hash of a connection: the client's address and port.
// The kernel can compute it too, packet by packet, in both directions.
func (s Salt) Connection(client netip.AddrPort) uint32 {
	return finish(absorb(absorbAddr(uint32(s), client.Addr()), uint32(client.Port())))
}

// Client returns the hash of a client's address. The kernel can compute it too.
func (s Salt) Client(client netip.Addr) uint32 {
	return finish(absorbAddr(uint32(s), client))
}

// ID returns the hash of an exchange.
func (s Salt) ID(id ID) uint32 { return s.Bytes(id.b[:id.n]) }

// Bytes returns the hash of a key of any length.
func (s Salt) Bytes(key []byte) uint32 {
	h := absorb(uint32(s), uint32(len(key)))
	for ; len(key) >= 4; key = key[4:] {
		h = absorb(h, binary.BigEndian.Uint32(key))
	}
	if len(key) > 0 {
		var last [4]byte
		copy(last[:], key)
		h = absorb(h, binary.BigEndian.Uint32(last[:]))
	}
	return finish(h)
}

// absorbAddr takes in an address as the one or four words it has in its IP
// header. An IPv4 address mapped into IPv6 counts as the IPv4 address it is.
func absorbAddr(h uint32, a netip.Addr) uint32 {
	if a = a.Unmap(); a.Is4() {
		b := a.As4()
		return absorb(h, binary.BigEndian.Uint32(b[:]))
	}
	b := a.As16()
	for i := 0; i < 16; i += 4 {
		h = absorb(h, binary.BigEndian.Uint32(b[i:]))
	}
	return h
}

// absorb and finish are a multiplicative hash made of what classic BPF can do
// on 32-bit words, for the kernel has to come to the same result.
func absorb(h, w uint32) uint32 {
	h ^= w
	h *= 0x9E3779B1
	return h ^ h>>15
}

func finish(h uint32) uint32 {
	h ^= h >> 16
	h *= 0x7feb352d
	h ^= h >> 15
	h *= 0x846ca68b
	return h ^ h>>16
}
