// Package governor decides how much of the traffic a listener captures so that
// it stays within the CPU time it may take from the host it is a guest on.
//
// It is a pure function of readings: what time it is, how much CPU time the
// process has used, how many packets came and how many of them the kernel lost.
//
//	g, err := governor.New(governor.Config{Limit: 0.1}) // a tenth of one core
//	…
//	for range ticker.C { // four times a second
//		if share, changed := g.Observe(reading()); changed {
//			capture(share) // only these connections from now on
//		}
//	}
//
// It reads no clock, sheds nothing itself, and knows nothing about packets: whoever
// calls it does.
//
// What a listener uses is taken to be fixed + cost × share × load, of which only the
// sum is known. Over the limit the share is multiplied by target ÷ used. With a fixed
// part that takes a few steps, and it never swings: each step stops short
// of the target from the same side. How soon it acts goes by how far it is over: within
// a second at twice the limit, after four seconds of being just above. It raises
// slowly, and not at once to where it was too much before, so that a few heavy
// connections, of which each is a large step, are not tried again and again.
package governor

import (
	"errors"
	"fmt"
	"time"

	"kagami"
)

// DefaultLeast is the smallest share, as a fraction of the connections.
const DefaultLeast = 0.001

const (
	// target is what a change aims at, as a part of the limit. It leaves room for
	// noise: from raiseBelow to the last of the alarms nothing is changed.
	target     = 0.85
	raiseBelow = 0.7
	// memory is how long the longest average is.
	memory = 4 * time.Second
	// quiet and quietBelow: used so little for so long, the share is raised sooner.
	quiet      = time.Second
	quietBelow = 0.35
	// maxRaise is how much the share is raised at once.
	maxRaise = 1.3
	// minLower and maxDropLower bound how far it is lowered at once: not less than that,
	// and for packets that the kernel lost not more.
	minLower     = 0.9
	maxDropLower = 0.5
	// minHold and maxHold are how long a share that was too much is not tried again:
	// longer each time that it is too much again.
	minHold = 10 * time.Second
	maxHold = 2 * time.Minute
	// dropDelay is how late it may be known that the kernel lost packets, and dropSpan how
	// long they are counted.
	dropDelay = 1250 * time.Millisecond
	dropSpan  = time.Second
	// maxDrops is which part of the packets the kernel may lose.
	maxDrops = 0.01
	// whole is the share above which all is captured.
	whole = 0.97
)

// alarms say over how long more than so many times the limit is too much.
var alarms = [...]struct {
	span  time.Duration
	times float64
}{
	{250 * time.Millisecond, 6},
	{500 * time.Millisecond, 2},
	{time.Second, 1.25},
	{memory, 0.95},
}

// A Config says what to stay within.
type Config struct {
	// Limit is the CPU time that the process may use, in cores: 0.1 is a tenth of one.
	Limit float64
	// Least is the smallest share, as a fraction. 0 means DefaultLeast.
	Least float64
}

// A Reading is what was measured at one moment. All but Time count from any
// beginning, and never go back.
type Reading struct {
	Time    time.Duration // on a clock that is never set
	CPU     time.Duration // time that the process has used, on all cores together
	Packets uint64        // packets that passed the kernel's filter, the lost included
	Lost    uint64        // packets that the kernel lost
}

// A Governor steers a share by readings. It is for one goroutine.
type Governor struct {
	cfg   Config
	share float64

	readings []Reading // since the last change, of the last few seconds
	lowered  time.Duration

	ceiling float64       // a share that was too much; 0 if none was
	until   time.Duration // it is not tried again before
	hold    time.Duration // how long that was, the last time
	level   float64       // what was used right after it was lowered; 0 while not known
}

// New returns a Governor whose share is all.
func New(cfg Config) (*Governor, error) {
	if !(cfg.Limit > 0) {
		return nil, errors.New("a CPU limit of nothing: want more than 0 cores")
	}
	if cfg.Least == 0 {
		cfg.Least = DefaultLeast
	}
	if cfg.Least < 0 || cfg.Least > 1 {
		return nil, fmt.Errorf("least share %v: want a fraction, 0 to 1", cfg.Least)
	}
	return &Governor{cfg: cfg, share: 1, hold: minHold}, nil
}

// Share is the share of the connections to capture.
func (g *Governor) Share() kagami.Share {
	s, _ := kagami.ShareOf(g.share * 100) // always within 0 and 100
	return s
}

