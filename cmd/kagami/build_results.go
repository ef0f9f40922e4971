package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"kagami"
	"kagami/output"
	"kagami/replay/results"
)

// checkResults checks what is asked for about results.
func checkResults(cfg *Config) error {
	c := &cfg.Results
	if c.Webhook != "" {
		// The value stands in no message, for it is a secret.
		if _, err := results.NewAlert(results.AlertConfig{URL: c.Webhook}); err != nil {
			return usagef("--alert-webhook: %w", err)
		}
	}
	if !c.on() {
		return nil
	}
	if len(cfg.Outputs) == kagami.MaxOutputs {
		return usagef("%d outputs, and results: there can be one output less", len(cfg.Outputs))
	}
	answers := false
	for _, in := range cfg.Inputs {
		answers = answers || in.Kind == InputFile || in.Kind == InputTCP || in.Kind == InputNATS
	}
	for _, out := range cfg.Outputs {
		answers = answers || out.Kind == OutputHTTP
		if c.Path == "-" && out.Kind == OutputStdout {
			return usagef("--output-results - and --output-stdout would be mixed on standard output: name a file for one of them")
		}
	}
	if !answers {
		return usagef("results are about staging's answers: they need an --output-http, or a recording of such answers")
	}
	return nil
}

// idleResults says whether a setting about results has nothing to act on.
func idleResults(g given, cfg *Config) []string {
	c := &cfg.Results
	switch flag := g.option.flag; {
	case flag == "output-results-append" && (c.Path == "" || c.Path == "-"):
		return []string{"--output-results-append changes nothing without a file for --output-results"}
	case flag == "min-exchanges" && len(c.FailIf) == 0:
		return []string{"--min-exchanges changes nothing without --fail-if"}
	case flag == "alert-webhook" && len(c.FailIf) == 0:
		return []string{"--alert-webhook changes nothing without --fail-if: say what to watch, as in --fail-if 'error_rate>1%'"}
	case flag == "alert-window" && c.Webhook == "":
		return []string{"--alert-window changes nothing without --alert-webhook"}
	case cfg.DryRun && (flag == "output-results" || flag == "fail-if" || flag == "alert-webhook"):
		return []string{"--" + flag + " changes nothing with --dry-run: nothing is sent"}
	}
	return nil
}

// A resultsOf makes results of what the outputs send and hear. A nil one makes none.
type resultsOf struct {
	cfg  *Config
	log  *slog.Logger
	run  *results.Run // once everything else is open
	taps []*resultsTap
}

// newResults returns what makes results, nil where there is nothing to make.
func newResults(cfg *Config, log *slog.Logger) *resultsOf {
	if !cfg.Results.on() || cfg.DryRun {
		return nil
	}
	return &resultsOf{cfg: cfg, log: log}
}

// headOfAnswer is how much of an answer is kept where nobody wants but its status, in bytes.
const headOfAnswer = 1 << 10

// tap listens to the answers of the http output that hc is about to make. Its
// index is that of hc.
func (r *resultsOf) tap(hc *output.HTTPConfig) *resultsTap {
	if r == nil {
		return nil
	}
	t := &resultsTap{index: hc.Index, next: hc.Answers}
	if hc.Answers == nil {
		hc.AnswerSize = headOfAnswer
	}
	hc.Answers = heardAnswers{t}
	r.taps = append(r.taps, t)
	t.of = r
	return t
}

// A resultsTap stands right before an http output, and hears its answers.
type resultsTap struct {
	output.Output
	of    *resultsOf
	index int
	pairs *results.Pairs
	rows  *comparedRows // nil where answers are not compared
	next  output.Output // where answers go beside; nil nowhere
}

// before returns out with t before it; a nil t changes nothing.
func (t *resultsTap) before(out output.Output, name string) output.Output {
	if t == nil {
		return out
	}
	t.Output = out
	add := t.of.add
	if c, ok := out.(*compareTap); ok {
		t.rows = newComparedRows(add)
		add, c.rows = t.rows.result, t.rows
	}
	t.pairs = t.of.newPairs(name, add, func(e *kagami.Exchange) bool { return e.Fate(t.index) != kagami.Kept })
	return t
}

func (r *resultsOf) add(res results.Result) { r.run.Add(res) }

func (r *resultsOf) newPairs(name string, add func(results.Result), gone func(*kagami.Exchange) bool) *results.Pairs {
	return results.NewPairs(results.PairsConfig{
		Target:       name,
		Add:          add,
		Endpoint:     endpointOf,
		Gone:         gone,
		NoProduction: !r.cfg.bringsAnswers(),
	})
}

// Write passes a batch on, and takes note of what becomes of it.
func (t *resultsTap) Write(ctx context.Context, b kagami.Batch) error {
	return t.Output.Write(ctx, t.pairs.Watch(b))
}

