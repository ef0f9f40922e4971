package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"

	"kagami/output"
)

// newHTTP makes an output that sends requests to a server. Its name is the URL
// without a password.
func (m *mirror) newHTTP(ctx context.Context, cfg OutputConfig, line *outputLine) (output.Output, string, error) {
	hc := output.HTTPConfig{
		URL:            cfg.Address,
		Index:          line.index,
		Timeout:        cfg.HTTP.Timeout,
		Connections:    cfg.HTTP.Workers,
		IdleTimeout:    cfg.HTTP.IdleTimeout,
		Redirects:      cfg.HTTP.Redirects,
		WebSockets:     cfg.HTTP.WebSockets,
		WebSocketIdle:  cfg.HTTP.WebSocketIdle,
		OriginalHost:   m.cfg.originalHost(&cfg),
		NoReplayHeader: cfg.HTTP.NoReplayHeader,
		KeepOrder:      m.cfg.KeepOrder,
		OnFull:         queueOnFull(cfg.OnFull),
		Before:         m.before(line.index),
	}
	if cfg.HTTP.Ambiguous == "own-connection" {
		hc.Ambiguous = output.AmbiguousAlone
	}
	switch cfg.HTTP.Version {
	case "1":
		hc.Version = output.HTTPOne
	case "2":
		hc.Version = output.HTTPTwo
	}
	if cfg.HTTP.TrackResponse {
		hc.Answers = m.answersTo(shown(cfg.Address), line.index)
	}
	if err := cfg.HTTP.TLS.load(&hc); err != nil {
		return nil, "", err
	}
	compared := m.comparison.tap(&hc, cfg, m)
	tap := m.results.tap(&hc)
	var name string
	hc.Notify = func(err error) {
		if err != nil {
			m.log.Warn("the target cannot be reached", "target", name, "error", hinted(err))
			return
		}
		m.log.Info("the target can be reached again", "target", name)
	}
	out, err := output.NewHTTP(hc)
	if err != nil {
		return nil, "", fmt.Errorf("--output-http %w", err)
	}
	name = out.String()
	line.stats = out.Stats
	if err := out.Check(ctx); err != nil {
		return nil, "", errors.Join(fmt.Errorf("--output-http %s: %w; check the name, and what resolves names on this host", name, err), out.Close())
	}
	line.target = &target{name, out.Targets, out.Up}
	m.splitter.up[line.index] = out.Up
	c, err := compared.before(ctx, out, name)
	if err != nil {
		return nil, "", errors.Join(err, out.Close())
	}
	return tap.before(c, name), name, nil
}

// A target is where an output sends to: the addresses it may have now, and how it is.
type target struct {
	name  string
	addrs func() []netip.AddrPort
	up    func() bool // it can be reached
}

// opened is what is known of an output beside its place in the pipeline.
type opened struct {
	cfg       OutputConfig
	limit     *output.Limit           // nil where there is none, and none can come
	target    *target                 // of http; else nil
	stats     func() output.HTTPStats // likewise
	published func() output.NATSStats // of nats; else nil
}

// sayFailures says why requests got no whole answer, which the ledger calls send-error and timeout.
func (m *mirror) sayFailures() {
	for _, out := range m.lines() {
		if out.stats == nil {
			continue
		}
		why := []any{"target", out.target.name}
		for failure, n := range out.stats().Failures {
			if n > 0 {
				why = append(why, output.HTTPFailure(failure).String(), n)
			}
		}
		if len(why) > 2 {
			m.log.Info("requests without a whole answer", why...)
		}
	}
}

// originalHost reports whether an output sends requests with the Host that they have by then.
func (c *Config) originalHost(out *OutputConfig) bool {
	return out.HTTP.OriginalHost || c.Filters.SetsHost() || out.Filters.SetsHost() ||
		slices.ContainsFunc(c.Inputs, func(in InputConfig) bool { return in.Filters.SetsHost() })
}

// targets are those of the outputs that there are now, and of the baselines.
func (m *mirror) targets() []target {
	var all []target
	for _, out := range m.lines() {
		if out.target != nil {
			all = append(all, *out.target)
		}
	}
	return append(all, m.baselines...)
}

// refuseSelf refuses an output whose target is what an input captures: each
// copy would be captured again.
func (m *mirror) refuseSelf(in *RawConfig, live liveInput, targets []target) error {
	if m.cfg.AllowSelf {
		return nil
	}
	for _, t := range targets {
		for _, a := range t.addrs() {
			if live.local(a.Addr()) && (len(in.Ports) == 0 || slices.Contains(in.Ports, a.Port())) {
				return fmt.Errorf("the target %s is %s, which is what is captured: every copy would be captured again; "+
					"name another target or port, or say --allow-self", t.name, a)
			}
		}
	}
	return nil
}

// ownTraffic returns a function that says whether a connection goes to one of
// our own targets.
func (m *mirror) ownTraffic() func(client, server netip.AddrPort) bool {
	if len(m.targets()) == 0 && m.cfg.Reload == nil || m.cfg.AllowSelf {
		return nil
	}
	var known atomic.Pointer[[]netip.AddrPort]
	var asked, reloads atomic.Int64
	return func(_, server netip.AddrPort) bool {
		// Asked once for each connection; names are resolved anew by the
		// outputs, so look at theirs every so often.
		if n := m.reloads.Load(); asked.Add(1)%64 == 1 || known.Load() == nil || reloads.Swap(n) != n {
			var all []netip.AddrPort
			for _, t := range m.targets() {
				all = append(all, t.addrs()...)
			}
			known.Store(&all)
		}
		return slices.Contains(*known.Load(), server)
	}
}
