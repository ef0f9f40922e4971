package http2

// blockEnds decodes a header block that is whole.
func (c *Conn) blockEnds(h *half, block []byte, at Mark) {
	h.tooLarge = h.tooLarge || len(block) > maxHead
	switch {
	case h.blockAt.typ == framePush:
		c.decode(h, block, requestHead)
		c.promise(h, at)
	case h.client:
		c.clientBlock(h, block, at)
	default:
		c.serverBlock(h, block, at)
	}
	if cap(c.head.raw) > keepBuffer {
		c.head.raw = nil
	}
}

// decode decodes a block into c.head, and into the table in any case.
func (c *Conn) decode(h *half, block []byte, kind headKind) {
	hd := &c.head
	hd.begin(kind)
	if h.tooLarge {
		hd.err = ErrTooLarge
		h.hpack.table.forget() // it was not decoded
		return
	}
	h.hpack.begin()
	for len(block) > 0 {
		f, ok, rest, err := h.hpack.next(block)
		if err != nil {
			hd.err = ErrUndecodable
			h.hpack.table.forget()
			return
		}
		if ok {
			hd.field(f)
		}
		block = rest
	}
	hd.end()
}

// clientBlock decodes a block of a request: its head or its trailers.
func (c *Conn) clientBlock(h *half, block []byte, at Mark) {
	id := h.blockAt.stream
	s := c.streams[id]
	switch {
	case s == nil && id > c.maxClient, s != nil && s.parts[client].state == partNone && !s.parts[client].closed:
		c.decode(h, block, requestHead)
		c.maxClient = max(c.maxClient, id)
		if c.head.noMessage() && c.lenient {
			return // trailers: the request began before what was seen
		}
		if s == nil {
			s = c.openStream(id)
		}
		c.headEnds(h, s, at)
	case s != nil && s.parts[client].state == partOpen:
		c.decode(h, block, trailers)
		c.trailersEnd(h, s, at)
	default:
		c.decode(h, block, nothing)
	}
	c.blockCloses(h, s)
}

// serverBlock decodes a block of a response: its head, that of an interim one, or
// its trailers.
func (c *Conn) serverBlock(h *half, block []byte, at Mark) {
	id := h.blockAt.stream
	s := c.streams[id]
	switch {
	case s == nil || s.parts[server].state == partNone:
		c.decode(h, block, responseHead)
		if c.head.interim() || c.head.noMessage() && (s == nil || c.lenient) {
			break
		}
		if s == nil {
			s = c.openStream(id)
			s.parts[client].closed = id <= c.maxClient || id%2 == 0
		}
		c.headEnds(h, s, at)
	case s.parts[server].state == partOpen:
		c.decode(h, block, trailers)
		c.trailersEnd(h, s, at)
	default:
		c.decode(h, block, nothing)
	}
	c.blockCloses(h, s)
}

// promise counts a request that the server makes on behalf of the client.
func (c *Conn) promise(h *half, at Mark) {
	if c.streams[h.promised] != nil {
		return
	}
	s := c.openStream(h.promised)
	p := c.begin(s, client, c.head.message(h, at))
	if c.head.err != nil {
		c.end(s, client, c.head.err)
	} else {
		c.take(p, true)
		c.finish(s, client)
	}
	s.parts[client].closed = true
	c.settle(s)
}

// headEnds begins the message whose head was decoded.
func (c *Conn) headEnds(h *half, s *stream, at Mark) {
	i := h.part()
	p := c.begin(s, i, c.head.message(h, at))
	switch {
	case i == server && !c.answerable(s):
		c.end(s, i, ErrNoRequest)
		return
	case c.head.err != nil:
		c.end(s, i, c.head.err)
		return
	}
	ends := h.blockAt.has(flagEndStream) ||
		s.method == "CONNECT" && (i == client || p.Status < 300) // what follows is a tunnel's (RFC 9113 §8.5)
	c.take(p, ends)
	switch {
	case ends:
		c.finish(s, i)
	case p.declared > int64(c.cfg.MaxMessage-len(p.Raw)) && !(i == server && bodiless(p.Status, s.method)):
		c.end(s, i, ErrTooLarge)
	}
}

// exactly is how large a body is allocated for at once, on its sender's word.
const exactly = 64 << 10

// take copies the head that was decoded to the message it belongs to.
func (c *Conn) take(p *part, ends bool) {
	hd := &c.head
	room := len(hd.raw) + 2
	if !ends {
		room += int(min(max(hd.declared, 0), exactly))
	}
	p.Raw = append(append(make([]byte, 0, room), hd.raw...), "\r\n"...)
	p.headLen, p.length, p.declared = len(hd.raw), hd.length, hd.declared
	c.held += p.held()
}

