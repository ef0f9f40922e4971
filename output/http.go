package output

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"kagami"
)

// HTTP is an output that sends requests to a server and reads its answers.
//
// A request goes out as it came in: method, target, order and letter case of
// the header, the bytes of the body. Changed are only the Host field, unless
// OriginalHost; an absolute-form target, which becomes the origin-form; the
// path and the credentials that the URL has. Left out are the fields that
// belong to the connection it came on: Connection and what that lists,
// Keep-Alive, Proxy-*, Upgrade; and Expect. Kagami-Replay is added, and to
// HTTP/1.0 "Connection: keep-alive", for the connection is our own.
//
// Delivered means that an answer was received whole, whatever its status; it
// is read to its end, so that its connection can be used again. What else
// becomes of a request:
//
//   - [kagami.NotReplayable]: CONNECT, what is no HTTP request, or not whole.
//     Messages of another kind than Request are not sent, and settled so.
//   - [kagami.AmbiguousFraming]: see AmbiguousPolicy.
//   - [kagami.Timeout]: sent, and no whole answer within Timeout.
//   - [kagami.NoWebSocket]: a frame; see below.
//   - [kagami.SendError]: no connection, or closed before the answer's end, or
//     what came is not HTTP.
//
// Requests that are written together are sent together, each on a connection
// of its own as far as Connections go; beyond that they wait, and Write with
// them. With KeepOrder, those that have to wait for another's answer do so apart.
// A request is sent again, once, on a new connection, if it is idempotent
// (RFC 9110 §9.2.2) and a connection that had been used before was closed
// before any byte of the answer.
//
// What was captured as HTTP/2 is sent as HTTP/2 where the target speaks it; see
// [HTTPVersion]. Connections says then how many requests are under way at once:
// they share connections. One that the server did not process (RFC 9113 §8.7)
// is sent again, once, whatever its method.
//
// A request for a WebSocket opens a connection of its own (RFC 6455), which the frames
// of the client take that follow, those of its [kagami.Exchange]: each as it was
// recorded, but for its mask, when it is written. Delivered means of a frame that it was sent. The target's pings are
// answered, its frames are read, counted and handed to Answers, as messages of
// Proto WebSocket. A target that refuses has answered; the frames are then NoWebSocket,
// as are those behind the target's Close or an error. One whose request was not
// here is [kagami.NotReplayable], and so is a compressed one where the target did not agree to
// permessage-deflate, one that is not whole, and what would follow those. Where the recording has no end,
// the WebSocket ends after WebSocketIdle, or with the output.
//
// While the target cannot be reached, it is tried again after 0.1 s, and then
// after twice as long each time, up to 2 s; each time up to a quarter sooner,
// at random, and one attempt at a time. Requests
// wait for it up to Timeout from when it was lost, then they are settled as
// [kagami.SendError] at once, until an attempt succeeds.
//
// Memory is bounded: about 36 KiB for a connection, 1 MiB for the head of an
// answer at most, and AnswerSize where there are Answers. What waits is at most
// one batch, and what KeepOrder and OrderWait say. An answer without end is cut off by Timeout.
type HTTP struct {
	cfg      HTTPConfig
	target   *httpTarget
	resolver *httpResolver
	render   httpRender // copied by each connection
	pool     httpPool
	loop     *httpLoop    // nil: each connection has a goroutine
	two      *http2Sender // nil: all goes out as HTTP/1.1
	sockets  *wsTable
	dialer   httpDialer
	counters httpCounters

	ctx    context.Context // of what has no request: ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // all goroutines
	bufs   sync.Pool      // of *httpBuffers

	refreshing atomic.Bool     // a look-up by refresh is under way
	notifyMu   sync.Mutex      // held while Notify is called
	saidDown   bool            // what Notify was told last; guarded by notifyMu
	answersMu  sync.Mutex      // held while Answers is written to
	lastCtx    context.Context // of the latest Write, and so of what waits
}

var _ Output = (*HTTP)(nil)

var errHTTPClosed = errors.New("http output is closed")

// NewHTTP returns an output that sends to cfg.URL. Its error says what is
// wrong with the configuration: nothing is looked up or connected to yet; see
// [HTTP.Check].
func NewHTTP(cfg HTTPConfig) (*HTTP, error) {
	target, err := parseHTTPTarget(cfg.URL)
	if err != nil {
		return nil, err
	}
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	h := &HTTP{cfg: cfg, target: target, resolver: newHTTPResolver(target, cfg.Lookup)}
	h.render = newHTTPRender(&cfg, target)
	h.dialer = newHTTPDialer(&cfg, target, h.resolver)
	h.bufs.New = func() any { return new(httpBuffers) }
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.sockets = newWSTable(h)
	h.pool = httpPool{
		sockets:     h.sockets,
		max:         cfg.Connections,
		maxDials:    (cfg.Connections + 3) / 4,
		idleTimeout: cfg.IdleTimeout,
		grace:       cfg.Timeout,
		start:       h.startConn,
		rouse:       h.rouseConn,
		conns:       map[*httpConn]struct{}{},
		taken:       make(chan struct{}, 1),
		kick:        make(chan struct{}, 1),
		order:       newHTTPOrder(&cfg),
		wait:        cfg.OnFull == WaitWhenFull,
		empty:       make(chan struct{}, 1),
	}
	if !target.tls && cfg.DialContext == nil {
		if h.loop, err = newHTTPLoop(h); err != nil {
			return nil, err
		}
	}
	if cfg.Version != HTTPOne {
		h.two = newHTTP2Sender(h)
		if cfg.KeepOrder {
			h.pool.two = h.two
		}
	}
	h.wg.Go(h.keep)
	return h, nil
}

