package output

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"time"

	"kagami"
	"kagami/internal/lose"
)

// An http2Exchange is a request on its way over HTTP/2, and its answer.
type http2Exchange struct {
	s        *http2Sender
	conn     *http2Conn
	job      httpJob
	render   httpRender
	q        httpRequest
	deadline time.Time
	sent     atomic.Bool // the head of the request may have gone out
	lagged   atomic.Bool // how late that was has been counted

	status int
	answer []byte // rendered, as much of it as is kept
	size   int64  // of all of it
}

// run sends the request that has a connection, and settles it.
func (x *http2Exchange) run() {
	defer func() { <-x.s.slots }()
	if lose.One("http") {
		x.conn.Release()
		return
	}
	h := x.s.h
	if _, err := h.before(x.job.ctx, x.job.m); err != nil {
		x.conn.Release()
		x.s.settle(&x.job, kagami.DrainTimeout)
		return
	}
	start := time.Now()
	x.deadline = start.Add(h.cfg.Timeout)
	reason := x.send()
	for n := h.cfg.Redirects; n > 0 && reason == kagami.Delivered && x.redirect(); n-- {
		reason = x.reconnect()
		if reason == kagami.Delivered {
			reason = x.send()
		}
	}
	if reason == kagami.Delivered && h.cfg.Answers != nil {
		x.handOn(start)
	}
	x.s.settle(&x.job, reason)
}

// redirect makes x's request what the answer redirects it to.
func (x *http2Exchange) redirect() bool {
	if x.status < 300 || x.status > 399 {
		return false
	}
	c := httpConn{h: x.s.h, httpBuffers: &httpBuffers{status: x.status, answer: x.answer}, render: x.render}
	return c.redirect(&x.q)
}

// reconnect finds a connection for a request that is sent after another.
func (x *http2Exchange) reconnect() kagami.Reason {
	ctx, cancel := context.WithDeadline(x.job.ctx, x.deadline)
	defer cancel()
	conn, err := x.s.conn(ctx)
	if err != nil {
		x.job.failure = HTTPNoConnection
		return x.givenUp(kagami.SendError)
	}
	x.conn = conn
	return kagami.Delivered
}

// maxUnsent is how many connections may turn out to take no more requests, one
// after the other, before one that none of them has taken is given up.
const maxUnsent = 8

// send sends the request and reads the answer: a second time on another
// connection, if the one it was sent on turns out to be of no use.
func (x *http2Exchange) send() kagami.Reason {
	again, unsent := false, 0
	for {
		used := x.conn.used.Load()
		x.sent.Store(false)
		reason, err := x.try()
		x.s.retire()
		switch {
		case err == nil || reason == kagami.Timeout || x.job.ctx.Err() != nil:
			return reason
		case !x.sent.Load() && unsent < maxUnsent: // nobody knows of it: it is no second time
			unsent++
		case again || !x.mayRepeat(err, used):
			return reason
		default:
			again = true
			x.s.h.counters.retries.Add(1)
		}
		if reason := x.reconnect(); reason != kagami.Delivered {
			return reason
		}
	}
}

// mayRepeat reports whether a request that failed may be sent again: the server
// did not process it, for it refused it (RFC 9113 §8.7); or it is
// idempotent, and a connection used before ended before any of the answer.
func (x *http2Exchange) mayRepeat(err error, used bool) bool {
	if err == errAnswerBroken {
		return false
	}
	var e streamError
	if errors.As(err, &e) {
		return e.Code == refusedStream
	}
	if strings.Contains(err.Error(), goneAway) {
		return true
	}
	return used && x.conn.Err() != nil && idempotent(x.q.head.Method)
}

// A streamError is what ended a stream, as net/http's error makes itself known
// to [errors.As]: by the names of these fields.
type streamError struct {
	StreamID uint32
	Code     uint32
	Cause    error
}

func (e streamError) Error() string { return "stream error" }

