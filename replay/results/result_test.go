package results_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/google/go-cmp/cmp"

	"kagami"
	"kagami/replay/results"
)

// A sink is a file in memory.
type sink struct {
	bytes.Buffer
	err    error
	block  chan struct{}
	closed int
}

func (s *sink) Write(p []byte) (int, error) {
	if s.block != nil {
		<-s.block
	}
	if s.err != nil {
		return 0, s.err
	}
	return s.Buffer.Write(p)
}

func (s *sink) Close() error { s.closed++; return nil }

// full has every field set.
func full(t *testing.T) results.Result {
	t.Helper()
	id, err := kagami.ParseID("c0ffee")
	if err != nil {
		t.Fatal(err)
	}
	return results.Result{
		ID: id, Time: begin.Add(123456789), Sent: begin.Add(time.Hour), Method: "GET", Path: "/a/7", Endpoint: "/a/{id}", Target: "http://s",
		ProductionStatus: 200, StagingStatus: 503, ProductionLatency: 1234567, StagingLatency: 2 * time.Second,
		ProductionBytes: 5, StagingBytes: 6, ScheduleLag: -400 * time.Microsecond, Scheduled: true,
		Compared: true, Different: true, DifferenceCount: 3,
		Differences: []results.Difference{{Part: "status", Production: "200", Staging: "503"}, {Part: "body", Kind: "added", Path: "$.a", Staging: "<1>"}},
	}
}

func rowsOf(t *testing.T, rs ...results.Result) string {
	t.Helper()
	var s sink
	r, err := results.New(results.Config{Rows: &s})
	if err != nil {
		t.Fatal(err)
	}
	for _, res := range rs {
		r.Add(res)
	}
	if err := r.Close(context.Background()); err != nil || s.closed != 1 {
		t.Fatalf("close: %v, closed %d times", err, s.closed)
	}
	return s.String()
}

func TestRows(t *testing.T) {
	zero := full(t)
	zero.ProductionLatency, zero.ScheduleLag, zero.ProductionBytes = 0, 0, 0
	zero.Differences, zero.DifferenceCount, zero.Different = nil, 0, false
	for _, test := range []struct {
		name string
		r    results.Result
		want string
	}{
		{"all of it", full(t), `{"id":"c0ffee","time":"2030-01-01T12:00:00.123456Z","sent_time":"2030-01-01T13:00:00.000000Z",` +
			`"method":"GET","path":"/a/7","endpoint":"/a/{id}","target":"http://s","outcome":"ok",` +
			`"production_status":200,"staging_status":503,"production_latency_ms":1.234,"staging_latency_ms":2000,"schedule_lag_ms":-0.4,` +
			`"production_bytes":5,"staging_bytes":6,"different":true,"difference_count":3,` +
			`"differences":[{"part":"status","production":"200","staging":"503"},{"part":"body","kind":"added","path":"$.a","staging":"<1>"}]}`},
		{"nothing", results.Result{Outcome: kagami.SendError}, `{"id":"","outcome":"send-error"}`},
		{"what is known to be 0 is there", zero, `{"id":"c0ffee","time":"2030-01-01T12:00:00.123456Z","sent_time":"2030-01-01T13:00:00.000000Z",` +
			`"method":"GET","path":"/a/7","endpoint":"/a/{id}","target":"http://s","outcome":"ok",` +
			`"production_status":200,"staging_status":503,"production_latency_ms":0,"staging_latency_ms":2000,"schedule_lag_ms":0,` +
			`"production_bytes":0,"staging_bytes":6,"different":false,"difference_count":0}`},
		{"bytes that are no text", results.Result{Path: "/\xff\n\u2028"}, `{"id":"","path":"/\ufffd\n\u2028","outcome":"ok"}`},
	} {
		if diff := cmp.Diff(test.want+"\n", rowsOf(t, test.r)); diff != "" {
			t.Errorf("%s: -want +got:\n%s", test.name, diff)
		}
	}
}

