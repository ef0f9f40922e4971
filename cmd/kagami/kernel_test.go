package main

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/bpf"

	"kagami"
	"kagami/capture/kernel"
)

// A fakeSource keeps the program it was given.
type fakeSource struct {
	program []bpf.RawInstruction
	err     error
}

func (s *fakeSource) SetFilter(p []bpf.RawInstruction) error {
	if s.err == nil {
		s.program = p
	}
	return s.err
}

// The CPU limit's sample stands beside the others, on every source, and is taken off again.
func TestShed(t *testing.T) {
	tenth := mustShare(t, 10)
	samples := []kernelSample{{kernel.Sample{Salt: 1, Share: mustShare(t, 50)}, "connection"}}
	k := newKernelFilter(7, samples, nil)
	if got := k.shares(); got != nil {
		t.Errorf("shares without a source: %v", got)
	}
	if err := k.shed(tenth); !errors.Is(err, errCannotShed) {
		t.Errorf("without a source: %v", err)
	}
	cfg := kernelConfig(RawConfig{Ports: []uint16{80}}, k)
	one, two := &fakeSource{}, &fakeSource{}
	k.add(one, kernel.Ethernet, cfg)
	k.add(two, kernel.Network, cfg)
	if err := k.shed(tenth); err != nil {
		t.Fatal(err)
	}
	limited := cfg
	limited.Samples = append(slices.Clone(cfg.Samples), kernel.Sample{Salt: kagami.NewSalt(7, 0, limitSide), Share: tenth})
	for link, s := range map[kernel.Link]*fakeSource{kernel.Ethernet: one, kernel.Network: two} {
		if want, _ := kernel.Program(link, limited); !slices.Equal(s.program, want) {
			t.Errorf("link %d: not the program with both samples", link)
		}
	}
	both := []kagami.KernelShare{{By: "connection", Percent: 50}, {By: "cpu-limit", Percent: tenth.Percent()}}
	if diff := cmp.Diff(both, k.shares()); diff != "" {
		t.Error(diff)
	}
	if err := k.shed(kagami.Whole); err != nil {
		t.Fatal(err)
	}
	if want, _ := kernel.Program(kernel.Ethernet, cfg); !slices.Equal(one.program, want) {
		t.Error("the sample is still there")
	}
	two.err = errors.New("no")
	if err := k.shed(tenth); !errors.Is(err, two.err) {
		t.Errorf("error %v", err)
	}
}

// The kernel leaves out only what no output takes.
func TestKernelSamples(t *testing.T) {
	share := func(percent float64, by string) OutputConfig {
		s := mustShare(t, percent)
		return OutputConfig{Share: &s, SampleBy: by}
	}
	half := mustShare(t, 50)
	in := InputConfig{SampleBy: "request", Raw: RawConfig{Ports: []uint16{80}}}
	own := in
	own.Share, own.SampleBy = &half, "client"
	for _, c := range []struct {
		name    string
		in      InputConfig
		outputs []OutputConfig
		want    []string
	}{
		{"nothing", in, []OutputConfig{{SampleBy: "request"}}, nil},
		{"by request", in, []OutputConfig{share(10, "request")}, nil},
		{"largest", in, []OutputConfig{share(10, "connection"), share(20, "connection")}, []string{"20% connection"}},
		{"one takes all", in, []OutputConfig{share(10, "connection"), {SampleBy: "request"}}, nil},
		{"different keys", in, []OutputConfig{share(10, "connection"), share(20, "client")}, nil},
		{"the input's", own, []OutputConfig{{SampleBy: "request"}}, []string{"50% client"}},
		{"both", own, []OutputConfig{share(10, "connection")}, []string{"50% client", "10% connection"}},
		{"any port", InputConfig{SampleBy: "request"}, []OutputConfig{share(10, "connection")}, nil},
	} {
		cfg := Config{Outputs: c.outputs}
		var got []string
		for _, s := range cfg.kernelSamples(c.in) {
			got = append(got, s.Share.String()+" "+s.by)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

func mustShare(t *testing.T, percent float64) kagami.Share {
	t.Helper()
	s, err := kagami.ShareOf(percent)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
