package capture

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"kagami"
)

// A piece is a fragment, of the bytes from ≤ index < to.
type piece struct {
	from, to int
	last     bool
}

// packets4 returns the fragments of a datagram as IPv4 packets.
func packets4(datagram []byte, pieces []piece) (all [][]byte) {
	for _, p := range pieces {
		frag := p.from / 8
		if !p.last {
			frag |= 0x2000
		}
		all = append(all, ip4Frame(6, frag, nil, datagram[p.from:p.to]))
	}
	return all
}

// packets6 returns the fragments of a datagram as IPv6 packets.
func packets6(datagram []byte, pieces []piece) (all [][]byte) {
	for _, p := range pieces {
		frag := p.from
		if !p.last {
			frag |= 1
		}
		all = append(all, ip6Frame(44, cat([]byte{6, 0}, be16(frag), be32(77), datagram[p.from:p.to])))
	}
	return all
}

func TestDecodeFragments(t *testing.T) {
	tcp := tcpFrame(hello) // of 50 bytes
	n := len(tcp)
	whole := []piece{{0, 8, false}, {8, 24, false}, {24, 40, false}, {40, n, true}}
	for _, c := range []struct {
		name   string
		pieces []piece
		want   bool
	}{
		{"in order", whole, true},
		{"backwards", []piece{{40, n, true}, {24, 40, false}, {8, 24, false}, {0, 8, false}}, true},
		{"mixed", []piece{{8, 24, false}, {40, n, true}, {0, 8, false}, {24, 40, false}}, true},
		{"repeated", []piece{{0, 8, false}, {0, 8, false}, {8, 24, false}, {40, n, true}, {40, n, true}, {24, 40, false}}, true},
		{"a part again", []piece{{0, 24, false}, {8, 16, false}, {24, n, true}}, true},
		{"one missing", whole[:3], false},
		{"the last missing", []piece{{0, 8, false}, {8, 40, false}}, false},
		{"overlap", []piece{{0, 16, false}, {8, 24, false}, {24, n, true}}, false},
		{"overlap from before", []piece{{8, 24, false}, {0, 16, false}, {24, n, true}}, false},
		{"overlap over all", []piece{{8, 16, false}, {0, 24, false}, {24, n, true}}, false},
		{"two ends", []piece{{0, 8, false}, {24, 40, true}, {40, n, true}}, false},
		{"beyond the end", []piece{{0, 24, false}, {8, 16, true}}, false},
		{"not of eights", []piece{{0, 12, false}, {16, n, true}}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			for version, packets := range map[int][][]byte{4: packets4(tcp, c.pieces), 6: packets6(tcp, c.pieces)} {
				var d decoder
				var s segment
				got := kagami.NotTCP
				for i, b := range packets {
					got = d.decode(&Packet{Data: b, WireLen: len(b), Link: linkRaw}, &s)
					if i < len(packets)-1 && got != kagami.NotTCP {
						t.Fatalf("IPv%d: delivered after %d fragments", version, i+1)
					}
				}
				if !c.want {
					version = 0
				}
				checkFrame(t, got, s, version)
			}
		})
	}
}

// The content of a repeated fragment must be the same.
func TestDecodeFragmentsThatDiffer(t *testing.T) {
	tcp := tcpFrame(hello)
	all := packets4(tcp, []piece{{0, 24, false}, {0, 24, false}, {24, len(tcp), true}})
	all[1][20] ^= 1
	var d decoder
	var s segment
	for _, b := range all {
		if got := d.decode(&Packet{Data: b, WireLen: len(b), Link: linkRaw}, &s); got != kagami.NotTCP {
			t.Fatal("delivered")
		}
	}
}

// A fragment of which the capture kept a part is of no use.
func TestDecodeFragmentsCutShort(t *testing.T) {
	tcp := tcpFrame(hello)
	var d decoder
	var s segment
	for _, b := range packets4(tcp, []piece{{0, 24, false}, {24, len(tcp), true}}) {
		if got := d.decode(&Packet{Data: b[:len(b)-1], WireLen: len(b), Link: linkRaw}, &s); got != kagami.NotTCP {
			t.Fatal("delivered")
		}
	}
}

// Copies of fragments on two interfaces give the datagram twice.
func TestDecodeFragmentsOfTwoInterfaces(t *testing.T) {
	tcp := tcpFrame(hello)
	var d decoder
	var s segment
	delivered := []int{}
	for _, b := range packets4(tcp, []piece{{0, 24, false}, {24, len(tcp), true}}) {
		for ifindex := 1; ifindex <= 2; ifindex++ {
			if d.decode(&Packet{Data: b, WireLen: len(b), Link: linkRaw, Ifindex: ifindex}, &s) == kagami.Delivered {
				delivered = append(delivered, s.ifindex)
			}
		}
	}
	if !slices.Equal(delivered, []int{1, 2}) {
		t.Errorf("delivered on %v", delivered)
	}
}

// Fragments of which the rest does not come are forgotten: by time, and where there are many.
func TestDefragmenterIsBounded(t *testing.T) {
	begin := time.Unix(1e9, 0)
	first := fragment{more: true, data: zeros(8), whole: true}
	last := fragment{offset: 8, data: zeros(8), whole: true}
	key := func(id uint32) datagramKey { return datagramKey{id: id} }

	var byAge defragmenter
	byAge.add(key(1), first, begin)
	byAge.add(key(2), first, begin.Add(fragmentAge))
	if b, _ := byAge.add(key(1), last, begin.Add(fragmentAge)); len(b) != 16 {
		t.Error("forgotten too early")
	}
	if b, _ := byAge.add(key(2), last, begin.Add(2*fragmentAge+1)); b != nil {
		t.Error("not forgotten")
	}

	var byCount defragmenter
	for id := range uint32(1000) {
		byCount.add(key(id), fragment{offset: maxDatagram - 16&^7, more: true, data: zeros(8), whole: true}, begin)
	}
	held := 0
	for _, g := range byCount.datagrams {
		held += cap(g.buf)
	}
	if len(byCount.datagrams) != maxDatagrams || held > maxDatagrams*(maxDatagram+1)*5/4 {
		t.Errorf("%d datagrams of %d bytes are held", len(byCount.datagrams), held)
	}
}

// Whatever the cuts and the order, the datagram is what it was.
func TestDefragmenterRandom(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		want := make([]byte, 1+random.IntN(2000))
		for i := range want {
			want[i] = byte(random.Uint32())
		}
		var parts []fragment
		for at := 0; at < len(want); {
			end := min(at+8*(1+random.IntN(20)), len(want))
			parts = append(parts, fragment{proto: 6, offset: at, more: end < len(want), data: want[at:end], whole: true})
			at = end
		}
		random.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
		var d defragmenter
		for i, f := range parts {
			got, proto := d.add(datagramKey{}, f, time.Time{})
			if i < len(parts)-1 && got != nil {
				t.Fatalf("whole after %d of %d fragments", i+1, len(parts))
			}
			if i == len(parts)-1 && (!bytes.Equal(got, want) || proto != 6) {
				t.Fatalf("%d bytes in %d fragments: got %d bytes, protocol %d", len(want), len(parts), len(got), proto)
			}
		}
		if len(d.datagrams) != 0 {
			t.Fatal("a whole datagram is still held")
		}
	}
}
