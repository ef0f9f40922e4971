package replay

import (
	"errors"
	"fmt"
	"math"
	"sort"
	"strconv"
	"strings"
	"time"

	"kagami/internal/duration"
)

// A RampPoint is the rate that a Ramp has at a time.
type RampPoint struct {
	At   time.Duration // from the first request on
	Rate float64       // requests a second; 0 or more
}

// A Ramp is a Pacer whose rate changes: it goes through all of its points, in
// straight lines between them, from 0 where none is at 0 s. After the last
// point its rate holds. Two points at the same time are a step.
//
// Requests are due where the integral of the rate comes to the next whole
// number: the first where it leaves 0, the next where it leaves 1. So before
// any time t exactly ⌈Count(t)⌉ requests are due, and none while the rate is 0.
type Ramp struct {
	points []RampPoint
	counts []float64 // the integral at each point
}

var _ Pacer = (*Ramp)(nil)

// NewRamp returns the ramp through the points.
func NewRamp(points ...RampPoint) (*Ramp, error) {
	if len(points) == 0 {
		return nil, errors.New("a ramp without points: want at least one")
	}
	r := &Ramp{points: make([]RampPoint, 0, len(points)+1)}
	if points[0].At > 0 {
		r.points = append(r.points, RampPoint{})
	}
	sends := false
	for _, p := range points {
		last := RampPoint{}
		if n := len(r.points); n > 0 {
			last = r.points[n-1]
		}
		switch {
		case !(p.Rate >= 0) || math.IsInf(p.Rate, 0):
			return nil, fmt.Errorf("rate of %v at %v: want 0 or more requests a second", p.Rate, p.At)
		case p.At < last.At:
			return nil, fmt.Errorf("the point at %v stands behind one at %v: want them in order", p.At, last.At)
		}
		sends = sends || p.Rate > 0
		r.points = append(r.points, p)
	}
	if !sends {
		return nil, errors.New("the rate is 0 at every point: nothing would ever be sent")
	}
	r.counts = make([]float64, len(r.points))
	for i := 1; i < len(r.points); i++ {
		a, b := r.points[i-1], r.points[i]
		r.counts[i] = whole(r.counts[i-1] + (b.At-a.At).Seconds()*(a.Rate+b.Rate)/2)
	}
	return r, nil
}

// whole returns the whole number that x is but for rounding, or else x: a
// request more or less would hang on it where the rate goes down to 0.
func whole(x float64) float64 {
	if n := math.Round(x); math.Abs(x-n) <= 1e-9*max(1, n) {
		return n
	}
	return x
}

// Count returns the integral of the rate from 0 to t, in requests.
func (r *Ramp) Count(t time.Duration) float64 {
	if t <= 0 {
		return 0
	}
	i := sort.Search(len(r.points), func(i int) bool { return r.points[i].At > t }) - 1
	dt := (t - r.points[i].At).Seconds()
	return r.counts[i] + dt*(r.points[i].Rate+r.slope(i)*dt/2)
}

// slope is how fast the rate changes behind the i-th point, in requests a
// second each second.
func (r *Ramp) slope(i int) float64 {
	if i+1 == len(r.points) {
		return 0
	}
	a, b := r.points[i], r.points[i+1]
	return (b.Rate - a.Rate) / (b.At - a.At).Seconds()
}

// At returns when the n-th request is due: the latest time at which the
// integral of the rate is not above n. It is the longest duration there is if
// the ramp ends in a rate of 0 and the integral never comes to n.
func (r *Ramp) At(_ time.Duration, n int) time.Duration {
	count := float64(n)
	i := sort.Search(len(r.counts), func(i int) bool { return r.counts[i] > count }) - 1
	p, missing := r.points[i], count-r.counts[i]
	last := i+1 == len(r.points)
	if missing == 0 && (!last || p.Rate > 0) {
		return p.At
	}
	// missing = rate·dt + slope·dt²/2, solved without a difference of large numbers.
	slope := r.slope(i)
	dt := 2 * missing / (p.Rate + math.Sqrt(max(0, p.Rate*p.Rate+2*slope*missing)))
	if math.IsNaN(dt) || math.IsInf(dt, 0) {
		return never
	}
	at := nanoseconds(float64(p.At) + dt*float64(time.Second))
	if !last {
		at = min(at, r.points[i+1].At)
	}
	return at
}

// String returns the points as users write them: "10s:100,1m:1000".
func (r *Ramp) String() string {
	var parts []string
	for i, p := range r.points {
		if i == 0 && p == (RampPoint{}) && len(r.points) > 1 && r.points[1].At > 0 {
			continue // it is what a ramp begins with anyway
		}
		parts = append(parts, duration.Text(p.At)+":"+strconv.FormatFloat(p.Rate, 'f', -1, 64))
	}
	return strings.Join(parts, ",")
}
