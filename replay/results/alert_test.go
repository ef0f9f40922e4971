package results_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"kagami"
	"kagami/replay/results"
)

// A hook is a webhook: it answers with the statuses it has, then with 200, and keeps what it got.
type hook struct {
	mu       sync.Mutex
	statuses []int
	got      []string
	hold     chan struct{} // if set, each answer waits for one
}

func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var message map[string]string
	b, _ := io.ReadAll(r.Body)
	if err := json.Unmarshal(b, &message); err != nil || r.Method != "POST" || r.Header.Get("Content-Type") != "application/json" {
		message = map[string]string{"text": "no message: " + string(b)}
	}
	h.mu.Lock()
	h.got = append(h.got, message["text"])
	status := 200
	if len(h.statuses) > 0 {
		status, h.statuses = h.statuses[0], h.statuses[1:]
	}
	h.mu.Unlock()
	if h.hold != nil {
		select {
		case <-h.hold:
		case <-r.Context().Done():
		}
	}
	w.WriteHeader(status)
}

// RoundTrip lets a hook be reached without a network.
func (h *hook) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

func (h *hook) take() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	got := h.got
	h.got = nil
	return got
}

const secret = "/services/T000/B000/hush"

func newAlert(t *testing.T, cfg results.AlertConfig) *results.Alert {
	t.Helper()
	a, err := results.NewAlert(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAlertPosts(t *testing.T) {
	for _, test := range []struct {
		name     string
		statuses []int
		posts    int
		err      string
	}{
		{"taken", nil, 1, ""},
		{"taken with another status", []int{204}, 1, ""},
		{"taken at the third attempt", []int{503, 429}, 3, ""},
		{"never taken", []int{500, 500, 500, 500}, 3, "status 500"},
		{"refused", []int{404, 200}, 1, "status 404: is the URL right?"},
		{"redirected", []int{302, 200}, 1, "status 302"},
	} {
		h := &hook{statuses: test.statuses}
		server := httptest.NewServer(h)
		a := newAlert(t, results.AlertConfig{URL: server.URL + secret, Backoff: time.Microsecond})
		err := a.Post(t.Context(), "a < b & c > d")
		got := h.take()
		if len(got) != test.posts || got[0] != "a &lt; b &amp; c &gt; d" {
			t.Errorf("%s: posted %q: want %d messages", test.name, got, test.posts)
		}
		if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
			t.Errorf("%s: %v: want %q", test.name, err, test.err)
		}
		keepsSecret(t, err)
		server.Close()
	}
}

func keepsSecret(t *testing.T, err error) {
	t.Helper()
	if err != nil && (strings.Contains(err.Error(), "hush") || strings.Contains(err.Error(), "/services")) {
		t.Errorf("the URL is told: %v", err)
	}
}

func TestAlertKeepsItsURLSecret(t *testing.T) {
	for _, u := range []string{"", "hush", "ftp://a/hush", "https://", "http://a:b/hush", "http://[::1/hush", "http://a/%zz/hush", "://hush"} {
		_, err := results.NewAlert(results.AlertConfig{URL: u})
		if err == nil {
			t.Errorf("%q is taken", u)
		}
		keepsSecret(t, err)
	}
	server := httptest.NewServer(&hook{})
	server.Close() // refuses connections
	a := newAlert(t, results.AlertConfig{URL: strings.Replace(server.URL, "http://", "http://u:hush@", 1) + secret, Backoff: time.Microsecond})
	err := a.Post(t.Context(), "x")
	if err == nil {
		t.Error("posted to a server that is closed")
	}
	keepsSecret(t, err)
	if strings.Contains(a.String(), "hush") {
		t.Errorf("the URL is told: %s", a)
	}
}

func TestAlertIsBoundedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hook{hold: make(chan struct{})}
		a := newAlert(t, results.AlertConfig{URL: "http://hook" + secret, Transport: h})
		start := time.Now()
		err := a.Post(t.Context(), "x")
		if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took != 3*5*time.Second+1*time.Second+2*time.Second {
			t.Errorf("%v after %v: want three attempts of 5 s each, and pauses of 1 and 2 s", err, took)
		}
		keepsSecret(t, err)

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start = time.Now()
		if err := a.Post(ctx, "x"); err == nil || time.Since(start) != time.Second {
			t.Errorf("%v after %v: want an error after 1 s", err, time.Since(start))
		}
	})
}

// A watch is a run with an alert, in virtual time.
type watch struct {
	*results.Run
	hook   *hook
	failed []error
}

func newWatch(t *testing.T, h *hook, exprs ...string) *watch {
	t.Helper()
	w := &watch{hook: h}
	cfg := results.Config{
		Alert:  newAlert(t, results.AlertConfig{URL: "http://hook" + secret, Transport: h}),
		Name:   "kagami replay on a",
		Failed: func(err error) { w.failed = append(w.failed, err) },
	}
	for _, e := range exprs {
		th, err := results.ParseThreshold(e)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Thresholds = append(cfg.Thresholds, th)
	}
	var err error
	if w.Run, err = results.New(cfg); err != nil {
		t.Fatal(err)
	}
	return w
}

