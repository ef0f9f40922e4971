package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"kagami"
	"kagami/replay"
	"kagami/replay/results"
)

// runMirror builds what cfg describes, runs it until its inputs end or ctx is
// done, drains it, and accounts for everything.
func runMirror(ctx context.Context, cfg Config) error {
	if dry, err := summarizeFiles(ctx, cfg); dry || err != nil {
		return err
	}
	if err := checkCPULimit(&cfg); err != nil {
		return err
	}
	if err := checkTrust(&cfg); err != nil {
		return err
	}
	m, err := newMirror(ctx, cfg)
	if err != nil {
		return err
	}
	if err := notifyReady(); err != nil {
		m.log.Warn(err.Error())
	}
	return m.run(ctx)
}

// A mirror is a pipeline and what watches it.
type mirror struct {
	*pipeline
	cfg       Config
	rights    *privileges
	heap      int64 // how much of --memory-limit Go's heap may have; 0 where there is no limit
	log       *slog.Logger
	admin     *adminServer
	baselines []target        // which answers are compared with as well
	quiet     []quietInput    // inputs that can say why nothing comes
	files     []*replay.Files // being replayed
	spools    []spoolLine     // of the tcp outputs

	subscribers []subscriber // inputs from brokers

	results    *resultsOf  // nil where nobody asked for results
	comparison *comparison // nil where nobody asked to compare

	useful context.Context // done when no output takes anything any more
	giveUp context.CancelFunc

	limits   []*inputLimit     // of the inputs
	live     map[int]liveInput // likewise, of those that capture at interfaces
	reloads  atomic.Int64      // how many there were
	past     []*treatment      // that a reload replaced, and batches may still have
	leaving  []*outputLine     // outputs that a reload took away, the last ones
	retiring sync.WaitGroup    // those of them that are not drained yet

	lastIndex int // that an output got

	pods     []*podServers // that raw inputs capture
	shedders []shedder     // inputs that can shed connections
	cpu      *cpuLimiter   // nil without --cpu-limit
	ending   atomic.Bool   // the inputs have ended
}

// run runs the mirror once.
func (m *mirror) run(ctx context.Context) error {
	defer m.stopAdmin()
	defer m.giveUp()
	inputs, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(m.useful, cancel)()
	if m.cfg.ExitAfter > 0 {
		var cancel context.CancelFunc
		inputs, cancel = context.WithTimeout(inputs, m.cfg.ExitAfter)
		defer cancel()
	}
	stopWatching := m.watch()
	stopReloading := m.reloading(inputs)
	err := m.pipeline.run(inputs)
	stopReloading()
	m.ending.Store(true)
	err = errors.Join(err, m.drain(ctx, inputs.Err() != nil || err != nil))
	// Only now is all of what listeners streamed settled, and acknowledged.
	err = errors.Join(err, m.closeInputs())
	err = errors.Join(err, m.closeState())
	stopWatching()
	m.sayLeft()
	m.sayFailures()
	err = errors.Join(err, m.results.close(m.cfg.DrainTimeout))
	return m.account(err)
}

// drain gives the outputs --drain-timeout to send what is queued, counted from
// the moment the process was asked to end. Where the inputs came to an end of
// themselves, as files do, there is no hurry until somebody asks.
func (m *mirror) drain(ctx context.Context, asked bool) error {
	drain, cancel := context.WithCancel(context.Background())
	defer cancel()
	hurry := func() { time.AfterFunc(m.cfg.DrainTimeout, cancel) }
	if asked {
		hurry()
	} else {
		defer context.AfterFunc(ctx, hurry)()
	}
	m.retiring.Wait()
	return m.shutdown(drain)
}

// reloading has the mirror reload until what it returns is called.
func (m *mirror) reloading(ctx context.Context) (stop func()) {
	if m.cfg.Reload == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); m.reloadWhenAsked(ctx) }()
	return func() { cancel(); <-done }
}

// watch starts what looks on while the mirror runs, and returns what ends it.
func (m *mirror) watch() func() {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	watch := func(f func(context.Context)) {
		wg.Add(1)
		go func() { defer wg.Done(); f(ctx) }()
	}
	for _, q := range m.quiet {
		watch(func(ctx context.Context) { q.explain(ctx, m.log) })
	}
	for _, p := range m.pods {
		watch(p.follow)
	}
	if m.cpu != nil {
		watch(m.cpu.run)
	}
	if m.results != nil {
		watch(m.results.tick)
	}
	if c := m.cfg.Console; c.Terminal || m.cfg.Stats {
		p := &progressLine{w: c.Stderr, every: time.Second, terminal: true, ledger: m.ledger, files: m.filesRead}
		if m.cfg.Stats {
			p.every, p.terminal = m.cfg.StatsEvery, false
		}
		watch(p.run)
	}
	return func() { cancel(); wg.Wait() }
}

// account prints and writes the ledger, and turns an imbalance into an error.
func (m *mirror) account(err error) error {
	st := m.ledger.Statement()
	if m.cfg.LogFormat == "json" {
		m.log.Info("ledger", "statement", st)
	} else if werr := st.WriteText(m.cfg.Console.Stderr); werr != nil {
		err = errors.Join(err, werr)
	}
	results := m.results.summary()
	err = errors.Join(err, m.printResults(results), m.comparison.report())
	if m.cfg.Summary != "" {
		err = errors.Join(err, writeSummary(m.cfg.Summary, statement{st, results}))
	}
	if err == nil && !st.Balanced {
		return exitError{exitUnbalanced, fmt.Errorf("the ledger does not balance: %v", st.Faults)}
	}
	if err == nil && results != nil && results.Failed() {
		return exitError{exitThreshold, fmt.Errorf("--fail-if %s", strings.Join(results.Failures(), "; --fail-if "))}
	}
	if err == nil {
		err = m.comparison.empty()
	}
	return err
}

// A statement is what --summary writes: the ledger, and the results if there are any.
type statement struct {
	kagami.Statement
	Results *results.Summary `json:"results,omitempty"`
}

// writeSummary writes the ledger into a file that is whole at any moment.
func writeSummary(path string, st statement) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".kagami-summary-*")
	if err != nil {
		return fmt.Errorf("--summary %s: %w", path, err)
	}
	defer os.Remove(f.Name())
	err = errors.Join(writeJSON(f, st), f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("--summary %s: %w", path, err)
	}
	return nil
}

// writeJSON writes v as one indented JSON object.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", " ")
	return e.Encode(v)
}

func (m *mirror) stopAdmin() {
	if m.admin != nil {
		m.admin.stop()
	}
}

// filesRead is how many bytes of recordings have been read, of how many.
func (m *mirror) filesRead() (done, total int64) {
	for _, f := range m.files {
		p := f.Progress()
		done += p.Done
		total += p.Total
	}
	return done, total
}
