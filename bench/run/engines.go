//go:build linux

package main

import (
	"os/exec"
	"time"
)

// engines compares the ways to read packets, alternating, streaming all to a replayer.
func engines(b *bed) error {
	var vs []variant
	for _, engine := range []string{"libpcap", "af_packet"} {
		flags := []string{"--input-raw-engine", engine}
		if !b.knows(flags...) {
			b.out.Skip("engine %s: this kagami does not know it", engine)
			continue
		}
		m := tcpByRequest
		m.name = engine
		vs = append(vs, variant{m, flags})
	}
	for _, v := range vs {
		if err := b.idleFor(v); err != nil {
			return err
		}
	}
	for round := range b.rounds {
		for i := range vs {
			v := vs[(i+round)%len(vs)]
			before, err := b.abRun("engines", none, 0)
			if err != nil {
				return err
			}
			rate, err := b.abRun("engines", v.mode, 100, v.flags...)
			if err != nil {
				return err
			}
			b.out.Add("engines", v.name, 100, "kept", rate/before)
		}
	}
	return b.slicedRun("engines keep-alive", small, 100, vs)
}

// knows reports whether kagami takes flags; nothing is opened to find out.
func (b *bed) knows(flags ...string) bool {
	args := append([]string{"listen", "--input-raw", "lo:1", "--output-null", "--print-config"}, flags...)
	return exec.Command(b.kagami, args...).Run() == nil
}

// idle is what a listener takes while nothing comes.
func idle(b *bed) error { return b.idleFor(variant{mode: tcpByRequest}) }

func (b *bed) idleFor(v variant) error {
	l, err := b.begin(v.mode, 100, v.flags...)
	if err != nil {
		return err
	}
	time.Sleep(2 * time.Second) // the runtime's own work after a start
	from, err := b.mark(l)
	if err != nil {
		return err
	}
	time.Sleep(10 * time.Second)
	to, err := b.mark(l)
	if err != nil {
		return err
	}
	b.out.Add("idle", v.name, 100, "% of a core", 100*float64(to.cpu-from.cpu)/float64(to.at.Sub(from.at)))
	_, err = b.end(l)
	return err
}
