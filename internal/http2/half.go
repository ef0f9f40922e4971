package http2

import "encoding/binary"

// A half is one direction: where it is in the stream of frames, and what its
// header blocks have built up.
type half struct {
	client bool
	first  bool // no frame has come: it must be SETTINGS (RFC 9113 §3.4)
	at     place

	got   int // bytes of the preface, the frame header or small
	raw   [headerLen]byte
	frame frame // the current one
	start Mark  // of its first byte
	left  int   // bytes of its payload that have not come
	need  int   // bytes of small that come first
	data  int   // bytes that it carries and that have not come: no padding
	small [6]byte

	maxFrame int // that its sender allows the other direction; 0: not known

	// The header block that has begun: of a message, or promised.
	inBlock   bool
	block     []byte // unless it came in one piece
	tooLarge  bool   // more than maxHead
	blockAt   frame  // its first frame
	promised  uint32
	blockFrom Mark
	blockLast Mark
	blockWire int

	hpack hpackDecoder
	find  *finder // while seeking
}

// A place is what the next byte is.
type place uint8

const (
	inHeader  place = iota // of a frame
	inPayload              // of a frame
	inPreface
	seeking // not known
)

// held is how many bytes of memory h takes beside itself.
func (h *half) held() int {
	return cap(h.block) + cap(h.hpack.scratch) + h.hpack.table.held() + h.find.held()
}

// feed takes in bytes of one direction.
func (c *Conn) feed(h *half, p []byte, at Mark) (err error) {
	for len(p) > 0 && err == nil {
		n := len(p)
		switch h.at {
		case inHeader:
			n, err = c.header(h, p, at)
		case inPayload:
			n = c.payload(h, p, at)
		case inPreface:
			n, err = h.preface(p)
		case seeking:
			n = min(n, maxPiece)
			err = c.seek(h, p[:n], at)
		}
		p = p[n:]
	}
	return err
}

// preface takes in bytes of the client's preface.
func (h *half) preface(p []byte) (n int, err error) {
	n = min(len(p), len(Preface)-h.got)
	if string(p[:n]) != Preface[h.got:h.got+n] {
		return n, ErrNotHTTP2
	}
	if h.got += n; h.got == len(Preface) {
		h.at, h.got = inHeader, 0
	}
	return n, nil
}

// header takes in bytes of a frame's header.
func (c *Conn) header(h *half, p []byte, at Mark) (n int, err error) {
	if h.got == 0 {
		h.start = at
	}
	n = copy(h.raw[h.got:], p)
	if h.got += n; h.got < headerLen {
		return n, nil
	}
	h.got = 0
	before := h.frame
	h.frame = parseFrame(h.raw[:])
	f := &h.frame
	isFirst := h.first
	h.first = false
	switch {
	case isFirst && (f.typ != frameSettings || !f.valid(h.client)):
		return n, ErrNotHTTP2
	case !f.valid(h.client), f.length > c.limit(h), h.inBlock && !f.follows(&before), !h.inBlock && f.typ == frameContinuation:
		c.misplaced(h)
		return n, c.seek(h, h.raw[:], h.start)
	}
	h.at, h.left, h.need = inPayload, f.length, f.fixed()
	h.data = f.length - h.need
	if f.typ == frameHeaders || f.typ == framePush {
		h.inBlock, h.tooLarge, h.promised = true, false, 0
		h.blockAt, h.blockFrom, h.blockLast, h.blockWire = *f, h.start, at, 0
		h.block = h.block[:0]
	}
	if f.length == 0 {
		c.frameEnds(h, nil, at)
	}
	return n, nil
}

// limit is the largest payload of a frame in a direction: what the other end allows.
func (c *Conn) limit(h *half) int {
	other := c.of(!h.client)
	if other.maxFrame == 0 || c.lenient {
		return maxMaxFrame
	}
	return other.maxFrame
}

// payload takes in bytes of a frame's payload, and no others.
func (c *Conn) payload(h *half, p []byte, at Mark) (n int) {
	n = min(len(p), h.left)
	p = p[:n]
	h.left -= n
	if h.got < h.need {
		m := copy(h.small[h.got:h.need], p)
		h.got += m
		p = p[m:]
		if h.got == h.need && !c.fixed(h) {
			c.misplaced(h)
			return m
		}
	}
	p = p[:min(len(p), h.data)]
	h.data -= len(p)
	if h.left > 0 {
		if len(p) > 0 {
			c.carry(h, p, at)
		}
		return n
	}
	c.frameEnds(h, p, at)
	return n
}

// fixed looks at the fixed part of a frame. False means that it makes no sense.
func (c *Conn) fixed(h *half) bool {
	b := h.small[:h.need]
	if !h.frame.sound(b) {
		return false
	}
	h.data -= h.frame.padding(b)
	if h.frame.typ == framePush {
		h.promised = promised(b)
	}
	return true
}

