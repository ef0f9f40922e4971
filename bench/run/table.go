//go:build linux

package main

import (
	"fmt"
	"os"
	"time"

	"kagami/bench/report"
)

// table is ab without keep-alive at each share. Modes come one after another, with
// a run of production alone before each two, and change places from round to round.
func table(b *bed) error {
	var modes []mode
	for _, m := range []mode{floor, tcpByRequest, requestYielding, tcpToNull, tcpByConnection, connectionYielding, oneProcess, httpYielding, toFile, nginxMirror} {
		if b.chooses(m) {
			modes = append(modes, m)
		}
	}
	if b.gor == "" {
		b.out.Skip("GoReplay: there is no gor on PATH, and GOR= names none")
	} else {
		for _, m := range []mode{gorTCP, gorHTTP} {
			if b.chooses(m) {
				modes = append(modes, m)
			}
		}
	}
	if _, err := b.ab(b.requests, port, tiny); err != nil { // nginx's first requests are slower
		return err
	}
	for round := range b.rounds {
		for _, share := range b.shares {
			if err := b.tableRound(turn(modes, round), share); err != nil {
				return err
			}
			fmt.Fprintf(os.Stderr, "  round %d of %d, %g %%\n", round+1, b.rounds, share)
		}
	}
	return nil
}

// turn moves the first n to the end.
func turn(modes []mode, n int) []mode {
	n %= max(1, len(modes))
	return append(modes[n:len(modes):len(modes)], modes[:n]...)
}

func (b *bed) tableRound(modes []mode, share float64) error {
	before, err := b.alone()
	if err != nil {
		return err
	}
	kept := map[string]float64{}
	for len(modes) > 0 {
		now := modes[:min(2, len(modes))]
		modes = modes[len(now):]
		var rates []float64
		for _, m := range now {
			rate, err := b.abRun("table", m, share)
			if err != nil {
				return err
			}
			rates = append(rates, rate)
		}
		after, err := b.alone()
		if err != nil {
			return err
		}
		for i, m := range now {
			kept[m.name] = report.Kept(rates[i], before, after)
			b.out.Add("table", m.name, share, "kept", kept[m.name])
		}
		before = after
	}
	for name, k := range kept {
		if f, ok := kept[floor.name]; ok && name != floor.name {
			b.out.Add("table", name, share, "to floor", k/f)
		}
	}
	return nil
}

// alone is a run of ab at production with nothing beside it.
func (b *bed) alone() (float64, error) { return b.abRun("table", none, 0) }

// abRun runs ab at a mode once, after a run that warms it up, and returns requests a second.
// Until its memory has grown to what it needs, a new process pays twice as much for a request.
func (b *bed) abRun(section string, m mode, share float64, flags ...string) (float64, error) {
	l, err := b.begin(m, share, flags...)
	if err != nil {
		return 0, err
	}
	if m.name != none.name {
		if _, err := b.ab(b.warm, m.url(share), tiny); err != nil {
			return 0, err
		}
	}
	from, err := b.mark(l)
	if err != nil {
		return 0, err
	}
	rate, err := b.ab(b.requests, m.url(share), tiny)
	if err != nil {
		return 0, err
	}
	to, err := b.mark(l)
	if err != nil {
		return 0, err
	}
	b.out.Add(section, m.name, share, "requests/s", rate)
	b.out.Add(section, m.name, share, "core busy", float64(to.busy-from.busy)/float64(to.at.Sub(from.at)))
	if l.process != nil {
		time.Sleep(settle) // what is still in the kernel's buffer is to be paid for as well
		if to, err = b.mark(l); err != nil {
			return 0, err
		}
		b.out.Add(section, m.name, share, "CPU µs/request", float64((to.cpu-from.cpu).Nanoseconds())/1000/float64(b.requests))
	}
	o, err := b.end(l)
	if err != nil {
		return 0, err
	}
	if o.known {
		b.out.Add(section, m.name, share, "captured", float64(o.captured)/float64(b.warm+b.requests))
		b.addOutcome(section, m.name, share, o)
	}
	return rate, b.rested()
}

// A mark is what the counters say at a moment.
type mark struct {
	at       time.Time
	requests int64
	cpu      time.Duration // of the listener
	busy     time.Duration // of production's processor
}

func (b *bed) mark(l *listener) (m mark, err error) {
	if m.requests, err = b.production.requests(); err != nil {
		return m, err
	}
	if l.process != nil {
		if m.cpu, err = l.cpu(); err != nil {
			return m, err
		}
	}
	m.busy, err = busy(productionCPU)
	m.at = time.Now()
	return m, err
}

// addOutcome adds what was dropped, by reason, as a part of what was captured.
func (b *bed) addOutcome(section, mode string, share float64, o outcome) {
	if !o.balanced {
		b.out.Note("%s at %g %% (%s): the ledger does not balance", mode, share, section)
	}
	total := int64(0)
	for reason, n := range o.dropped {
		total += n
		b.out.Add(section, mode, share, "dropped "+reason, float64(n))
	}
	b.out.Add(section, mode, share, "delivered", float64(o.delivered))
	b.out.Add(section, mode, share, "dropped", float64(total))
}
