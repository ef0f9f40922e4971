package output

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"kagami"
	"kagami/internal/websocket"
)

const (
	wsReadSize = 4 << 10
	// wsKeep is how much of a frame of the target is kept, at most, for those who are
	// handed it.
	wsKeep = 128 << 10
	// wsCloseGrace is how long the recorded Close is waited for, as the answer to the
	// target's; and the end of the connection behind both.
	wsCloseGrace = time.Second
)

// A wsSession is a WebSocket to the target. One goroutine opens it and sends, another
// reads.
type wsSession struct {
	t        *wsTable
	exchange *kagami.Exchange
	job      httpJob       // the request for it
	wake     chan struct{} // gets a token when next is to be asked again

	// Guarded by t.mu.
	queue []httpJob // frames that wait
	bytes int64
	ended kagami.Reason // of frames that come; Delivered: they wait
	over  bool          // it is not open any more

	nc     net.Conn
	addr   netip.AddrPort
	agreed websocket.Agreement
	framer websocket.Framer // of what is sent
	reads  wsReader
	gone   chan struct{} // closed when the reader has ended
	closed chan struct{} // closed when the target's Close has come

	sending sync.Mutex // held while a frame is written
	out     []byte     // of a frame that is being sent
	hungUp  bool       // a Close was sent: nothing comes behind it
	echo    []byte     // the payload of the target's Close
}

func newWSSession(t *wsTable, x *kagami.Exchange) *wsSession {
	return &wsSession{t: t, exchange: x, wake: make(chan struct{}, 1), gone: make(chan struct{}), closed: make(chan struct{})}
}

func (s *wsSession) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run is the session's goroutine.
func (s *wsSession) run() {
	defer s.t.h.work()
	stop := context.AfterFunc(s.job.ctx, s.interrupt)
	reason, opened := s.handshake()
	stop()
	if reason != kagami.Delivered {
		s.t.counters.failed.Add(1)
	}
	// Those behind it on the client's connection go on when it is settled: they may be
	// frames, which are to find it open.
	j := s.job
	s.t.settle(&j, reason)
	s.t.h.pool.doneWith(j)
	s.t.h.work()
	if !opened {
		if s.hangUp(); reason == kagami.Delivered {
			s.end(kagami.NoWebSocket)
		}
		return
	}
	s.t.h.wg.Go(s.read)
	why, reason := s.talk()
	s.t.counters.ended[why].Add(1)
	s.hangUp()
	<-s.gone
	s.end(reason)
}

func (s *wsSession) hangUp() {
	if s.nc != nil {
		s.nc.Close()
	}
}

// interrupt ends what is being read or written: the context has ended.
func (s *wsSession) interrupt() {
	s.sending.Lock()
	nc := s.nc
	s.sending.Unlock()
	if nc != nil {
		_ = nc.SetDeadline(time.Unix(1, 0)) // an error means that it is closed
	}
}

// talk sends what is recorded until one of the two ends it. It returns what did, and
// what becomes of frames that are left.
func (s *wsSession) talk() (why WSEnd, left kagami.Reason) {
	idle := time.NewTimer(s.t.h.cfg.WebSocketIdle)
	defer idle.Stop()
	for {
		j, ok, last, why := s.next()
		if ok {
			r, why := s.send(&j)
			s.t.settle(&j, r)
			switch {
			case r == kagami.DrainTimeout || r == kagami.InDoubt:
				return WSShutdown, kagami.DrainTimeout
			case r == kagami.NotReplayable:
				s.bye()
				return why, r
			case r != kagami.Delivered:
				return why, kagami.NoWebSocket
			case isClose(j.m):
				s.awaitEnd()
				return why, kagami.NoWebSocket
			}
			idle.Reset(s.t.h.cfg.WebSocketIdle)
			continue
		}
		if last {
			s.bye()
			return why, kagami.NoWebSocket
		}
		select {
		case <-s.wake:
		case <-idle.C:
			s.bye()
			return WSIdle, kagami.NoWebSocket
		case <-s.closed:
			return s.answerClose(), kagami.NoWebSocket
		case <-s.gone:
			if isDone(s.closed) {
				return s.answerClose(), kagami.NoWebSocket
			}
			return s.reads.end(), kagami.NoWebSocket
		case <-s.job.ctx.Done():
			return WSShutdown, kagami.DrainTimeout
		}
	}
}

// isClose reports whether a frame that was sent is a Close.
func isClose(m *kagami.Message) bool {
	h, err := websocket.ParseHeader(m.Raw)
	return err == nil && h.Opcode == websocket.Close
}

