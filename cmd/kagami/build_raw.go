package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"path"
	"slices"

	"kagami/capture"
)

// replayHeader marks what Kagami sent, so that it is not mirrored again.
const replayHeader = "Kagami-Replay"

// newRaw opens a capture: of a file, of one or more interfaces, or of what others
// mirror to this host.
func (m *mirror) newRaw(ctx context.Context, cfg InputConfig) (input, error) {
	m.fitRaw(&cfg)
	cc := m.captureConfig(&cfg.Raw)
	switch cfg.Raw.Engine {
	case enginePcapFile:
		return openPcapFile(&cfg.Raw, cc)
	case engineVXLAN, engineGeneve:
		return m.newVXLAN(cfg, cc)
	}
	return m.newLive(ctx, cfg, cc)
}

// fitRaw leaves a raw input what the outputs have a use for, and what there is memory for.
func (m *mirror) fitRaw(cfg *InputConfig) {
	raw := &cfg.Raw
	raw.TrackResponse = raw.responses()
	if raw.atInterfaces() && raw.TrackResponse && !m.cfg.takesResponses() {
		m.log.Info("no output takes answers: they are not captured", "input", cfg.Address)
		raw.TrackResponse = false
	}
	if part := m.memoryPart(16); part > 0 && raw.BufferSize > part && raw.Engine != enginePcapFile {
		m.log.Warn("the kernel's buffer gets a quarter of --memory-limit: raise that for a larger one", "bytes", part, "asked", raw.BufferSize)
		raw.BufferSize = part
	}
}

// captureConfig is what every capture of a raw input has, whatever its packets come from.
func (m *mirror) captureConfig(raw *RawConfig) capture.Config {
	cc := capture.Config{
		Memory:          m.unfinished(),
		Queue:           m.memoryPart(4),
		MaxConnections:  int(m.memoryPart(4) / connectionSize),
		Ports:           raw.Ports,
		Responses:       raw.TrackResponse,
		ResponseHead:    int(raw.ResponseHeads),
		Expire:          raw.Expire,
		AllowIncomplete: raw.AllowIncomplete,
		MaxMessage:      int(m.cfg.MaxMessage),
		Promiscuous:     raw.Promiscuous,
		ReplayHeader:    replayHeader,
		Own:             m.ownTraffic(),
	}
	if m.cfg.AllowSelf {
		cc.ReplayHeader = ""
	}
	return cc
}

// openPcapFile opens a file of packets.
func openPcapFile(raw *RawConfig, cc capture.Config) (input, error) {
	f, err := capture.OpenFile(raw.Host)
	if err != nil {
		return nil, err
	}
	cc.Wait, cc.ReplayHeader = true, ""
	if raw.Expire == capture.DefaultExpire {
		// A recording can wait for packets that come late, by its own clock.
		cc.Expire = 0
	}
	return capture.New(cc, f)
}

// A liveInput is a raw input that captures at interfaces.
type liveInput struct {
	kernel *kernelFilter
	local  func(netip.Addr) bool // an address is one of a server that is captured
}

// servers are those of a live input.
type servers struct {
	hosts []netip.Addr               // that the kernel lets through; none: any
	has   func(netip.Addr) bool      // an address is a server's
	at    func(int, netip.Addr) bool // likewise, seen at the interface of a number; nil: any is
	pods  *podServers                // nil where they are no pods
}

// newLive captures at interfaces.
func (m *mirror) newLive(ctx context.Context, cfg InputConfig, cc capture.Config) (input, error) {
	raw := &cfg.Raw
	fail := func(err error) (input, error) { return nil, fmt.Errorf("--input-raw %s: %w", cfg.Address, err) }
	names, hosts, err := interfaces(*raw)
	if err != nil {
		return fail(err)
	}
	s, err := m.serversOf(ctx, raw, hosts)
	if err != nil {
		return fail(err)
	}
	live := liveInput{kernel: newKernelFilter(m.cfg.SampleSeed, m.cfg.kernelSamples(cfg), s.hosts), local: s.has}
	if err := m.refuseSelf(raw, live, m.targets()); err != nil {
		return nil, err
	}
	var sources []capture.Source
	if err := withNetRaw(func() (err error) {
		sources, err = openLive(*raw, names, live.kernel)
		return err
	}); err != nil {
		return fail(err)
	}
	cc.Local = s.at
	l, err := capture.New(cc, sources...)
	if err != nil {
		return fail(err)
	}
	m.attend(l, raw, live, s.pods)
	for _, source := range sources {
		s := source.(interfaceSource)
		if w := s.Warning(); w != "" {
			m.log.Warn(w, "interface", s.Interface())
		}
		m.log.Info("capturing", "interface", s.Interface(), "engine", engineOf(s), "ports", raw.Ports, "responses", raw.TrackResponse)
	}
	return l, nil
}

// serversOf says whose requests raw means: those to pods, or to this host, where hosts are
// the addresses that were named.
func (m *mirror) serversOf(ctx context.Context, raw *RawConfig, hosts []netip.Addr) (servers, error) {
	if raw.Pods != nil {
		pods, err := m.findPods(ctx, *raw)
		if err != nil {
			return servers{}, err
		}
		return servers{pods.hosts(), pods.has, pods.local, pods}, nil
	}
	here := newLocalAddrs()
	s := servers{hosts: hosts, has: here.has}
	if !raw.Promiscuous && raw.BPFFilter == "" {
		s.at = here.local
	}
	return s, nil
}

// attend has all that looks after a live input while it runs know it.
func (m *mirror) attend(l *capture.Listener, raw *RawConfig, live liveInput, pods *podServers) {
	l.Stages()[0].KernelShare = live.kernel.shares
	m.live[len(m.inputs)] = live
	m.shedders = append(m.shedders, shedder{listener: l, kernel: live.kernel})
	m.quiet = append(m.quiet, quietInput{in: l, why: func() string {
		if pods != nil && pods.none() {
			return "there is no such pod" + onNode(raw.Node)
		}
		return explainCapture(l.Diagnosis(), *raw)
	}})
	if pods != nil {
		pods.filter = live.kernel
		m.pods = append(m.pods, pods)
	}
}

// interfaces returns the names of the devices to open for raw.Host, and the
// addresses of which the server must have one, where one was given.
func interfaces(raw RawConfig) (names []string, hosts []netip.Addr, err error) {
	if a, err := netip.ParseAddr(raw.Host); err == nil {
		if a.IsLoopback() {
			return []string{"lo"}, []netip.Addr{a}, nil
		}
		// Not the one interface that has it: what a client on this host sends
		// to this address comes by on lo.
		return []string{"any"}, []netip.Addr{a}, nil
	}
	several := raw.Host == "" || raw.Host == "any"
	if !several && !hasMeta(raw.Host) {
		return []string{raw.Host}, nil, nil
	}
	if several && len(raw.IgnoreInterfaces) == 0 {
		return []string{"any"}, nil, nil
	}
	devices, err := net.Interfaces()
	if err != nil {
		return nil, nil, err
	}
	var there []string
	for _, d := range devices {
		there = append(there, d.Name)
		ok := several
		if !several {
			ok, _ = path.Match(raw.Host, d.Name)
		}
		if ok && d.Flags&net.FlagUp != 0 && !slices.Contains(raw.IgnoreInterfaces, d.Name) {
			names = append(names, d.Name)
		}
	}
	if len(names) == 0 {
		return nil, nil, fmt.Errorf("no interface that is up fits %q; there are %v", raw.Host, there)
	}
	return names, nil, nil
}

func hasMeta(s string) bool { return len(s) > 0 && s[len(s)-1] == '*' }
