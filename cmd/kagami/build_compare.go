package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"

	"kagami"
	"kagami/output"
	"kagami/replay/compare"
)

// outputsOfCompare is how many numbers of outputs one that compares takes beside its own.
const outputsOfCompare = 2

// A comparison is what is compared at the http outputs that say so. A nil one compares nothing.
type comparison struct {
	cfg   *Config
	log   *slog.Logger
	taps  []*compareTap
	tally compareCounts
	file  *os.File // for the report; nil none
}

// newComparison returns what compares, nil where there is nothing to compare.
func newComparison(cfg *Config, log *slog.Logger) *comparison {
	if !cfg.compares() {
		return nil
	}
	return &comparison{cfg: cfg, log: log, tally: newCompareCounts()}
}

// config is what package compare has to know.
func (c *CompareConfig) config() compare.Config {
	cc := compare.Config{
		Ignore: c.Ignore, Headers: c.Headers,
		Timeout: c.Timeout, MaxBytes: c.Memory, MaxBody: int(c.MaxBody), Examples: c.Examples,
	}
	if c.Examples == 0 {
		cc.Examples = -1
	}
	return cc
}

// headOfAnswers is how much more of an answer is kept than a body may take, in bytes.
const headOfAnswers = 64 << 10

// tap makes hc, of an http output that is about to be made, hand its answers to comparing.
func (c *comparison) tap(hc *output.HTTPConfig, cfg OutputConfig, m *mirror) *compareTap {
	if c == nil || !cfg.HTTP.Compare {
		return nil
	}
	top := kagami.MaxOutputs - 2 - outputsOfCompare*len(c.taps)
	t := &compareTap{of: c, index: hc.Index, place: top, next: hc.Answers}
	hc.AnswerSize = int(c.cfg.Compare.MaxBody) + headOfAnswers
	if cfg.HTTP.Baseline != "" {
		t.baseline = newBaseline(t, *hc, cfg.HTTP.Baseline, top-1, m)
	}
	hc.Answers = comparedAnswers{t}
	c.taps = append(c.taps, t)
	return t
}

// openComparison opens the file of the report, when all else is open, and adds what
// compares to the ledger.
func (m *mirror) openComparison() error {
	c := m.comparison
	if c == nil {
		return nil
	}
	for _, t := range c.taps {
		m.ledger.Add(t.stage)
		if t.baseline != nil {
			m.ledger.Add(t.baseline.stage)
		}
	}
	path := m.cfg.Compare.Report
	if path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		err = fmt.Errorf("%w, and nothing is overwritten; name another", err)
	}
	if err != nil {
		return fmt.Errorf("--compare-report %w", err)
	}
	c.file = f
	return nil
}

// abandon takes back the file of the report, where nothing was run.
func (c *comparison) abandon() error {
	if c == nil || c.file == nil {
		return nil
	}
	return errors.Join(c.file.Close(), os.Remove(c.file.Name()))
}

// counts is how many exchanges were compared so far, and how many of them differ.
func (c *comparison) counts() (compared, different int64) {
	for _, t := range c.taps {
		r := t.compare.Report()
		compared += r.Compared
		different += r.Different
	}
	return compared, different
}

// A compareReport is the file of --compare-report.
type compareReport struct {
	Version int             `json:"version"`
	Targets []compareTarget `json:"targets"`
}

// A compareTarget is what comparing came to at one output.
type compareTarget struct {
	Target   string `json:"target"`
	Baseline string `json:"baseline,omitempty"`
	compare.Report
}

// report prints what came of comparing, and writes the file.
func (c *comparison) report() error {
	if c == nil {
		return nil
	}
	all := compareReport{Version: compare.ReportVersion}
	for _, t := range c.taps {
		target := compareTarget{Target: t.name, Report: t.compare.Report()}
		if t.baseline != nil {
			target.Baseline = t.baseline.name
		}
		all.Targets = append(all.Targets, target)
	}
	err := c.print(all)
	if c.file != nil {
		if werr := errors.Join(writeJSON(c.file, all), c.file.Close()); werr != nil {
			err = errors.Join(err, fmt.Errorf("--compare-report %s: %w", c.file.Name(), werr))
		}
	}
	return err
}

func (c *comparison) print(all compareReport) error {
	if c.cfg.LogFormat == "json" {
		short := compareReport{Version: all.Version, Targets: slices.Clone(all.Targets)}
		for i := range short.Targets {
			t := &short.Targets[i]
			t.Endpoints, t.Groups, t.Noises = first(t.Endpoints), first(t.Groups), first(t.Noises)
		}
		c.log.Info("comparison", "report", short)
		return nil
	}
	var b strings.Builder
	for _, t := range all.Targets {
		fmt.Fprintf(&b, "answers of %s and of production: ", t.Target)
		if _, err := t.WriteTo(&b); err != nil {
			return err
		}
	}
	_, err := io.WriteString(c.cfg.Console.Stderr, b.String())
	return err
}

// loggedItems is how much of each list of a report a line of the log has.
const loggedItems = 50

func first[T any](all []T) []T { return all[:min(len(all), loggedItems)] }

// empty says that nothing was compared, where that is a mistake: a recording that has
// come to its end.
func (c *comparison) empty() error {
	if c == nil {
		return nil
	}
	if n, _ := c.counts(); n > 0 {
		return nil
	}
	why := map[string]int64{}
	for _, t := range c.taps {
		for reason, n := range t.compare.Report().NotCompared {
			why[reason] += n
		}
	}
	var reasons []string
	for reason, n := range why {
		reasons = append(reasons, fmt.Sprintf("%s %d", reason, n))
	}
	slices.Sort(reasons)
	text := "nothing was compared"
	if len(reasons) > 0 {
		text += ": " + strings.Join(reasons, ", ")
	}
	if why[kagami.NoProductionResponse.String()] > 0 {
		text += "; a recording has production's answers if it was made with --input-raw-track-response"
	}
	for i := range c.cfg.Inputs {
		if !c.cfg.Inputs[i].canWait() {
			c.log.Warn(text) // whoever streams has perhaps sent nothing yet
			return nil
		}
	}
	return errors.New(text)
}
