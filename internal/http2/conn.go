package http2

import (
	"errors"
	"math"
	"time"
	"unsafe"
)

// ErrNotHTTP2 means that a connection does not begin as HTTP/2 does. Nothing
// more is decoded in it.
var ErrNotHTTP2 = errors.New("not an HTTP/2 connection")

// Why a message ended without being whole: Message.Err.
var (
	// ErrUndecodable means that its header refers to fields that were sent before what
	// was seen, or is none (RFC 7541).
	ErrUndecodable = errors.New("undecodable header block")
	// ErrMalformed means that it breaks a rule of RFC 9113 §8 so that it can't be
	// rendered: a field with a line break, no method, a space in the path, …
	ErrMalformed = errors.New("malformed message")
	// ErrTooLarge means that it is larger than Config.MaxMessage, or its head than 1 MiB.
	ErrTooLarge = errors.New("message too large")
	// ErrLost means that bytes of it were lost, or may have been.
	ErrLost = errors.New("bytes of the message were lost")
	// ErrUnfinished means that its end never came: its stream was reset, the
	// connection ended, or it took too long.
	ErrUnfinished = errors.New("unfinished message")
	// ErrNoRequest means that it is an answer, and its request is not known.
	ErrNoRequest = errors.New("answer to an unknown request")
	// ErrNoRoom means that it was given up to keep within a bound: of streams, or of
	// memory.
	ErrNoRoom = errors.New("message given up for want of room")
)

// The defaults of a Config's fields.
const (
	DefaultMaxMessage = 16 << 20
	DefaultMaxStreams = 1000
)

const (
	// maxHead bounds a head in bytes: of the header block as it was sent, and as it is rendered.
	maxHead = 1 << 20
	// keepBuffer is the largest buffer that is kept for the next message.
	keepBuffer = 16 << 10
)

// A Config says what a Conn decodes, and its bounds. The zero value decodes the
// requests of a connection whose beginning is seen.
type Config struct {
	// Responses says to decode the answers too. Without, what the server sends is
	// ignored.
	Responses bool
	// MidStream says that the beginning of the connection was not seen.
	MidStream bool
	// AllowIncomplete says to render what there is of a message that would be
	// ErrUnfinished, if its head is whole: Err is nil and Incomplete set.
	AllowIncomplete bool
	// MaxMessage is the largest message in bytes, as it is rendered. A larger one is
	// ErrTooLarge, and the connection goes on. 0 means DefaultMaxMessage.
	MaxMessage int
	// MaxStreams is how many streams are remembered, unfinished or waiting for
	// their answer. Over it the one without progress for longest is forgotten. 0
	// means DefaultMaxStreams.
	MaxStreams int
}

// A Mark says which segment bytes came in.
type Mark struct {
	Time  time.Time
	Clock int64  // for Expire: of the caller's, and it never goes back
	Tag   uint32 // the caller's
}

// A Message is a request or a final response; interim ones (1xx) are none. A Handler
// may read it, and set User, during the call it is given in, and keep Raw.
type Message struct {
	Stream   uint32
	Response bool
	Pushed   bool   // a request that the server promised (RFC 9113 §8.4): no client sent it
	Method   string // of the request; "" for unknown
	Status   int    // of a response

	// Ambiguous means that recipients may disagree about what it says: its
	// Content-Length is not its length, it has connection-specific fields, …
	Ambiguous bool
	// Truncated means that Raw ends where bytes were cut off: see Conn.Lost.
	Truncated bool
	// Incomplete means that the end of the message was not seen. Raw says so too: it
	// is shorter than its Content-Length, or its last chunk is missing.
	Incomplete bool

	// Raw is the message in HTTP/1.1 syntax, once it ended without an Err.
	Raw []byte
	// WireLen is how many bytes its frames have had so far, their headers included.
	WireLen int
	// Start and End are the segments of its first and, so far, last byte.
	Start, End Mark
	// Err is nil, or why there is no Raw.
	Err error
	// User is the caller's. What the handler sets for a request is there in its response.
	User any
}

// A Handler is told of messages. It must not call the Conn.
type Handler interface {
	// Begin is called when the header of a message is known to be one, decoded or not.
	Begin(m *Message)
	// End is called once for each Begin, in any order but for one rule: a response
	// ends after its request, if that was seen.
	End(m *Message)
}

// A Conn decodes one connection. It has no goroutines and is to be used by one
// at a time.
type Conn struct {
	cfg       Config
	handler   Handler
	half      [2]half // what the client sends, what the server sends
	streams   map[uint32]*stream
	open      streamList // with something unfinished
	waiting   streamList // without
	free      *stream
	nfree     int
	maxClient uint32 // the highest stream that the client has opened
	// lastStream is the highest that the server has said it will look at.
	lastStream uint32
	lenient    bool  // settings may not have been seen
	head       head  // of the block that is being decoded
	held       int64 // bytes that unfinished messages hold
	failed     bool  // it is not HTTP/2
}

// client and server are the indices of the two directions.
const (
	client = iota
	server
)

