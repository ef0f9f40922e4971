package governor_test

import (
	"fmt"
	"math/rand"
	"testing"
	"time"

	"kagami"
	"kagami/internal/governor"
)

// A host is a listener in a simulation: what it uses is fixed + load × share, in
// cores.
type host struct {
	limit, fixed float64
	load         func(at time.Duration) float64 // cores that capturing all would take
	noise        float64                        // of each reading, as a part of it
	spike        float64                        // core-seconds that something (a collection) takes now and then
	taken        func(kagami.Share) float64     // what is captured of the load, by share; nil: exactly the share
	lost         func(at time.Duration, share float64) float64
	period       time.Duration
}

// A moment is one reading of a simulation.
type moment struct {
	at        time.Duration
	used      float64 // cores
	share     float64
	exhausted bool
}

func (h host) run(t *testing.T, seconds float64) []moment {
	t.Helper()
	g, err := governor.New(governor.Config{Limit: h.limit})
	if err != nil {
		t.Fatal(err)
	}
	if h.period == 0 {
		h.period = 250 * time.Millisecond
	}
	random := rand.New(rand.NewSource(1))
	var r governor.Reading
	var ms []moment
	for r.Time.Seconds() < seconds {
		// The clock of a busy host ticks unevenly.
		dt := time.Duration((1 + 0.1*random.Float64()) * float64(h.period))
		r.Time += dt
		taken := g.Share().Percent() / 100
		if h.taken != nil {
			taken = h.taken(g.Share())
		}
		used := h.fixed + h.load(r.Time)*taken*(1+h.noise*random.NormFloat64())
		if h.spike > 0 && random.Intn(8) == 0 {
			used += h.spike / dt.Seconds()
		}
		used = max(used, 0)
		r.CPU += time.Duration(used * float64(dt))
		r.Packets += 1000
		if h.lost != nil {
			r.Lost += uint64(1000 * h.lost(r.Time, g.Share().Percent()/100))
		}
		share, _ := g.Observe(r)
		ms = append(ms, moment{r.Time, used, share.Percent() / 100, g.Exhausted()})
	}
	return ms
}

func constant(load float64) func(time.Duration) float64 {
	return func(time.Duration) float64 { return load }
}

// worst is the highest average of what was used over ten seconds, from a time on.
func worst(ms []moment, from time.Duration) (most float64) {
	for i := range ms {
		if ms[i].at < from {
			continue
		}
		var sum float64
		j := i + 1
		for ; j < len(ms) && ms[j].at-ms[i].at <= 10*time.Second; j++ {
			sum += ms[j].used * (ms[j].at - ms[j-1].at).Seconds()
		}
		if j == len(ms) {
			return most
		}
		most = max(most, sum/(ms[j-1].at-ms[i].at).Seconds())
	}
	return most
}

// swing is how far the share went from its middle, in any thirty seconds from a time on,
// as a part of it.
func swing(ms []moment, from time.Duration) (most float64) {
	for i := range ms {
		if ms[i].at < from {
			continue
		}
		low, high := ms[i].share, ms[i].share
		for j := i; j < len(ms) && ms[j].at-ms[i].at <= 30*time.Second; j++ {
			low, high = min(low, ms[j].share), max(high, ms[j].share)
		}
		most = max(most, (high-low)/(high+low))
	}
	return most
}

func mean(ms []moment, from, to time.Duration, of func(moment) float64) float64 {
	var sum, n float64
	for _, m := range ms {
		if m.at >= from && m.at < to {
			sum += of(m)
			n++
		}
	}
	return sum / n
}

func used(m moment) float64  { return m.used }
func share(m moment) float64 { return m.share }

// Load that takes a multiple of the limit, day in, day out: it settles within
// five seconds, stays within the limit from then on, uses most of it, and holds
// still.
func TestConstantOverload(t *testing.T) {
	for _, limit := range []float64{0.01, 0.03, 0.1, 0.5} {
		for _, times := range []float64{1.2, 3, 10, 50} {
			for _, fixed := range []float64{0, 0.3, 0.6} {
				for _, noise := range []float64{0, 0.1, 0.2} {
					h := host{limit: limit, fixed: fixed * limit, load: constant(times * limit), noise: noise, spike: noise * limit / 3}
					t.Run(fmt.Sprintf("limit %v, %v times, fixed %v, noise %v", limit, times, fixed, noise), func(t *testing.T) {
						ms := h.run(t, 300)
						settled := 6 * time.Second
						if most := worst(ms, settled); most > limit {
							t.Errorf("%.3f of the limit over ten seconds", most/limit)
						}
						if s := swing(ms, 10*time.Second); s > 0.2 {
							t.Errorf("the share swings by %.0f%%", 100*s)
						}
						if u := mean(ms, settled, time.Hour, used); u < 0.6*limit {
							t.Errorf("only %.2f of the limit is used", u/limit)
						}
					})
				}
			}
		}
	}
}

