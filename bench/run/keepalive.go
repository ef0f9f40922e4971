//go:build linux

package main

import (
	"fmt"
	"os"
	"time"

	"kagami/bench/report"
)

// keepalive is wrk over keep-alive connections: modes are switched on and off while one
// run of it goes on, so that they share the machine's good and bad moments.
func keepalive(b *bed) error {
	if err := b.slicedRun("keepalive", small, 100, b.variants(floor, tcpByRequest, tcpToNull, toFile, oneProcess)); err != nil {
		return err
	}
	if err := b.slicedRun("keepalive", small, 10, b.variants(floor, tcpByRequest, tcpByConnection, oneProcess)); err != nil {
		return err
	}
	return b.slicedRun("keepalive 200 KB", large, 10, b.variants(floor, oneProcess, responses))
}

// A variant is a mode with flags, under a name of its own.
type variant struct {
	mode
	flags []string
}

// variants are those of the modes that were asked for, without flags.
func (b *bed) variants(modes ...mode) (vs []variant) {
	for _, m := range modes {
		if b.chooses(m) {
			vs = append(vs, variant{mode: m})
		}
	}
	return vs
}

func (b *bed) slicedRun(section, path string, share float64, vs []variant) error {
	if len(vs) == 0 {
		return nil
	}
	w, err := b.startWrk(port, path)
	if err != nil {
		return err
	}
	err = b.sliceAll(section, share, vs)
	if stopErr := stopWrk(w); err == nil {
		err = stopErr
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "  %s, %g %%\n", path, share)
	return b.quiet()
}

func (b *bed) sliceAll(section string, share float64, vs []variant) error {
	time.Sleep(b.slice) // wrk and nginx warm up
	before, err := b.sliceOf(&listener{})
	if err != nil {
		return err
	}
	for range b.slices {
		kept := map[string]float64{}
		for _, v := range vs {
			l, err := b.begin(v.mode, share, v.flags...)
			if err != nil {
				return err
			}
			began, err := b.warmUp(l)
			if err != nil {
				return err
			}
			with, err := b.sliceOf(l)
			if err != nil {
				return err
			}
			if l.process != nil {
				b.out.Add(section, v.name, share, "start CPU ms", began.startCPU(with.perRequest))
			}
			hwm, err := l.memory("VmHWM")
			if err != nil {
				return err
			}
			o, err := b.end(l)
			if err != nil {
				return err
			}
			after, err := b.sliceOf(&listener{})
			if err != nil {
				return err
			}
			kept[v.name] = report.Kept(with.rate, before.rate, after.rate)
			b.out.Add(section, none.name, 0, "requests/s", after.rate)
			b.out.Add(section, v.name, share, "requests/s", with.rate)
			b.out.Add(section, v.name, share, "kept", kept[v.name])
			b.out.Add(section, v.name, share, "CPU µs/request", with.perRequest)
			b.out.Add(section, v.name, share, "core busy", with.busy)
			b.out.Add(section, v.name, share, "peak MiB", hwm)
			if o.known {
				b.addOutcome(section, v.name, share, o)
			}
			before = after
		}
		for name, k := range kept {
			if f, ok := kept[floor.name]; ok && name != floor.name {
				b.out.Add(section, name, share, "to floor", k/f)
			}
		}
	}
	return nil
}

// A slice is what was seen in a slice of time.
type slice struct {
	rate       float64 // requests a second
	perRequest float64 // CPU time of the listener, µs
	busy       float64 // how much of production's processor was used
}

// A started is what a listener did before it was watched.
type started struct {
	cpu      time.Duration // since its process began
	requests int64         // of production's, since then
}

// warmUp lets a listener run for a while before it is watched, for what runs beside production
// runs for days: its memory has grown to what it needs, and its code was read.
func (b *bed) warmUp(l *listener) (started, error) {
	from, err := b.production.requests()
	if err != nil {
		return started{}, err
	}
	time.Sleep(warmUp)
	to, err := b.mark(l)
	return started{cpu: to.cpu, requests: to.requests - from}, err
}

// startCPU is what starting took, in ms of CPU time: all that the requests since do not explain.
func (s started) startCPU(perRequest float64) float64 {
	return s.cpu.Seconds()*1000 - perRequest*float64(s.requests)/1000
}

// sliceOf watches for a slice of time.
func (b *bed) sliceOf(l *listener) (slice, error) {
	from, err := b.mark(l)
	if err != nil {
		return slice{}, err
	}
	time.Sleep(b.slice)
	to, err := b.mark(l)
	if err != nil {
		return slice{}, err
	}
	n := float64(to.requests - from.requests)
	if n <= 0 {
		return slice{}, fmt.Errorf("production served nothing in %v", b.slice)
	}
	took := to.at.Sub(from.at)
	return slice{n / took.Seconds(), float64((to.cpu - from.cpu).Nanoseconds()) / 1000 / n, float64(to.busy-from.busy) / float64(took)}, nil
}

// memory watches a listener's memory at full rate for a minute.
func memory(b *bed) error {
	for _, m := range []mode{tcpByRequest, toFile, oneProcess} {
		if !b.chooses(m) {
			continue
		}
		w, err := b.startWrk(port, small)
		if err != nil {
			return err
		}
		err = b.watch(m)
		if stopErr := stopWrk(w); err == nil {
			err = stopErr
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *bed) watch(m mode) error {
	l, err := b.begin(m, 100)
	if err != nil {
		return err
	}
	from, err := b.mark(l)
	if err != nil {
		return err
	}
	var resident []float64
	for end := time.Now().Add(b.minute); time.Now().Before(end); {
		time.Sleep(time.Second)
		mib, err := l.memory("VmRSS")
		if err != nil {
			return err
		}
		resident = append(resident, mib)
		b.out.Add("memory", m.name, 100, "MiB", mib)
	}
	peak, err := l.memory("VmHWM")
	if err != nil {
		return err
	}
	to, err := b.mark(l)
	if err != nil {
		return err
	}
	n := float64(to.requests - from.requests)
	b.out.Add("memory", m.name, 100, "requests/s", n/to.at.Sub(from.at).Seconds())
	b.out.Add("memory", m.name, 100, "CPU µs/request", float64((to.cpu-from.cpu).Nanoseconds())/1000/n)
	b.out.Add("memory", m.name, 100, "peak MiB", peak)
	// The first quarter is left out: buffers grow to the size they need.
	b.out.Add("memory", m.name, 100, "growth MiB/min", 60*report.Slope(resident[len(resident)/4:]))
	o, err := b.end(l)
	if err != nil {
		return err
	}
	b.addOutcome("memory", m.name, 100, o)
	return nil
}