// carry takes in bytes that a frame carries.
func (c *Conn) carry(h *half, p []byte, at Mark) {
	switch h.frame.typ {
	case frameData:
		c.body(h, p, at)
	case frameHeaders, framePush, frameContinuation:
		h.blockLast = at
		if h.tooLarge = h.tooLarge || len(h.block)+len(p) > maxHead; h.tooLarge {
			h.block = nil
			return
		}
		h.block = append(h.block, p...)
	case frameSettings:
		c.settings(h, p)
	}
}

// settings takes in bytes of settings (RFC 9113 §6.5.1). The size of the header
// table is none of them that matters: a sender says in the header block itself
// which size it keeps to (RFC 7541 §4.2).
func (c *Conn) settings(h *half, p []byte) {
	for _, b := range p {
		h.small[h.got] = b
		if h.got++; h.got < 6 {
			continue
		}
		h.got = 0
		if binary.BigEndian.Uint16(h.small[:]) == settingMaxFrame {
			n := binary.BigEndian.Uint32(h.small[2:])
			h.maxFrame = max(h.maxFrame, int(min(n, maxMaxFrame)))
		}
	}
}

const settingMaxFrame = 5

// frameEnds ends a frame; p is what it carries that was not taken in.
func (c *Conn) frameEnds(h *half, p []byte, at Mark) {
	h.at = inHeader
	f := &h.frame
	if f.typ != frameSettings {
		h.got = 0
	}
	switch f.typ {
	case frameHeaders, framePush, frameContinuation:
		h.blockWire += headerLen + f.length
		if f.has(flagEndHeaders) {
			h.inBlock = false
			if len(h.block) > 0 || h.tooLarge {
				c.carry(h, p, at)
				p = h.block
			}
			c.blockEnds(h, p, at)
			if cap(h.block) > keepBuffer {
				h.block = nil
			}
			return
		}
		c.carry(h, p, at)
	case frameData:
		c.body(h, p, at)
		c.dataEnds(h, at)
	case frameReset:
		c.reset(f.stream)
	case frameGoAway:
		c.goAway(h)
	case frameSettings:
		c.settings(h, p)
		h.got = 0
		if !f.has(flagAck) {
			h.maxFrame = max(h.maxFrame, defaultMaxFrame)
		}
	}
}

// misplaced notes that no frame begins where one should: what follows has to be
// found again, and header blocks may have been missed.
func (c *Conn) misplaced(h *half) {
	c.abandon(h, ErrLost)
	c.lenient = true // settings may have been missed, too
	h.hpack.table.forget()
	h.at, h.got, h.first, h.find = seeking, 0, false, nil
}

// abandon gives up what a direction has begun and not ended.
func (c *Conn) abandon(h *half, err error) {
	if h.inBlock {
		h.inBlock = false
		c.blockFails(h, err)
	}
	h.block = nil
	i := h.part()
	for s := c.open.first; s != nil; {
		next := s.next
		if s.parts[i].state == partOpen {
			c.end(s, i, err)
			c.settle(s)
		}
		s = next
	}
}

// part is the index of the part of a stream that h carries.
func (h *half) part() int {
	if h.client {
		return client
	}
	return server
}

// lost deals with n bytes that will not come.
func (c *Conn) lost(h *half, n int64, cut bool) {
	if h.at != inPayload || n > int64(h.left) {
		c.misplaced(h)
		return
	}
	switch h.frame.typ {
	case frameHeaders, framePush, frameContinuation:
		c.misplaced(h)
		return
	case frameData:
		if h.got < h.need {
			c.misplaced(h)
			return
		}
		if data := min(int(n), h.data); data > 0 {
			h.data -= data
			c.bodyLost(h, data, cut)
		}
	case frameSettings:
		h.maxFrame = maxMaxFrame // it may have been
		h.data = 0
	case frameGoAway:
		h.frame.typ, h.need = numFrames, 0 // like a type that is not known
	}
	if h.left -= int(n); h.left == 0 {
		c.frameEnds(h, nil, h.start)
	}
}

// seek looks for the beginning of a frame.
func (c *Conn) seek(h *half, p []byte, at Mark) error {
	if h.find == nil {
		h.find = &finder{next: -1}
	}
	if start := h.find.feed(p, at, h.client); start >= 0 {
		return c.found(h, start)
	}
	return nil
}

// found goes on where a frame begins in the bytes that were kept.
func (c *Conn) found(h *half, start int) error {
	f := h.find
	h.find, h.at, h.got, h.first = nil, inHeader, 0, false
	return f.each(start, func(p []byte, at Mark) error { return c.feed(h, p, at) })
}

// lastFound is found for the last bytes of a direction.
func (c *Conn) lastFound(h *half) {
	if h.at == seeking && h.find != nil {
		if start := h.find.end(); start >= 0 {
			c.found(h, start) // no error: h.first is not set
		}
	}
}
