package gor

import (
	"bytes"

	"kagami"
	"kagami/internal/http1"
	"kagami/internal/websocket"
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
	if fits == frame {
		m.Proto = kagami.WebSocket
		m.Exchange.Method = r.sockets.method(h.id)
		return m
	}
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
		r.note(h.id, m)
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

// note remembers of a request what is needed to read what follows it.
func (r *Reader) note(id kagami.ID, m *kagami.Message) {
	method := m.Exchange.Method
	r.bare.note(id, method, method == "HEAD" || method == "CONNECT")
	r.sockets.note(id, method, method == "GET" && websocket.Asks(m.Raw))
}

// remembered is the methods of requests. It is bounded.
type remembered struct {
	methods map[kagami.ID]string
	order   []kagami.ID // a ring, once it is full
	next    int
}

const maxRemembered = 65536

func (b *remembered) method(id kagami.ID) string { return b.methods[id] }

func (b *remembered) note(id kagami.ID, method string, wanted bool) {
	if !wanted {
		if len(b.methods) > 0 {
			delete(b.methods, id) // ids come round again
		}
		return
	}
	if b.methods == nil {
		b.methods = make(map[kagami.ID]string)
	}
	if len(b.order) < maxRemembered {
		b.order = append(b.order, id)
	} else {
		delete(b.methods, b.order[b.next])
		b.order[b.next] = id
		b.next = (b.next + 1) % maxRemembered
	}
	b.methods[id] = method
}
