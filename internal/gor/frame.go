package gor

import (
	"bytes"
	"io"

	"kagami"
	"kagami/internal/http1"
)

// framed finds the end of the HTTP message that begins from bytes behind pos. It
// returns the message's length, and true if a separator or the end of the input
// follows.
func (r *Reader) framed(from int, h header) (n int, ok bool) {
	// Only values of the framer's head are used: its slices may alias buf, which
	// moves when it is filled.
	f := &r.framer
	f.Reset()
	f.Response = h.kind != kagami.Request
	f.Expect(r.bare.method(h.id))
	for start, at := from, from; ; {
		if at == r.end-r.pos {
			if at-from > r.maxRecord() || !r.fill() {
				return 0, false
			}
			continue
		}
		n, done, err := f.Feed(r.window()[at:])
		at += n
		switch {
		case err != nil || at-from > r.maxRecord():
			return 0, false
		case !done:
		case bytes.Contains(r.window()[start:start+f.Head().Len], []byte(mark)):
			return 0, false // a head that was cut short, and the next record
		case r.separatorAt(at):
			return at - from, true
		case !interim(f):
			return 0, false
		default:
			start = at
			f.Expect(r.bare.method(h.id))
		}
	}
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
// by a record, the next record is damaged, and the first separator is the one.
func (r *Reader) scan(from int) (n int, err error) {
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
	if first >= 0 {
		return first, nil
	}
	return 0, err
}

// recordAt reports whether a record begins at bytes behind pos, or nothing more
// comes: then the separator before it is no part of a body.
func (r *Reader) recordAt(at int) bool {
	line, whole := r.line(at)
	if !whole {
		return r.srcErr != nil && len(line) < maxHeader && mayBeHeader(line)
	}
	_, ok := parseHeader(line)
	return ok || r.atEnd(at)
}

// line returns the line that begins at bytes behind pos, without its line end;
// or what there is of it, and false, where the input ends or it is too long
// for a header.
func (r *Reader) line(at int) (line []byte, whole bool) {
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

// message makes a message of a record. framed says that raw is one whole HTTP
// message.
func (r *Reader) message(h header, raw []byte, framed bool) *kagami.Message {
	m := &kagami.Message{
		Kind:     h.kind,
		Proto:    kagami.HTTP1,
		Hop:      1,
		Start:    h.start,
		End:      h.start.Add(max(h.latency, 0)),
		Raw:      append(make([]byte, 0, len(raw)), raw...),
		WireLen:  len(raw),
		Exchange: &kagami.Exchange{ID: h.id},
	}
	m.Client, m.Server = addresses(h.id, h.start)
	if !framed {
		r.reframe(m)
	}
	if head := r.framer.Head(); m.Proto == kagami.HTTP1 && head != nil && head.Ambiguous {
		m.Flags |= kagami.Ambiguous
	}
	if m.Kind == kagami.Request && m.Proto == kagami.HTTP1 {
		m.Exchange.Method = methodName(http1.Method(m.Raw))
		r.bare.note(h.id, m.Exchange.Method)
	}
	return m
}

// reframe says what m is that ends where its framing does not.
func (r *Reader) reframe(m *kagami.Message) {
	f := &r.framer
	f.Reset()
	f.Response = m.Kind != kagami.Request
	f.Expect(r.bare.method(m.Exchange.ID))
	for rest := m.Raw; ; {
		n, done, err := f.Feed(rest)
		rest = rest[n:]
		switch {
		case err != nil && !f.HeadDone():
			m.Proto = kagami.Binary
		case err != nil:
			m.Flags |= kagami.Ambiguous
		case done && len(rest) > 0 && interim(f):
			f.Expect(r.bare.method(m.Exchange.ID))
			continue
		case done && len(rest) > 0:
			m.Flags |= kagami.Ambiguous
		case !done && !f.EOF():
			m.Flags |= kagami.Incomplete
		}
		return
	}
}

// methodName is the method as a string, without an allocation for the usual ones.
func methodName(b []byte) string {
	switch string(b) {
	case "GET":
		return "GET"
	case "HEAD":
		return "HEAD"
	case "POST":
		return "POST"
	case "PUT":
		return "PUT"
	case "PATCH":
		return "PATCH"
	case "DELETE":
		return "DELETE"
	case "OPTIONS":
		return "OPTIONS"
	}
	return string(b)
}

// bodiless remembers which requests were HEAD or CONNECT, the two methods that
// the framing of an answer depends on (RFC 9112 §6.3). It is bounded.
type bodiless struct {
	methods map[kagami.ID]string
	order   []kagami.ID // a ring, once it is full
	next    int
}

const maxBodiless = 65536

func (b *bodiless) method(id kagami.ID) string { return b.methods[id] }

func (b *bodiless) note(id kagami.ID, method string) {
	if method != "HEAD" && method != "CONNECT" {
		if len(b.methods) > 0 {
			delete(b.methods, id) // ids come round again
		}
		return
	}
	if b.methods == nil {
		b.methods = make(map[kagami.ID]string)
	}
	if len(b.order) < maxBodiless {
		b.order = append(b.order, id)
	} else {
		delete(b.methods, b.order[b.next])
		b.order[b.next] = id
		b.next = (b.next + 1) % maxBodiless
	}
	b.methods[id] = method
}

// window is what is read and not yet used.
func (r *Reader) window() []byte { return r.buf[r.pos:r.end] }

// skip moves n bytes on.
func (r *Reader) skip(n int) { r.pos += n }

// have reads until n bytes are there; false: the input ends before.
func (r *Reader) have(n int) bool {
	for r.end-r.pos < n {
		if !r.fill() {
			return false
		}
	}
	return true
}

// fill reads more; false: there is no more.
func (r *Reader) fill() bool {
	if r.srcErr != nil {
		return false
	}
	r.room()
	for range 100 {
		n, err := r.src.Read(r.buf[r.end:])
		r.end += n
		r.srcErr = err
		if n > 0 || err != nil {
			return n > 0
		}
	}
	r.srcErr = io.ErrNoProgress
	return false
}

// room makes room to read into: by moving what is not yet used to the front, or
// where that is more than half the buffer, into one of twice the size. The
// buffer grows with what was read and never with what a header promises.
func (r *Reader) room() {
	if r.end < len(r.buf) {
		return
	}
	held, size := r.end-r.pos, len(r.buf)
	switch {
	case held > size/2:
		size *= 2
	case held < usualBuffer/2:
		size = usualBuffer
	}
	to := r.buf
	if size != len(r.buf) {
		to = make([]byte, max(size, usualBuffer))
	}
	copy(to, r.buf[r.pos:r.end])
	r.base += int64(r.pos)
	r.buf, r.pos, r.end = to, 0, held
}