func TestRowsAreBounded(t *testing.T) {
	r := full(t)
	long := strings.Repeat("é", 1<<20)
	r.Path, r.Endpoint, r.Method, r.Target = long, long, long, long
	r.Differences = nil
	for range 1000 {
		r.Differences = append(r.Differences, results.Difference{Part: "body", Path: long, Production: long, Staging: long})
	}
	r.DifferenceCount = 0
	line := rowsOf(t, r)
	if len(line) > 32<<10 || strings.Contains(line, `\ufffd`) {
		t.Errorf("a row of %d bytes: want less than 32 KiB, and no character cut", len(line))
	}
	var row struct {
		Count       int                  `json:"difference_count"`
		Differences []results.Difference `json:"differences"`
	}
	if err := json.Unmarshal([]byte(line), &row); err != nil || row.Count != 1000 || len(row.Differences) != 20 {
		t.Errorf("%d of %d differences, %v: want 20 of 1000", len(row.Differences), row.Count, err)
	}
}

func TestCreate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.ndjson")
	write := func(add bool, text string) error {
		f, err := results.Create(path, add)
		if err != nil {
			return err
		}
		_, err = f.Write([]byte(text))
		return errors.Join(err, f.Close())
	}
	if err := write(false, "{}\n{\"id"); err != nil {
		t.Fatal(err)
	}
	if err := write(false, "x"); err == nil || !strings.Contains(err.Error(), "already exists") {
		t.Errorf("created what exists: %v", err)
	}
	for range 2 { // a row that a crash cut short spoils one line, not two
		if err := write(true, "{}\n"); err != nil {
			t.Fatal(err)
		}
	}
	if b, _ := os.ReadFile(path); string(b) != "{}\n{\"id\n{}\n{}\n" {
		t.Errorf("the file holds %q", b)
	}
}

func TestRowsAreFlushedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s sink
		r, err := results.New(results.Config{Rows: &s})
		if err != nil {
			t.Fatal(err)
		}
		r.Add(results.Result{})
		time.Sleep(results.DefaultFlushInterval + time.Millisecond)
		synctest.Wait()
		if s.Len() == 0 {
			t.Error("nothing is in the file after the flush interval")
		}
		if err := r.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// Whoever adds waits when the file does not keep up, so that memory is bounded
// and no row is lost.
func TestRowsWaitForASlowFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sink{block: make(chan struct{})}
		r, err := results.New(results.Config{Rows: &s})
		if err != nil {
			t.Fatal(err)
		}
		const n = 10_000
		added := 0
		go func() {
			for range n {
				r.Add(results.Result{Path: strings.Repeat("x", 2000)})
				added++
			}
		}()
		synctest.Wait()
		if max := 2*(4<<20)/2000 + 100; added == 0 || added > max {
			t.Errorf("%d rows were added to a file that takes none: want %d at most", added, max)
		}
		close(s.block)
		synctest.Wait()
		if err := r.Close(t.Context()); err != nil || added != n || bytes.Count(s.Bytes(), []byte("\n")) != n {
			t.Errorf("%d rows of %d added are in the file, %v", bytes.Count(s.Bytes(), []byte("\n")), added, err)
		}
	})
}

