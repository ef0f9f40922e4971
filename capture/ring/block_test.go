//go:build linux

package ring

import (
	"encoding/binary"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// packets makes a block as the kernel does, of IP packets with those payloads.
func packets(protocol uint16, payloads ...string) []byte {
	e := binary.NativeEndian
	b := make([]byte, 4096)
	e.PutUint32(b[blockStatus:], unix.TP_STATUS_USER)
	e.PutUint32(b[blockPackets:], uint32(len(payloads)))
	const first, net = 48, 96
	e.PutUint32(b[blockFirst:], first)
	at := first
	for _, p := range payloads {
		h := b[at:]
		size := (net + len(p) + 15) &^ 15
		e.PutUint32(h[packetNext:], uint32(size))
		e.PutUint32(h[packetSec:], 1000)
		e.PutUint32(h[packetNsec:], 7)
		e.PutUint32(h[packetSnaplen:], uint32(len(p)))
		e.PutUint32(h[packetLen:], uint32(len(p)+100))
		e.PutUint16(h[packetNet:], net)
		binary.BigEndian.PutUint16(h[addrProtocol:], protocol)
		e.PutUint32(h[addrIfindex:], 3)
		e.PutUint16(h[addrHatype:], 1)
		h[addrType] = 4
		copy(h[net:], p)
		at += size
	}
	return b
}

func TestWalk(t *testing.T) {
	b := packets(unix.ETH_P_IP, "one", "", "three")
	if !ready(b) {
		t.Error("not ready")
	}
	w := newWalk(b)
	for _, want := range []string{"one", "", "three"} {
		p, ok := w.next()
		if !ok || string(p.Data) != want || p.WireLen != len(want)+100 || p.Link != linkRaw || p.Ifindex != 3 || p.Type != 4 || !p.Time.Equal(time.Unix(1000, 7)) {
			t.Errorf("%v %+v, want %q", ok, p, want)
		}
	}
	if p, ok := w.next(); ok {
		t.Errorf("one more: %+v", p)
	}
	if release(b); ready(b) {
		t.Error("ready after it was given back")
	}
}

// What is not IP by itself comes with a header that says what it is.
func TestWalkCooks(t *testing.T) {
	w := newWalk(packets(unix.ETH_P_8021Q, "\x00\x05\x08\x00E"))
	p, ok := w.next()
	want := "\x81\x00\x00\x00\x00\x00\x00\x03\x00\x01\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00" + "\x00\x05\x08\x00E"
	if !ok || p.Link != linkSLL2 || string(p.Data) != want || p.WireLen != 5+100+20 {
		t.Errorf("%v %+v", ok, p)
	}
}

// A length or an offset that leads out of the block, or nowhere, ends the walk.
func TestWalkLies(t *testing.T) {
	e := binary.NativeEndian
	const first = 48 // where packets puts the first packet's header
	for name, test := range map[string]struct {
		lie  func(b []byte)
		want int // packets
	}{
		"first beyond the end":    {func(b []byte) { e.PutUint32(b[blockFirst:], uint32(len(b))) }, 0},
		"first overflows":         {func(b []byte) { e.PutUint32(b[blockFirst:], 1<<32-1) }, 0},
		"header cut by the end":   {func(b []byte) { e.PutUint32(b[blockFirst:], uint32(len(b)-packetHeader+1)) }, 0},
		"data over the end":       {func(b []byte) { e.PutUint32(b[first+packetSnaplen:], uint32(len(b)-first-96+1)) }, 0},
		"data overflows":          {func(b []byte) { e.PutUint32(b[first+packetSnaplen:], 1<<32-1) }, 0},
		"data in the header":      {func(b []byte) { e.PutUint16(b[first+packetNet:], packetHeader-1) }, 0},
		"next beyond the end":     {func(b []byte) { e.PutUint32(b[first+packetNext:], uint32(len(b))) }, 1},
		"next leads back":         {func(b []byte) { e.PutUint32(b[first+packetNext:], 1<<32-16) }, 1},
		"next is the same":        {func(b []byte) { e.PutUint32(b[first+packetNext:], 0) }, 1},
		"more than there are":     {func(b []byte) { e.PutUint32(b[blockPackets:], 1<<32-1) }, 2},
		"data up to the very end": {func(b []byte) { e.PutUint32(b[first+packetSnaplen:], uint32(len(b)-first-96)) }, 2},
	} {
		b := packets(unix.ETH_P_IP, "one", "two")
		test.lie(b)
		w, n := newWalk(b), 0
		for ; n <= test.want; n++ {
			if _, ok := w.next(); !ok {
				break
			}
		}
		if n != test.want {
			t.Errorf("%s: %d packets or more, want %d", name, n, test.want)
		}
	}
}

func TestGeometry(t *testing.T) {
	for _, test := range []struct {
		buffer       int64
		size, blocks int
	}{
		{1, 128 << 10, 4}, {512 << 10, 128 << 10, 4}, {1 << 20, 256 << 10, 4}, {16 << 20, 256 << 10, 64},
		{32<<20 - 1, 256 << 10, 127}, {32 << 20, 1 << 20, 32}, {1 << 30, 1 << 20, 1024},
	} {
		if size, blocks := geometry(test.buffer); size != test.size || blocks != test.blocks {
			t.Errorf("%d: %d blocks of %d, want %d of %d", test.buffer, blocks, size, test.blocks, test.size)
		}
	}
}

// Whatever is in a block, its packets lie within it and come to an end.
func FuzzBlock(f *testing.F) {
	f.Add(packets(unix.ETH_P_IP, "one", "two")[:300])
	f.Add(packets(unix.ETH_P_8021Q, "tag")[:200])
	f.Fuzz(func(t *testing.T, b []byte) {
		block := make([]byte, max(len(b), 48)) // the kernel's are never shorter
		copy(block, b)
		w := newWalk(block)
		for left := min(w.left, len(block)/packetHeader); ; left-- {
			p, ok := w.next()
			if !ok {
				return
			}
			if left <= 0 || len(p.Data) > len(block) {
				t.Fatalf("%d left, %d bytes", left, len(p.Data))
			}
		}
	})
}
