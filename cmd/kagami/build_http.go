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
func (m *mirror) newHTTP(ctx context.Context, cfg OutputConfig) (output.Output, string, error) {
	hc := output.HTTPConfig{
		URL:            cfg.Address,
		Index:          len(m.outputs),
		Timeout:        cfg.HTTP.Timeout,
		Connections:    cfg.HTTP.Workers,
		IdleTimeout:    cfg.HTTP.IdleTimeout,
		Redirects:      cfg.HTTP.Redirects,
		OriginalHost:   cfg.HTTP.OriginalHost || m.cfg.Filters.SetsHost() || cfg.Filters.SetsHost(),
		NoReplayHeader: cfg.HTTP.NoReplayHeader,
		KeepOrder:      m.cfg.KeepOrder,
		OnFull:         queueOnFull(cfg.OnFull),
		Before:         m.before(len(m.outputs)),
	}
	for _, in := range m.cfg.Inputs {
		hc.OriginalHost = hc.OriginalHost || in.Filters.SetsHost()
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
		hc.Answers = m.answersTo(cfg.Address, len(m.outputs))
	}
	if err := cfg.HTTP.TLS.load(&hc); err != nil {
		return nil, "", err
	}
	compared := m.comparison.tap(&hc, cfg, m)
	tap := m.results.tap(&hc)
	var name string
	hc.Notify = func(err error) {
		if err != nil {
			m.log.Warn("the target cannot be reached", "target", name, "error", err)
			return
		}
		m.log.Info("the target can be reached again", "target", name)
	}
	out, err := output.NewHTTP(hc)
	if err != nil {
		return nil, "", fmt.Errorf("--output-http %w", err)
	}
	name = out.String()
	m.senders = append(m.senders, sender{len(m.outputs), out.Stats})
	if err := out.Check(ctx); err != nil {
		return nil, "", errors.Join(fmt.Errorf("--output-http %s: %w; check the name, and what resolves names on this host", name, err), out.Close())
	}
	m.targets = append(m.targets, target{name, out.Targets, out.Up})
	m.splitter.up[len(m.outputs)] = out.Up
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

// refuseSelf refuses an output whose target is what an input captures: each
// copy would be captured again.
func (m *mirror) refuseSelf(in RawConfig, local func(netip.Addr) bool) error {
	if m.cfg.AllowSelf {
		return nil
	}
	for _, t := range m.targets {
		for _, a := range t.addrs() {
			if local(a.Addr()) && (len(in.Ports) == 0 || slices.Contains(in.Ports, a.Port())) {
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
	if len(m.targets) == 0 || m.cfg.AllowSelf {
		return nil
	}
	var known atomic.Pointer[[]netip.AddrPort]
	var asked atomic.Int64
	return func(_, server netip.AddrPort) bool {
		// Asked once for each connection; names are resolved anew by the
		// outputs, so look at theirs every so often.
		if asked.Add(1)%64 == 1 || known.Load() == nil {
			var all []netip.AddrPort
			for _, t := range m.targets {
				all = append(all, t.addrs()...)
			}
			known.Store(&all)
		}
		return slices.Contains(*known.Load(), server)
	}
}
