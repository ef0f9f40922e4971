package output

import (
	"context"
	"math"
	"time"

	"golang.org/x/time/rate"

	"kagami"
	"kagami/internal/lose"
)

// A LimitConfig says how many requests a Limit lets through.
type LimitConfig struct {
	// Index is the output's number in [kagami.Exchange.Decide].
	Index int
	// Rate is requests a second. The bucket holds a second's worth, rounded up:
	// any second lets at most twice the rate through, a steady stream the rate.
	// A rate that is not more than 0 lets no request through, an infinite one all.
	Rate float64
	// Now is the clock; nil is time.Now. Where it runs backwards, time stands
	// still until it has caught up.
	Now func() time.Time
}

// A Limit stands before an output and drops the requests over a rate, as
// [kagami.RateLimited]. It never makes anyone wait. Answers take no tokens:
// one whose request was dropped at this output is settled as
// [kagami.RequestDropped], any other passes.
//
// Its place is behind the Queue, so that replayed messages are counted when
// they are due. Its Write is for one goroutine at a time.
type Limit struct {
	out   Output
	index int
	now   func() time.Time
	last  time.Time // the latest that now has been
	rate  *rate.Limiter
}

var _ Output = (*Limit)(nil)

// NewLimit returns a limit before out. It owns out from here on: closing the
// one closes the other.
func NewLimit(out Output, cfg LimitConfig) *Limit {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Limit{
		out:   out,
		index: cfg.Index,
		now:   cfg.Now,
		rate:  rate.NewLimiter(limitOf(cfg.Rate), burstOf(cfg.Rate)),
	}
}

// SetRate changes the rate, as in LimitConfig, from now on. It may be called at any time.
func (l *Limit) SetRate(perSecond float64) {
	l.rate.SetBurst(burstOf(perSecond))
	l.rate.SetLimit(limitOf(perSecond))
}

func limitOf(perSecond float64) rate.Limit {
	if math.IsInf(perSecond, 1) {
		return rate.Inf
	}
	return rate.Limit(perSecond)
}

func burstOf(perSecond float64) int {
	if perSecond > 0 {
		return int(min(math.Ceil(perSecond), math.MaxInt32))
	}
	return 0
}

// Write passes on what is within the limit.
func (l *Limit) Write(ctx context.Context, b kagami.Batch) error {
	if now := l.now(); now.After(l.last) {
		l.last = now
	}
	if len(b.Messages) > 0 && lose.One("limit") {
		b = b.Slice(1, len(b.Messages))
	}
	if b = b.Keep(l.admit); len(b.Messages) == 0 {
		return nil
	}
	return l.out.Write(ctx, b)
}

func (l *Limit) admit(m *kagami.Message) (*kagami.Message, kagami.Reason) {
	if m.Follows() {
		return followRequest(m, l.index)
	}
	if !l.rate.AllowN(l.last, 1) {
		m.Exchange.Decide(l.index, kagami.Dropped)
		return m, kagami.RateLimited
	}
	return m, kagami.Delivered
}

// InFlight is how many messages the output behind holds.
func (l *Limit) InFlight() int64 { return InFlight(l.out) }

// Close closes the output behind.
func (l *Limit) Close() error { return l.out.Close() }
