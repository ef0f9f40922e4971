package replay

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"kagami/internal/stream"
	"kagami/internal/trust"
)

// A serverConn is a connection of a listener, or of something else.
type serverConn struct {
	server  *Server
	conn    net.Conn
	r       *bufio.Reader
	w       net.Conn    // conn, or TLS over it
	secured *trust.Conn // TLS, nil in clear
	name    string      // of the peer, for errors
	peer    *peer
	begun   time.Time
	session *session
	acks    chan struct{} // holds a token when there is something to acknowledge

	// Guarded by Server.mu.
	shaking bool // it was not accepted yet
	counted bool // as turned away
	placed  bool // it takes one of MaxConnections

	mu        sync.Mutex
	stopped   chan struct{} // closed when nothing more is to be read
	displaced bool          // others waited for their handshake
	identity  *trust.Identity
	revoked   error // why that is not admitted any more
}

// A connection has a small buffer until it is known to be a listener's.
const (
	smallBuffer = 4 << 10
	largeBuffer = 64 << 10
)

func newServerConn(s *Server, conn net.Conn) *serverConn {
	return &serverConn{
		server:  s,
		conn:    conn,
		r:       bufio.NewReaderSize(conn, smallBuffer),
		w:       conn,
		begun:   time.Now(),
		shaking: true,
		name:    conn.RemoteAddr().String(),
		acks:    make(chan struct{}, 1),
		stopped: make(chan struct{}),
	}
}

// run is the connection's goroutine.
func (c *serverConn) run() {
	s := c.server
	defer c.conn.Close()
	if err := c.shakeHands(); err != nil {
		s.readers.Done()
		return
	}
	s.welcome(c)
	c.r = bufio.NewReaderSize(c.r, largeBuffer)
	quit, quitted := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(quitted)
		c.acknowledge(quit)
	}()
	err := c.read()
	s.readers.Done()
	if errors.Is(err, errDraining) {
		<-s.over // and go on acknowledging until then
	}
	close(quit)
	<-quitted
	c.sayWhy(err)
	s.connected.Add(-1)
	s.detach(c, c.session, err == errGoodbye)
}

// How a connection ends that is nobody's fault.
var (
	errGoodbye = errors.New("the listener ended the stream")
	errSilent  = errors.New("the peer said nothing")
)

// sayWhy tells the listener why its connection ends, if it is worth it, and Notify.
func (c *serverConn) sayWhy(err error) {
	switch {
	case err == errGoodbye || err == errReplaced:
	case err == errDraining:
		c.goodbye(stream.CodeClosing, err)
	case c.wasRevoked() != nil:
		c.server.unauthorized.Add(1)
		c.server.cfg.Notify(fmt.Errorf("stream from %s: %w", c.name, err))
		c.goodbye(stream.CodeUnauthorized, err)
	case isNetwork(err):
		c.server.cfg.Notify(fmt.Errorf("stream from %s: %w", c.name, err))
	default:
		c.server.garbage.Add(1)
		c.server.cfg.Notify(fmt.Errorf("stream from %s: %w", c.name, err))
		c.goodbye(stream.CodeDamaged, err)
	}
}

// isNetwork reports whether an error is one of the connection, and not about
// what came over it.
func isNetwork(err error) bool {
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, io.ErrClosedPipe) || errors.Is(err, errQuiet)
}

// goodbye ends the stream, with a last acknowledgement.
func (c *serverConn) goodbye(code stream.Code, err error) {
	c.lastWords(stream.AppendFrame(nil, stream.Frame{
		Type: stream.FrameEnd, Code: code, Text: err.Error(), Acknowledged: c.session.acknowledged(),
	}))
}

// lastWords sends b and waits a moment for the peer to close the connection: to
// close it with something unread in it would make b be lost (RFC 1122 §4.2.2.13).
func (c *serverConn) lastWords(b []byte) {
	_ = c.conn.SetDeadline(time.Now().Add(time.Second))
	if _, err := c.w.Write(b); err != nil {
		return
	}
	if half, ok := c.w.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	_, _ = io.Copy(io.Discard, c.w)
}

// deadAfter is how many heartbeats may be missing, and slowest how fast a
// batch has to come, in bytes a second.
const (
	deadAfter = 4
	slowest   = 64 << 10
)

// errQuiet is the end of a connection over which nothing comes.
var errQuiet = errors.New("no sign of life")

