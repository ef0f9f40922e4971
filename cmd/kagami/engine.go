package main

import (
	"errors"
	"io"
	"runtime"

	"golang.org/x/net/bpf"

	"kagami/capture"
	"kagami/capture/kernel"
	"kagami/capture/live"
	"kagami/capture/ring"
)

// An interfaceSource is what an engine that captures at interfaces opens.
type interfaceSource interface {
	capture.Source
	capture.Filterable
	io.Closer
	Interface() string
	Warning() string
}

var (
	_ interfaceSource = (*live.Source)(nil)
	_ interfaceSource = (*ring.Source)(nil)
)

// engineOf is the name of the engine that opened a source.
func engineOf(s interfaceSource) string {
	if _, ok := s.(*ring.Source); ok {
		return engineRing
	}
	return engineLibpcap
}

// onlyPcap returns the flag that asks for what only libpcap can do, or "".
func onlyPcap(raw RawConfig) string {
	switch {
	case raw.BPFFilter != "":
		return "--input-raw-bpf-filter"
	case raw.Monitor:
		return "--input-raw-monitor"
	case raw.TimestampType != "":
		return "--input-raw-timestamp-type"
	case raw.VLAN || len(raw.VLANIDs) > 0:
		return "--input-raw-vlan"
	}
	return ""
}

// openLive opens interfaces. If one cannot be, those that were are closed again.
func openLive(raw RawConfig, names []string, filter *kernelFilter) ([]capture.Source, error) {
	open, special := openRing, onlyPcap(raw)
	switch {
	case raw.Engine == engineRing && special != "":
		return nil, usagef("%s needs --input-raw-engine %s", special, engineLibpcap)
	case raw.Engine == engineLibpcap || special != "" || runtime.GOOS != "linux":
		open = openPcap
	}
	var sources []capture.Source
	for _, name := range names {
		s, err := open(raw, name, raw.BufferSize/int64(len(names)), filter)
		if err != nil {
			for _, s := range sources {
				s.(io.Closer).Close()
			}
			return nil, err
		}
		sources = append(sources, s)
	}
	return sources, nil
}

// openRing opens one interface by a ring of the kernel's.
func openRing(raw RawConfig, name string, buffer int64, filter *kernelFilter) (capture.Source, error) {
	wanted := kernelConfig(raw, filter)
	program, err := programFor(kernel.Network, name, wanted)
	if err != nil {
		return nil, err
	}
	s, err := ring.Open(ring.Config{
		Interface:   name,
		Program:     program,
		BufferSize:  buffer,
		Timeout:     raw.BufferTimeout,
		Promiscuous: raw.Promiscuous,
	})
	if err != nil {
		return nil, err // and no Source that is nil and looks like one
	}
	filter.add(s, kernel.Network, forInterface(name, wanted))
	return s, nil
}

// openPcap opens one interface by libpcap, with the generated program where the
// user gave no filter and the interface can have it, else with an expression.
func openPcap(raw RawConfig, name string, buffer int64, filter *kernelFilter) (capture.Source, error) {
	if name == live.Any && (raw.VLAN || len(raw.VLANIDs) > 0) && raw.BPFFilter == "" {
		return nil, errors.New("packets on all interfaces together cannot be filtered by VLAN tag: name an interface")
	}
	cfg := live.Config{
		Interface:     name,
		Filter:        raw.BPFFilter,
		BufferSize:    buffer,
		Timeout:       raw.BufferTimeout,
		Promiscuous:   raw.Promiscuous,
		Monitor:       raw.Monitor,
		TimestampType: raw.TimestampType,
	}
	if raw.BPFFilter != "" {
		return live.Open(cfg)
	}
	wanted := kernelConfig(raw, filter)
	cfg.Program = func(link kernel.Link) ([]bpf.RawInstruction, error) { return programFor(link, name, wanted) }
	s, err := live.Open(cfg)
	if errors.Is(err, live.ErrNoLink) {
		cfg.Program = nil
		expression := capture.FilterConfig{Ports: raw.Ports, Responses: raw.TrackResponse, VLAN: raw.VLAN, VLANIDs: raw.VLANIDs}
		if len(filter.hosts) == 1 {
			expression.Host = filter.hosts[0]
		}
		cfg.Filter = capture.FilterExpression(expression)
		return live.Open(cfg)
	}
	if err != nil {
		return nil, err
	}
	if link, ok := s.KernelLink(); ok {
		filter.add(s, link, forInterface(name, wanted))
	}
	return s, nil
}
