package http1

import (
	"bytes"
	"io"
)

// DefaultMaxHead is how large a head may be if Framer.MaxHead is zero, in bytes.
const DefaultMaxHead = 1 << 20

// keepBuffer is the largest buffer that a Framer keeps for the next head.
const keepBuffer = 64 << 10

// A Framer finds where messages begin and end in one direction of a
// connection. It is fed bytes in order, cut anywhere. The zero value frames
// requests. It holds no more than a head that came in parts, MaxHead bytes at
// most, and no bodies. It must not be used from two goroutines at once.
//
// Interim responses (1xx but 101) are messages of their own. What follows a 101
// or a 2xx answer to CONNECT is another protocol: the Framer does not know, and
// should not be fed any more.
type Framer struct {
	// Response says that the bytes are responses.
	Response bool
	// MaxHead is how many bytes a head may have, empty lines before it not
	// counted. 0 means DefaultMaxHead.
	MaxHead int

	part   part
	line   linePlace // in the part of a head that is in buf
	over   bool      // the last Feed ended a message
	bare   bool      // an empty line before the start line ended in a bare LF
	cr     bool      // the last byte before the start line was a CR
	begun  bool      // a byte of a head was seen
	chunks chunks

	method  string // of the request that the next response answers
	head    Head
	skipped int    // bytes of empty lines before the start line
	buf     []byte // of a head that comes in parts: what came so far
	checked int    // how far the start line in buf is known to be good
	left    int64  // of a body of known length
	body    int64  // entity bytes so far
	err     error
}

// A part is the part of a message that the next byte belongs to.
type part uint8

const (
	partHead part = iota
	partFixed
	partChunked
	partUntilClose
)

// A linePlace is where in a line of a head the next byte belongs.
type linePlace uint8

const (
	lineStart linePlace = iota
	lineCR              // behind a CR at its start
	lineBody
)

// Expect says which method the request has that the next response answers, for
// the method decides whether there is a body (RFC 9112 §6.3). It holds for the
// next head that becomes whole and is not interim; "" is for unknown.
func (f *Framer) Expect(method string) { f.method = method }

// Feed consumes the first n bytes of p. If done, the message ended with them;
// else n is len(p), or err is not nil: ErrNotHTTP, ErrHeadTooLarge or ErrChunk.
// After an error every Feed returns it again until Reset. Feed keeps no
// reference to p but through the slices of Head.
func (f *Framer) Feed(p []byte) (n int, done bool, err error) {
	if f.over {
		f.next()
	}
	if f.err != nil {
		return 0, false, f.err
	}
	if f.part == partHead {
		n, err = f.feedHead(p)
		if err != nil {
			f.err = err
			return n, false, err
		}
		if f.part == partHead {
			return n, false, nil
		}
	}
	m, err := f.feedBody(p[n:])
	f.err = err
	return n + m, f.over, err
}

// feedHead consumes bytes of a head, and no others.
func (f *Framer) feedHead(p []byte) (n int, err error) {
	if !f.begun {
		if n = f.skipEmpty(p); n == len(p) {
			return n, nil
		}
		p = p[n:]
		f.begun = true
	}
	limit := f.MaxHead
	if limit <= 0 {
		limit = DefaultMaxHead
	}
	if len(f.buf) == 0 && !f.cr {
		err = f.head.parse(p[:min(len(p), limit)], f.Response)
		if err == nil {
			n += f.head.Len
			f.headDone()
			return n, nil
		}
		if err != io.ErrUnexpectedEOF {
			return n, err
		}
	}
	m, err := f.collect(p, limit)
	return n + m, err
}

// skipEmpty consumes the empty lines before a start line (RFC 9112 §2.2).
func (f *Framer) skipEmpty(p []byte) (n int) {
	for ; n < len(p); n++ {
		switch {
		case p[n] == '\n':
			f.bare = f.bare || !f.cr
			f.cr = false
		case p[n] == '\r' && !f.cr:
			f.cr = true
		default:
			f.skipped += n
			return n
		}
	}
	f.skipped += n
	return n
}

// collect takes bytes of a head that comes in parts into buf, and parses it
// once its end is there.
func (f *Framer) collect(p []byte, limit int) (n int, err error) {
	if f.cr {
		return 0, ErrNotHTTP // a CR before the start line, and no LF
	}
	p = p[:min(len(p), limit-len(f.buf))]
	n, whole, started := f.scan(p)
	f.buf = append(f.buf, p[:n]...)
	if whole {
		if err := f.head.parse(f.buf, f.Response); err != nil {
			return n, err
		}
		f.headDone()
		return n, nil
	}
	if err := f.checkStart(started); err != nil {
		return n, err
	}
	if len(f.buf) == limit {
		return n, ErrHeadTooLarge
	}
	return n, nil
}

// scan looks for the end of the head in p. It returns how many bytes belong to
// the head and whether they end it, and whether there was the end of a line.
func (f *Framer) scan(p []byte) (n int, whole, ended bool) {
	for n < len(p) {
		switch f.line {
		case lineBody:
			lf := bytes.IndexByte(p[n:], '\n')
			if lf < 0 {
				return len(p), false, ended
			}
			n += lf + 1
			f.line, ended = lineStart, true
			continue
		case lineStart:
			if p[n] == '\r' {
				f.line = lineCR
				n++
				continue
			}
		}
		if p[n] == '\n' {
			return n + 1, true, true
		}
		f.line = lineBody
	}
	return n, false, ended
}