// InFlight is what the output holds.
func (t *resultsTap) InFlight() int64 { return output.InFlight(t.Output) }

// heardAnswers is where the output behind a tap hands its answers.
type heardAnswers struct{ tap *resultsTap }

func (a heardAnswers) Write(ctx context.Context, b kagami.Batch) error {
	for _, m := range b.Messages {
		a.tap.pairs.Note(m)
	}
	if a.tap.next == nil {
		b.DoneAll(kagami.Delivered)
		return nil
	}
	return a.tap.next.Write(ctx, b)
}

func (heardAnswers) Close() error { return nil }

// seenAnswers is the output that is shown production's answers. Where nothing is
// sent, because a recording with staging's answers is looked at, it is shown all.
type seenAnswers struct{ of *resultsOf }

func (a seenAnswers) Write(_ context.Context, b kagami.Batch) error {
	for _, m := range b.Messages {
		for _, t := range a.of.taps {
			if m.Kind == kagami.Response || t.Output == nil {
				t.pairs.Note(m)
			}
		}
	}
	b.DoneAll(kagami.Delivered)
	return nil
}

func (seenAnswers) Close() error { return nil }

// openResults opens the file of rows, when all else is open.
func (m *mirror) openResults() error {
	r := m.results
	if r == nil {
		return nil
	}
	c := &m.cfg.Results
	rc := results.Config{
		Thresholds:   c.FailIf,
		MinExchanges: int64(c.MinExchanges),
		Window:       c.Window,
		Name:         "kagami " + string(m.cfg.Role) + " on " + listenerID(),
		Failed:       func(err error) { m.log.Error("results", "error", err) },
	}
	if m.comparison != nil {
		rc.Compared = m.comparison.counts
	}
	var err error
	if c.Webhook != "" && len(c.FailIf) > 0 {
		if rc.Alert, err = results.NewAlert(results.AlertConfig{URL: c.Webhook}); err != nil {
			return usagef("--alert-webhook: %w", err)
		}
	}
	if rc.Rows, err = m.createRows(); err != nil {
		return err
	}
	if r.run, err = results.New(rc); err != nil {
		return err
	}
	if len(r.taps) == 0 {
		r.taps = []*resultsTap{{pairs: r.newPairs("", r.add, nil)}}
	}
	full := output.WaitWhenFull
	for i := range m.cfg.Inputs {
		if !m.cfg.Inputs[i].canWait() {
			full = output.DropWhenFull
		}
	}
	m.setLooker("results", seenAnswers{r}, output.QueueConfig{OnFull: full})
	return nil
}

// createRows opens what --output-results names.
func (m *mirror) createRows() (io.WriteCloser, error) {
	switch c := &m.cfg.Results; c.Path {
	case "":
		return nil, nil
	case "-":
		return keptOpen{m.cfg.Console.Stdout}, nil
	default:
		f, err := results.Create(c.Path, c.Append)
		if errors.Is(err, os.ErrExist) {
			err = fmt.Errorf("%w; name another, or say --output-results-append to add to it", err)
		}
		if err != nil {
			return nil, fmt.Errorf("--output-results %w", err)
		}
		return f, nil
	}
}

// keptOpen is a writer that is not ours to close.
type keptOpen struct{ io.Writer }

func (keptOpen) Close() error { return nil }

// tick does what is due every second, until ctx ends.
func (r *resultsOf) tick(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			for _, t := range r.taps {
				t.pairs.Tick()
			}
			r.run.Tick()
		}
	}
}

// close writes what is left, when the outputs are closed, and gives alerts so long.
func (r *resultsOf) close(wait time.Duration) error {
	if r == nil || r.run == nil {
		return nil
	}
	var errs []error
	for _, t := range r.taps {
		errs = append(errs, t.pairs.Close())
		t.rows.flush()
	}
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	if err := r.run.Close(ctx); err != nil {
		errs = append(errs, fmt.Errorf("--output-results %s: %w", r.cfg.Results.Path, err))
	}
	return errors.Join(errs...)
}

// summary is what came of it; nil where there are no results.
func (r *resultsOf) summary() *results.Summary {
	if r == nil {
		return nil
	}
	s := r.run.Summary()
	return &s
}

// printResults prints the summary behind the ledger.
func (m *mirror) printResults(s *results.Summary) error {
	switch {
	case s == nil:
		return nil
	case m.cfg.LogFormat == "json":
		short := *s
		short.Staging.Histogram, short.Production.Histogram, short.ScheduleLag.Histogram = "", "", ""
		m.log.Info("results", "summary", &short)
		return nil
	}
	return s.WriteText(m.cfg.Console.Stderr)
}
