package replay

import (
	"math"
	"time"
)

// A Pacer says when a recorded message is to be sent. It is a pure function, so
// that nothing a replay does, or fails to do in time, adds up to a drift.
//
// offset is how long after the recording's first message this one was
// recorded, and n the number of the request, from 0; an answer has that of the
// latest request before it. At returns how long after the first message it is
// to be sent. Files calls it with offsets and n that never fall; where the
// result falls all the same it stands still. What is due at the longest
// duration there is, is never due, and neither is what comes after it.
type Pacer interface {
	At(offset time.Duration, n int) time.Duration
}

// Speed is a Pacer that replays so many times as fast as was recorded: 2 is
// twice as fast, 0.5 takes twice as long. It is more than 0.
type Speed float64

// At returns the offset divided by the speed.
func (s Speed) At(offset time.Duration, _ int) time.Duration {
	if s == 1 {
		return offset
	}
	return nanoseconds(float64(offset) / float64(s))
}

// Rate is a Pacer that sends so many requests a second, evenly, whenever they
// were recorded. It is more than 0. An answer comes right after the latest
// request before it.
type Rate float64

// At returns when the n-th request is due.
func (r Rate) At(_ time.Duration, n int) time.Duration {
	return nanoseconds(float64(n) / float64(r) * float64(time.Second))
}

// AtOnce is a Pacer for which everything is due from the start.
type AtOnce struct{}

// At returns 0.
func (AtOnce) At(time.Duration, int) time.Duration { return 0 }

var (
	_ Pacer = Speed(1)
	_ Pacer = Rate(1)
	_ Pacer = AtOnce{}
)

// nanoseconds returns ns nanoseconds, to the nearest and within what a Duration
// can be.
func nanoseconds(ns float64) time.Duration {
	if ns >= math.MaxInt64 {
		return math.MaxInt64
	}
	return time.Duration(math.Round(ns))
}