// Under the limit, by what noise there is, nothing is shed.
func TestWithinLimit(t *testing.T) {
	for _, load := range []float64{0, 0.5, 0.8} {
		ms := host{limit: 0.1, load: constant(load * 0.1), noise: 0.15, spike: 0.002}.run(t, 120)
		if s := mean(ms, 0, time.Hour, share); s < 0.999 {
			t.Errorf("load %v of the limit: captured %v", load, s)
		}
	}
}

// The load comes, falls, and goes.
func TestSteps(t *testing.T) {
	load := func(at time.Duration) float64 {
		switch {
		case at < 10*time.Second:
			return 0.02
		case at < 60*time.Second:
			return 0.3 // three times the limit
		case at < 120*time.Second:
			return 0.13
		case at < 180*time.Second:
			return 0.5
		}
		return 0.01
	}
	ms := host{limit: 0.1, load: load, noise: 0.1, fixed: 0.005}.run(t, 240)
	for _, c := range []struct {
		from, to  time.Duration // in seconds
		low, high float64
	}{
		{0, 10, 1, 1},
		{15, 60, 0.2, 0.34},
		{85, 120, 0.5, 0.8},
		{126, 180, 0.12, 0.2},
		{200, 240, 1, 1},
	} {
		if s := mean(ms, c.from*time.Second, c.to*time.Second, share); s < c.low || s > c.high {
			t.Errorf("from %d s to %d s the share is %.3f, want %v to %v", c.from, c.to, s, c.low, c.high)
		}
	}
	if most := worst(ms, 126*time.Second); most > 0.1 {
		t.Errorf("%.3f of a core over ten seconds", most)
	}
}

// A second of ten times the limit every five: it is not let in again each time.
func TestBursts(t *testing.T) {
	load := func(at time.Duration) float64 {
		if at%(5*time.Second) < time.Second {
			return 1
		}
		return 0.05
	}
	ms := host{limit: 0.1, load: load, noise: 0.1}.run(t, 120)
	if most := worst(ms, 10*time.Second); most > 0.1 {
		t.Errorf("%.3f of a core over ten seconds", most)
	}
}

// Few connections: each is a large part of the load, and is captured or not.
func TestFewConnections(t *testing.T) {
	salt := kagami.NewSalt(0, 0, kagami.InputSide)
	for _, connections := range []int{1, 2, 4, 8, 32, 1000} {
		taken := func(s kagami.Share) float64 {
			n := 0
			for i := range connections {
				if s.Includes(salt.Bytes([]byte{byte(i), byte(i >> 8), 7})) {
					n++
				}
			}
			return float64(n) / float64(connections)
		}
		ms := host{limit: 0.1, load: constant(0.3), noise: 0.05, taken: taken}.run(t, 300)
		if most := worst(ms, 10*time.Second); most > 0.1 {
			t.Errorf("%d connections: %.3f of a core over ten seconds", connections, most)
		}
		if s := swing(ms, 100*time.Second); connections >= 32 && s > 0.2 {
			t.Errorf("%d connections: the share swings by %.0f%%", connections, 100*s)
		}
	}
}

// What takes the time is not the traffic: all but the least is shed, and it says so.
func TestFixedCostAboveLimit(t *testing.T) {
	ms := host{limit: 0.02, fixed: 0.03, load: constant(0.1), noise: 0.1}.run(t, 60)
	last := ms[len(ms)-1]
	if last.share > governor.DefaultLeast*1.01 || !last.exhausted {
		t.Errorf("share %v, exhausted %v", last.share, last.exhausted)
	}
	ms = host{limit: 0.02, load: constant(0.1)}.run(t, 60)
	if last := ms[len(ms)-1]; last.exhausted {
		t.Errorf("exhausted at a share of %v", last.share)
	}
}

// The kernel loses packets though the limit is far: less is captured until it does
// not, and all again when it no longer would.
func TestKernelDrops(t *testing.T) {
	lost := func(at time.Duration, share float64) float64 {
		if at < 60*time.Second && share > 0.4 {
			return 1 - 0.4/share
		}
		return 0
	}
	ms := host{limit: 0.5, load: constant(0.1), lost: lost}.run(t, 240)
	if s := mean(ms, 30*time.Second, 60*time.Second, share); s > 0.5 || s < 0.2 {
		t.Errorf("share %.2f while the kernel loses packets above 0.4", s)
	}
	if s := mean(ms, 220*time.Second, 240*time.Second, share); s != 1 {
		t.Errorf("share %.2f long after", s)
	}
	few := func(time.Duration, float64) float64 { return 0.002 }
	ms = host{limit: 0.5, load: constant(0.1), lost: few}.run(t, 60)
	if s := mean(ms, 0, time.Hour, share); s != 1 {
		t.Errorf("share %.2f for two packets of a thousand", s)
	}
}

func TestConfig(t *testing.T) {
	for _, c := range []governor.Config{{}, {Limit: -1}, {Limit: 0.1, Least: 2}, {Limit: 0.1, Least: -1}} {
		if _, err := governor.New(c); err == nil {
			t.Errorf("%+v is taken", c)
		}
	}
}
