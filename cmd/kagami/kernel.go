package main

import (
	"errors"
	"math"
	"net"
	"net/netip"
	"sync"

	"golang.org/x/net/bpf"

	"kagami"
	"kagami/capture"
	"kagami/capture/kernel"
)

// A kernelFilter is the programs that the kernel runs on the capture sockets of
// one input. Its methods may be called from any goroutine.
type kernelFilter struct {
	mu      sync.Mutex
	sources []filteredSource
	hosts   []netip.Addr   // of the servers; none: any
	salt    kagami.Salt    // of the CPU limit's sample
	samples []kernelSample // the users'
	limit   kagami.Share   // the CPU limit's sample
}

// A filteredSource is a capture and what its program is made of.
type filteredSource struct {
	capture.Filterable
	link kernel.Link
	cfg  kernel.Config // without hosts and the CPU limit's sample
}

// A kernelSample is a sample and what users call it.
type kernelSample struct {
	kernel.Sample
	by string
}

func newKernelFilter(seed uint64, samples []kernelSample, hosts []netip.Addr) *kernelFilter {
	return &kernelFilter{salt: shedSalt(seed), samples: samples, hosts: hosts, limit: kagami.Whole}
}

var errCannotShed = errors.New("no interface of this input has a filter that can be replaced: it was given one by --input-raw-bpf-filter, or is none of Ethernet, IP or any")

// add takes charge of a source that was opened with the program of cfg.
func (k *kernelFilter) add(s capture.Filterable, link kernel.Link, cfg kernel.Config) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sources = append(k.sources, filteredSource{s, link, cfg})
}

// shed has the kernel let through a share of connections only, beside the other
// samples. Sources that would not take it keep what they have, and are the error.
func (k *kernelFilter) shed(share kagami.Share) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.sources) == 0 {
		return errCannotShed
	}
	err := k.renew(share, k.hosts)
	if err == nil {
		k.limit = share
	}
	return err
}

// setHosts has the kernel let through what goes to these servers only. An error says that
// it would not: then it is as before.
func (k *kernelFilter) setHosts(hosts []netip.Addr) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	err := k.renew(k.limit, hosts)
	if err == nil {
		k.hosts = hosts
	}
	return err
}

// renew replaces the programs of all sources.
func (k *kernelFilter) renew(share kagami.Share, hosts []netip.Addr) error {
	var errs []error
	for i := range k.sources {
		cfg := k.sources[i].cfg
		cfg.Hosts = hosts
		errs = append(errs, k.sources[i].set(cfg, k.salt, share))
	}
	return errors.Join(errs...)
}

// resample has the kernel take other samples of the users', beside the CPU limit's.
// Sources that would not take them keep what they have, and are the error.
func (k *kernelFilter) resample(samples []kernelSample) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	var errs []error
	for i := range k.sources {
		s := &k.sources[i]
		cfg := s.cfg
		cfg.Hosts, cfg.Samples = k.hosts, nil
		for _, sample := range samples {
			cfg.Samples = append(cfg.Samples, sample.Sample)
		}
		err := s.set(cfg, k.salt, k.limit)
		if err == nil {
			s.cfg = cfg
		}
		errs = append(errs, err)
	}
	err := errors.Join(errs...)
	if err == nil {
		k.samples = samples
	}
	return err
}

// set gives a source the program of cfg, with the CPU limit's sample.
func (s *filteredSource) set(cfg kernel.Config, salt kagami.Salt, limit kagami.Share) error {
	if limit != kagami.Whole {
		cfg.Samples = append(cfg.Samples[:len(cfg.Samples):len(cfg.Samples)], kernel.Sample{Salt: salt, Share: limit})
	}
	program, err := kernel.Program(s.link, cfg)
	if err != nil {
		return err
	}
	return s.SetFilter(program)
}

// shares is what the ledger says of the kernel's filter.
func (k *kernelFilter) shares() []kagami.KernelShare {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.sources) == 0 {
		return nil
	}
	var all []kagami.KernelShare
	for _, s := range k.samples {
		if n := len(all); n > 0 && all[n-1].By == s.by { // the input's and the outputs', which are independent
			all[n-1].Percent *= s.Share.Percent() / 100
			continue
		}
		all = append(all, kagami.KernelShare{By: s.by, Percent: s.Share.Percent()})
	}
	if k.limit != kagami.Whole {
		all = append(all, kagami.KernelShare{By: "cpu-limit", Percent: k.limit.Percent()})
	}
	return all
}

// kernelBy returns what the kernel calls a key of --sample-by, where it can sample by it.
func kernelBy(name string) (by kernel.By, ok bool) {
	switch name {
	case "connection":
		return kernel.ByConnection, true
	case "client":
		return kernel.ByClient, true
	}
	return 0, false
}

// kernelSamples returns what the kernel can leave out for an input: by its own share; and by
// the largest of the outputs' shares, if all outputs have one by the same key: what
// that leaves out, no output takes.
func (c *Config) kernelSamples(in InputConfig) []kernelSample {
	if len(in.Raw.Ports) == 0 {
		return nil // who is the client is not known there
	}
	var all []kernelSample
	add := func(share kagami.Share, name string, side kagami.Side) {
		if by, ok := kernelBy(name); ok && share != kagami.Whole {
			all = append(all, kernelSample{kernel.Sample{By: by, Salt: kagami.NewSalt(c.SampleSeed, 0, side), Share: share}, name})
		}
	}
	if in.Share != nil {
		add(*in.Share, in.SampleBy, kagami.InputSide)
	}
	var largest kagami.Share
	for _, out := range c.Outputs {
		if out.Share == nil || out.SampleBy != c.Outputs[0].SampleBy {
			return all
		}
		if out.Share.Threshold() > largest.Threshold() {
			largest = *out.Share
		}
	}
	if len(c.Outputs) > 0 {
		add(largest, c.Outputs[0].SampleBy, kagami.OutputSide)
	}
	return all
}

// takesResponses reports whether an output has a use for answers of production.
func (c *Config) takesResponses() bool {
	for _, out := range c.Outputs {
		if out.Kind != OutputHTTP {
			return true
		}
	}
	return c.Results.on() || c.compares()
}

// packetHeaders is how much may stand before the payload of a packet, in bytes: Ethernet with two
// tags, IPv6 with two extension headers or IPv4 with options, TCP with options.
const packetHeaders = 256

// kernelConfig returns what the kernel lets through of what raw means.
func kernelConfig(raw RawConfig, filter *kernelFilter) kernel.Config {
	c := kernel.Config{Ports: raw.Ports, Hosts: filter.hosts, VLAN: raw.VLAN, VLANIDs: raw.VLANIDs}
	if raw.TrackResponse {
		c.Responses = kernel.WholeResponses
		if raw.ResponseHeads > 0 {
			c.Responses, c.Head = kernel.ResponseHeads, uint32(min(raw.ResponseHeads, math.MaxUint16))+packetHeaders
		}
	}
	for _, s := range filter.samples {
		c.Samples = append(c.Samples, s.Sample)
	}
	return c
}

// programFor makes the program for an interface. What is seen twice on lo is dropped
// once where one socket listens to all interfaces, and on lo itself.
func programFor(link kernel.Link, ifname string, cfg kernel.Config) ([]bpf.RawInstruction, error) {
	return kernel.Program(link, forInterface(ifname, cfg))
}

func forInterface(ifname string, cfg kernel.Config) kernel.Config {
	if ifname == "any" || ifname == "lo" {
		if lo, err := net.InterfaceByName("lo"); err == nil {
			cfg.Loopback = lo.Index
		}
	}
	return cfg
}
