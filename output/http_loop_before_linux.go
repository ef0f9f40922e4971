package output

import (
	"time"

	"kagami"
)

// hold makes c wait until Before has been told of its request. It is told of
// all that came together at once, for each call costs it a write.
func (l *httpLoop) hold(c *httpConn) {
	c.loop.state = loopReady
	if !c.loop.ready {
		c.loop.ready = true
		l.ready = append(l.ready, c)
	}
}

// release sends what waits for Before, and reports whether there was any. If
// it may not be sent, that is tried again later.
func (l *httpLoop) release() bool {
	if len(l.ready) == 0 || l.held {
		return false
	}
	conns, messages := l.ready[:0], make([]*kagami.Message, 0, len(l.ready))
	for _, c := range l.ready {
		if c.loop.state != loopReady { // it was given up
			c.loop.ready = false
			continue
		}
		conns = append(conns, c)
		messages = append(messages, c.job.m)
	}
	clear(l.ready[len(conns):])
	l.ready = conns
	if len(conns) == 0 {
		return false
	}
	if l.h.cfg.Before(messages) != nil {
		l.held, l.waited = true, true
		time.AfterFunc(beforeRetry, l.unhold)
		return false
	}
	next := l.exchange
	if l.waited {
		next = l.send // the server may have closed the connection
	}
	l.ready, l.waited = nil, false
	now := time.Now()
	for _, c := range conns {
		c.loop.ready = false
		if c.loop.state != loopReady {
			continue // the one before it has changed that
		}
		c.begun, c.deadline = true, now.Add(l.h.cfg.Timeout)
		l.advance(c, next(c))
	}
	return true
}

// unhold asks Before again.
func (l *httpLoop) unhold() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = false
	if !l.closed {
		l.drain()
	}
}
