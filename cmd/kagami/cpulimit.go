package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"kagami"
	"kagami/capture"
	"kagami/internal/governor"
)

const (
	// cpuPeriod is how often it is looked at what was used, and idlePeriod how often while
	// that is less than idleBelow of the limit: waking up is what a look costs.
	cpuPeriod  = 250 * time.Millisecond
	idlePeriod = time.Second
	idleBelow  = 0.1
	// cpuLogEvery and cpuLogFactor: between its beginning and its end, shedding is in
	// the log again when the share has changed by so much, not sooner than that.
	cpuLogEvery  = 10 * time.Second
	cpuLogFactor = 1.5
)

// A sieve leaves out connections in the kernel: all that a share by shedSalt does not
// include. It goes on from there with the shares that were asked for.
type sieve interface {
	shed(share kagami.Share) error
}

// limitSide tells the CPU limit's salt from those of all users' samples. Nested in one of
// those, shedding would have no effect until less is left than that sample takes.
const limitSide kagami.Side = 3

// shedSalt makes the hash by which connections are shed.
func shedSalt(seed uint64) kagami.Salt { return kagami.NewSalt(seed, 0, limitSide) }

// A shedder is an input that can shed connections.
type shedder struct {
	listener *capture.Listener
	kernel   sieve // nil: packets are thrown away here
}

// A cpuLimiter keeps the process within --cpu-limit.
type cpuLimiter struct {
	limit    float64 // in cores
	salt     kagami.Salt
	log      *slog.Logger
	cpuTime  func() time.Duration // that the process has used
	inputs   []shedder
	governor *governor.Governor

	share  atomic.Uint64 // math.Float64bits of the fraction
	lowest atomic.Uint64

	logged     float64 // the share that was last in the log; 1 before the first
	loggedAt   time.Duration
	exhausted  bool // it was said that shedding does not help
	sieveFails bool // and that the kernel does not shed
}

func newCPULimiter(limit float64, salt kagami.Salt, log *slog.Logger, inputs []shedder) (*cpuLimiter, error) {
	if _, err := processCPU(); err != nil {
		return nil, fmt.Errorf("--cpu-limit: %w", err)
	}
	g, err := governor.New(governor.Config{Limit: limit})
	if err != nil {
		return nil, err
	}
	c := &cpuLimiter{limit: limit, salt: salt, log: log, inputs: inputs, governor: g, logged: 1}
	c.cpuTime = func() time.Duration { t, _ := processCPU(); return t }
	c.share.Store(math.Float64bits(1))
	c.lowest.Store(math.Float64bits(1))
	return c, nil
}

// statement is the limiter's line of the ledger.
func (c *cpuLimiter) statement() kagami.Shedding {
	return kagami.Shedding{
		Cores:  c.limit,
		Share:  math.Float64frombits(c.share.Load()),
		Lowest: math.Float64frombits(c.lowest.Load()),
	}
}

// run looks at what is used until ctx is done; for the first time at once, to know soon what
// it is.
func (c *cpuLimiter) run(ctx context.Context) {
	timer := time.NewTimer(cpuPeriod)
	defer timer.Stop()
	began := time.Now()
	for c.look(0); ; {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		c.look(time.Since(began))
		period := cpuPeriod
		if c.governor.Share() == kagami.Whole && c.governor.Used() < idleBelow*c.limit {
			period = idlePeriod
		}
		timer.Reset(period)
	}
}

// look takes a reading, and sheds accordingly.
func (c *cpuLimiter) look(now time.Duration) {
	r := governor.Reading{Time: now, CPU: c.cpuTime()}
	for _, in := range c.inputs {
		packets := in.listener.Stages()[0]
		came, _ := packets.Count()
		r.Packets += uint64(came)
		r.Lost += uint64(packets.Dropped(kagami.KernelDrop))
	}
	before := math.Float64frombits(c.share.Load())
	used := c.governor.Used()
	share, changed := c.governor.Observe(r)
	if !changed {
		used = c.governor.Used()
		c.sayExhausted(used)
		return
	}
	after := share.Percent() / 100
	for _, in := range c.inputs {
		c.shed(in, share, after < before)
	}
	c.share.Store(math.Float64bits(after))
	c.lowest.Store(math.Float64bits(min(after, math.Float64frombits(c.lowest.Load()))))
	c.say(now, after, used)
}