func TestAFileThatBreaks(t *testing.T) {
	full := errors.New("no space left")
	s := sink{err: full}
	told := 0
	r, err := results.New(results.Config{Rows: &s, Failed: func(err error) {
		if told++; !errors.Is(err, full) {
			t.Errorf("told of %v", err)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	for range 10_000 {
		r.Add(results.Result{Path: strings.Repeat("x", 2000)})
	}
	if err := r.Close(context.Background()); !errors.Is(err, full) || !strings.Contains(err.Error(), "10000 of 10000 results were not written") || told != 1 {
		t.Errorf("%v, told %d times", err, told)
	}
	if r.Summary().Exchanges != 10_000 {
		t.Error("what was not written was not counted either")
	}
}

func TestSummary(t *testing.T) {
	r := run(t, 1, results.Result{StagingStatus: 200, StagingLatency: time.Millisecond, Scheduled: true},
		results.Result{StagingStatus: 500, StagingLatency: 3 * time.Millisecond, Compared: true, Different: true},
		results.Result{Outcome: kagami.Timeout, ProductionStatus: 200, ProductionLatency: time.Second},
		results.Result{Outcome: kagami.NotReplayable})
	s := r.Summary()
	var b, text bytes.Buffer
	if err := errors.Join(json.NewEncoder(&b).Encode(s), s.WriteText(&text)); err != nil {
		t.Fatal(err)
	}
	var histograms []int64
	plain := regexp.MustCompile(`,"histogram":"([^"]+)"`).ReplaceAllStringFunc(b.String(), func(s string) string {
		_, text, _ := strings.Cut(strings.TrimSuffix(s, `"`), `:"`)
		h, err := hdrhistogram.Decode([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		histograms = append(histograms, h.TotalCount(), h.Max()/1000)
		return ""
	})
	if want := []int64{2, 3, 1, 1000, 1, 0}; !slices.Equal(histograms, want) {
		t.Errorf("histograms of so many values up to so many ms: %v, want %v", histograms, want)
	}
	const none = `{"count":0,"mean_ms":0,"p50_ms":0,"p90_ms":0,"p99_ms":0,"p999_ms":0,"max_ms":0}`
	want := `{"version":1,"exchanges":3,"not_sent":1,"answered":2,"errors":2,"compared":1,"different":1,` +
		`"outcomes":{"not-replayable":1,"ok":2,"timeout":1},"statuses":{"2xx":1,"5xx":1},"rate":100,` +
		`"staging":{"count":2,"mean_ms":2,"p50_ms":1,"p90_ms":3,"p99_ms":3,"p999_ms":3,"max_ms":3},` +
		`"production":{"count":1,"mean_ms":1000,"p50_ms":1000,"p90_ms":1000,"p99_ms":1000,"p999_ms":1000,"max_ms":1000},` +
		`"schedule_lag":` + strings.Replace(none, `"count":0`, `"count":1`, 1) + `,"min_exchanges":1}` + "\n"
	if diff := cmp.Diff(want, plain); diff != "" {
		t.Errorf("JSON: -want +got:\n%s", diff)
	}
	wantText := `results: 3 exchanges, 100 a second; 2 answered, 2 errors (66.6667%)
  1 more could not be sent
  1 compared, 1 different (100%)
  staging               2  p50 1ms       p90 3ms       p99 3ms       p99.9 3ms       max 3ms
  production            1  p50 1s        p90 1s        p99 1s        p99.9 1s        max 1s
  schedule lag          1  p50 0s        p90 0s        p99 0s        p99.9 0s        max 0s
  outcome not-replayable: 1
  outcome timeout: 1
  status 2xx: 1
  status 5xx: 1
`
	if diff := cmp.Diff(wantText, text.String()); diff != "" {
		t.Errorf("text: -want +got:\n%s", diff)
	}
}

func BenchmarkAdd(b *testing.B) {
	id, err := kagami.ParseID("7ac29cd210920ac0000000000001020304050607")
	if err != nil {
		b.Fatal(err)
	}
	res := results.Result{
		ID: id, Time: begin, Sent: begin, Method: "GET", Path: "/users/12345/orders", Endpoint: "/users/{id}/orders", Target: "http://staging:8080",
		ProductionStatus: 200, StagingStatus: 200, ProductionLatency: 1234567, StagingLatency: 2345678, ProductionBytes: 512, StagingBytes: 512,
	}
	for _, rows := range []bool{false, true} {
		name := "count"
		cfg := results.Config{}
		if rows {
			name, cfg.Rows = "rows", discard{}
		}
		b.Run(name, func(b *testing.B) {
			r, err := results.New(cfg)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				r.Add(res)
			}
			_ = r.Close(context.Background())
		})
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) Close() error                { return nil }
