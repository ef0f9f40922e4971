package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"kagami"
)

// runDemo shows the whole chain on loopback: a production server under load, a
// listener that captures it, a replayer, and two staging servers, of which one
// is sent everything and the other a tenth. The listener and the replayer are
// this same program, run as a user would run it.
func runDemo(ctx context.Context, cfg DemoConfig) error {
	dir, err := os.MkdirTemp("", "kagami-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	d := &demo{cfg: cfg, dir: dir}
	defer d.stop()
	if err := d.start(ctx); err != nil {
		return err
	}
	d.drive(ctx)
	return d.finish()
}

type demo struct {
	cfg                            DemoConfig
	dir                            string
	production, staging1, staging2 *demoServer
	listener, replayer             *child
	broker                         *demoBroker // nil: they stream to each other
}

func (d *demo) start(ctx context.Context) (err error) {
	if d.cfg.NATS {
		if d.broker, err = startDemoBroker(d.dir); err != nil {
			return err
		}
	}
	for _, s := range []**demoServer{&d.production, &d.staging1, &d.staging2} {
		if *s, err = startDemoServer(); err != nil {
			return err
		}
	}
	out := d.cfg.Console.Stderr
	fmt.Fprintf(out, "production  http://%s\n", d.production.addr)
	fmt.Fprintf(out, "staging1    http://%s  is sent everything\n", d.staging1.addr)
	fmt.Fprintf(out, "staging2    http://%s  is sent a tenth\n", d.staging2.addr)
	input, ready := []string{"--input-tcp", "127.0.0.1:0"}, "listening"
	if d.broker != nil {
		fmt.Fprintf(out, "broker      %s\n", d.broker.url)
		input, ready = []string{"--input-nats", d.broker.url}, "waiting"
	}
	d.replayer, err = startChild(ctx, out, ready, "replay", input[0], input[1],
		"--output-http", "http://"+d.staging1.addr, "--output-http", "http://"+d.staging2.addr+"|10%",
		"--summary", filepath.Join(d.dir, "replay.json"))
	if err != nil {
		return err
	}
	to := []string{"--output-tcp", d.replayer.ready["address"]}
	if d.broker != nil {
		to = []string{"--output-nats", d.broker.url}
	}
	d.listener, err = startChild(ctx, out, "capturing", "listen", "--input-raw", "lo:"+d.production.port(),
		to[0], to[1], "--summary", filepath.Join(d.dir, "listen.json"))
	return err
}

// drive puts load on production, and shows how far it is.
func (d *demo) drive(ctx context.Context) {
	loadCtx, cancel := context.WithTimeout(ctx, d.cfg.Duration)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		driveLoad(loadCtx, "http://"+d.production.addr, d.cfg.Rate)
	}()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for end, out := "\n", d.cfg.Console.Stderr; ; {
		select {
		case <-tick.C:
			if d.cfg.Console.Terminal {
				fmt.Fprintf(out, "\rserved %d, staging1 got %d, staging2 got %d ", d.production.served(), d.staging1.served(), d.staging2.served())
			}
		case <-done:
			if d.cfg.Console.Terminal {
				fmt.Fprint(out, end)
			}
			return
		}
	}
}

// finish ends listener and replayer in the order that loses nothing, and
// compares what everybody counted.
func (d *demo) finish() error {
	listened, err := d.listener.finish(filepath.Join(d.dir, "listen.json"))
	if err != nil {
		return err
	}
	d.await(listened)
	replayed, err := d.replayer.finish(filepath.Join(d.dir, "replay.json"))
	if err != nil {
		return err
	}
	r := demoResult{
		served: d.production.served(), got1: d.staging1.served(), got2: d.staging2.served(),
		listened: listened, replayed: replayed,
		name1: "http://" + d.staging1.addr, name2: "http://" + d.staging2.addr,
	}
	if err := r.write(d.cfg.Console.Stdout); err != nil {
		return err
	}
	if faults := r.faults(); len(faults) > 0 {
		return exitError{exitUnbalanced, errors.Join(faults...)}
	}
	return nil
}

func (d *demo) stop() {
	for _, c := range []*child{d.listener, d.replayer} {
		if c != nil {
			c.kill()
		}
	}
	for _, s := range []*demoServer{d.production, d.staging1, d.staging2} {
		if s != nil {
			s.stop()
		}
	}
	if d.broker != nil {
		d.broker.stop()
	}
}

// A demoResult is what servers and ledgers counted.
type demoResult struct {
	served, got1, got2 int64
	name1, name2       string
	listened, replayed kagami.Statement
}

func (r demoResult) out(st kagami.Statement, stage, of string) int64 {
	s, _ := st.Stage(stage, of, kagami.Messages)
	return s.Out
}

func (r demoResult) write(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "\trequests\t\n")
	fmt.Fprintf(t, "served by production\t%d\t\n", r.served)
	fmt.Fprintf(t, "captured\t%d\t\n", r.out(r.listened, "capture", ""))
	fmt.Fprintf(t, "streamed to the replayer\t%d\t\n", r.out(r.listened, "output", ""))
	fmt.Fprintf(t, "delivered to staging1 (100 %%)\t%d\t\n", r.got1)
	fmt.Fprintf(t, "delivered to staging2 (10 %%)\t%d\t\n", r.got2)
	dropped := map[kagami.Reason]int64{}
	for _, st := range []kagami.Statement{r.listened, r.replayed} {
		for _, s := range st.Stages {
			if s.Unit == kagami.Messages {
				for reason, n := range s.Dropped {
					dropped[reason] += n
				}
			}
		}
	}
	for _, reason := range kagami.Reasons() {
		if dropped[reason] > 0 {
			fmt.Fprintf(t, "dropped: %s\t%d\t\n", reason, dropped[reason])
		}
	}
	return t.Flush()
}

// faults says what does not add up, within a process, between the two, or with
// what the servers saw.
func (r demoResult) faults() []error {
	var errs []error
	for _, st := range []kagami.Statement{r.listened, r.replayed} {
		for _, f := range st.Faults {
			errs = append(errs, fmt.Errorf("%s: %s", st.Role, f))
		}
	}
	same := func(what string, a, b int64) {
		if a != b {
			errs = append(errs, fmt.Errorf("%s: %d and %d", what, a, b))
		}
	}
	captured, _ := r.listened.Stage("capture", "", kagami.Messages)
	stream, ok := r.replayed.Stage("stream", "", kagami.Messages)
	if !ok {
		stream, _ = r.replayed.Stage("broker", "", kagami.Messages)
	}
	same("requests served and captured", r.served, captured.In)
	same("requests sent by the listener and received by the replayer", r.out(r.listened, "output", ""), stream.In)
	same("requests delivered to staging1 and counted there", r.out(r.replayed, "output", r.name1), r.got1)
	same("requests delivered to staging2 and counted there", r.out(r.replayed, "output", r.name2), r.got2)
	if r.served == 0 || r.got1 == 0 {
		errs = append(errs, errors.New("nothing was mirrored"))
	}
	return errs
}

func readStatement(path string) (kagami.Statement, error) {
	var st kagami.Statement
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, &st)
	}
	return st, err
}
