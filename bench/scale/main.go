//go:build linux

// Command scale measures what it costs when many listeners hand their traffic to
// many replayers through a broker: N listeners (synthetic requests at a set rate,
// the real output) → nats-server → M replayers (the real input, and a target that
// counts), each a process on this machine.
//
//	go run ./bench/scale                         the sweep of docs/scaling.md, about 2 minutes
//	go run ./bench/scale -quick                  a first look
//	go run ./bench/scale -runs 'nats,n=4,m=2,shards=16,servers=1,rate=20000,seconds=4'
//
// It needs no root. Of each run it prints, as a row of a Markdown table, the
// processor time of a request at each part, the bytes, and how long requests took.
// Where processors are shared, look at the processor time: it is the program's own.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"

	"kagami/bench/report"
)

// A run is one configuration.
type run struct {
	Via       string // "nats", "tcp" or "null" (listeners alone)
	Listeners int
	Replayers int
	Shards    int
	Servers   int // of the broker, each of which has a copy
	Rate      int // requests a second, of all listeners together
	Seconds   int
	Linger    int // milliseconds that batches wait to grow
}

func parseRun(s string) (run, error) {
	parts := strings.Split(s, ",")
	r := run{Via: parts[0], Listeners: 1, Replayers: 1, Shards: 16, Servers: 1, Rate: 20000, Seconds: 3}
	if r.Via != "nats" && r.Via != "tcp" && r.Via != "null" {
		return r, fmt.Errorf("run %q: want nats, tcp or null first", s)
	}
	fields := map[string]*int{"n": &r.Listeners, "m": &r.Replayers, "shards": &r.Shards, "servers": &r.Servers, "rate": &r.Rate, "seconds": &r.Seconds, "linger": &r.Linger}
	for _, p := range parts[1:] {
		key, text, _ := strings.Cut(p, "=")
		n, err := strconv.Atoi(text)
		if fields[key] == nil || err != nil || n < 1 {
			return r, fmt.Errorf("run %q: %s: want n=, m=, shards=, servers=, rate=, seconds= or linger=, each with a whole number", s, p)
		}
		*fields[key] = n
	}
	return r, nil
}

// sweep is what docs/scaling.md has. The first is what making the requests costs, which
// is taken off the others.
func sweep(quick bool) []string {
	if quick {
		return []string{"null,n=2,seconds=3", "tcp,n=2,seconds=3", "nats,n=2,seconds=3", "nats,n=2,m=2,seconds=3"}
	}
	return []string{
		"null,n=1", "null,n=4", "null,n=16",
		"tcp,n=1,m=1", "tcp,n=4,m=2", "tcp,n=16,m=4",
		"nats,n=1,m=1,shards=4", "nats,n=1,m=1",
		"nats,n=4,m=2", "nats,n=4,m=2,linger=100", "nats,n=4,m=2,shards=64,linger=100",
		"nats,n=16,m=4", "nats,n=16,m=4,linger=100",
		"nats,n=4,m=2,servers=3", "nats,n=4,m=2,servers=3,linger=100",
	}
}

func main() {
	child := flag.String("child", "", "what this process is: for the program itself")
	runs := flag.String("runs", "", "`runs` to make in place of the sweep, with spaces between")
	quick := flag.Bool("quick", false, "a few short runs")
	out := flag.String("json", "", "`file` for the figures")
	flag.Parse()
	if *child != "" {
		if err := runChild(*child, flag.Args()); err != nil {
			fmt.Fprintln(os.Stderr, "scale:", err)
			os.Exit(1)
		}
		return
	}
	chosen := sweep(*quick)
	if *runs != "" {
		chosen = strings.Fields(*runs)
	}
	if err := measureAll(chosen, *out); err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

// generators is what making a request costs, in seconds of processor time, by
// the rate of each listener, for at a low rate there is more to it than requests.
type generators map[int]float64

// of is that of the nearest rate.
func (g generators) of(rate int) float64 {
	best, cost := -1, 0.0
	for r, c := range g {
		if best < 0 || abs(r-rate) < abs(best-rate) {
			best, cost = r, c
		}
	}
	return cost
}

func abs(n int) int { return max(n, -n) }

func measureAll(runs []string, path string) error {
	machine := report.ThisMachine()
	fmt.Printf("%s, %d processors, %s, Linux %s, %s\n\n", machine.CPU, machine.Cores, machine.System, machine.Kernel, machine.Go)
	fmt.Println(header)
	made := generators{}
	var all []result
	for _, text := range runs {
		r, err := parseRun(text)
		if err != nil {
			return err
		}
		x, err := measure(r)
		if err != nil {
			return fmt.Errorf("run %s: %w", text, err)
		}
		if r.Via == "null" {
			made[r.Rate/r.Listeners] = x.ListenerCPU
		} else {
			x.ListenerCPU -= made.of(r.Rate / r.Listeners)
		}
		all = append(all, x)
		fmt.Println(x.row())
	}
	if path == "" {
		return nil
	}
	text, err := json.MarshalIndent(map[string]any{"machine": machine, "runs": all}, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}
