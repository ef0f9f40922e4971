package filter

import (
	"kagami"
	"kagami/internal/http1"
	"kagami/internal/websocket"
)

// A Filter says what is to become of a request.
type Filter interface {
	// Apply returns the message that goes on, with [kagami.Delivered]: m itself
	// or an edited one in its place. Or it returns why m is dropped, and then
	// no message. It does not change m, and may be called from several
	// goroutines at once.
	Apply(m *kagami.Message) (*kagami.Message, kagami.Reason)
}

// A FilterFunc is a function that is a Filter.
type FilterFunc func(m *kagami.Message) (*kagami.Message, kagami.Reason)

// Apply calls f.
func (f FilterFunc) Apply(m *kagami.Message) (*kagami.Message, kagami.Reason) { return f(m) }

// A Chain asks filters one after the other, until one drops the message. It is
// a Filter. The empty chain keeps everything. Answers pass untouched: they
// follow their request.
type Chain []Filter

var (
	_ Filter = FilterFunc(nil)
	_ Filter = Chain(nil)
)

// Apply implements Filter.
func (c Chain) Apply(m *kagami.Message) (*kagami.Message, kagami.Reason) {
	if m.Kind != kagami.Request {
		return m, kagami.Delivered
	}
	for _, f := range c {
		kept, r := f.Apply(m)
		if r != kagami.Delivered {
			return nil, r
		}
		m = kept
	}
	return m, kagami.Delivered
}

// SafeMethods keeps GET, HEAD and OPTIONS alone: what is not meant to change
// anything where it is sent (RFC 9110 §9.2.1). TRACE, which is safe too, sends
// back what may be secret, and a WebSocket may do anything: they are not kept.
func SafeMethods() Filter {
	return rules{safeMethod}
}

func safeMethod(r request) bool {
	switch string(r.method) {
	case "GET":
		return !websocket.Asks(r.raw)
	case "HEAD", "OPTIONS":
		return true
	}
	return false
}

// A request is what rules look at.
type request struct {
	raw    []byte // head and body
	method []byte // nil where the start line is none
	target []byte // nil where the start line is none
	realIP []byte // the client's address, where realIPHeader is to carry it
	named  string // that header's name
}

// A rule says whether a request is kept.
type rule func(r request) bool

// rules keep what all of them keep.
type rules []rule

var _ Filter = rules(nil)

// Apply implements Filter.
func (rs rules) Apply(m *kagami.Message) (*kagami.Message, kagami.Reason) {
	return rs.apply(m, request{raw: m.Raw})
}

func (rs rules) apply(m *kagami.Message, r request) (*kagami.Message, kagami.Reason) {
	r.method, r.target = http1.Method(m.Raw), http1.Target(m.Raw)
	for _, keep := range rs {
		if !keep(r) {
			return nil, kagami.Filtered
		}
	}
	return m, kagami.Delivered
}