// isDone reports whether a channel is closed.
func isDone(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// send sends a recorded frame.
func (s *wsSession) send(j *httpJob) (r kagami.Reason, why WSEnd) {
	h, err := websocket.ParseHeader(j.m.Raw)
	if err != nil || !websocket.Whole(j.m.Raw, true) || j.m.Flags&(kagami.Incomplete|kagami.Truncated) != 0 || h.RSV1 && !s.agreed.Deflate {
		return kagami.NotReplayable, WSError
	}
	if _, _, err := s.framer.Feed(j.m.Raw); err != nil {
		return kagami.NotReplayable, WSError // frames before it are missing
	}
	switch {
	case isDone(s.closed) && h.Opcode != websocket.Close:
		s.bye()
		return kagami.NoWebSocket, WSTarget
	case isDone(s.gone) && !isDone(s.closed):
		return kagami.NoWebSocket, s.reads.end()
	}
	n, err := s.write(j.ctx, h, j.m.Raw[h.Len:])
	switch {
	case err == nil:
		return kagami.Delivered, WSRecording
	case j.ctx.Err() != nil && n > 0:
		return kagami.InDoubt, WSShutdown
	case j.ctx.Err() != nil:
		return kagami.DrainTimeout, WSShutdown
	case errors.Is(err, os.ErrDeadlineExceeded):
		return kagami.Timeout, WSError
	}
	return kagami.SendError, WSError
}

var errHungUp = errors.New("a Close frame was sent")

// write sends a frame, whose payload is masked with h.Key, with a mask of its own (RFC 6455
// §5.3). n is how many bytes were sent. It may be called from several goroutines.
func (s *wsSession) write(ctx context.Context, h websocket.Header, payload []byte) (n int, err error) {
	s.sending.Lock()
	defer s.sending.Unlock()
	if s.hungUp {
		return 0, errHungUp
	}
	if err := s.nc.SetWriteDeadline(time.Now().Add(s.t.h.cfg.Timeout)); err != nil {
		return 0, err
	}
	stop := context.AfterFunc(ctx, func() { _ = s.nc.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	old := h.Key
	_, _ = rand.Read(h.Key[:]) // it never fails
	for i := range old {
		old[i] ^= h.Key[i]
	}
	s.out = h.Append(s.out[:0])
	for offset := 0; ; {
		part := payload[offset:min(len(payload), offset+readSize)]
		from := len(s.out)
		s.out = append(s.out, part...)
		websocket.Mask(old, int64(offset), s.out[from:])
		m, err := s.nc.Write(s.out)
		if n += m; err != nil {
			return n, err
		}
		if offset += len(part); offset == len(payload) {
			break
		}
		s.out = s.out[:0]
	}
	s.hungUp = h.Opcode == websocket.Close
	s.t.counters.sent.Add(1)
	return n, nil
}

// control sends a control frame of our own.
func (s *wsSession) control(o websocket.Opcode, payload []byte) error {
	_, err := s.write(s.job.ctx, websocket.Header{Fin: true, Masked: true, Opcode: o, Length: int64(len(payload))}, payload)
	return err
}

// bye sends a Close of our own, or one that answers the target's, and waits for the end.
func (s *wsSession) bye() {
	payload := websocket.GoingAway.Append(nil)
	if isDone(s.closed) {
		payload = s.echo
	}
	if s.control(websocket.Close, payload) == nil {
		s.awaitEnd()
	}
}

// awaitEnd waits for the target's Close, and then for the end of the connection, which is
// the server's to close (RFC 6455 §7.1.1).
func (s *wsSession) awaitEnd() {
	timer := time.NewTimer(s.t.h.cfg.Timeout)
	defer timer.Stop()
	select {
	case <-s.closed:
	case <-s.gone:
	case <-timer.C:
		return
	case <-s.job.ctx.Done():
		return
	}
	timer.Reset(wsCloseGrace)
	select {
	case <-s.gone:
	case <-timer.C:
	case <-s.job.ctx.Done():
	}
}

// answerClose answers the target's Close: with the recorded one, if that is the next
// frame and comes soon.
func (s *wsSession) answerClose() WSEnd {
	timer := time.NewTimer(wsCloseGrace)
	defer timer.Stop()
	for {
		j, ok, last, _ := s.next()
		if ok {
			r, why := s.send(&j)
			s.t.settle(&j, r)
			if r != kagami.Delivered {
				return WSTarget
			}
			s.awaitEnd()
			return why
		}
		if !last {
			select {
			case <-s.wake:
				continue
			case <-timer.C:
			case <-s.job.ctx.Done():
			}
		}
		s.bye()
		return WSTarget
	}
}
