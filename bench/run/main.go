//go:build linux

// Command run measures what mirroring costs production, end to end: nginx and what
// listens beside it on one processor, and clients, replayers and staging on another, on hosts
// made of network namespaces. It needs root and two processors.
//
//	go run ./bench/run                      everything, about 25 minutes
//	go run ./bench/run -quick               a first look, about 4 minutes
//	go run ./bench/run -only table,idle     some sections
//	go run ./bench/run -kagami OLD -only table -modes tcp-request
//	go run ./bench/run -only profile -profiles DIR
//
// It prints the figures, writes them to -json, and the tables and the plot into -docs.
// Whatever comes out, it exits with 0: these are measurements, not tests.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"kagami/bench/report"
)

// Options are what the flags say.
type options struct {
	kagami, gor, version string
	json, docs, profiles string
	only, modes          string
	replayerTo           string
	shares               []float64
	rounds, requests     int
	warm                 int
	slices               int
	slice, minute, limit time.Duration
	profile              time.Duration
	quick                bool
}

func parse() (options, error) {
	o := options{}
	flag.StringVar(&o.kagami, "kagami", os.Getenv("KAGAMI"), "a kagami `binary` to measure, in place of this checkout's")
	flag.StringVar(&o.gor, "gor", os.Getenv("GOR"), "GoReplay's `binary` to compare with; without, the one on PATH")
	flag.StringVar(&o.json, "json", "", "`file` for the figures")
	flag.StringVar(&o.docs, "docs", "", "Markdown `file` to write tables and plot into, between its markers")
	flag.StringVar(&o.profiles, "profiles", "bench/tmp", "`directory` for CPU profiles")
	flag.StringVar(&o.only, "only", "", "these `sections`: "+strings.Join(names(), ",")+",profile")
	flag.StringVar(&o.modes, "modes", "", "these `modes` only (table and keepalive), as tcp-request,http")
	flag.StringVar(&o.replayerTo, "replayer-to", "staging", "what replayers do: send to `staging`, or null; staging and its replayer share a processor with the load")
	shares := flag.String("shares", "10,20,50,100", "the `percents` of the table")
	flag.DurationVar(&o.profile, "profile", 30*time.Second, "how long each CPU profile is")
	flag.IntVar(&o.rounds, "rounds", 5, "how often each mode of the table is run")
	flag.IntVar(&o.requests, "n", 10000, "requests of each run of ab")
	flag.IntVar(&o.warm, "warm", 30000, "requests of ab before each run, which are not measured")
	flag.IntVar(&o.slices, "slices", 10, "how often each mode is switched on under keep-alive load")
	flag.DurationVar(&o.slice, "slice", 1500*time.Millisecond, "how long each time")
	flag.DurationVar(&o.minute, "minute", time.Minute, "how long memory is watched at full rate")
	flag.DurationVar(&o.limit, "limit", 40*time.Second, "how long a CPU limit is watched")
	flag.BoolVar(&o.quick, "quick", false, "fewer and shorter: a first look")
	flag.Parse()
	var err error
	if o.shares, err = parseShares(*shares); err != nil {
		return o, err
	}
	if o.replayerTo != "staging" && o.replayerTo != "null" {
		return o, fmt.Errorf("-replayer-to %s: want staging or null", o.replayerTo)
	}
	if o.quick {
		o.shares, o.rounds, o.slices, o.slice = []float64{10, 100}, 2, 3, time.Second
		o.minute, o.limit = 15*time.Second, 20*time.Second
	}
	if o.gor == "" {
		o.gor, _ = exec.LookPath("gor")
	}
	v, _ := exec.Command("git", "describe", "--tags", "--always", "--dirty").Output()
	o.version = strings.TrimSpace(string(v))
	return o, nil
}

// parseShares reads percents between commas.
func parseShares(list string) (shares []float64, err error) {
	for _, s := range strings.Split(list, ",") {
		v, err := strconv.Atoi(s)
		if err != nil || v < 1 || v > 100 {
			return nil, fmt.Errorf("-shares %s: want whole percents, as 10,50", list)
		}
		shares = append(shares, float64(v))
	}
	return shares, nil
}

func main() {
	o, err := parse()
	if err == nil {
		err = measure(o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func measure(o options) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("this needs root, for network namespaces and packet capture")
	}
	chosen, err := choose(o.only)
	if err != nil {
		return err
	}
	b, err := makeBed(o)
	if err != nil {
		return err
	}
	defer b.remove()
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-interrupted
		b.remove()
		os.Exit(1)
	}()
	b.out.Setting = strings.Join(os.Args[1:], " ")
	for _, s := range chosen {
		fmt.Fprintf(os.Stderr, "%s %s\n", time.Now().Format(time.TimeOnly), s.name)
		if err := s.run(b); err != nil {
			b.out.Note("section %s broke off: %v", s.name, err)
			fmt.Fprintln(os.Stderr, "bench:", s.name+":", err)
			if b.running != nil && b.running.process != nil {
				b.running.kill()
			}
			b.running = nil
		}
		if o.json != "" { // after each: a run that is ended early has left something
			if err := b.out.Save(o.json); err != nil {
				return err
			}
		}
	}
	fmt.Print(b.out.Markdown())
	if o.docs == "" {
		return nil
	}
	return report.Publish(b.out, o.docs)
}

// A section is one kind of measurement.
type section struct {
	name string
	run  func(*bed) error
}

var sections = []section{
	{"table", table}, {"keepalive", keepalive}, {"memory", memory}, {"idle", idle},
	{"delay", delay}, {"engines", engines}, {"limit", limit}, {"replay", replays},
}

func names() (all []string) {
	for _, s := range sections {
		all = append(all, s.name)
	}
	return all
}

func choose(only string) ([]section, error) {
	if only == "" {
		return sections, nil
	}
	var chosen []section
	for _, name := range strings.Split(only, ",") {
		found := false
		for _, s := range append(sections[:len(sections):len(sections)], section{"profile", profile}) {
			if s.name == name {
				chosen, found = append(chosen, s), true
			}
		}
		if !found {
			return nil, fmt.Errorf("no section %q: there are %s, profile", name, strings.Join(names(), ", "))
		}
	}
	return chosen, nil
}

// chooses reports whether a mode is among those asked for.
func (o options) chooses(m mode) bool {
	if o.modes == "" {
		return true
	}
	for _, name := range strings.Split(o.modes, ",") {
		if name == m.name {
			return true
		}
	}
	return false
}
