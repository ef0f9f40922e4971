package output

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"kagami"
)

// An HTTPVersion says in which version of HTTP requests are sent.
type HTTPVersion int

const (
	// HTTPAsCaptured sends what was captured as HTTP/2 as that, where the target
	// speaks it (h2c with prior knowledge, or h2 by ALPN), and the rest as HTTP/1.1.
	HTTPAsCaptured HTTPVersion = iota
	// HTTPOne sends everything as HTTP/1.1.
	HTTPOne
	// HTTPTwo sends everything as HTTP/2. A target that does not speak it counts as down.
	HTTPTwo
)

// How long a target is taken not to speak HTTP/2: where it answered as HTTP/1.1
// does, or chose that by ALPN; and where it merely hung up or said nothing.
const (
	noHTTP2For     = 10 * time.Minute
	doubtHTTP2For  = 10 * time.Second
	http2FrameSize = 64 << 10
)

// An http2Sender is the part of an HTTP output that speaks HTTP/2 (RFC 9113).
// Requests share connections; as many as Connections says are under way at
// once. Frames are net/http's; which connection a request takes, whether the
// target is well and what becomes of a request is decided here, as it is for
// HTTP/1.1.
type http2Sender struct {
	h         *HTTP
	dialer    httpDialer
	transport *http.Transport
	slots     chan struct{} // holds a token for each request under way
	held      atomic.Int64  // requests that were taken in and are not settled
	buffers   sync.Pool     // of *[]byte that answers are read into

	mu      sync.Mutex
	conns   []*http2Conn
	retired []*http2Conn // get nothing new, and are closed when they are done
	dialing *http2Dial   // the attempt under way; nil: none
	no      time.Time    // until then the target is taken not to speak HTTP/2
	down    bool         // the last attempt at a connection failed
	since   time.Time
	back    chan struct{} // closed when it is not down any more
	closed  bool
}

func newHTTP2Sender(h *HTTP) *http2Sender {
	s := &http2Sender{h: h, dialer: h.dialer, slots: make(chan struct{}, h.cfg.Connections)}
	if h.target.tls {
		s.dialer.tls = newTLSConfig(&h.cfg, h.target, "h2", "http/1.1")
	}
	s.buffers.New = func() any { b := make([]byte, readSize); return &b }
	s.transport = &http.Transport{
		DialContext:            http2Dialed,
		DialTLSContext:         http2Dialed,
		Protocols:              new(http.Protocols),
		DisableCompression:     true, // what was asked for is in the request
		IdleConnTimeout:        h.cfg.IdleTimeout,
		MaxResponseHeaderBytes: 1 << 20,
		HTTP2: &http.HTTP2Config{
			MaxReadFrameSize:          http2FrameSize,
			MaxReceiveBufferPerStream: 256 << 10,
			// A peer that vanished must not take every later request with it.
			SendPingTimeout:  h.cfg.Timeout,
			PingTimeout:      h.cfg.Timeout,
			WriteByteTimeout: h.cfg.Timeout,
		},
	}
	s.transport.Protocols.SetHTTP2(true)
	s.transport.Protocols.SetUnencryptedHTTP2(true)
	return s
}

// split takes out of a batch what may be sent as HTTP/2: nothing, where the pool sees to the
// order of a client's requests. The two batches have
// the messages of b, and settle them.
func (s *http2Sender) split(b kagami.Batch) (one, two kagami.Batch) {
	if s == nil || s.h.cfg.KeepOrder || !s.wantsAny(b) {
		return b, kagami.Batch{}
	}
	var ones, twos []int
	for i, m := range b.Messages {
		if s.wants(m) {
			twos = append(twos, i)
		} else {
			ones = append(ones, i)
		}
	}
	return pick(b, ones), pick(b, twos)
}

func (s *http2Sender) wants(m *kagami.Message) bool {
	return (m.Proto == kagami.HTTP2 || s.h.cfg.Version == HTTPTwo && !s.h.sockets.wants(m)) && refuse(m) == kagami.Delivered
}

func (s *http2Sender) wantsAny(b kagami.Batch) bool {
	for _, m := range b.Messages {
		if s.wants(m) {
			return true
		}
	}
	return false
}

// pick returns the batch of some of b's messages.
func pick(b kagami.Batch, index []int) kagami.Batch {
	p := kagami.Batch{Messages: make([]*kagami.Message, len(index))}
	for i, k := range index {
		p.Messages[i] = b.Messages[k]
	}
	if settle := b.Settle; settle != nil {
		p.Settle = func(i int, r kagami.Reason) { settle(index[i], r) }
	}
	return p
}

// write begins to send a batch of split's. It returns when each of its requests
// is on a connection, or settled, or among those that are left: to be sent as
// HTTP/1.1, for the target speaks nothing else, or since they are ambiguous and
// go out alone.
func (s *http2Sender) write(ctx context.Context, b kagami.Batch) (left kagami.Batch) {
	if len(b.Messages) == 0 {
		return b
	}
	var others []int
	s.held.Add(int64(len(b.Messages)))
	for i, m := range b.Messages {
		x := &http2Exchange{s: s, render: s.h.render}
		x.job = httpJob{m: m, settle: b.Settle, i: i, ctx: ctx, at: dueAt(m, time.Now())}
		if r := x.render.parse(&x.q, m, m.Raw); r != kagami.Delivered {
			s.settle(&x.job, r)
			continue
		}
		if x.q.alone || !s.begin(x) {
			others = append(others, i)
			s.held.Add(-1)
		}
	}
	return pick(b, others)
}

// start sends a request whose turn it is on its client's connection, or gives it back to be
// sent as HTTP/1.1. Room is waited for apart, so that this holds up no one.
func (s *http2Sender) start(j httpJob) {
	s.held.Add(1)
	s.h.wg.Go(func() {
		x := &http2Exchange{s: s, render: s.h.render, job: j}
		asOne := false
		if r := x.render.parse(&x.q, j.m, j.m.Raw); r != kagami.Delivered {
			s.settle(&x.job, r)
		} else if asOne = x.q.alone || !s.begin(x); asOne {
			s.held.Add(-1)
		}
		s.h.pool.begun(j, asOne)
		s.h.work()
	})
}

// begin waits for room and a connection, and sends x. It reports false if the
// target does not speak HTTP/2; else x is or will be settled.
func (s *http2Sender) begin(x *http2Exchange) bool {
	ctx := x.job.ctx
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		s.settle(&x.job, kagami.DrainTimeout)
		return true
	}
	conn, err := s.conn(ctx)
	switch {
	case err == nil:
		x.conn = conn
		s.h.wg.Go(x.run)
		return true
	case err == errNoHTTP2:
		<-s.slots
		return false
	}
	<-s.slots
	s.settle(&x.job, x.givenUp(kagami.SendError))
	return true
}

// dueAt is from when a message's latency counts.
func dueAt(m *kagami.Message, now time.Time) time.Time {
	if !m.Due.IsZero() && m.Due.Before(now) {
		return m.Due
	}
	return now
}

// settle ends a job.
func (s *http2Sender) settle(j *httpJob, r kagami.Reason) {
	s.held.Add(-1)
	s.h.settle(j, r)
	if j.two {
		s.h.pool.doneWith(*j)
		s.h.work()
	}
}

// stats adds what s holds.
func (s *http2Sender) stats(st *HTTPStats) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st.Open += len(s.conns) + len(s.retired)
	busy := min(len(s.slots), int(s.held.Load()))
	st.Busy += busy
	st.Waiting += int(s.held.Load()) - busy
	st.Down = st.Down || s.down
}