// read takes in batches until the connection ends, and returns why.
func (c *serverConn) read() error {
	patience := deadAfter * c.server.cfg.Heartbeat
	for {
		c.readUntil(time.Now().Add(patience))
		f, err := stream.ReadFrame(c.r, c.server.cfg.Limits)
		switch {
		case err == io.EOF:
			err = fmt.Errorf("the listener went away: %w", err)
		case err == nil && f.Type == stream.FrameEnd:
			return errGoodbye
		case err == nil && f.Type == stream.FrameBatch:
			err = c.readBatch(&f.Batch)
		}
		if err == nil {
			continue
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = fmt.Errorf("%w for %v", errQuiet, patience)
		}
		return c.orStopped(err)
	}
}

// orStopped returns err, or why nothing more was to be read.
func (c *serverConn) orStopped(err error) error {
	if !c.isStopped() || err == errReplaced {
		return err
	}
	if revoked := c.wasRevoked(); revoked != nil {
		return revoked
	}
	if c.session.isOf(c) {
		return errDraining
	}
	return errReplaced
}

// recordCost is about what a Message and its Exchange take, beside the bytes
// of the record.
const recordCost = 272

// readBatch reads a batch and takes it in, unless it came before.
func (c *serverConn) readBatch(h *stream.Head) error {
	has, err := c.session.has(h)
	if err != nil {
		return err
	}
	cost := int64(h.Size) + int64(h.Records)*recordCost
	if !has {
		if state := c.server.cfg.State; state != nil && !state.await(c.stopped) {
			return errDraining
		}
		if !c.session.window.acquire(c.stopped, cost) {
			return errDraining
		}
		if !c.server.memory.acquire(c.stopped, cost) {
			c.session.window.release(cost)
			return errDraining
		}
	}
	c.readUntil(time.Now().Add(deadAfter*c.server.cfg.Heartbeat + time.Duration(h.Length/slowest)*time.Second))
	if has {
		c.wake() // the listener does not know that we have it
		_, err := io.CopyN(io.Discard, c.r, int64(h.Length))
		return err
	}
	if err = c.readMessages(h, cost); err != nil {
		c.session.release(cost)
	}
	return err
}

func (c *serverConn) readMessages(h *stream.Head, cost int64) error {
	body, err := h.ReadBody(c.r, nil)
	if err != nil {
		return err
	}
	messages, unknown, err := h.Messages(body, c.server.cfg.Limits)
	if err != nil {
		return err
	}
	var records []int
	if unknown > 0 {
		records = h.Known(body)
	}
	return c.session.take(c, h, messages, records, cost)
}

// acknowledge sends acknowledgements as batches are settled, and heartbeats
// between them.
func (c *serverConn) acknowledge(quit <-chan struct{}) {
	cfg := &c.server.cfg
	timer := time.NewTimer(cfg.Heartbeat)
	defer timer.Stop()
	var frame []byte
	for {
		select {
		case <-c.acks:
		case <-timer.C:
		case <-quit:
			return
		}
		frame = stream.AppendFrame(frame[:0], stream.Frame{Type: stream.FrameAlive, Acknowledged: c.session.acknowledged()})
		_ = c.conn.SetWriteDeadline(time.Now().Add(deadAfter * cfg.Heartbeat))
		if _, err := c.w.Write(frame); err != nil {
			c.conn.Close() // read will say so
			return
		}
		timer.Reset(cfg.AckEvery)
		select {
		case <-timer.C: // the next one says what was settled meanwhile
		case <-quit:
			return
		}
		timer.Reset(cfg.Heartbeat)
	}
}

// wake says that there is something to acknowledge.
func (c *serverConn) wake() {
	select {
	case c.acks <- struct{}{}:
	default:
	}
}

// readUntil sets the time at which reading fails, unless it is to fail already.
func (c *serverConn) readUntil(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.isStopped() {
		_ = c.conn.SetReadDeadline(t)
	}
}

// stopReading makes reading fail from now on.
func (c *serverConn) stopReading() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.isStopped() {
		close(c.stopped)
		_ = c.conn.SetReadDeadline(time.Unix(1, 0))
	}
}

func (c *serverConn) isStopped() bool {
	select {
	case <-c.stopped:
		return true
	default:
		return false
	}
}

// cut ends the connection at once.
func (c *serverConn) cut() {
	c.stopReading()
	c.conn.Close()
}
