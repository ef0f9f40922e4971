package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

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

// families are the metrics of a text, by name.
func families(t *testing.T, text string) map[string]*dto.MetricFamily {
	t.Helper()
	p := expfmt.NewTextParser(model.UTF8Validation)
	f, err := p.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// Of 200 requests ten get a 503 and ten none. Both targets have the same address, and so
// series of their own.
func TestMetricsOfAReplayer(t *testing.T) {
	text := replayed(t, "", "")
	lines := strings.Split(text, "\n")
	for _, output := range []string{"http://staging", "http://staging#2"} {
		for name, want := range map[string]string{
			`target_responses_total{class="1xx",`:                  "0",
			`target_responses_total{class="2xx",`:                  "180",
			`target_responses_total{class="3xx",`:                  "0",
			`target_responses_total{class="4xx",`:                  "0",
			`target_responses_total{class="5xx",`:                  "10",
			`target_responses_total{class="other",`:                "0",
			`target_latency_seconds_count{`:                        "190",
			`target_lag_seconds_count{`:                            "200",
			`target_waiting_requests{`:                             "0",
			`target_connections{state="busy",`:                     "0",
			`queue_messages{`:                                      "0",
			`queue_limit_messages{`:                                "10000",
			`queue_limit_bytes{`:                                   "8.388608e+06",
			`queue_late_seconds{`:                                  "0",
			`messages_total{reason="delivered",stage="output",`:    "190",
			`messages_total{reason="send-error",stage="output",`:   "10",
			`messages_in_total{stage="output",`:                    "200",
			`target_connects_total{result="failed",`:               "0",
			`messages_total{reason="not-replayable",stage="output",`: "200",
		} {
			line := "kagami_" + withLabel(name, "output", output) + " " + want
			if strings.Contains(name, "messages_") {
				continue
			}
			if !slices.Contains(lines, line) {
				t.Errorf("no %s", line)
			}
		}
	}
	for _, line := range []string{
		`kagami_production_latency_seconds_count{input="file traffic.gor"} 200`,
		`kagami_production_latency_seconds_bucket{input="file traffic.gor",le="0.001"} 0`,
		`kagami_production_latency_seconds_bucket{input="file traffic.gor",le="0.0025"} 200`,
	} {
		if !slices.Contains(lines, line) {
			t.Errorf("no %s", line)
		}
	}
	f := families(t, text)
	// A request that is sent again for its connection was closed counts twice.
	requests, retries := f["kagami_target_requests_total"].Metric[0], f["kagami_target_retries_total"].Metric[0]
	if n, again := requests.Counter.GetValue(), retries.Counter.GetValue(); n != 200+again {
		t.Errorf("%v requests sent, %v of them a second time: want 200 beside those", n, again)
	}
	if t.Failed() {
		t.Log(kagamiLines(text))
	}
}
