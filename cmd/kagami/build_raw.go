package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path"
	"slices"
	"sync"
	"time"

	"kagami/capture"
)

// replayHeader marks what Kagami sent, so that it is not mirrored again.
const replayHeader = "Kagami-Replay"

// newRaw opens a capture: of a file, of one or more interfaces, or of what others
// mirror to this host.
func (m *mirror) newRaw(ctx context.Context, cfg InputConfig) (input, error) {
	raw := cfg.Raw
	raw.TrackResponse = raw.responses()
	if raw.atInterfaces() && raw.TrackResponse && !m.cfg.takesResponses() {
		m.log.Info("no output takes answers: they are not captured", "input", cfg.Address)
		raw.TrackResponse = false
	}
	if part := m.memoryPart(16); part > 0 && raw.BufferSize > part && raw.Engine != "pcap_file" {
		m.log.Warn("the kernel's buffer gets a quarter of --memory-limit: raise that for a larger one", "bytes", part, "asked", raw.BufferSize)
		raw.BufferSize = part
	}
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
	switch raw.Engine {
	case enginePcapFile:
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
	case engineVXLAN, engineGeneve:
		return m.newVXLAN(cfg, cc)
	}
	addrs := newLocalAddrs()
	ours, why := addrs.has, func(d capture.Diagnosis) string { return explainCapture(d, raw) }
	if raw.Pods != nil {
		pods, err := m.newPods(ctx, raw)
		if err != nil {
			return nil, fmt.Errorf("--input-raw %s: %w", cfg.Address, err)
		}
		cc.Local, ours = localPod(pods), pods.Has
		explain := why
		why = func(d capture.Diagnosis) string {
			if len(pods.Names()) == 0 {
				return fmt.Sprintf("no pod on the node %s is %s", raw.K8sNode, raw.Pods)
			}
			return explain(d)
		}
	}
	if err := m.refuseSelf(raw, ours); err != nil {
		return nil, err
	}
	if raw.Pods == nil && !raw.Promiscuous && raw.BPFFilter == "" {
		cc.Local = addrs.local
	}
	var sources []capture.Source
	filter := newKernelFilter(m.cfg.SampleSeed, m.cfg.kernelSamples(cfg))
	err := withNetRaw(func() (err error) {
		sources, err = openLive(raw, filter)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("--input-raw %s: %w", cfg.Address, err)
	}
	l, err := capture.New(cc, sources...)
	if err != nil {
		return nil, fmt.Errorf("--input-raw %s: %w", cfg.Address, err)
	}
	l.Stages()[0].KernelShare = filter.shares
	m.shedders = append(m.shedders, shedder{listener: l, kernel: filter})
	m.quiet = append(m.quiet, quietInput{in: l, why: func() string { return why(l.Diagnosis()) }})
	for _, s := range sources {
		s := s.(interfaceSource)
		if w := s.Warning(); w != "" {
			m.log.Warn(w, "interface", s.Interface())
		}
		m.log.Info("capturing", "interface", s.Interface(), "engine", engineOf(s), "ports", raw.Ports, "responses", raw.TrackResponse)
	}
	return l, nil
}

// interfaces returns the names of the devices to open for raw.Host, and the
// address that the server must have, where an address was given.
func interfaces(raw RawConfig) (names []string, host netip.Addr, err error) {
	if a, err := netip.ParseAddr(raw.Host); err == nil {
		if a.IsLoopback() {
			return []string{"lo"}, a, nil
		}
		// Not the one interface that has it: what a client on this host sends
		// to this address comes by on lo.
		return []string{"any"}, a, nil
	}
	several := raw.Host == "" || raw.Host == "any"
	if !several && !hasMeta(raw.Host) {
		return []string{raw.Host}, netip.Addr{}, nil
	}
	if several && len(raw.IgnoreInterfaces) == 0 {
		return []string{"any"}, netip.Addr{}, nil
	}
	devices, err := net.Interfaces()
	if err != nil {
		return nil, netip.Addr{}, err
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
		return nil, netip.Addr{}, fmt.Errorf("no interface that is up fits %q; there are %v", raw.Host, there)
	}
	return names, netip.Addr{}, nil
}

func hasMeta(s string) bool { return len(s) > 0 && s[len(s)-1] == '*' }

// localAddrs knows the addresses of this host, which may change.
type localAddrs struct {
	mu      sync.Mutex
	read    time.Time
	addrs   map[netip.Addr]bool
	bridged map[int]bool // by interface number
}

func newLocalAddrs() *localAddrs {
	l := &localAddrs{}
	l.refresh(time.Now())
	return l
}

// local reports whether a server with this address is ours to capture, if it
// was seen on this interface: the address is this host's, or the interface is
// a bridge's, behind which its containers are.
func (l *localAddrs) local(ifindex int, a netip.Addr) bool {
	return l.has(a) || l.isBridged(ifindex)
}

// refreshAfter is how old an answer "no" may be.
const refreshAfter = time.Second

func (l *localAddrs) has(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if a.IsLoopback() {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.addrs[a] {
		l.refreshIfOld()
	}
	return l.addrs[a]
}

func (l *localAddrs) isBridged(ifindex int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.bridged[ifindex]; !known {
		l.refreshIfOld()
	}
	return l.bridged[ifindex]
}

func (l *localAddrs) refreshIfOld() {
	if now := time.Now(); now.Sub(l.read) > refreshAfter {
		l.refresh(now)
	}
}

func (l *localAddrs) refresh(now time.Time) {
	l.read = now
	devices, err := net.Interfaces()
	if err != nil {
		return // what was known stays known
	}
	l.addrs, l.bridged = map[netip.Addr]bool{}, map[int]bool{}
	for _, d := range devices {
		l.bridged[d.Index] = isBridgePort(d.Name)
		addrs, _ := d.Addrs()
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				l.addrs[p.Addr().Unmap().WithZone("")] = true
			}
		}
	}
}

// isBridgePort reports whether an interface is a bridge or plugged into one.
func isBridgePort(name string) bool {
	for _, mark := range []string{"bridge", "brport"} {
		if _, err := os.Stat("/sys/class/net/" + name + "/" + mark); err == nil {
			return true
		}
	}
	return false
}