// checkStart looks at the start line in buf, as far as it is there, so that
// what is not HTTP is found out at once. ended means that a line has ended since
// the last look.
func (f *Framer) checkStart(ended bool) error {
	if f.checked < 0 {
		return nil
	}
	var ok bool
	if ended {
		line := f.buf[:bytes.IndexByte(f.buf, '\n')]
		ok = (&Head{Response: f.Response}).parseStartLine(line)
		f.checked = -1
	} else {
		f.checked, ok = startsLine(f.buf, f.checked, f.Response)
	}
	if !ok {
		return ErrNotHTTP
	}
	return nil
}

// headDone decides how long the body is (RFC 9112 §6.3).
func (f *Framer) headDone() {
	h := &f.head
	h.skip(f.skipped, f.bare)
	method := f.method
	if h.Response && (h.Status >= 200 || h.Status == 101) {
		f.method = ""
	}
	switch {
	case h.NoBody(method):
		f.part, f.left = partFixed, 0
	case h.Chunked:
		f.part = partChunked
	case h.Response && h.HasTE && !h.identity, h.Response && h.ContentLength < 0:
		f.part = partUntilClose
	default:
		f.part, f.left = partFixed, max(h.ContentLength, 0)
	}
}

// feedBody consumes bytes of the body.
func (f *Framer) feedBody(p []byte) (n int, err error) {
	switch f.part {
	case partFixed:
		n = len(p)
		if int64(n) >= f.left {
			n = int(f.left)
			f.over = true
		}
		f.left -= int64(n)
		f.body += int64(n)
	case partUntilClose:
		n = len(p)
		f.body += int64(n)
	case partChunked:
		return f.feedChunked(p)
	}
	return n, nil
}

func (f *Framer) feedChunked(p []byte) (n int, err error) {
	for n < len(p) && !f.over {
		m, data, err := f.chunks.step(p[n:])
		if err != nil {
			return n, err
		}
		n += m
		if data {
			f.body += int64(m)
		}
		f.over = f.chunks.at == afterChunk
	}
	f.head.Ambiguous = f.head.Ambiguous || f.chunks.ambiguous
	return n, nil
}

// Head returns the head of the message once it is whole, until the first Feed
// after the one that was done; nil before. Its Method, Target and Reason alias
// the bytes that were fed, if the head came in one piece, else a buffer of the
// Framer's: copy what is to be kept when p is overwritten.
func (f *Framer) Head() *Head {
	if f.part == partHead {
		return nil
	}
	return &f.head
}

// HeadDone reports whether Head is there.
func (f *Framer) HeadDone() bool { return f.part != partHead }

// BodyLen is how many bytes the body had so far, chunk framing and trailers
// not counted, bytes that were skipped counted.
func (f *Framer) BodyLen() int64 { return f.body }

// Begun reports whether bytes of a message were consumed and it is not done.
// Empty lines before a start line don't count: they may be forgotten.
func (f *Framer) Begun() bool { return f.begun && !f.over }

// Skip says that n bytes were lost. It returns true if they lie wholly in a
// body, so that framing goes on behind them. False changes nothing: the Framer
// has lost its place, and wants a Reset. Where a body ends exactly behind the
// gap, the next Feed, be it of no bytes, is done with n = 0.
func (f *Framer) Skip(n int64) bool {
	switch {
	case n <= 0:
		return true
	case f.over || f.err != nil:
		return false
	case f.part == partUntilClose:
	case f.part == partFixed && n <= f.left:
		f.left -= n
	case f.part == partChunked && f.chunks.at == inData && n <= f.chunks.left:
		if f.chunks.left -= n; f.chunks.left == 0 {
			f.chunks.at = inDataCR
		}
	default:
		return false
	}
	f.body += n
	return true
}

// Remaining is how many bytes are known to be missing until the end of the
// message or of the data of its current chunk; -1 where that is not known.
func (f *Framer) Remaining() int64 {
	switch {
	case f.over:
	case f.part == partFixed:
		return f.left
	case f.part == partChunked && f.chunks.at == inData:
		return f.chunks.left
	}
	return -1
}

// EOF says that the sender closed its direction. It returns true if that ends
// a message: a response without a length; false if there is none, or if it is
// cut short.
func (f *Framer) EOF() (done bool) {
	if f.over || f.err != nil {
		return false
	}
	f.over = f.part == partUntilClose || f.part == partFixed && f.left == 0
	return f.over
}

// Held is how many bytes of memory the Framer holds beside itself.
func (f *Framer) Held() int { return cap(f.buf) }

// Reset forgets the message and the error, and what Expect said: the next byte
// begins a message. Response and MaxHead stay.
func (f *Framer) Reset() {
	f.next()
	f.head, f.method, f.err = Head{}, "", nil
}

// next makes the Framer ready for the next message.
func (f *Framer) next() {
	buf := f.buf[:0]
	if cap(buf) > keepBuffer {
		buf = nil
	}
	f.part, f.line, f.chunks = partHead, lineStart, chunks{}
	f.over, f.bare, f.cr, f.begun = false, false, false, false
	f.buf = buf
	f.skipped, f.checked, f.left, f.body = 0, 0, 0, 0
}
