package websocket

import "io"

// A Framer finds where frames end in one direction of a connection. The zero
// value frames what the client sends.
type Framer struct {
	// Server says that it is what the server sends: frames without a mask (RFC
	// 6455 §5.1).
	Server bool

	header Header
	whole  bool // header is
	left   int64
	over   bool // the frame is whole
	inside bool // a message has begun, and its last frame has not come
	closed bool // nothing comes behind a Close frame
	n      int  // of buf
	buf    [MaxHeader]byte
	err    error
}

// Feed consumes the next bytes of the direction, up to the end of a frame: done
// says that it ended at p[:n], and n < len(p) only then or after an error. The
// error is ErrFrame, from then on.
func (f *Framer) Feed(p []byte) (n int, done bool, err error) {
	if f.err != nil {
		return 0, false, f.err
	}
	if f.over {
		f.over, f.whole, f.n = false, false, 0
	}
	if !f.whole {
		if n, f.err = f.feedHeader(p); f.err != nil || !f.whole {
			return n, false, f.err
		}
	}
	m := int64(len(p) - n)
	if m >= f.left {
		m, f.over = f.left, true
	}
	f.left -= m
	return n + int(m), f.over, nil
}

// feedHeader consumes bytes of a header, and no others.
func (f *Framer) feedHeader(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	if f.closed {
		return 0, ErrFrame
	}
	if f.n == 0 {
		if f.header, err = ParseHeader(p); err == nil {
			return f.header.Len, f.begin()
		}
	}
	if f.n > 0 || err == io.ErrUnexpectedEOF {
		// One byte at a time, so that no byte behind it is taken.
		for err = io.ErrUnexpectedEOF; n < len(p) && err == io.ErrUnexpectedEOF; n++ {
			f.buf[f.n] = p[n]
			f.n++
			f.header, err = ParseHeader(f.buf[:f.n])
		}
		if err == nil {
			return n, f.begin()
		}
	}
	if err == io.ErrUnexpectedEOF {
		err = nil
	}
	return n, err
}

// begin checks a header against what came before it.
func (f *Framer) begin() error {
	h := &f.header
	switch {
	case h.Masked == f.Server,
		h.Opcode == Continuation && !f.inside,
		(h.Opcode == Text || h.Opcode == Binary) && f.inside:
		return ErrFrame
	case h.Opcode == Close:
		f.closed = true
	case !h.Opcode.Control():
		f.inside = !h.Fin
	}
	f.whole, f.left = true, h.Length
	return nil
}

// Header returns the header of the frame once it is whole, until the first Feed
// after the one that was done; nil before.
func (f *Framer) Header() *Header {
	if !f.whole {
		return nil
	}
	return &f.header
}

// Begun reports whether bytes of a frame were consumed and it is not done.
func (f *Framer) Begun() bool { return !f.over && (f.whole || f.n > 0) }

// Remaining is how many bytes of the payload have not come; -1 while the header
// is not whole.
func (f *Framer) Remaining() int64 {
	if !f.whole {
		return -1
	}
	return f.left
}

// Skip says that n bytes were lost. It returns true if they lie wholly in a
// payload, so that framing goes on behind them. False changes nothing: the
// Framer has lost its place for good. Where the frame ends exactly behind the
// gap, the next Feed, be it of no bytes, is done with n = 0.
func (f *Framer) Skip(n int64) bool {
	switch {
	case n <= 0:
		return true
	case !f.whole || f.over || f.err != nil || n > f.left:
		return false
	}
	f.left -= n
	return true
}
