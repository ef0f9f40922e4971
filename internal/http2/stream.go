package http2

import "unsafe"

// A stream is a request and its answer, as far as they have come.
type stream struct {
	id         uint32
	list       *streamList
	prev, next *stream
	touched    int64 // the clock at the last progress
	method     string
	user       any
	parts      [2]part // what the client sends, what the server sends
}

// streamSize is what a stream takes in memory, its place in the table included.
const streamSize = int64(unsafe.Sizeof(stream{})) + 32

// A part is one message of a stream.
type part struct {
	Message
	state    partState
	closed   bool   // its sender will send no more on the stream
	headLen  int    // of Raw: the start line and the fields, without the blank line
	length   [2]int // where in it the Content-Length field is; 0, 0: nowhere
	declared int64  // what it says; -1: nothing
	body     int64  // bytes of the body so far, those that were cut included
	hasData  bool   // there was a DATA frame
	trailers []byte // fields
}

// A partState says where a message is.
type partState uint8

const (
	partNone partState = iota // it has not begun
	partOpen                  // it has begun, and nothing was heard of its end
	partHeld                  // a response that is whole and waits for its request
	partOver
)

// unfinished reports whether p holds a message that has not ended.
func (p *part) unfinished() bool { return p.state == partOpen || p.state == partHeld }

// held is how many bytes p takes beside itself.
func (p *part) held() int64 { return int64(cap(p.Raw) + cap(p.trailers)) }

// A streamList is a list of streams, the one without progress for longest first.
type streamList struct {
	first, last *stream
}

func (l *streamList) push(s *stream) {
	s.list, s.prev, s.next = l, l.last, nil
	if l.last != nil {
		l.last.next = s
	} else {
		l.first = s
	}
	l.last = s
}

func (s *stream) unlink() {
	l := s.list
	if s.prev != nil {
		s.prev.next = s.next
	} else {
		l.first = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	} else {
		l.last = s.prev
	}
	s.list, s.prev, s.next = nil, nil, nil
}

// maxFree is how many unused streams are kept for later.
const maxFree = 8

// openStream puts a stream into the table, in the place of another one if there
// are too many.
func (c *Conn) openStream(id uint32) *stream {
	if len(c.streams) >= c.cfg.MaxStreams {
		s := c.waiting.first
		if s == nil {
			s = c.open.first
			c.giveUp(s, ErrNoRoom)
		}
		c.remove(s)
	}
	s := c.free
	if s == nil {
		s = &stream{}
	} else {
		c.free, s.next = s.next, nil
		c.nfree--
	}
	s.id = id
	c.streams[id] = s
	c.waiting.push(s)
	return s
}

// remove forgets a stream in which nothing is unfinished.
func (c *Conn) remove(s *stream) {
	s.unlink()
	delete(c.streams, s.id)
	*s = stream{}
	if c.nfree < maxFree {
		s.next, c.free = c.free, s
		c.nfree++
	}
}

// settle puts a stream into the list that it belongs to, as the last, or forgets
// it if nothing more will come. It is the last thing that is done with a stream.
func (c *Conn) settle(s *stream) {
	l := &c.waiting
	switch {
	case s.parts[client].unfinished() || s.parts[server].unfinished():
		l = &c.open
	case s.parts[client].closed && (s.parts[server].closed || !c.cfg.Responses):
		c.remove(s)
		return
	}
	if s.list != l || l.last != s {
		s.unlink()
		l.push(s)
	}
}

// begin begins a message and tells the handler.
func (c *Conn) begin(s *stream, i int, m Message) *part {
	p := &s.parts[i]
	m.Stream, m.Response = s.id, i == server
	if m.Response {
		m.Method, m.User = s.method, s.user
	} else {
		s.method = m.Method
	}
	p.Message, p.state, p.declared = m, partOpen, -1
	c.handler.Begin(&p.Message)
	if i == client {
		s.user = p.User
	}
	s.touched = m.End.Clock
	return p
}

// finish ends a message that is whole. A response waits for the end of its request.
func (c *Conn) finish(s *stream, i int) {
	if i == server && !c.answerable(s) {
		c.end(s, server, ErrNoRequest)
		return
	}
	if i == server && s.parts[client].state != partOver {
		s.parts[server].state = partHeld
		return
	}
	c.end(s, i, nil)
}

// answerable reports whether the request of a stream is known, or may yet come.
// Without its method nobody can say what an answer is (RFC 9110 §9.3.2).
func (c *Conn) answerable(s *stream) bool {
	if s.parts[client].state == partNone {
		return !s.parts[client].closed && s.id > c.maxClient
	}
	return s.method != ""
}

// end ends a message and tells the handler. If it is a request, the response goes
// on that waited for it.
func (c *Conn) end(s *stream, i int, err error) {
	p := &s.parts[i]
	c.held -= p.held()
	switch {
	case err == ErrUnfinished && c.cfg.AllowIncomplete && len(p.Raw) > 0:
		p.Incomplete = true
		p.render(s.method)
	case err != nil:
		p.Err, p.Raw = err, nil
	default:
		p.render(s.method)
	}
	if i == server {
		p.Method, p.User = s.method, s.user
	}
	p.state = partOver
	c.handler.End(&p.Message)
	p.Message, p.trailers = Message{}, nil
	if i == client && s.parts[server].state == partHeld {
		c.end(s, server, nil)
	}
}

// giveUp ends what is unfinished in a stream.
func (c *Conn) giveUp(s *stream, err error) {
	if s.parts[client].state == partOpen {
		c.end(s, client, err)
	}
	switch s.parts[server].state {
	case partHeld: // its request never came
		c.end(s, server, ErrNoRequest)
	case partOpen:
		c.end(s, server, err)
	}
}

// reset ends a stream at the word of one of its ends (RFC 9113 §5.4.2).
func (c *Conn) reset(id uint32) {
	if s := c.streams[id]; s != nil {
		c.giveUp(s, ErrUnfinished)
		c.remove(s)
	}
}

// goAway ends the streams that the server says it will not look at (RFC 9113
// §6.8). Clients may say so of streams that were promised: nobody misses them.
func (c *Conn) goAway(h *half) {
	last := promised(h.small[:4])
	if h.client || last >= c.lastStream {
		return
	}
	c.lastStream = last
	for _, l := range []*streamList{&c.open, &c.waiting} {
		for s := l.first; s != nil; {
			next := s.next
			if s.id > last && s.id%2 == 1 {
				c.giveUp(s, ErrUnfinished)
				c.remove(s)
			}
			s = next
		}
	}
}
