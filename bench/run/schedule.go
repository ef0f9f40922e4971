//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"strconv"
	"time"

	"kagami/bench/report"
	"kagami/capture"
	"kagami/capture/kernel"
	"kagami/capture/ring"
)

// scheduled replays at a rate to nginx, and compares when each request came to staging's
// interface, by the kernel's clock there, with a schedule that lies as far behind the
// start as the median request. (A server that notes the time is late itself: one of Go's
// shows an error of 1 ms at the 99th percentile for a sender that is never late.)
func (b *bed) scheduled(perSecond int, d time.Duration) error {
	n := int(d.Seconds()) * perSecond
	file := filepath.Join(b.dir, "paced.gor")
	if err := record(file, n); err != nil {
		return err
	}
	at, err := b.arrivals(n, func() error {
		_, err := b.replayed("--input-file", file, "--rate", fmt.Sprintf("%d/s", perSecond))
		return err
	})
	if err != nil {
		return err
	}
	off, drift := offSchedule(at, perSecond)
	mode := fmt.Sprintf("%d/s", perSecond)
	b.out.Add("replay", mode, 100, "p50 error ms", report.Quantile(off, 0.5))
	b.out.Add("replay", mode, 100, "p99 error ms", report.Quantile(off, 0.99))
	b.out.Add("replay", mode, 100, "max error ms", report.Quantile(off, 1))
	b.out.Add("replay", mode, 100, "drift ms", drift)
	b.out.Add("replay", mode, 100, "arrived", float64(len(off))/float64(n))
	return nil
}

// arrivals is when each of n numbered requests came to staging's interface while run ran;
// the zero time of one that did not.
func (b *bed) arrivals(n int, run func() error) ([]time.Time, error) {
	program, err := kernel.Program(kernel.Network, kernel.Config{Ports: []uint16{port}})
	if err != nil {
		return nil, err
	}
	var source *ring.Source
	if err := inside(b.hosts.staging, func() (err error) {
		source, err = ring.Open(ring.Config{Interface: "eth0", Program: program})
		return err
	}); err != nil {
		return nil, err
	}
	defer source.Close()
	at := make([]time.Time, n)
	read := make(chan error, 1)
	go func() { read <- readArrivals(source, at) }()
	runErr := run()
	source.Stop()
	if err := <-read; err != nil {
		return nil, err
	}
	st, err := source.Stats()
	if err == nil && st.KernelDropped > 0 {
		err = fmt.Errorf("%d packets to staging were not seen", st.KernelDropped)
	}
	return at, errors.Join(runErr, err)
}

func readArrivals(source *ring.Source, at []time.Time) error {
	for {
		p, err := source.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if n, ok := numberOf(p); ok && n < len(at) && at[n].IsZero() {
			at[n] = p.Time
		}
	}
}

// numberOf is the number that record wrote into the request in p.
func numberOf(p capture.Packet) (int, bool) {
	_, rest, ok := bytes.Cut(p.Data, []byte("GET "+small+"?n="))
	if !ok {
		return 0, false
	}
	digits, _, _ := bytes.Cut(rest, []byte(" "))
	n, err := strconv.Atoi(string(digits))
	return n, err == nil && n >= 0
}

// offSchedule is how far from the schedule each request came, in ms; drift, by how much more the
// last tenth of them than the first, at the median.
func offSchedule(at []time.Time, perSecond int) (off []float64, drift float64) {
	var late []float64
	for n, t := range at {
		if !t.IsZero() {
			due := at[0].Add(time.Duration(n) * time.Second / time.Duration(perSecond))
			late = append(late, float64(t.Sub(due))/float64(time.Millisecond))
		}
	}
	if len(late) < 10 {
		return late, 0
	}
	middle, tenth := report.Median(late), len(late)/10
	drift = report.Median(late[len(late)-tenth:]) - report.Median(late[:tenth])
	for _, l := range late {
		off = append(off, math.Abs(l-middle))
	}
	return off, drift
}