// Used is the CPU time that was used of late, in cores: since the last change,
// and for four seconds at most.
func (g *Governor) Used() float64 {
	used, _ := g.average(memory)
	return used
}

// Exhausted reports that more than the limit is used and less cannot be captured: it is
// not the captured traffic that takes it.
func (g *Governor) Exhausted() bool {
	_, over := g.over()
	return over && g.share <= g.cfg.Least
}

// Observe takes in a reading, and returns the share and whether it is another than
// before. Readings are to come a few times a second; Time has to be later than the
// last one's.
func (g *Governor) Observe(r Reading) (share kagami.Share, changed bool) {
	g.readings = append(g.readings, r)
	for len(g.readings) > 2 && r.Time-g.readings[1].Time >= memory {
		g.readings = g.readings[1:]
	}
	if len(g.readings) < 2 {
		return g.Share(), false
	}
	before := g.share
	if factor, over := g.over(); over {
		g.lower(factor)
	} else if lost := g.lost(); lost > maxDrops {
		g.lower(max(1-lost, maxDropLower))
	} else if lost == 0 {
		g.raise()
	}
	if g.share == before {
		return g.Share(), false
	}
	g.readings = append(g.readings[:0], r)
	return g.Share(), true
}

func (g *Governor) now() time.Duration { return g.readings[len(g.readings)-1].Time }

// average is the CPU time used over the last span, in cores, and how long that
// was indeed: less after a change.
func (g *Governor) average(span time.Duration) (used float64, of time.Duration) {
	if len(g.readings) < 2 {
		return 0, 0
	}
	last := g.readings[len(g.readings)-1]
	first := len(g.readings) - 2
	for first > 0 && last.Time-g.readings[first].Time < span*9/10 {
		first--
	}
	of = last.Time - g.readings[first].Time
	return float64(last.CPU-g.readings[first].CPU) / float64(of), of
}

// has reports whether an average is over as much time as it was to be, but for
// a clock that ticks unevenly.
func has(of, span time.Duration) bool { return of >= span*9/10 }

// over reports whether too much is used, and by what the share is to be multiplied.
func (g *Governor) over() (factor float64, over bool) {
	for _, a := range alarms {
		if used, of := g.average(a.span); has(of, a.span) && used > a.times*g.cfg.Limit {
			return target * g.cfg.Limit / used, true
		}
	}
	return 1, false
}

// lost is the part of the packets that the kernel lost since the last change, as far as
// that is known; not of those that it lost before the share was lowered.
func (g *Governor) lost() float64 {
	last := g.readings[len(g.readings)-1]
	for _, r := range g.readings {
		if g.ceiling > 0 && r.Time-g.lowered < dropDelay {
			continue
		}
		if last.Time-r.Time < dropSpan*9/10 || last.Lost == r.Lost {
			return 0
		}
		return float64(last.Lost-r.Lost) / float64(max(last.Packets-r.Packets, last.Lost-r.Lost))
	}
	return 0
}

// lower makes the share smaller, and remembers that it was too much.
func (g *Governor) lower(factor float64) {
	now := g.now()
	if again := g.share > 0.75*g.ceiling && g.share < 1.35*g.ceiling; again && now >= g.until && now-g.until < minHold {
		g.hold = min(2*g.hold, maxHold)
	} else if now >= g.until {
		g.hold = minHold
	}
	g.ceiling, g.until, g.level, g.lowered = g.share, now+g.hold, 0, now
	g.share = max(g.share*min(factor, minLower), g.cfg.Least)
}

// raise makes the share larger, if there is room.
func (g *Governor) raise() {
	if g.share == 1 {
		return
	}
	limit := g.cfg.Limit
	lately, of := g.average(quiet)
	if !has(of, quiet) {
		return
	}
	if g.level == 0 {
		g.level = max(lately, limit/1e3)
	}
	used := lately
	if lately > quietBelow*limit {
		if used, of = g.average(memory); !has(of, memory) || used > raiseBelow*limit {
			return
		}
	}
	if g.level > limit/4 && lately < g.level/2 {
		g.until, g.hold = 0, minHold // it is the load that fell: what was too much then is not now
	}
	up := min(target*limit/max(used, limit/1e3), maxRaise)
	share := g.share * up
	if g.now() < g.until {
		if share = min(share, 0.9*g.ceiling); share < 1.03*g.share {
			return
		}
	}
	if share > whole {
		share = 1
	}
	g.level *= share / g.share
	g.share = share
}
