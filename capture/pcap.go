package capture

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
	"time"
)

// The magic numbers of a pcap file, as read in the byte order it was written in
// (https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-04.html, §4).
const (
	magicMicro   = 0xa1b2c3d4
	magicNano    = 0xa1b23c4d
	magicPatched = 0xa1b2cd34 // of a patched libpcap: 8 more bytes a record
)

func swapped(magic uint32) uint32 { return bits.ReverseBytes32(magic) }

// pcap reads a classic pcap file.
type pcap struct {
	order  byteOrder
	link   uint16
	unit   int64 // nanoseconds in a unit of the fraction of a second
	header int   // bytes before a packet
	old    bool  // the two lengths may be swapped
}

// A byteOrder is a binary.ByteOrder that costs no indirect call.
type byteOrder bool

const (
	littleEndian byteOrder = false
	bigEndian    byteOrder = true
)

func (o byteOrder) uint16(b []byte) uint16 {
	if o == bigEndian {
		return binary.BigEndian.Uint16(b)
	}
	return binary.LittleEndian.Uint16(b)
}

func (o byteOrder) uint32(b []byte) uint32 {
	if o == bigEndian {
		return binary.BigEndian.Uint32(b)
	}
	return binary.LittleEndian.Uint32(b)
}

func (o byteOrder) uint64(b []byte) uint64 {
	if o == bigEndian {
		return binary.BigEndian.Uint64(b)
	}
	return binary.LittleEndian.Uint64(b)
}

// newPcap reads the header of the file, whose magic number was looked at.
func newPcap(w *window) (*pcap, error) {
	b, err := w.peek(24)
	if err != nil {
		if err == io.ErrUnexpectedEOF {
			return nil, fmt.Errorf("capture cut short: the file header has %d of 24 bytes: %w", w.rest(), err)
		}
		return nil, err
	}
	f := &pcap{unit: 1000, header: 16}
	magic := f.order.uint32(b)
	if byte(magic) == 0xa1 {
		f.order = bigEndian
		magic = f.order.uint32(b)
	}
	switch magic {
	case magicNano:
		f.unit = 1
	case magicPatched:
		f.header = 24
	}
	major, minor := f.order.uint16(b[4:]), f.order.uint16(b[6:])
	if major != 2 {
		return nil, fmt.Errorf("pcap file of version %d.%d: want 2", major, minor)
	}
	f.old = minor <= 3
	// The upper 16 bits say how long the frame check sequence is, which the IP
	// header's length cuts off.
	f.link = uint16(f.order.uint32(b[20:]))
	w.take(24)
	return f, nil
}

func (f *pcap) next(w *window, p *Packet) error {
	b, err := w.peek(f.header)
	if err != nil {
		return err
	}
	sec, frac := f.order.uint32(b), f.order.uint32(b[4:])
	captured, length := f.order.uint32(b[8:]), f.order.uint32(b[12:])
	if f.old && captured > length {
		captured, length = length, captured
	}
	if err := recordSize(captured); err != nil {
		return err
	}
	p.Ifindex, p.Type = 0, Host
	if f.header == 24 {
		p.Ifindex, p.Type = int(f.order.uint32(b[16:])), b[22]
	}
	b, err = w.peek(f.header + int(captured))
	if err != nil {
		return err
	}
	w.take(len(b))
	p.Data = b[f.header:]
	p.WireLen = int(max(length, captured))
	p.Time = time.Unix(int64(sec), int64(frac)*f.unit)
	p.Link = f.link
	return nil
}

func (f *pcap) buffered(w *window) bool {
	if w.rest() < f.header {
		return false
	}
	captured := f.order.uint32(w.buf[w.start+8:])
	if f.old {
		captured = max(captured, f.order.uint32(w.buf[w.start+12:]))
	}
	return int64(captured) <= int64(w.rest()-f.header)
}
