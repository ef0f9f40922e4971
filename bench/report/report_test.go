package report_test

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"kagami/bench/report"
)

func TestArithmetic(t *testing.T) {
	for _, c := range []struct {
		name      string
		got, want float64
	}{
		{"median of one", report.Median([]float64{7}), 7},
		{"median of three", report.Median([]float64{9, 1, 5}), 5},
		{"median of two", report.Median([]float64{4, 1}), 2.5},
		{"first of quantiles", report.Quantile([]float64{3, 1, 2}, 0), 1},
		{"last of quantiles", report.Quantile([]float64{3, 1, 2}, 1), 3},
		{"between two", report.Quantile([]float64{0, 10}, 0.99), 9.9},
		{"kept, of the mean on both sides", report.Kept(90, 80, 120), 0.9},
		{"no slope", report.Slope([]float64{5, 5, 5}), 0},
		{"slope of a line", report.Slope([]float64{1, 3, 5, 7}), 2},
		{"slope of one", report.Slope([]float64{1}), 0},
		{"rounded", report.Round(1234.56789), 1234.6},
		{"rounded small", report.Round(0.00012345678), 0.00012346},
	} {
		if math.Abs(c.got-c.want) > 1e-9 {
			t.Errorf("%s: %v, want %v", c.name, c.got, c.want)
		}
	}
	if !math.IsNaN(report.Median(nil)) {
		t.Error("there is a median of nothing")
	}
	if got, want := report.Windows([]float64{1, 2, 3, 6}, 3), []float64{2, 11.0 / 3}; !reflect.DeepEqual(got, want) {
		t.Errorf("windows %v, want %v", got, want)
	}
	if got := report.Windows([]float64{1}, 2); got != nil {
		t.Errorf("windows longer than the values: %v", got)
	}
}

func example() *report.Results {
	r := &report.Results{Version: "kagami <1>"}
	for _, v := range []float64{0.9, 0.8, 1.1} {
		r.Add("table", "http", 10, "kept", v)
	}
	r.Add("table", "http", 100, "kept", 0.99)
	r.Add("table", "a & b", 100, "kept", 0.98)
	r.Add("table", "none", 0, "requests/s", 12345)
	r.Add("idle", "tcp-request", 100, "% of a core", 0.3)
	r.Skip("engine %s", "x")
	r.Skip("engine %s", "x")
	return r
}

func TestAFigureHasMedianMinAndMax(t *testing.T) {
	f := example().Find("table", "http", 10, "kept")
	if f == nil || f.Median != 0.9 || f.Min != 0.8 || f.Max != 1.1 || len(f.Values) != 3 {
		t.Errorf("%+v", f)
	}
	if example().Find("table", "http", 11, "kept") != nil {
		t.Error("found what was not added")
	}
}

func TestSavedResultsAreReadAsTheyWere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "r.json")
	if err := example().Save(path); err != nil {
		t.Fatal(err)
	}
	got, err := report.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, example()) {
		t.Errorf("%+v", got)
	}
}

func TestTablesHaveFiguresAndTargets(t *testing.T) {
	text := example().Markdown()
	for _, want := range []string{
		"| one process, to HTTP | 0.90 (0.80 – 1.10)<br>≥ 0.95: **missed** | 0.99<br>≥ 0.8: met |",
		"| a & b | – | 0.98 |",
		"| no listener | 12345 |",
		"0.30 | ≤ 0.1: **missed** |",
		"- engine x\n",
	} {
		if strings.Count(text, want) != 1 {
			t.Errorf("not once in the tables: %s\n%s", want, text)
		}
	}
}

func TestThePlotIsWellFormed(t *testing.T) {
	for name, r := range map[string]*report.Results{"example": example(), "nothing": {}} {
		plot := r.Plot()
		d := xml.NewDecoder(strings.NewReader(plot))
		for {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v\n%s", name, err, plot)
			}
		}
		if strings.Contains(plot, "%!") || strings.Contains(plot, "NaN") {
			t.Errorf("%s: %s", name, plot)
		}
	}
	if plot := example().Plot(); !strings.Contains(plot, "0.98 a &amp; b") {
		t.Errorf("no label of a mode: %s", plot)
	}
}

func TestPublishLeavesWhatWasWrittenByHand(t *testing.T) {
	path := filepath.Join(t.TempDir(), "performance.md")
	const head, tail = "# By hand\n\n<!-- bench: begin -->\n", "<!-- bench: end -->\n\nby hand\n"
	if err := os.WriteFile(path, []byte(head+"old\n"+tail), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := report.Publish(example(), path); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s := string(b)
	if !strings.HasPrefix(s, head) || !strings.HasSuffix(s, tail) || strings.Contains(s, "old") || strings.Count(s, "performance.svg") != 1 {
		t.Errorf("%s", s)
	}
	if _, err := os.Stat(strings.TrimSuffix(path, ".md") + ".svg"); err != nil {
		t.Error(err)
	}
	if _, err := report.Replace("no markers", "x"); err == nil {
		t.Error("a document without markers was taken")
	}
}