// goneAway is in the error of a request behind the last one that a server that
// says goodbye (GOAWAY, RFC 9113 §6.8) will process. net/http has no other name for it.
const goneAway = "graceful shutdown GOAWAY"

// refusedStream is REFUSED_STREAM (RFC 9113 §7).
const refusedStream = 7

// errAnswerBroken is the end of an answer of which some was seen.
var errAnswerBroken = errors.New("the answer broke off")

// try sends the request once. err is what net/http says is wrong.
func (x *http2Exchange) try() (kagami.Reason, error) {
	ctx, cancel := context.WithDeadline(x.job.ctx, x.deadline)
	defer cancel()
	req, ok := x.request(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		// It is called before the head is written, WroteHeaders only when the server may have it.
		WroteHeaderField: func(string, []string) { x.wrote() },
	}))
	if !ok {
		x.conn.Release()
		return kagami.NotReplayable, nil
	}
	resp, err := x.conn.RoundTrip(req)
	if x.sent.Load() {
		x.s.h.counters.requests.Add(1)
	}
	if err != nil {
		x.job.failure = HTTPClosed
		return x.failure(ctx), err
	}
	if err := x.read(resp); err != nil {
		x.job.failure = HTTPCutShort
		return x.failure(ctx), errAnswerBroken
	}
	x.conn.used.Store(true)
	x.s.h.counters.answered(x.status, time.Since(x.job.at))
	return kagami.Delivered, nil
}

// wrote notes that some of the request is being sent.
func (x *http2Exchange) wrote() {
	if !x.sent.Swap(true) && !x.lagged.Swap(true) {
		x.s.h.counters.lag.sent(x.job.m)
	}
}

// failure is the reason of a request that failed.
func (x *http2Exchange) failure(ctx context.Context) kagami.Reason {
	if x.job.ctx.Err() == nil && ctx.Err() != nil {
		return kagami.Timeout
	}
	return x.givenUp(kagami.SendError)
}

// givenUp is r, or the reason that the end of the job's context gives.
func (x *http2Exchange) givenUp(r kagami.Reason) kagami.Reason {
	switch {
	case x.job.ctx.Err() == nil:
		return r
	case x.sent.Load():
		return kagami.InDoubt
	}
	return kagami.DrainTimeout
}

// read reads the answer to its end, and keeps what anyone wants of it.
func (x *http2Exchange) read(resp *http.Response) error {
	defer resp.Body.Close()
	x.status = resp.StatusCode
	room := x.room()
	var body []byte
	var size int64
	buf := x.s.buffers.Get().(*[]byte)
	defer x.s.buffers.Put(buf)
	for {
		n, err := resp.Body.Read(*buf)
		size += int64(n)
		if left := room - len(body); n > 0 && left > 0 {
			body = append(body, (*buf)[:min(n, left)]...)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	if room > 0 {
		x.answer, x.size = renderAnswer(resp, string(x.q.head.Method), body, size, room)
	}
	return nil
}

// room is how much of the answer is to be kept.
func (x *http2Exchange) room() int {
	switch {
	case x.s.h.cfg.Answers != nil:
		return x.s.h.cfg.AnswerSize
	case x.s.h.cfg.Redirects > 0:
		return redirectHead
	}
	return 0
}

// handOn hands the answer to Answers.
func (x *http2Exchange) handOn(start time.Time) {
	m := &kagami.Message{
		Kind:     kagami.Replayed,
		Proto:    kagami.HTTP2,
		Hop:      x.job.m.Hop,
		WireLen:  int(x.size),
		Start:    start,
		End:      time.Now(),
		Due:      x.job.m.Due,
		Client:   x.conn.local,
		Server:   x.conn.addr,
		Raw:      x.answer,
		Exchange: x.job.m.Exchange,
	}
	if int64(len(x.answer)) < x.size {
		m.Flags |= kagami.Truncated
	}
	x.s.h.handOn(x.job.ctx, m)
}

// retire closes connections that were retired and are done.
func (s *http2Sender) retire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.retired) > 0 {
		s.closeRetired()
	}
}
