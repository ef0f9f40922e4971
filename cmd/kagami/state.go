package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kagami"
	"kagami/output"
	"kagami/replay"
)

// A StateConfig is how a replayer keeps over restarts what it has done.
type StateConfig struct {
	Dir  string        // "" keeps nothing
	Sync time.Duration // how long what was written may not be on disk; 0: wait for the disk
}

// InDoubt says what is done with requests of which nobody knows whether they were sent.
type InDoubt string

// Where nothing is said it goes by the input: see [Config.resends].
const (
	InDoubtDrop   InDoubt = "drop"
	InDoubtResend InDoubt = "resend"
)

// resends reports whether what is in doubt at an input is sent again. By default that of a broker is, for most of what
// a replayer that died had taken in was merely queued there; with a stream it is what was just being sent.
func (c *Config) resends(kind InputKind) bool {
	if c.InDoubt == "" {
		return kind == InputNATS
	}
	return c.InDoubt == InDoubtResend
}

func stateOptions() []option {
	state := func(flag, arg, help string, bind func(c *Config) value) option {
		o := process(flag, arg, groupTrust, help, bind)
		o.notFor = RoleListen
		return o
	}
	return []option{
		state("state", "DIR", "of --input-tcp: keep in this directory what has been sent, so that a restart, also after a crash, "+
			"neither loses nor repeats a request; --on-full is wait then", func(c *Config) value { return stringValue{&c.State.Dir} }),
		state("in-doubt", "WHAT", "a request of which nobody knows whether it was sent, for a crash came, or another replayer may have: "+
			"drop it (and count it), or resend it, perhaps a second time; if nothing is said drop for --input-tcp, and resend for --input-nats",
			func(c *Config) value { return enumValue[InDoubt]{&c.InDoubt, []InDoubt{InDoubtDrop, InDoubtResend}} }),
		state("state-sync", "TIME", "of how much time a power failure may have requests sent again; 0 is none, at the price of waiting for the disk each time",
			func(c *Config) value { return durationValue{&c.State.Sync, 0} }),
	}
}

// checkState checks what is asked for.
func checkState(cfg *Config) error {
	if cfg.State.Dir != "" && !cfg.has(InputTCP) {
		return usagef("--state keeps what became of listeners' streams: it needs --input-tcp")
	}
	return nil
}

// idleState says which settings have nothing to act on.
func idleState(g given, cfg *Config) []string {
	switch g.option.flag {
	case "state-sync":
		if cfg.State.Dir == "" {
			return []string{g.at + " changes nothing without --state"}
		}
	case "in-doubt":
		if !cfg.has(InputTCP) && !cfg.has(InputNATS) {
			return []string{g.at + " changes nothing: there is no --input-tcp and no --input-nats"}
		}
	}
	return nil
}

// has reports whether there is an input of that kind.
func (c *Config) has(kind InputKind) bool {
	return slices.ContainsFunc(c.Inputs, func(in InputConfig) bool { return in.Kind == kind })
}

// openState opens the state, if one is asked for.
func (m *mirror) openState() error {
	c, resend := m.cfg.State, m.cfg.resends(InputTCP)
	if c.Dir == "" {
		return nil
	}
	state, damaged, err := replay.OpenState(replay.StateConfig{
		Dir:    c.Dir,
		Resend: resend,
		Sync:   c.Sync == 0, SyncEvery: c.Sync,
		Notify: func(err error) {
			if err != nil {
				m.log.Error("the state cannot be written: nothing is sent and nothing acknowledged until it can be, and nothing is lost by that", "dir", c.Dir, "error", err)
				return
			}
			m.log.Info("the state can be written again", "dir", c.Dir)
		},
	})
	if err != nil {
		return fmt.Errorf("--state %w", err)
	}
	m.state = state
	if damaged > 0 {
		m.log.Warn("the end of the state's journal is not whole, as after a crash", "dir", c.Dir, "bytes", damaged)
	}
	if n := state.InDoubt(); n > 0 {
		m.log.Warn("requests were being sent when the last run ended: nobody knows whether they arrived",
			"in-doubt", n, "they-are", map[bool]string{false: "dropped", true: "sent again"}[resend])
	}
	return nil
}

// before is what an output calls before it sends; nil without a state.
func (m *mirror) before(index int) func([]*kagami.Message) error {
	if m.state == nil {
		return nil
	}
	return func(messages []*kagami.Message) error { return m.state.Sending(index, messages) }
}

// gate puts a gate before an output that does not know of the state.
func (m *mirror) gate(out output.Output, index int) output.Output {
	if before := m.before(index); before != nil {
		return output.NewGate(out, before)
	}
	return out
}

// closeState closes the state, when nobody uses it any more.
func (m *mirror) closeState() error {
	if m.state == nil {
		return nil
	}
	if err := m.state.Close(); err != nil {
		return fmt.Errorf("--state %s: %w", m.cfg.State.Dir, err)
	}
	return nil
}

// A stateCollector shows how the state is.
type stateCollector struct {
	state    *replay.State // nil shows nothing
	ok, size *prometheus.Desc
}

var _ prometheus.Collector = (*stateCollector)(nil)

func newStateCollector(s *replay.State) *stateCollector {
	return &stateCollector{
		state: s,
		ok:    prometheus.NewDesc("kagami_state_ok", "Whether the state can be written: 0 while nothing is sent and nothing acknowledged.", nil, nil),
		size:  prometheus.NewDesc("kagami_state_bytes", "How long the state's journal is.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *stateCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.ok
	ch <- c.size
}

// Collect implements prometheus.Collector.
func (c *stateCollector) Collect(ch chan<- prometheus.Metric) {
	if c.state == nil {
		return
	}
	ok := 1.0
	if c.state.Err() != nil {
		ok = 0
	}
	ch <- prometheus.MustNewConstMetric(c.ok, prometheus.GaugeValue, ok)
	ch <- prometheus.MustNewConstMetric(c.size, prometheus.GaugeValue, float64(c.state.Size()))
}
