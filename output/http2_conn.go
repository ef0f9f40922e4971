package output

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"
)

// errNoHTTP2 says that the target does not speak HTTP/2.
var errNoHTTP2 = errors.New("the target does not speak HTTP/2")

// An http2Conn is a connection to the target.
type http2Conn struct {
	*http.ClientConn
	addr  netip.AddrPort // that it goes to
	local netip.AddrPort
	used  atomic.Bool // it has carried a request to its end
}

// An http2Dial is an attempt at a connection, which many may wait for.
type http2Dial struct {
	done chan struct{}
	err  error // once done is closed
}

// conn returns a connection for one request: one that has room for it, or a new
// one; or, if there are as many as there may be, one where the request waits
// its turn. While the target is down it waits as long as HTTP/1.1 does.
func (s *http2Sender) conn(ctx context.Context) (*http2Conn, error) {
	s.refresh()
	for {
		c, d, back, err := s.look(time.Now())
		switch {
		case c != nil || err != nil:
			return c, err
		case d != nil:
			select {
			case <-d.done:
				switch {
				case d.err == errNoHTTP2 && s.h.cfg.Version != HTTPTwo:
					return nil, d.err
				case d.err != nil && s.h.ctx.Err() != nil:
					return nil, errHTTPClosed
				}
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		default:
			if err := s.awaitBack(ctx, back); err != nil {
				return nil, err
			}
		}
	}
}

// look returns a connection, or the attempt at one that is to be waited for, or
// what is closed when the target is back.
func (s *http2Sender) look(now time.Time) (c *http2Conn, d *http2Dial, back <-chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, nil, nil, errHTTPClosed
	}
	if now.Before(s.no) {
		return nil, nil, nil, errNoHTTP2
	}
	s.sweep()
	var least *http2Conn
	for _, c := range s.conns {
		if c.Reserve() == nil {
			return c, nil, nil, nil
		}
		if least == nil || c.InFlight() < least.InFlight() {
			least = c
		}
	}
	switch {
	case least != nil && (s.down || len(s.conns) >= s.h.cfg.Connections):
		return least, nil, nil, nil
	case s.down:
		return nil, nil, s.back, nil
	case s.dialing == nil:
		s.dialing = &http2Dial{done: make(chan struct{})}
		s.h.wg.Go(func() { _ = s.attempt(s.dialing) })
	}
	return nil, s.dialing, nil, nil
}

// sweep forgets connections that ended, and gives nothing more to those whose
// address is not the target's any more. s.mu is held.
func (s *http2Sender) sweep() {
	keep := s.conns[:0]
	for _, c := range s.conns {
		switch {
		case c.Err() != nil:
		case s.h.resolver.listed(c.addr):
			keep = append(keep, c)
		default:
			s.retired = append(s.retired, c)
		}
	}
	clear(s.conns[len(keep):])
	s.conns = keep
	s.closeRetired()
}

// closeRetired closes what was retired and is done. s.mu is held.
func (s *http2Sender) closeRetired() {
	keep := s.retired[:0]
	for _, c := range s.retired {
		if c.InFlight() > 0 {
			keep = append(keep, c)
		} else if c.Err() == nil {
			c.Close()
		}
	}
	clear(s.retired[len(keep):])
	s.retired = keep
}

// awaitBack waits for a target that is down, no longer than Timeout from when
// it was lost.
func (s *http2Sender) awaitBack(ctx context.Context, back <-chan struct{}) error {
	s.mu.Lock()
	left := time.Until(s.since.Add(s.h.cfg.Timeout))
	s.mu.Unlock()
	if left <= 0 {
		return errTargetDown
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-back:
		return nil
	case <-timer.C:
		return errTargetDown
	case <-ctx.Done():
		return ctx.Err()
	case <-s.h.ctx.Done():
		return errHTTPClosed
	}
}

var errTargetDown = errors.New("the target is down")

// refresh looks the host up again where that is due.
func (s *http2Sender) refresh() {
	h := s.h
	if age := h.resolver.age(time.Now()); age >= h.cfg.ResolveEvery && h.refreshing.CompareAndSwap(false, true) {
		h.wg.Go(h.refresh)
	}
}

// attempt makes a connection and notes how that went.
func (s *http2Sender) attempt(d *http2Dial) error {
	c, sure, err := s.dial(s.h.ctx)
	failed := err
	if err == errNoHTTP2 && s.h.cfg.Version != HTTPTwo {
		failed = nil // it can be reached: that is what matters
	}
	if failed == nil {
		s.h.counters.connected.Add(1)
	} else {
		s.h.counters.unconnected.Add(1)
	}
	if failed == errNoHTTP2 { // other errors say where to
		failed = fmt.Errorf("connect to %s: %w", s.h.target, failed)
	}
	s.h.notify(failed, func() (changed bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if err == errNoHTTP2 && failed == nil {
			s.no = time.Now().Add(doubtHTTP2For)
			if sure {
				s.no = time.Now().Add(noHTTP2For)
			}
		}
		if c != nil && s.closed {
			c.Close()
		} else if c != nil {
			s.conns = append(s.conns, c)
		}
		changed = s.noteReached(failed == nil)
		d.err = err
		s.dialing = nil
		close(d.done)
		return changed
	})
	return failed
}

// noteReached notes whether the target could be reached. s.mu is held.
func (s *http2Sender) noteReached(ok bool) (changed bool) {
	switch {
	case s.closed || s.h.ctx.Err() != nil || ok == !s.down:
		return false
	case ok:
		s.down = false
		close(s.back)
	default:
		s.down, s.since, s.back = true, time.Now(), make(chan struct{})
		s.h.wg.Go(s.revive)
	}
	return true
}

// revive tries to reach a target that is down, until that succeeds.
func (s *http2Sender) revive() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for wait := nextBackoff(0); ; wait = nextBackoff(wait) {
		timer.Reset(jitter(wait))
		select {
		case <-timer.C:
		case <-s.h.ctx.Done():
			return
		}
		d := &http2Dial{done: make(chan struct{})}
		s.mu.Lock()
		s.dialing = d
		s.mu.Unlock()
		if s.attempt(d) == nil {
			return
		}
	}
}

// isDown reports whether the last attempt at a connection failed.
func (s *http2Sender) isDown() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.down
}

// close closes the connections. No request is under way any more.
func (s *http2Sender) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, c := range append(s.conns, s.retired...) {
		c.Close()
	}
	s.conns, s.retired = nil, nil
}
