package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"kagami"
)

// replayed has a replayer send recording() to the targets with the base paths, and
// returns what /metrics says when all is answered.
func replayed(t *testing.T, bases ...string) string {
	t.Helper()
	target := httptest.NewServer(http.HandlerFunc(staging))
	t.Cleanup(target.Close)
	path := filepath.Join(t.TempDir(), "traffic.gor")
	if err := os.WriteFile(path, []byte(recording()), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"input-file", path, "admin", "127.0.0.1:0"}
	for _, base := range bases {
		args = append(args, "output-http", target.URL+base)
	}
	cfg := mirrorOf(t, RoleReplay, args...)
	m, err := newMirror(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer m.stopAdmin()
	if err := m.pipeline.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := m.shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	return strings.NewReplacer(target.URL, "http://staging", path, "traffic.gor").Replace(scrape(t, m.admin))
}

// scrape reads the metrics as Prometheus does.
func scrape(t *testing.T, a *adminServer) string {
	t.Helper()
	resp, err := http.Get("http://" + a.listener.Addr().String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("status %d, %v: %s", resp.StatusCode, err, b)
	}
	return string(b)
}

// seriesValue is the value of a series in a text.
func seriesValue(t *testing.T, text, series string) float64 {
	t.Helper()
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Error(err)
			}
			return v
		}
	}
	t.Errorf("no %s", series)
	return 0
}

// Of 200 requests ten get a 503 and ten none. Both targets have the same address, and so
// the second has a name of its own.
func TestMetricsOfAReplayer(t *testing.T) {
	text := replayed(t, "", "")
	const perTarget = `
		kagami_target_responses_total{class="1xx",output="TARGET"} 0
		kagami_target_responses_total{class="2xx",output="TARGET"} 180
		kagami_target_responses_total{class="3xx",output="TARGET"} 0
		kagami_target_responses_total{class="4xx",output="TARGET"} 0
		kagami_target_responses_total{class="5xx",output="TARGET"} 10
		kagami_target_responses_total{class="other",output="TARGET"} 0
		kagami_target_failures_total{cause="no-connection",output="TARGET"} 0
		kagami_target_failures_total{cause="closed",output="TARGET"} 10
		kagami_target_failures_total{cause="cut-short",output="TARGET"} 0
		kagami_target_failures_total{cause="not-http",output="TARGET"} 0
		kagami_target_failures_total{cause="timeout",output="TARGET"} 0
		kagami_target_connects_total{output="TARGET",result="failed"} 0
		kagami_target_connections{output="TARGET",state="busy"} 0
		kagami_target_connections{output="TARGET",state="idle"} 0
		kagami_target_waiting_requests{output="TARGET"} 0
		kagami_target_latency_seconds_count{output="TARGET"} 190
		kagami_target_lag_seconds_count{output="TARGET"} 200
		kagami_queue_messages{output="TARGET"} 0
		kagami_queue_bytes{output="TARGET"} 0
		kagami_queue_limit_messages{output="TARGET"} 10000
		kagami_queue_limit_bytes{output="TARGET"} 8.388608e+06
		kagami_queue_late_seconds{output="TARGET"} 0
		kagami_messages_total{output="TARGET",reason="delivered",stage="output"} 190
		kagami_messages_total{output="TARGET",reason="send-error",stage="output"} 10`
	const production = `
		kagami_production_latency_seconds_bucket{input="file traffic.gor",le="0.001"} 0
		kagami_production_latency_seconds_bucket{input="file traffic.gor",le="0.0025"} 200
		kagami_production_latency_seconds_count{input="file traffic.gor"} 200`
	lines := strings.Split(text, "\n")
	for _, wanted := range []string{
		production,
		strings.ReplaceAll(perTarget, "TARGET", "http://staging"),
		strings.ReplaceAll(perTarget, "TARGET", "http://staging#2"),
	} {
		for _, line := range strings.Split(strings.TrimSpace(wanted), "\n") {
			if !slices.Contains(lines, strings.TrimSpace(line)) {
				t.Errorf("no %s", line)
			}
		}
	}
	// A request that is sent again, for its connection was closed, counts twice.
	n := seriesValue(t, text, `kagami_target_requests_total{output="http://staging"}`)
	if again := seriesValue(t, text, `kagami_target_retries_total{output="http://staging"}`); n != 200+again {
		t.Errorf("%v requests sent, %v of them a second time: want 200 beside those", n, again)
	}
	if t.Failed() {
		t.Log(text)
	}
}

func TestMetricsLintClean(t *testing.T) {
	problems, err := promlint.New(strings.NewReader(replayed(t, ""))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

type latencies []float64

func (l *latencies) Observe(seconds float64) { *l = append(*l, seconds) }

// What counts is the time from the request's first byte to the answer's last, of
// whole HTTP answers.
func TestProductionLatency(t *testing.T) {
	begin := time.Unix(1_700_000_000, 0)
	message := func(e *kagami.Exchange, kind kagami.Kind, from, to time.Duration) *kagami.Message {
		return &kagami.Message{Kind: kind, Proto: kagami.HTTP1, Exchange: e, Start: begin.Add(from), End: begin.Add(to)}
	}
	whole, cut, early, frames := new(kagami.Exchange), new(kagami.Exchange), new(kagami.Exchange), new(kagami.Exchange)
	ms := []*kagami.Message{
		message(whole, kagami.Request, 0, time.Second),
		message(cut, kagami.Request, 0, time.Second),
		message(frames, kagami.Request, 0, time.Second),
		message(whole, kagami.Replayed, 0, 5*time.Second),
		message(whole, kagami.Response, 2*time.Second, 3*time.Second),
		message(cut, kagami.Response, 2*time.Second, 3*time.Second),
		message(early, kagami.Response, 2*time.Second, 3*time.Second),
		message(early, kagami.Request, 0, time.Second),
		message(frames, kagami.Response, 2*time.Second, 3*time.Second),
	}
	ms[5].Flags = kagami.Incomplete
	ms[8].Proto = kagami.WebSocket
	var got latencies
	(&inputLine{production: &got}).observe(ms)
	if !slices.Equal(got, latencies{3}) {
		t.Errorf("latencies %v, want one of three seconds", got)
	}
	(&inputLine{}).observe(ms) // nobody asks
}

// The packet path is not to pay for what nobody may ever look at.
func TestProductionLatencyDoesNotAllocate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "traffic.gor")
	if err := os.WriteFile(path, []byte(recording()), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := newMirror(t.Context(), mirrorOf(t, RoleReplay, "input-file", path, "output-null", "true", "admin", "127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	defer m.stopAdmin()
	defer m.shutdown(context.Background())
	e := new(kagami.Exchange)
	ms := []*kagami.Message{
		{Kind: kagami.Request, Proto: kagami.HTTP1, Exchange: e, Start: time.Now()},
		{Kind: kagami.Response, Proto: kagami.HTTP1, Exchange: e, End: time.Now()},
	}
	if n := testing.AllocsPerRun(100, func() { m.inputs[0].observe(ms) }); n != 0 {
		t.Errorf("%v allocations for an exchange", n)
	}
}
