package results_test

import (
	"strings"
	"testing"
	"time"

	"kagami"
	"kagami/replay/results"
)

func TestParseThreshold(t *testing.T) {
	for _, test := range []struct{ text, want, err string }{
		{"error_rate>1%", "error_rate>1%", ""},
		{" p99 >= 500ms ", "p99>=500ms", ""},
		{"p999>1.5s", "p999>1.5s", ""},
		{"diff_rate>0.1%", "diff_rate>0.1%", ""},
		{"diff_rate>0.001", "diff_rate>0.001", ""},
		{"p99_ratio>1.2", "p99_ratio>1.2", ""},
		{"mean_ratio>120%", "mean_ratio>120%", ""},
		{"rate<100/s", "rate<100/s", ""},
		{"rate<=0.5", "rate<=0.5", ""},
		{"count<1000", "count<1000", ""},
		{"production_p99<1us", "production_p99<1us", ""},
		{"", "", "want a metric, one of > >= < <= and a value"},
		{"error_rate", "", "want a metric"},
		{"error_rate=1%", "", "want a metric"},
		{"error_rates>1%", "", `unknown metric "error_rates": want one of error_rate, no_answer_rate, status_5xx_rate, `},
		{">1%", "", `unknown metric ""`},
		{"error_rate>", "", "a value is missing behind error_rate>"},
		{"error_rate>1", "error_rate>1", ""},
		{"error_rate>2", "", "is more than all"},
		{"error_rate>101%", "", "is more than all"},
		{"error_rate>-1%", "", "want a share, as in 1% or 0.01"},
		{"error_rate>nan", "", "want a share"},
		{"error_rate>0x1p-2", "", "want a share"},
		{"error_rate>>1%", "", "want a share"},
		{"error_rate>1%|p99>1s", "", "want a share"},
		{"p99>500", "", "want a time with its unit, as in 500ms or 2s"},
		{"p99>-1s", "", "want a time"},
		{"p99_ratio>inf", "", "want a ratio"},
		{"rate<100/m", "", "want a number a second"},
		{"count<1.5", "", "want a whole number"},
	} {
		th, err := results.ParseThreshold(test.text)
		switch {
		case test.err == "" && (err != nil || th.String() != test.want):
			t.Errorf("%q: %q, %v: want %q", test.text, th, err, test.want)
		case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)):
			t.Errorf("%q: error %v: want one with %q", test.text, err, test.err)
		}
	}
}

// results of a run: n of each, 10 ms apart.
func run(t *testing.T, least int64, rs ...results.Result) *results.Run {
	t.Helper()
	r, err := results.New(results.Config{MinExchanges: least})
	if err != nil {
		t.Fatal(err)
	}
	for i, res := range rs {
		res.Sent = begin.Add(time.Duration(i) * 10 * time.Millisecond)
		r.Add(res)
	}
	return r
}

var begin = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

func times(n int, r results.Result) []results.Result {
	rs := make([]results.Result, n)
	for i := range rs {
		rs[i] = r
	}
	return rs
}

func check(t *testing.T, expr string, least int64, rs []results.Result) results.Check {
	t.Helper()
	th, err := results.ParseThreshold(expr)
	if err != nil {
		t.Fatal(err)
	}
	r, err := results.New(results.Config{MinExchanges: least, Thresholds: []results.Threshold{th}})
	if err != nil {
		t.Fatal(err)
	}
	for i, res := range rs {
		res.Sent = begin.Add(time.Duration(i) * 10 * time.Millisecond)
		r.Add(res)
	}
	s := r.Summary()
	if s.Failed() != s.Thresholds[0].Failed() || s.Failed() != (len(s.Failures()) == 1) {
		t.Errorf("%s: failed %v, failures %q, check %+v", expr, s.Failed(), s.Failures(), s.Thresholds[0])
	}
	return s.Thresholds[0]
}

