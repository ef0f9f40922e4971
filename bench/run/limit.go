//go:build linux

package main

import (
	"fmt"
	"time"

	"kagami/bench/report"
)

// limit watches a listener that may take a third of what it would need: its share of
// a core over each ten seconds, and how much of the traffic it follows.
func limit(b *bed) error {
	if !b.knows("--cpu-limit", "10%") {
		b.out.Skip("--cpu-limit: this kagami does not know it")
		return nil
	}
	for _, load := range []struct {
		name  string
		flags []string
	}{
		{"http", nil},
		{"http, a connection each", []string{"-H", "Connection: close"}},
	} {
		w, err := b.startWrk(port, small, load.flags...)
		if err != nil {
			return err
		}
		err = b.limited(load.name)
		if stopErr := stopWrk(w); err == nil {
			err = stopErr
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *bed) limited(name string) error {
	add := func(metric string, v float64) { b.out.Add("limit", name, 100, metric, v) }
	l, err := b.begin(oneProcess, 100)
	if err != nil {
		return err
	}
	need, _, err := b.seconds(l, 5*time.Second)
	if err != nil {
		return err
	}
	if _, err := b.end(l); err != nil {
		return err
	}
	unlimited := report.Median(need)
	allowed := report.Round(float64(int(10*unlimited/3)) / 10)
	add("% of a core without", unlimited)
	add("% of a core allowed", allowed)
	l, err = b.begin(oneProcess, 100, "--cpu-limit", fmt.Sprintf("%g%%", allowed))
	if err != nil {
		return err
	}
	used, shares, err := b.seconds(l, b.limit)
	if err != nil {
		return err
	}
	for _, v := range used {
		add("% of a core, each second", v)
	}
	for _, v := range report.Windows(used, 10) {
		add("% of a core, over 10 s", v)
	}
	for _, v := range shares {
		add("% mirrored, each second", v)
	}
	steady := shares[len(shares)/4:]
	middle := report.Median(steady)
	for _, v := range steady {
		add("mirrored, to its median", v/middle)
	}
	o, err := b.end(l)
	if err != nil {
		return err
	}
	b.addOutcome("limit", name, 100, o)
	return nil
}

// seconds is the CPU share of a listener and what part of production's requests staging
// got, both in percent, second by second.
func (b *bed) seconds(l *listener, d time.Duration) (used, mirrored []float64, err error) {
	type reading struct {
		mark
		staging int64
	}
	var last reading
	for i := 0; i <= int(d/time.Second); i++ {
		var now reading
		if now.mark, err = b.mark(l); err != nil {
			return nil, nil, err
		}
		if now.staging, err = b.staging.requests(); err != nil {
			return nil, nil, err
		}
		if i > 0 {
			used = append(used, 100*float64(now.cpu-last.cpu)/float64(now.at.Sub(last.at)))
			mirrored = append(mirrored, 100*float64(now.staging-last.staging)/float64(max(1, now.requests-last.requests)))
		}
		last = now
		time.Sleep(time.Second)
	}
	return used, mirrored, nil
}