// pass lets seconds pass, with 10 results each, of which some are errors.
func (w *watch) pass(seconds, errors int) []string {
	for range seconds {
		for i := range 10 {
			r := results.Result{StagingStatus: 200, StagingLatency: time.Millisecond}
			if i < errors {
				r = results.Result{Outcome: kagami.Timeout}
			}
			w.Add(r)
		}
		w.Tick()
		time.Sleep(time.Second)
		synctest.Wait()
	}
	return w.hook.take()
}

func TestAlertsWhenCrossedAndWhenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatch(t, &hook{}, "error_rate>10%", "p99>1s", "rate<5/s")
		for _, step := range []struct {
			name            string
			seconds, errors int
			want            []string
		}{
			{"well", 120, 0, nil},
			{"a few errors", 60, 1, nil},
			{"many", 30, 5, []string{"kagami replay on a: error_rate&gt;10% is crossed: 10.6667% over the last 1m (600 exchanges, 64 errors)"}},
			{"still many", 120, 5, nil},
			{"well again", 100, 0, []string{"kagami replay on a: error_rate&gt;10% is over: 9.83607% over the last 1m (610 exchanges, 60 errors)"}},
		} {
			got := w.pass(step.seconds, step.errors)
			// The very numbers depend on how the window's parts fall; what is told does not.
			if len(got) != len(step.want) || len(got) == 1 && strings.SplitAfter(got[0], ": ")[1] != strings.SplitAfter(step.want[0], ": ")[1] {
				t.Errorf("%s: told %q: want %q", step.name, got, step.want)
			}
		}

		// Nothing comes any more: a share of nothing is not known, a rate is.
		for range 120 {
			w.Tick()
			time.Sleep(time.Second)
			synctest.Wait()
		}
		if got := w.hook.take(); len(got) != 1 || !strings.Contains(got[0], "rate&lt;5/s is crossed: ") {
			t.Errorf("told %q: want that the rate is crossed", got)
		}
		if err := w.Close(t.Context()); err != nil || len(w.failed) > 0 {
			t.Error(err, w.failed)
		}
	})
}

// While a message is under way the data path goes on, there is no other message
// of that threshold, and what has changed back meanwhile is not told.
func TestOneMessageUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hook{hold: make(chan struct{})}
		w := newWatch(t, h, "error_rate>10%")
		if got := w.pass(2, 5); len(got) != 1 {
			t.Fatalf("told %q: want one message", got)
		}
		// The webhook does not answer; meanwhile it is over, and crossed again. Adding and
		// looking take no time at all: pass would take longer than its seconds.
		start := time.Now()
		w.Add(results.Result{})
		w.Tick()
		if time.Since(start) != 0 {
			t.Error("somebody waited for the webhook")
		}
		close(h.hold)
		synctest.Wait()
		h.mu.Lock()
		h.hold = nil
		h.mu.Unlock()
		if got := w.pass(5, 5); len(got) != 0 {
			t.Errorf("told %q again", got)
		}
		if err := w.Close(t.Context()); err != nil || w.Summary().AlertsFailed != 0 {
			t.Error(err, w.failed)
		}
	})
}

// A webhook that is down is tried again, in pauses, for as long as there is
// something to tell.
func TestAWebhookThatIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hook{statuses: slices.Repeat([]int{503}, 6)}
		w := newWatch(t, h, "error_rate>10%")
		got := w.pass(180, 5)
		if len(got) != 7 || len(w.failed) != 2 || w.Summary().AlertsFailed != 2 {
			t.Errorf("%d posts, %d given up: want 3 and 3 in vain, and one that is taken", len(got), len(w.failed))
		}
		for _, err := range w.failed {
			keepsSecret(t, err)
		}
		if err := w.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// At the end what is under way is waited for, as long as the process may take.
func TestClosingWithAMessageUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hook{hold: make(chan struct{})}
		w := newWatch(t, h, "error_rate>10%")
		for range 100 {
			w.Add(results.Result{Outcome: kagami.Timeout})
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		start := time.Now()
		if err := w.Close(ctx); err != nil || time.Since(start) != 2*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if got := h.take(); len(got) != 1 {
			t.Errorf("told %q: want that it is crossed", got)
		}
	})
}

func TestConfigsThatCannotBe(t *testing.T) {
	a := newAlert(t, results.AlertConfig{URL: "http://hook"})
	for name, cfg := range map[string]results.Config{
		"an alert without a threshold": {Alert: a},
		"a window of less than 0":      {Window: -1},
		"exchanges of less than 0":     {MinExchanges: -1},
	} {
		if _, err := results.New(cfg); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	names := results.MetricNames()
	for _, name := range names {
		if results.MetricText(name) == "" {
			t.Errorf("%s is not explained", name)
		}
	}
	if diff := cmp.Diff("", results.MetricText("nothing")); diff != "" {
		t.Error(diff)
	}
}