func TestThresholdsOverTheWholeRun(t *testing.T) {
	const ms = time.Millisecond
	ok := results.Result{ProductionStatus: 200, StagingStatus: 200, ProductionLatency: 10 * ms, StagingLatency: 12 * ms}
	slow := results.Result{ProductionStatus: 200, StagingStatus: 200, ProductionLatency: 10 * ms, StagingLatency: 700 * ms}
	broken := results.Result{ProductionStatus: 200, StagingStatus: 500, ProductionLatency: 10 * ms, StagingLatency: 12 * ms}
	absent := results.Result{ProductionStatus: 200, StagingStatus: 404, ProductionLatency: 10 * ms, StagingLatency: 12 * ms}
	silent := results.Result{Outcome: kagami.Timeout, ProductionStatus: 200, ProductionLatency: 10 * ms}
	odd := results.Result{Outcome: kagami.NotReplayable}
	same, differs := ok, ok
	same.Compared, differs.Compared, differs.Different = true, true, true
	mix := func(n int, r results.Result) []results.Result { return append(times(1000-n, ok), times(n, r)...) }

	for _, test := range []struct {
		expr    string
		rs      []results.Result
		value   string
		crossed bool
	}{
		{"error_rate>1%", mix(10, broken), "1%", false},
		{"error_rate>=1%", mix(10, broken), "1%", true},
		{"error_rate>1%", mix(11, broken), "1.1%", true},
		{"error_rate>1%", mix(11, silent), "1.1%", true},
		{"error_rate>1%", mix(11, absent), "0%", false},
		{"no_answer_rate>1%", mix(11, broken), "0%", false},
		{"no_answer_rate>1%", mix(11, silent), "1.1%", true},
		{"status_5xx_rate>0.5%", mix(10, broken), "1%", true},
		{"status_4xx_rate>0.5%", mix(10, absent), "1%", true},
		{"p99>500ms", mix(10, slow), "12.007ms", false},
		{"p99>500ms", mix(11, slow), "700ms", true},
		{"max>500ms", mix(1, slow), "700ms", true},
		{"mean>13ms", mix(2, slow), "13.376ms", true},
		{"production_p99>10ms", mix(500, slow), "10ms", false},
		{"p50_ratio>1.2", mix(0, slow), "1.2", false},
		{"max_ratio>1.2", mix(1, slow), "70", true},
		{"rate<99/s", mix(0, ok), "100/s", false},
		{"rate<101/s", mix(0, ok), "100/s", true},
		{"count<1001", mix(0, ok), "1000", true},
		{"count<990", mix(11, odd), "989", true}, // what could not be sent counts nowhere
		{"diff_rate>0.1%", append(times(999, same), differs), "0.1%", false},
		{"diff_rate>0.1%", append(times(998, same), differs, differs), "0.2%", true},
	} {
		c := check(t, test.expr, 100, test.rs)
		if c.Value != test.value || c.Crossed != test.crossed || c.TooFew {
			t.Errorf("%s: %+v: want %s, crossed %v", test.expr, c, test.value, test.crossed)
		}
	}
}

// A gate is never green on nothing.
func TestTooFewExchangesFail(t *testing.T) {
	ok := results.Result{StagingStatus: 200, StagingLatency: time.Millisecond}
	compared := ok
	compared.Compared = true
	for _, test := range []struct {
		name, expr string
		rs         []results.Result
		failed     bool
	}{
		{"nothing", "error_rate>1%", nil, true},
		{"one less", "error_rate>1%", times(99, ok), true},
		{"enough", "error_rate>1%", times(100, ok), false},
		{"none answered", "p99>1s", times(100, results.Result{Outcome: kagami.Timeout}), true},
		{"none sent", "error_rate>1%", times(100, results.Result{Outcome: kagami.NotReplayable}), true},
		{"a count", "count<10", times(99, ok), true},
		{"nothing compared", "diff_rate>1%", times(1000, ok), true},
		{"too few compared", "diff_rate>1%", append(times(99, compared), times(1000, ok)...), true},
		{"enough compared", "diff_rate>1%", append(times(100, compared), times(1000, ok)...), false},
		{"no production", "p99_ratio>10", times(1000, ok), true},
	} {
		if c := check(t, test.expr, 0, test.rs); c.Failed() != test.failed || c.TooFew != test.failed {
			t.Errorf("%s: %+v: want failed %v", test.name, c, test.failed)
		}
	}
}

func FuzzParseThreshold(f *testing.F) {
	for _, s := range []string{"error_rate>1%", "p99 >= 500ms", "rate<100/s", "count<1000", "p99_ratio>1.2", "mean<1h2m"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		th, err := results.ParseThreshold(s)
		if err != nil {
			return
		}
		again, err := results.ParseThreshold(th.String())
		if err != nil || again.String() != th.String() {
			t.Errorf("%q: %q, then %q, %v", s, th, again, err)
		}
	})
}

// What is known of differences can change, so the last word on them is not the results'.
func TestTheSummaryAsksWhatDiffers(t *testing.T) {
	gate, err := results.ParseThreshold("diff_rate>10%")
	if err != nil {
		t.Fatal(err)
	}
	compared, different := int64(100), int64(50)
	r, err := results.New(results.Config{
		Thresholds: []results.Threshold{gate}, MinExchanges: 1,
		Compared: func() (int64, int64) { return compared, different },
	})
	if err != nil {
		t.Fatal(err)
	}
	r.Add(full(t))
	if s := r.Summary(); !s.Failed() || s.Compared != 100 || s.Different != 50 {
		t.Errorf("%+v", s)
	}
	different = 10
	if s := r.Summary(); s.Failed() || s.Different != 10 {
		t.Errorf("%+v", s)
	}
	compared, different = 0, 0
	if s := r.Summary(); !s.Failed() {
		t.Errorf("green on nothing: %+v", s)
	}
}
