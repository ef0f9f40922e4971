// Package report keeps what bench/run measured, and shows it: as JSON, as tables in
// Markdown, and as a plot in SVG. It measures nothing itself.
//
//	r := &report.Results{Machine: report.ThisMachine()}
//	r.Add("table", "tcp", 10, "kept", 0.96)
//	…
//	err := r.Save("latest.json")
package report

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Results are the figures of a run, and what they were measured on.
type Results struct {
	When    time.Time `json:"when"`
	Version string    `json:"version"` // what the measured binary says of itself
	Setting string    `json:"setting"` // the flags of the run
	Machine Machine   `json:"machine"`
	Figures []*Figure `json:"figures"`
	Skipped []string  `json:"skipped,omitempty"` // what was not measured, and why
	Notes   []string  `json:"notes,omitempty"`   // what happened that a reader of the figures should know
}

// A Figure is one thing that was measured again and again.
type Figure struct {
	Section string    `json:"section"`
	Mode    string    `json:"mode"`
	Share   float64   `json:"share"` // percent
	Metric  string    `json:"metric"`
	Median  float64   `json:"median"`
	Min     float64   `json:"min"`
	Max     float64   `json:"max"`
	Values  []float64 `json:"values"` // in the order they were measured
}

// Add adds a value to a figure, which is made if it is the first.
func (r *Results) Add(section, mode string, share float64, metric string, v float64) {
	f := r.Find(section, mode, share, metric)
	if f == nil {
		f = &Figure{Section: section, Mode: mode, Share: share, Metric: metric}
		r.Figures = append(r.Figures, f)
	}
	f.Values = append(f.Values, Round(v))
	f.Median, f.Min, f.Max = Median(f.Values), f.Values[0], f.Values[0]
	for _, v := range f.Values {
		f.Min, f.Max = min(f.Min, v), max(f.Max, v)
	}
}

// Find returns a figure, or nil if there is none.
func (r *Results) Find(section, mode string, share float64, metric string) *Figure {
	for _, f := range r.Figures {
		if f.Section == section && f.Mode == mode && f.Share == share && f.Metric == metric {
			return f
		}
	}
	return nil
}

// Skip says that something was not measured, and why.
func (r *Results) Skip(format string, args ...any) {
	r.Skipped = appendNew(r.Skipped, fmt.Sprintf(format, args...))
}

// Note says what happened.
func (r *Results) Note(format string, args ...any) {
	r.Notes = appendNew(r.Notes, fmt.Sprintf(format, args...))
}

func appendNew(all []string, s string) []string {
	for _, a := range all {
		if a == s {
			return all
		}
	}
	return append(all, s)
}

// Save writes the results to a file of JSON, whose directory it makes.
func (r *Results) Save(path string) error {
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return fmt.Errorf("results: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}

// Load reads what Save wrote.
func Load(path string) (*Results, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := &Results{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}
