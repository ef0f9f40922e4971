package kagami

import (
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"
)

// Kind says who sent a message. The values are those of the first field of a
// .gor record and of the kind field of a Kagami record.
type Kind uint8

// The kinds of message.
const (
	Request  Kind = 1 // a client's, as production received it
	Response Kind = 2 // production's answer
	Replayed Kind = 3 // staging's answer to the copy
)

// String returns "request", "response" or "replayed".
func (k Kind) String() string {
	switch k {
	case Request:
		return "request"
	case Response:
		return "response"
	case Replayed:
		return "replayed"
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Proto says what protocol a message was spoken in.
type Proto uint8

// The protocols. Whatever was spoken, Message.Raw has HTTP/1.1 syntax.
const (
	HTTP1     Proto = 1 // HTTP/1.0 or 1.1 (RFC 9112)
	HTTP2     Proto = 2 // HTTP/2 (RFC 9113), rendered as HTTP/1.1
	WebSocket Proto = 3 // a WebSocket frame (RFC 6455)
	Binary    Proto = 4 // bytes of an unknown protocol
)

// String returns the protocol's name in lower case.
func (p Proto) String() string {
	switch p {
	case HTTP1:
		return "http1"
	case HTTP2:
		return "http2"
	case WebSocket:
		return "websocket"
	case Binary:
		return "binary"
	}
	return fmt.Sprintf("proto(%d)", uint8(p))
}

// Flags say what a reader should know about how a message was captured.
type Flags uint16

// The flags. Their values are part of the record format.
const (
	MidStream  Flags = 1 << iota // its connection was joined after it had begun
	Ambiguous                    // its framing can be read in two ways (RFC 9112 §6.3, §11.2)
	Truncated                    // Raw holds fewer bytes than were sent
	Incomplete                   // its end was never seen
	Doubtful                     // another replayer may have delivered it already
)

// A Message is one HTTP message as it was seen on the wire. It owns its bytes
// and is read-only once it has been handed on, for several outputs hold it at
// once: to change one, edit a [Message.Clone].
type Message struct {
	Kind  Kind
	Proto Proto
	Flags Flags
	// Hop is 0 where the message was captured and one more behind each stream,
	// broker or file it passed through. It salts the sampling hash, so that
	// one stage's sample is independent of the stage before it.
	Hop uint8
	// WireLen is how many bytes the message took on the wire. It is larger
	// than len(Raw) where Truncated is set.
	WireLen int
	// Start and End are when the first and the last byte were seen. Of a
	// Replayed message Start is when the request was sent.
	Start, End time.Time
	// Due is when a replay is to send the message; zero means at once. Of a
	// Replayed message it is when its request was to be sent: see Latency.
	Due time.Time
	// Client and Server are the two ends of the connection it was seen on.
	Client, Server netip.AddrPort
	// Raw is head and body as sent, in HTTP/1.1 syntax.
	Raw []byte
	// Exchange is shared by a request and its answers. It is never nil.
	Exchange *Exchange
}

// Clone returns a copy of m that has its own Raw and the same Exchange.
func (m *Message) Clone() *Message {
	c := *m
	c.Raw = append([]byte(nil), m.Raw...)
	return &c
}

// Latency is how long an answer took. Of a Replayed message it is counted from
// when its request was due, if it was sent later than that, for how long it had
// to wait behind others is the target's doing; so End less the earlier of Start
// and Due. Of any other message it is End less Start.
func (m *Message) Latency() time.Duration {
	if m.Kind == Replayed && !m.Due.IsZero() && m.Due.Before(m.Start) {
		return m.End.Sub(m.Due)
	}
	return m.End.Sub(m.Start)
}

// Size is what m counts for in a queue bounded in bytes: its Raw and a little
// for the rest of it.
func (m *Message) Size() int64 { return int64(len(m.Raw)) + messageOverhead }

// messageOverhead is about what a Message and its Exchange take beside Raw.
const messageOverhead = 256

// MaxOutputs is how many outputs an Exchange can tell apart: they are numbered
// from 0. Shared is the place of the filters that stand before all of them.
const (
	MaxOutputs = 63
	Shared     = MaxOutputs
)

// An Exchange is what a request and its answers have in common. It never holds
// a body, so that keeping one for a late answer is cheap.
type Exchange struct {
	// ID names the exchange. Set before the request is handed on, then read-only.
	ID ID
	// Method is the request's method, which the framing of the answer depends
	// on (RFC 9112 §6.3: HEAD, CONNECT). Empty where the request is not known.
	Method string

	kept, dropped atomic.Uint64
	begun         atomic.Int64 // Unix time in nanoseconds; 0 where nobody said
}

// SetBegun notes when the first byte of the request was seen; the zero time notes nothing.
func (e *Exchange) SetBegun(t time.Time) {
	if !t.IsZero() {
		e.begun.Store(t.UnixNano())
	}
}

// Begun returns when the first byte of the request was seen, if anybody has said.
func (e *Exchange) Begun() (t time.Time, known bool) {
	ns := e.begun.Load()
	return time.Unix(0, ns), ns != 0
}

// A Fate is what became of a request at one output.
type Fate uint8

// The fates.
const (
	Undecided Fate = iota // the request has not been there (yet)
	Kept                  // the request went on towards the target
	Dropped               // the request was dropped, and so its answers are
)

// Decide sets the request's fate at an output, 0 ≤ output < MaxOutputs, or at Shared. What
// was dropped stays dropped: a request may pass the filter and then find the
// queue full.
func (e *Exchange) Decide(output int, f Fate) {
	bit := uint64(1) << uint(output)
	switch f {
	case Kept:
		e.kept.Or(bit)
	case Dropped:
		e.dropped.Or(bit)
	}
}

// Fate returns what became of the request at an output.
func (e *Exchange) Fate(output int) Fate {
	bit := uint64(1) << uint(output)
	switch {
	case e.dropped.Load()&bit != 0:
		return Dropped
	case e.kept.Load()&bit != 0:
		return Kept
	}
	return Undecided
}