// trailersEnd takes in the trailers that were decoded.
func (c *Conn) trailersEnd(h *half, s *stream, at Mark) {
	i := h.part()
	p := &s.parts[i]
	p.WireLen += h.blockWire
	p.End = at
	err := c.head.err
	if err == nil && !h.blockAt.has(flagEndStream) {
		err = ErrMalformed // RFC 9113 §8.1
	}
	if err == nil && len(p.Raw)+len(c.head.raw) > c.cfg.MaxMessage {
		err = ErrTooLarge
	}
	if err != nil {
		c.end(s, i, err)
		return
	}
	p.Ambiguous = p.Ambiguous || c.head.ambiguous
	if len(c.head.raw) > 0 {
		p.trailers = append([]byte(nil), c.head.raw...)
		c.held += int64(cap(p.trailers))
	}
	c.finish(s, i)
}

// blockCloses notes the end of a stream, where a block is that.
func (c *Conn) blockCloses(h *half, s *stream) {
	if s == nil {
		return
	}
	if h.blockAt.has(flagEndStream) {
		c.close(s, h.part())
	}
	c.settle(s)
}

// close notes that a part of a stream has ended.
func (c *Conn) close(s *stream, i int) {
	p := &s.parts[i]
	if p.state == partOpen {
		c.finish(s, i)
	}
	p.closed = true
}

// dropBlock gives up a header block that has begun, and with it the table.
func (c *Conn) dropBlock(h *half, err error) {
	h.tooLarge, h.block = true, nil
	c.blockFails(h, err)
}

// blockFails counts the message whose header block broke off.
func (c *Conn) blockFails(h *half, err error) {
	id, i := h.blockAt.stream, h.part()
	if h.blockAt.typ == framePush {
		if h.promised == 0 || c.streams[h.promised] != nil {
			return
		}
		id, i = h.promised, client
	}
	s := c.streams[id]
	if s == nil && (i == server || id > c.maxClient || id%2 == 0) {
		s = c.openStream(id)
		s.parts[client].closed = i == server && id <= c.maxClient || id%2 == 0
	}
	if s == nil || s.parts[i].state != partNone {
		return
	}
	if i == client {
		c.maxClient = max(c.maxClient, id)
	}
	c.begin(s, i, Message{Pushed: h.blockAt.typ == framePush, Start: h.blockFrom, End: h.blockLast, WireLen: h.blockWire})
	c.end(s, i, err)
	c.settle(s)
}

// body takes in bytes of a message's body.
func (c *Conn) body(h *half, b []byte, at Mark) {
	s := c.streams[h.frame.stream]
	if s == nil || s.parts[h.part()].state != partOpen {
		return
	}
	i := h.part()
	p := &s.parts[i]
	p.hasData = true
	p.body += int64(len(b))
	p.End, s.touched = at, at.Clock
	switch {
	case p.Truncated:
	case len(p.Raw)+len(b) > c.cfg.MaxMessage:
		c.end(s, i, ErrTooLarge)
	default:
		c.store(p, b)
	}
	c.settle(s)
}

// store appends bytes to the body that is kept of a message.
func (c *Conn) store(p *part, b []byte) {
	need := len(p.Raw) + len(b)
	if need > cap(p.Raw) {
		room := 2 * need
		if left := p.declared - p.body; left >= 0 {
			room = min(need+int(left), max(2*need, exactly))
		}
		raw := append(make([]byte, 0, room), p.Raw...)
		c.held += int64(cap(raw) - cap(p.Raw))
		p.Raw = raw
	}
	p.Raw = append(p.Raw, b...)
}

// dataEnds ends a DATA frame.
func (c *Conn) dataEnds(h *half, at Mark) {
	s := c.streams[h.frame.stream]
	if s == nil {
		return
	}
	i := h.part()
	if p := &s.parts[i]; p.state == partOpen {
		p.WireLen += headerLen + h.frame.length
		p.End, s.touched = at, at.Clock
	}
	if h.frame.has(flagEndStream) {
		c.close(s, i)
	}
	c.settle(s)
}

// bodyLost deals with bytes of a body that will not come.
func (c *Conn) bodyLost(h *half, n int, cut bool) {
	s := c.streams[h.frame.stream]
	if s == nil || s.parts[h.part()].state != partOpen {
		return
	}
	i := h.part()
	p := &s.parts[i]
	if !cut || i == client && !c.cfg.AllowIncomplete {
		c.end(s, i, ErrLost)
	} else {
		p.Truncated, p.hasData = true, true
		p.body += int64(n)
	}
	c.settle(s)
}
