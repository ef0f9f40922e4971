package gor

import (
	"bytes"

	"kagami"
	"kagami/internal/http1"
)

// message makes a message of a record. fits says whether raw is one whole HTTP
// message.
func (r *Reader) message(h header, raw []byte, fits fit) *kagami.Message {
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
	if fits != whole {
		r.reframe(m)
	}
	if m.Proto != kagami.HTTP1 {
		return m
	}
	skipped := 0
	if head := r.framer.Head(); head != nil {
		skipped = head.Skipped
		if head.Ambiguous {
			m.Flags |= kagami.Ambiguous
		}
	}
	if m.Kind == kagami.Request {
		if n := bytes.IndexByte(m.Raw[skipped:], ' '); n > 0 && n <= maxMethod {
			m.Exchange.Method = http1.MethodName(m.Raw[skipped : skipped+n])
		}
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

// maxMethod bounds the method that an Exchange remembers.
const maxMethod = 256

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