// String is the target, without a password.
func (h *HTTP) String() string { return h.target.String() }

// Write sends the batch's requests. It returns when the last of them is on a
// connection or held back by KeepOrder, not when they are answered; or when ctx ends, all of them that
// are not being sent being settled then.
func (h *HTTP) Write(ctx context.Context, b kagami.Batch) error {
	b, frames := splitFrames(b)
	for i, m := range b.Messages {
		if r := refuse(m); r != kagami.Delivered {
			h.settle(&httpJob{m: m, settle: b.Settle, i: i}, r)
		}
	}
	h.lastCtx = ctx
	one, two := h.two.split(b)
	owed, err := h.take(ctx, one)
	if err == nil && len(two.Messages) > 0 {
		// To take nothing would be to take the token that says the others are sent.
		if left := h.two.write(ctx, two); len(left.Messages) > 0 {
			owed, err = h.take(ctx, left)
		}
	}
	if err != nil {
		return err
	}
	h.sockets.write(ctx, frames)
	if !owed {
		return nil
	}
	select {
	case <-h.pool.taken:
	case <-ctx.Done():
		h.giveUpWaiting(kagami.DrainTimeout)
	}
	return nil
}

// take has the pool take over a batch. owed says that a token will come when all that waits is
// on a connection.
func (h *HTTP) take(ctx context.Context, b kagami.Batch) (owed bool, err error) {
	for from := 0; ; {
		to, owed, full, err := h.pool.add(ctx, b, from, time.Now())
		if err != nil {
			return false, err
		}
		for _, i := range full {
			h.settle(&httpJob{m: b.Messages[i], settle: b.Settle, i: i}, kagami.QueueFull)
		}
		h.work()
		if to == len(b.Messages) {
			return owed, nil
		}
		if from = to; !h.pool.order.awaitRoom(ctx) {
			h.giveUp(b, from)
			return false, nil
		}
	}
}

// giveUp settles what waits and what was not even taken over: the context ended.
func (h *HTTP) giveUp(b kagami.Batch, from int) {
	h.giveUpWaiting(kagami.DrainTimeout)
	for i := from; i < len(b.Messages); i++ {
		if m := b.Messages[i]; refuse(m) == kagami.Delivered {
			h.settle(&httpJob{m: m, settle: b.Settle, i: i}, kagami.DrainTimeout)
		}
	}
}

// refuse says of what message it can be told at a glance that it is not sent.
func refuse(m *kagami.Message) kagami.Reason {
	if m.Kind != kagami.Request || m.Proto != kagami.HTTP1 && m.Proto != kagami.HTTP2 ||
		m.Flags&(kagami.Incomplete|kagami.Truncated) != 0 {
		return kagami.NotReplayable
	}
	return kagami.Delivered
}

// settle ends a job.
func (h *HTTP) settle(j *httpJob, r kagami.Reason) {
	if r != kagami.Delivered && !j.m.Follows() {
		h.counters.failed(j, r)
		j.m.Exchange.Decide(h.cfg.Index, kagami.Dropped)
		h.sockets.drop(j)
	}
	if j.settle != nil {
		j.settle(j.i, r)
	}
}

// giveUpWaiting settles what waits for a connection.
func (h *HTTP) giveUpWaiting(r kagami.Reason) {
	for _, j := range h.pool.takeAll() {
		h.settle(&j, r)
	}
}

// InFlight is how many requests wait for a connection or for an answer.
func (h *HTTP) InFlight() int64 {
	var s HTTPStats
	h.pool.stats(&s)
	n := int64(s.Waiting+s.Busy) + h.sockets.held.Load()
	if h.two != nil {
		n += h.two.held.Load()
	}
	return n
}

// Close waits until all requests are answered and the frames of WebSockets are sent, no
// longer than Timeout, and closes the connections. What KeepOrder holds back is sent before, for as long
// as that takes or until the context of the latest Write ends.
func (h *HTTP) Close() error {
	if h.lastCtx != nil && h.pool.emptied() {
		select {
		case <-h.pool.empty:
		case <-h.lastCtx.Done():
			h.giveUpWaiting(kagami.DrainTimeout)
		}
	}
	h.pool.close()
	h.sockets.close()
	h.cancel()
	h.work()
	h.wg.Wait()
	if h.loop != nil {
		h.loop.close()
	}
	if h.two != nil {
		h.two.close()
	}
	h.giveUpWaiting(kagami.DrainTimeout)
	return nil
}

// keep is the goroutine that closes idle connections, looks for a target that
// was lost, and looks the host up again.
func (h *HTTP) keep() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		now := time.Now()
		wait, lost := h.pool.tend(now)
		h.work()
		if lost {
			h.giveUpWaiting(kagami.SendError)
		}
		if age := h.resolver.age(now); age > 0 && h.pool.inUse() {
			if age >= h.cfg.ResolveEvery && h.refreshing.CompareAndSwap(false, true) {
				h.wg.Go(h.refresh)
			}
			wait = sooner(wait, max(h.cfg.ResolveEvery-age, freshFor))
		}
		if wait == 0 {
			wait = time.Hour // nothing to tend: until it is kicked
		}
		timer.Reset(wait)
		select {
		case <-h.ctx.Done():
			return
		case <-h.pool.kick:
		case <-timer.C:
		}
	}
}

// refresh looks the host up again, so that connections see whether their
// address is still listed.
func (h *HTTP) refresh() {
	defer h.refreshing.Store(false)
	ctx, cancel := context.WithTimeout(h.ctx, h.cfg.Timeout)
	defer cancel()
	_, _ = h.resolver.addrs(ctx, h.cfg.ResolveEvery) // if it fails, what was known holds
}
