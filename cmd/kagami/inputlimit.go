package main

import (
	"time"

	"golang.org/x/time/rate"

	"kagami"
)

// An inputLimit lets so many requests a second through, with a bucket of as many.
// Live messages are counted as they come; those of files, which are read ahead,
// by the time they are due.
type inputLimit struct{ limiter *rate.Limiter }

// newInputLimit returns a limit of so many requests a second.
func newInputLimit(perSecond float64) *inputLimit {
	return &inputLimit{rate.NewLimiter(rate.Limit(perSecond), max(1, int(perSecond)))}
}

// set changes the limit. What is in the bucket stays.
func (l *inputLimit) set(perSecond float64) {
	l.limiter.SetLimit(rate.Limit(perSecond))
	l.limiter.SetBurst(max(1, int(perSecond)))
}

// Apply is that of a filter.
func (l *inputLimit) Apply(m *kagami.Message) (*kagami.Message, kagami.Reason) {
	now := m.Due
	if now.IsZero() {
		now = time.Now()
	}
	if !l.limiter.AllowN(now, 1) {
		return nil, kagami.RateLimited
	}
	return m, kagami.Delivered
}
