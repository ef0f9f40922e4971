package output

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"kagami"
	"kagami/internal/http1"
	"kagami/internal/websocket"
)

// wsHead is how much of the answer to a request for a WebSocket is kept, at least, to
// verify it, in bytes.
const wsHead = 64 << 10

// handshake sends the request and reads the answer. opened says that the target has
// accepted it; the reason is that of the request.
func (s *wsSession) handshake() (reason kagami.Reason, opened bool) {
	h, j := s.t.h, &s.job
	render := h.render
	q := httpRequest{}
	if r := render.parse(&q, j.m, j.m.Raw); r != kagami.Delivered {
		return r, false
	}
	q.opens = true
	start := time.Now()
	deadline := start.Add(h.cfg.Timeout)
	if err := s.dial(deadline); err != nil {
		return s.failure(err, false), false
	}
	if err := s.nc.SetDeadline(deadline); err != nil {
		return kagami.SendError, false
	}
	if j.ctx.Err() != nil {
		return kagami.DrainTimeout, false // and if it ends later, interrupt is called later
	}
	h.counters.requests.Add(1)
	request := append(render.appendHead(nil, &q), q.body...)
	n, err := s.nc.Write(request)
	if n > 0 {
		h.counters.lag.sent(j.m)
	}
	if err != nil {
		s.job.failure = HTTPClosed
		return s.failure(err, n > 0), false
	}
	a := wsAnswer{keep: wsHead, framer: http1.Framer{Response: true}}
	if h.cfg.Answers != nil {
		a.keep = max(a.keep, h.cfg.AnswerSize)
	}
	rest, err := a.read(s.nc)
	if err != nil {
		s.job.failure = failureOf(err, a.size > 0)
		return s.failure(err, true), false
	}
	if opened = a.status == 101; opened {
		if s.agreed, err = websocket.Verify(request, a.raw); err != nil {
			s.job.failure = HTTPGarbage
			return kagami.SendError, false
		}
		s.t.counters.accepted.Add(1)
	} else {
		s.t.counters.refused.Add(1)
	}
	h.counters.answered(a.status, time.Since(j.at))
	s.handOn(&kagami.Message{Proto: kagami.HTTP1, Start: start, Due: j.m.Due, End: time.Now(), Raw: a.raw, WireLen: a.size})
	if !opened {
		return kagami.Delivered, false
	}
	s.reads = wsReader{framer: websocket.Framer{Server: true}, first: rest}
	if h.cfg.Answers != nil {
		s.reads.keep = min(h.cfg.AnswerSize, wsKeep)
	}
	_ = s.nc.SetDeadline(time.Time{}) // an error shows at the first read
	return kagami.Delivered, true
}

// dial makes the connection. While the target is down, it waits for it as requests do.
func (s *wsSession) dial(deadline time.Time) error {
	h := s.t.h
	ctx, cancel := context.WithDeadline(s.job.ctx, deadline)
	defer cancel()
	if back, left := h.pool.awaitUp(time.Now()); back != nil {
		timer := time.NewTimer(left)
		defer timer.Stop()
		select {
		case <-back:
		case <-timer.C:
			return errTargetDown
		case <-h.ctx.Done():
			return errHTTPClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	nc, addr, err := h.dialer.connect(ctx)
	if err != nil {
		h.counters.unconnected.Add(1)
	} else {
		h.counters.connected.Add(1)
	}
	if err == nil || s.job.ctx.Err() == nil {
		h.notify(err, func() bool { return h.pool.reached(err == nil) })
	}
	if err != nil {
		return err
	}
	s.sending.Lock()
	s.nc, s.addr = nc, addr
	s.sending.Unlock()
	return nil
}

// failure is the reason that an error gives the request.
func (s *wsSession) failure(err error, sent bool) kagami.Reason {
	switch {
	case s.job.ctx.Err() != nil && sent:
		return kagami.InDoubt
	case s.job.ctx.Err() != nil:
		return kagami.DrainTimeout
	case sent && errors.Is(err, os.ErrDeadlineExceeded):
		return kagami.Timeout
	}
	return kagami.SendError
}

// handOn hands to Answers, if there are any, a message of the target, of which it fills in
// what all have in common.
func (s *wsSession) handOn(m *kagami.Message) {
	if s.t.h.cfg.Answers == nil {
		return
	}
	m.Kind, m.Hop, m.Exchange = kagami.Replayed, s.job.m.Hop, s.exchange
	m.Client, m.Server = addrPort(s.nc.LocalAddr()), s.addr
	if len(m.Raw) < m.WireLen {
		m.Flags |= kagami.Truncated
	}
	s.t.h.handOn(s.job.ctx, m)
}

// A wsAnswer is the answer to a request for a WebSocket, while it is read.
type wsAnswer struct {
	framer http1.Framer
	keep   int // how much of it is kept
	raw    []byte
	size   int // on the wire
	status int
}

// read reads the answer to its end; interim ones are passed over (RFC 9110 §15.2). What
// was read behind a 101 is returned.
func (a *wsAnswer) read(r io.Reader) (rest []byte, err error) {
	in := make([]byte, wsReadSize)
	for {
		n, err := r.Read(in)
		rest, done, ferr := a.feed(in[:n])
		switch {
		case ferr != nil:
			return nil, errGarbage
		case done:
			return rest, nil
		case err == io.EOF && a.framer.EOF():
			a.status = a.framer.Head().Status
			return nil, nil
		case err == io.EOF:
			return nil, io.ErrUnexpectedEOF
		case err != nil:
			return nil, err
		}
	}
}

// feed takes bytes that were read.
func (a *wsAnswer) feed(p []byte) (rest []byte, done bool, err error) {
	for len(p) > 0 {
		n, done, err := a.framer.Feed(p)
		if err != nil {
			return nil, false, err
		}
		a.size += n
		a.raw = append(a.raw, p[:min(n, max(0, a.keep-len(a.raw)))]...)
		p = p[n:]
		if !done {
			continue
		}
		if a.status = a.framer.Head().Status; a.status < 200 && a.status != 101 {
			a.raw, a.size = a.raw[:0], 0
			continue
		}
		return p, true, nil
	}
	return nil, false, nil
}