// New returns a Conn that tells h of its messages.
func New(cfg Config, h Handler) *Conn {
	if cfg.MaxMessage <= 0 {
		cfg.MaxMessage = DefaultMaxMessage
	}
	if cfg.MaxStreams <= 0 {
		cfg.MaxStreams = DefaultMaxStreams
	}
	c := &Conn{cfg: cfg, handler: h, streams: make(map[uint32]*stream), lastStream: math.MaxUint32, lenient: cfg.MidStream}
	for i := range c.half {
		h := &c.half[i]
		h.client = i == client
		if cfg.MidStream {
			h.at = seeking
			h.hpack.table.forget()
			continue
		}
		h.hpack.table.begin()
		h.first = true
		if h.client {
			h.at = inPreface
		}
	}
	return c
}

// Upgraded says that the connection began with an HTTP/1.1 request for h2c, and that
// the server agreed (RFC 7540 §3.2): the request counts as that of stream 1,
// and its answer comes there. user is the User of that answer. Call it before Feed.
func (c *Conn) Upgraded(method string, user any) {
	c.lenient, c.maxClient = true, 1
	if !c.cfg.Responses {
		return
	}
	s := c.openStream(1)
	s.method, s.user = method, user
	s.parts[client].state, s.parts[client].closed = partOver, true
}

// Aligned says that the next byte of a direction that was joined in its middle begins
// a frame, so that it need not be looked for.
func (c *Conn) Aligned(client bool) {
	if h := c.of(client); h.at == seeking {
		h.at, h.find = inHeader, nil
	}
}

// of returns the half of the client or of the server.
func (c *Conn) of(isClient bool) *half {
	if isClient {
		return &c.half[client]
	}
	return &c.half[server]
}

// Feed takes in the next bytes of a direction. It does not keep p. The error is
// ErrNotHTTP2, from then on.
func (c *Conn) Feed(client bool, p []byte, at Mark) error {
	if c.failed {
		return ErrNotHTTP2
	}
	if !client && !c.cfg.Responses {
		return nil
	}
	if err := c.feed(c.of(client), p, at); err != nil {
		c.failed = true
		return err
	}
	return nil
}

// Lost says that the next n bytes of a direction will not come, or if n is less
// than 0 that nobody knows how many. cut means that
// they were sent in full and only the capture has not got them. What they
// belonged to is ErrLost; a message of which only bytes of the body were cut is
// Truncated instead, if it is a response or AllowIncomplete is set. If the
// next frame can't be told behind them, all unfinished messages of that
// direction are given up, and the next frame is looked for.
func (c *Conn) Lost(client bool, n int64, cut bool) {
	switch {
	case c.failed || n == 0 || !client && !c.cfg.Responses:
	case n < 0:
		c.misplaced(c.of(client))
	default:
		c.lost(c.of(client), n, cut)
	}
}

// EOF says that a direction has ended.
func (c *Conn) EOF(client bool) {
	if c.failed || !client && !c.cfg.Responses {
		return
	}
	h := c.of(client)
	c.lastFound(h)
	c.abandon(h, ErrUnfinished)
}

// Expire ends the messages that have made no progress since the marks' clock was
// at before: as ErrUnfinished, and answers whose request has not come by then as
// ErrNoRequest.
func (c *Conn) Expire(before int64) {
	for s := c.open.first; s != nil && s.touched < before; s = c.open.first {
		c.giveUp(s, ErrUnfinished)
		c.settle(s)
	}
	for i := range c.half {
		if h := &c.half[i]; h.inBlock && !h.tooLarge && h.blockLast.Clock < before {
			c.dropBlock(h, ErrUnfinished)
		}
	}
}

// Shed gives up the message that made no progress for longest, as ErrNoRoom. It returns
// false if there is none.
func (c *Conn) Shed() bool {
	if s := c.open.first; s != nil {
		c.giveUp(s, ErrNoRoom)
		c.settle(s)
		return true
	}
	for i := range c.half {
		if h := &c.half[i]; h.inBlock && !h.tooLarge {
			c.dropBlock(h, ErrNoRoom)
			return true
		}
	}
	return false
}

// Close ends all unfinished messages, as ErrUnfinished, and forgets everything.
func (c *Conn) Close() {
	for i := range c.half {
		c.lastFound(&c.half[i])
		c.abandon(&c.half[i], ErrUnfinished)
		c.half[i] = half{}
	}
	c.Expire(math.MaxInt64) // answers that wait for their request
	c.failed = true
	c.streams, c.open, c.waiting, c.free, c.head = nil, streamList{}, streamList{}, nil, head{}
}

// Busy reports whether anything has begun and not ended: whether Expire or Shed
// may find something.
func (c *Conn) Busy() bool {
	busy := c.open.first != nil
	for i := range c.half {
		busy = busy || c.half[i].inBlock && !c.half[i].tooLarge
	}
	return busy
}

// InFlight counts the messages that have begun and not ended.
func (c *Conn) InFlight() (n int64) {
	for s := c.open.first; s != nil; s = s.next {
		for i := range s.parts {
			if s.parts[i].unfinished() {
				n++
			}
		}
	}
	return n
}

// Size is how many bytes of memory the Conn holds, messages included.
func (c *Conn) Size() int64 {
	n := int64(unsafe.Sizeof(*c)) + int64(len(c.streams)+c.nfree)*streamSize + c.held + int64(c.head.held())
	for i := range c.half {
		n += int64(c.half[i].held())
	}
	return n
}
