package capture

import (
	"errors"
	"fmt"
	"io"
	"math/bits"
	"time"
)

// Block types of a pcapng file
// (https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-02.html, §4).
const (
	blockSection   = 0x0a0d0d0a // the same in both byte orders
	blockInterface = 1
	blockPacket    = 2 // obsolete
	blockSimple    = 3
	blockEnhanced  = 6

	sectionMagic = 0x1a2b3c4d

	optionEnd        = 0
	optionResolution = 9
	optionOffset     = 14
)

// maxInterfaces bounds how many interfaces a section of a pcapng file may
// describe.
const maxInterfaces = 1 << 16

// pcapng reads a pcapng file.
type pcapng struct {
	order      byteOrder
	interfaces []pcapngInterface // of the section
	before     int               // how many there were in the sections before
	last       time.Time         // of the last packet that had a time
}

// A pcapngInterface is what an interface description block says.
type pcapngInterface struct {
	link   uint16
	snap   uint32 // 0: no limit
	units  uint64 // of time in a second
	offset int64  // seconds to add
}

func (f *pcapng) next(w *window, p *Packet) error {
	for {
		b, err := w.peek(8)
		if err != nil {
			return err
		}
		kind := f.order.uint32(b)
		if kind == blockSection {
			if err := f.section(w); err != nil {
				return err
			}
			continue
		}
		size := f.order.uint32(b[4:])
		if size < 12 || size%4 != 0 {
			return fmt.Errorf("a block of %d bytes", size)
		}
		switch kind {
		case blockInterface, blockPacket, blockSimple, blockEnhanced:
		default:
			if err := skipBlock(w, size); err != nil {
				return err
			}
			continue
		}
		if err := recordSize(size); err != nil {
			return err
		}
		if b, err = w.peek(int(size)); err != nil {
			return err
		}
		if f.order.uint32(b[size-4:]) != size {
			return fmt.Errorf("a block of %d bytes that ends as one of %d", size, f.order.uint32(b[size-4:]))
		}
		body := b[8 : size-4]
		if kind == blockInterface {
			err = f.describe(body)
		} else {
			err = f.packet(kind, body, p)
		}
		if err != nil {
			return err
		}
		w.take(int(size))
		if kind != blockInterface {
			return nil
		}
	}
}

// skipBlock moves on past a block that holds no packet. Where it is cut short the
// window stays at its begin or moves to where the file ends: no packet is lost
// either way.
func skipBlock(w *window, size uint32) error {
	err := w.skip(int64(size))
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// section begins a section: another byte order, other interfaces.
func (f *pcapng) section(w *window) error {
	b, err := w.peek(28)
	if err != nil {
		return err
	}
	order := littleEndian
	if order.uint32(b[8:]) != sectionMagic {
		order = bigEndian
	}
	if order.uint32(b[8:]) != sectionMagic {
		return fmt.Errorf("a section whose byte order is marked % x", b[8:12])
	}
	size := order.uint32(b[4:])
	if size < 28 || size%4 != 0 {
		return fmt.Errorf("a section header of %d bytes", size)
	}
	if major := order.uint16(b[12:]); major != 1 {
		return fmt.Errorf("a section of version %d: want 1", major)
	}
	f.order = order
	f.before += len(f.interfaces)
	f.interfaces = f.interfaces[:0]
	return skipBlock(w, size)
}

// describe takes in an interface description block (§4.2).
func (f *pcapng) describe(b []byte) error {
	if len(b) < 8 {
		return fmt.Errorf("an interface description of %d bytes", len(b))
	}
	if len(f.interfaces) == maxInterfaces {
		return fmt.Errorf("more than %d interfaces", maxInterfaces)
	}
	i := pcapngInterface{link: f.order.uint16(b), snap: f.order.uint32(b[4:]), units: 1e6}
	for b = b[8:]; len(b) >= 4; {
		code, n := f.order.uint16(b), int(f.order.uint16(b[2:]))
		padded := (n + 3) &^ 3
		if b = b[4:]; code == optionEnd || padded > len(b) {
			break
		}
		switch {
		case code == optionResolution && n == 1:
			var err error
			if i.units, err = resolution(b[0]); err != nil {
				return err
			}
		case code == optionOffset && n == 8:
			i.offset = int64(f.order.uint64(b))
		}
		b = b[padded:]
	}
	f.interfaces = append(f.interfaces, i)
	return nil
}

// resolution returns how many units of time a second has: a power of 10, or of 2
// where the highest bit is set.
func resolution(b byte) (uint64, error) {
	exponent := b & 0x7f
	if b&0x80 != 0 && exponent < 64 {
		return 1 << exponent, nil
	}
	if b&0x80 != 0 || exponent > 19 {
		return 0, fmt.Errorf("an interface whose time resolution is %#x", b)
	}
	units := uint64(1)
	for range exponent {
		units *= 10
	}
	return units, nil
}

var errShortBlock = errors.New("a block shorter than the packet in it")

// packet reads a block with a packet (§4.3, §4.4, appendix A).
func (f *pcapng) packet(kind uint32, b []byte, p *Packet) error {
	var n, captured, length uint32
	header := 20
	switch {
	case kind == blockSimple && len(b) >= 4:
		header = 4
		length = f.order.uint32(b)
		captured = min(length, uint32(len(b)-4))
		if len(f.interfaces) > 0 && f.interfaces[0].snap > 0 {
			captured = min(captured, f.interfaces[0].snap)
		}
	case kind == blockEnhanced && len(b) >= header:
		n = f.order.uint32(b)
		captured, length = f.order.uint32(b[12:]), f.order.uint32(b[16:])
	case kind == blockPacket && len(b) >= header:
		n = uint32(f.order.uint16(b))
		captured, length = f.order.uint32(b[12:]), f.order.uint32(b[16:])
	default:
		return errShortBlock
	}
	if int64(captured) > int64(len(b)-header) {
		return errShortBlock
	}
	if int64(n) >= int64(len(f.interfaces)) {
		return fmt.Errorf("a packet of interface %d, of which there is no description", n)
	}
	i := &f.interfaces[n]
	if kind != blockSimple { // which has no time: it counts as that of the packet before
		f.last = i.time(uint64(f.order.uint32(b[4:]))<<32 | uint64(f.order.uint32(b[8:])))
	}
	p.Time = f.last
	p.Data = b[header : header+int(captured) : header+int(captured)]
	p.WireLen = int(max(length, captured))
	p.Link = i.link
	p.Ifindex, p.Type = f.before+int(n)+1, Host
	return nil
}

// time turns a time stamp in the interface's units into a time.
func (i *pcapngInterface) time(stamp uint64) time.Time {
	sec, frac := stamp/i.units, stamp%i.units
	hi, lo := bits.Mul64(frac, 1e9)
	nsec, _ := bits.Div64(hi, lo, i.units) // hi < units, for frac < units and 1e9 < 1<<64
	return time.Unix(int64(sec)+i.offset, int64(nsec))
}

func (f *pcapng) buffered(w *window) bool {
	if w.rest() < 8 {
		return false
	}
	return int64(f.order.uint32(w.buf[w.start+4:])) <= int64(w.rest())
}
