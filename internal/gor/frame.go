package gor

import (
	"bytes"

	"kagami"
	"kagami/internal/http1"
	"kagami/internal/websocket"
)

// A fit says how a message's own framing agrees with the record it is in.
type fit int

const (
	unfit fit = iota // it is not HTTP, or no separator follows it
	whole            // a separator or the end of the input follows it
	short            // the input ends before it does
	frame            // it is a whole WebSocket frame
)

// framed finds the end of the HTTP message that begins from bytes behind pos.
// n is the message's length if it is whole.
func (r *Reader) framed(from int, h header) (n int, fits fit) {
	// Only values of the framer's head are used: its slices may alias buf, which
	// moves when it is filled.
	if n, ok := r.webSocketFrame(from, h); ok {
		return n, frame
	}
	f := &r.framer
	f.Reset()
	f.Response = h.kind != kagami.Request
	f.Expect(r.bare.method(h.id))
	for start, at := from, from; ; {
		if at == r.end-r.pos {
			if at-from > r.maxRecord() {
				return 0, unfit
			}
			if !r.fill() {
				if f.EOF() {
					return 0, unfit
				}
				return 0, short
			}
			continue
		}
		n, done, err := f.Feed(r.window()[at:])
		at += n
		switch {
		case err != nil || at-from > r.maxRecord():
			return 0, unfit
		case !done:
		case bytes.Contains(r.window()[start:start+f.Head().Len], []byte(mark)):
			return 0, unfit // a head that was cut short, and the next record
		case r.separatorAt(at):
			return at - from, whole
		case !interim(f):
			return 0, unfit
		default:
			start = at
			f.Expect(r.bare.method(h.id))
		}
	}
}

// webSocketFrame finds the end of the frame that begins from bytes behind pos, if it is
// one: of a WebSocket that was asked for, and with a separator behind it. No message of HTTP
// begins as a frame does.
func (r *Reader) webSocketFrame(from int, h header) (n int, ok bool) {
	if r.sockets.method(h.id) == "" {
		return 0, false
	}
	r.have(from + websocket.MaxHeader)
	fh, err := websocket.ParseHeader(r.window()[from:])
	if err != nil || fh.Masked != (h.kind == kagami.Request) || fh.Length > int64(r.maxRecord()) {
		return 0, false
	}
	n = fh.Len + int(fh.Length)
	return n, r.have(from+n) && r.separatorAt(from+n)
}

// interim reports whether the message just framed is a 1xx response, which a
// recording may hold together with the final one (RFC 9110 §15.2).
func interim(f *http1.Framer) bool {
	h := f.Head()
	return f.Response && h != nil && h.Status >= 100 && h.Status < 200 && h.Status != 101
}

// separatorAt reports whether the separator is at bytes behind pos; or the
// input ends there, or within the separator.
func (r *Reader) separatorAt(at int) bool {
	if r.have(at + len(Separator)) {
		return string(r.window()[at:at+len(Separator)]) == Separator
	}
	return bytes.HasPrefix([]byte(Separator), r.window()[at:])
}

// scan finds the separator that ends a record whose payload begins from bytes
// behind pos, and returns the payload's length. Where no separator is followed
// by a record, the next record is damaged, and the first separator is the one;
// unless the message itself is known to end behind the end of the input.
func (r *Reader) scan(from int, fits fit) (n int, err error) {
	first := -1
	for at := from; ; {
		w := r.window()
		i := bytes.Index(w[at:], []byte(Separator))
		if i < 0 {
			at = max(at, len(w)-len(Separator)+1)
			if err = ErrTooLarge; at-from <= r.maxRecord() {
				if r.fill() {
					continue
				}
				err = r.cut()
			}
			break
		}
		at += i
		if err = ErrTooLarge; at-from > r.maxRecord() {
			break
		}
		if r.recordAt(at + len(Separator)) {
			return at - from, nil
		}
		if first < 0 {
			first = at - from
		}
		at++
	}
	if first >= 0 && fits != short {
		return first, nil
	}
	return 0, err
}

// recordAt reports whether a record begins at bytes behind pos, or nothing more
// comes: then the separator before it is no part of a body.
func (r *Reader) recordAt(at int) bool {
	line, ends := r.line(at)
	if !ends {
		return r.srcErr != nil && len(line) < maxHeader && mayBeHeader(line)
	}
	_, ok := parseHeader(line)
	return ok || r.atEnd(at)
}

// line returns the line that begins at bytes behind pos, without its line end;
// or what there is of it, and false, where the input ends or it is too long
// for a header.
func (r *Reader) line(at int) (line []byte, ends bool) {
	for from := at; ; {
		w := r.window()
		w = w[:min(len(w), at+maxHeader)]
		if i := bytes.IndexByte(w[from:], '\n'); i >= 0 {
			return w[at : from+i], true
		}
		if len(w) == at+maxHeader || r.srcErr != nil {
			return w[at:], false
		}
		from = len(w)
		r.fill()
	}
}
