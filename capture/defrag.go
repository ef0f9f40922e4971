package capture

import (
	"bytes"
	"slices"
	"time"

	"kagami"
)

// The bounds of a defragmenter: maxDatagrams of at most 64 KiB are 4 MiB.
const (
	maxDatagrams = 64
	maxDatagram  = 65535
	// fragmentAge is for how long it waits for a datagram's other fragments,
	// in packet time (RFC 791 §3.2).
	fragmentAge = 15 * time.Second
)

// A defragmenter puts IP datagrams together again (RFC 791 §3.2, RFC 8200 §4.5).
// It holds at most 64 unfinished datagrams and 4 MiB; over it the oldest is given
// up, and so is one that is not whole after 15 s. A datagram with fragments that
// overlap is dropped, as Linux does (RFC 5722); a repeated fragment is not an overlap.
type defragmenter struct {
	datagrams []*datagram // unfinished, oldest first
}

// A fragment is a part of a datagram.
type fragment struct {
	id     uint32
	proto  uint8 // of the first fragment: of what is in the datagram
	offset int
	more   bool // it is not the last
	data   []byte
	whole  bool // data is all of it, not cut short by the capture
}

// A datagramKey says which datagram a fragment is part of. The interface is in
// it so that the copies seen on two interfaces do not mix.
type datagramKey struct {
	src, dst [16]byte
	id       uint32
	ifindex  int
}

// A datagram is one that is not whole yet.
type datagram struct {
	key   datagramKey
	begun time.Time
	proto uint8
	buf   []byte
	have  []span // what of buf is there: sorted, apart
	size  int    // of the whole, or -1
	dead  bool   // its fragments contradict each other
}

// A span is the bytes from ≤ index < to.
type span struct{ from, to int }

// fragment takes in a fragment, and decodes the datagram if it was its last.
func (d *decoder) fragment(f fragment, s *segment) kagami.Reason {
	key := datagramKey{s.src.addr, s.dst.addr, f.id, s.ifindex}
	data, proto := d.fragments.add(key, f, s.time)
	if data == nil || !d.deeper() {
		return kagami.NotTCP
	}
	return d.transport(proto, data, len(data), s)
}

// add takes in a fragment. It returns the whole datagram and its protocol, or nil.
func (t *defragmenter) add(key datagramKey, f fragment, now time.Time) ([]byte, uint8) {
	end := f.offset + len(f.data)
	if !f.whole || len(f.data) == 0 || end > maxDatagram || f.more && len(f.data)%8 != 0 {
		return nil, 0
	}
	for len(t.datagrams) > 0 && now.Sub(t.datagrams[0].begun) > fragmentAge {
		t.remove(0)
	}
	i := slices.IndexFunc(t.datagrams, func(g *datagram) bool { return g.key == key })
	if i < 0 {
		if len(t.datagrams) == maxDatagrams {
			t.remove(0)
		}
		i = len(t.datagrams)
		t.datagrams = append(t.datagrams, &datagram{key: key, begun: now, size: -1})
	}
	g := t.datagrams[i]
	if !g.dead && !g.add(f) {
		*g = datagram{key: key, begun: g.begun, dead: true}
	}
	if g.dead || g.size < 0 || len(g.have) != 1 || g.have[0] != (span{0, g.size}) {
		return nil, 0
	}
	t.remove(i)
	return g.buf, g.proto
}

func (t *defragmenter) remove(i int) { t.datagrams = slices.Delete(t.datagrams, i, i+1) }

// add takes in a fragment, and reports whether it agrees with those before it.
func (g *datagram) add(f fragment) bool {
	n := span{f.offset, f.offset + len(f.data)}
	if f.offset == 0 {
		g.proto = f.proto
	}
	if !f.more {
		if g.size >= 0 && g.size != n.to {
			return false
		}
		g.size = n.to
	}
	if g.size >= 0 && max(n.to, len(g.buf)) > g.size {
		return false
	}
	// i is the first span that n touches or comes before, j the first that lies behind n.
	i := 0
	for i < len(g.have) && g.have[i].to < n.from {
		i++
	}
	j := i
	for j < len(g.have) && g.have[j].from <= n.to {
		h := g.have[j]
		if h.from <= n.from && n.to <= h.to {
			return bytes.Equal(g.buf[n.from:n.to], f.data) // seen before
		}
		if h.from < n.to && n.from < h.to {
			return false
		}
		j++
	}
	if n.to > len(g.buf) {
		g.buf = append(g.buf, make([]byte, n.to-len(g.buf))...)
	}
	copy(g.buf[n.from:], f.data)
	if i < j {
		n = span{min(n.from, g.have[i].from), max(n.to, g.have[j-1].to)}
	}
	g.have = slices.Replace(g.have, i, j, n)
	return true
}
