package replay

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"time"

	"kagami"
)

// serve begins a connection.
func (s *Server) serve(conn net.Conn) {
	s.links.In(1)
	now := time.Now()
	p, over := s.peers.begin(conn, now)
	if over {
		s.turnDown(conn, kagami.RateLimited)
		if s.peers.complain(p, false, now) {
			s.cfg.Notify(fmt.Errorf("stream from %s: too many connections of this address", conn.RemoteAddr()))
		}
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		s.peers.end(p, true)
		s.turnDown(conn, kagami.DrainTimeout)
		return
	}
	s.evict()
	c := newServerConn(s, conn)
	c.peer = p
	s.conns[c] = struct{}{}
	s.wg.Add(1)
	s.readers.Add(1)
	go func() {
		defer s.wg.Done()
		c.run()
		s.leave(c)
	}()
}

// turnDown closes a connection without a word.
func (s *Server) turnDown(conn net.Conn, r kagami.Reason) {
	s.refused.Add(1)
	s.links.Drop(r, 1)
	conn.Close()
}

// evict makes room for one more handshake. Of the address that has most of them
// that goes which takes longest: a listener has one, and says hello within
// milliseconds. s.mu is held.
func (s *Server) evict() {
	var shaking []*serverConn
	of := map[*peer]int{}
	for c := range s.conns {
		if c.shaking {
			shaking = append(shaking, c)
			of[c.peer]++
		}
	}
	if len(shaking) < s.cfg.MaxHandshakes {
		return
	}
	slices.MinFunc(shaking, func(a, b *serverConn) int {
		return cmp.Or(cmp.Compare(of[b.peer], of[a.peer]), a.begun.Compare(b.begun))
	}).evict()
}

// takePlace reports whether there is a place for one listener more, and takes it.
func (s *Server) takePlace(c *serverConn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.places >= s.cfg.MaxConnections {
		return false
	}
	s.places++
	c.placed = true
	return true
}

// welcome notes that the handshake of a connection has ended well.
func (s *Server) welcome(c *serverConn) {
	s.mu.Lock()
	c.shaking = false
	s.mu.Unlock()
	s.peers.welcome(c.peer)
	s.links.Out(1)
	s.accepted.Add(1)
	s.connected.Add(1)
}

// leave forgets a connection.
func (s *Server) leave(c *serverConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	if c.placed {
		s.places--
	}
	s.peers.end(c.peer, c.shaking)
}

// countShaking is how many connections have not said hello yet.
func (s *Server) countShaking() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	var n int64
	for c := range s.conns {
		if c.shaking && !c.counted {
			n++
		}
	}
	return n
}

// stopShaking notes that a connection is counted as turned away.
func (s *Server) stopShaking(c *serverConn) {
	s.mu.Lock()
	c.counted = true
	s.mu.Unlock()
}

// evict closes the connection because others wait.
func (c *serverConn) evict() {
	c.mu.Lock()
	c.displaced = true
	c.mu.Unlock()
	c.cut()
}

func (c *serverConn) evicted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.displaced
}

// noPlace says that there are too many listeners.
func (s *Server) noPlace() string {
	return fmt.Sprintf("%d listeners are connected, which is the replayer's limit", s.cfg.MaxConnections)
}