// shed has an input capture a share: first the kernel takes away, or the listener
// lets in, so that no packet comes to where it is not expected.
func (c *cpuLimiter) shed(in shedder, share kagami.Share, less bool) {
	if !less {
		in.listener.Shed(c.salt, share)
	}
	if in.kernel != nil {
		if err := in.kernel.shed(share); err != nil && !c.sieveFails {
			c.sieveFails = true
			c.log.Warn("the kernel does not shed connections: their packets are thrown away here, which takes more CPU time", "error", err)
		}
	}
	if less {
		in.listener.Shed(c.salt, share)
	}
}

// say logs when shedding begins, when it ends, and in between when much has changed.
func (c *cpuLimiter) say(now time.Duration, share, used float64) {
	change := max(share/c.logged, c.logged/share)
	switch {
	case share == 1:
		c.log.Info("capturing all connections again", "lowest", percent(math.Float64frombits(c.lowest.Load())))
		c.exhausted = false
	case c.logged == 1:
		c.log.Warn("shedding connections to stay within --cpu-limit", "share", percent(share), "limit", percent(c.limit), "used", percent(used))
	case change >= cpuLogFactor && now-c.loggedAt >= cpuLogEvery:
		c.log.Info("shedding connections to stay within --cpu-limit", "share", percent(share), "limit", percent(c.limit), "used", percent(used))
	default:
		return
	}
	c.logged, c.loggedAt = share, now
}

// sayExhausted logs, once, that all was shed and more than the limit is used all the same.
func (c *cpuLimiter) sayExhausted(used float64) {
	if c.governor.Exhausted() && !c.exhausted {
		c.exhausted = true
		c.log.Warn("more than --cpu-limit is used though hardly a connection is captured: raise it, or look at what else the process does",
			"limit", percent(c.limit), "used", percent(used))
	}
}

// percent writes a fraction for people.
func percent(f float64) string { return strconv.FormatFloat(100*f, 'g', 3, 64) + "%" }

// limitCPU begins to keep to --cpu-limit, if there is one.
func (m *mirror) limitCPU() (err error) {
	if m.cfg.CPULimit == 0 {
		return nil
	}
	m.cpu, err = newCPULimiter(m.cfg.CPULimit, shedSalt(m.cfg.SampleSeed), m.log, m.shedders)
	if err == nil {
		m.ledger.Shedding = m.cpu.statement
	}
	return err
}

// checkCPULimit refuses a limit that nothing could be shed for.
func checkCPULimit(cfg *Config) error {
	if cfg.CPULimit == 0 || cfg.captures() {
		return nil
	}
	return usagef("--cpu-limit sheds connections of live traffic, and there is none: it needs an --input-raw that is no file")
}

// cpuLimitValue is a part of one core: 10%, 0.5%, 150%.
type cpuLimitValue struct{ p *float64 }

func (v cpuLimitValue) Set(s string) error {
	number, ok := strings.CutSuffix(s, "%")
	n, err := strconv.ParseFloat(number, 64)
	if !ok || err != nil || !isNumber(number) || n <= 0 {
		return errors.New("want a part of one core, as in 10%")
	}
	*v.p = n / 100
	return nil
}

func (v cpuLimitValue) String() string {
	if *v.p == 0 {
		return ""
	}
	// The shortest that is read as the same.
	for digits := 0; ; digits++ {
		s := strconv.FormatFloat(*v.p*100, 'f', digits, 64)
		if again, err := strconv.ParseFloat(s, 64); digits == 20 || err == nil && again/100 == *v.p {
			return s + "%"
		}
	}
}
