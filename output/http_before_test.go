package output_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"kagami"
	"kagami/output"
)

// A doorkeeper is a Before that refuses until it is told not to.
type doorkeeper struct {
	mu      sync.Mutex
	open    bool
	refused chan struct{} // gets a token for each time it refused, if there is room
	let     map[string]int
}

func (d *doorkeeper) before(ms []*kagami.Message) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.open {
		select {
		case d.refused <- struct{}{}:
		default:
		}
		return errors.New("not now")
	}
	for _, m := range ms {
		d.let[string(m.Raw[:strings.Index(string(m.Raw), " HTTP")])]++
	}
	return nil
}

func (d *doorkeeper) setOpen() {
	d.mu.Lock()
	d.open = true
	d.mu.Unlock()
}

// count is how often a request was let through.
func (d *doorkeeper) count(request string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.let[request]
}

// Before is called before a byte of a request is sent, once; while it says no nothing
// is sent, and nothing timed out. It holds for each of the ways in which requests are sent.
func TestHTTPBefore(t *testing.T) {
	for _, way := range []struct {
		name   string
		change func(*output.HTTPConfig)
	}{
		{"loop", func(*output.HTTPConfig) {}},
		{"goroutines", func(c *output.HTTPConfig) { c.DialContext = (&net.Dialer{}).DialContext }},
		{"HTTP/2", func(c *output.HTTPConfig) { c.Version = output.HTTPTwo }},
	} {
		t.Run(way.name, func(t *testing.T) {
			d := &doorkeeper{let: map[string]int{}, refused: make(chan struct{}, 100)}
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				if d.count("GET "+r.URL.Path) != 1 {
					t.Errorf("%s arrived, and Before had let it through %d times", r.URL.Path, d.count("GET "+r.URL.Path))
				}
			}))
			s.Config.Protocols = new(http.Protocols)
			s.Config.Protocols.SetHTTP1(true)
			s.Config.Protocols.SetUnencryptedHTTP2(true)
			s.Start()
			defer s.Close()
			cfg := output.HTTPConfig{URL: s.URL, Connections: 3, Timeout: 150 * time.Millisecond, Before: d.before}
			way.change(&cfg)
			h := newHTTP(t, cfg)
			seen := watch(t)
			written := make(chan struct{})
			go func() {
				write(t, h, seen, requests(20)...)
				close(written)
			}()
			for range 6 { // for longer than Timeout
				<-d.refused
			}
			if n := seen.len(); n != 0 {
				t.Errorf("%d settled", n)
			}
			d.setOpen()
			<-written
			seen.await(20)
			seen.want(make([]kagami.Reason, 20)...)
			if n := h.Stats().Requests; n != 20 {
				t.Errorf("%d sent", n)
			}
		})
	}
}

// What waits for Before when the context ends was not sent, and is not in doubt.
func TestHTTPBeforeAtTheEnd(t *testing.T) {
	for _, dial := range []func(context.Context, string, string) (net.Conn, error){nil, (&net.Dialer{}).DialContext} {
		s, _ := countingServer(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("%s arrived", r.URL.Path) })
		d := &doorkeeper{refused: make(chan struct{}, 100)}
		h := newHTTP(t, output.HTTPConfig{URL: s.URL, Connections: 2, DialContext: dial, Before: d.before})
		ctx, cancel := context.WithCancel(t.Context())
		seen := watch(t)
		written := make(chan error)
		go func() { written <- h.Write(ctx, kagami.Batch{Messages: requests(5), Settle: seen.settle}) }()
		<-d.refused
		cancel()
		if err := <-written; err != nil {
			t.Error(err)
		}
		seen.await(5)
		if n := seen.count(kagami.DrainTimeout); n != 5 {
			t.Errorf("settled %v", seen.by)
		}
		// A connection is given back right behind what it settled.
		for deadline := time.Now().Add(10 * time.Second); h.InFlight() != 0 && time.Now().Before(deadline); {
			runtime.Gosched()
		}
		if n := h.InFlight(); n != 0 {
			t.Errorf("%d in flight", n)
		}
	}
}

// A Gate holds batches back, and gives them up when the context ends.
func TestGate(t *testing.T) {
	out := &recordingOutput{}
	d := &doorkeeper{let: map[string]int{}, refused: make(chan struct{}, 1)}
	g := output.NewGate(out, d.before)
	ctx, cancel := context.WithCancel(t.Context())
	seen := watch(t)
	written := make(chan error)
	go func() { written <- g.Write(ctx, kagami.Batch{Messages: requests(2), Settle: seen.settle}) }()
	<-d.refused
	cancel()
	if err := <-written; err != nil {
		t.Error(err)
	}
	seen.want(kagami.DrainTimeout, kagami.DrainTimeout)
	if n := len(out.all()); n != 0 {
		t.Errorf("%d were written", n)
	}
	d.setOpen()
	seen = watch(t)
	write(t, g, seen, requests(2)...)
	seen.want(kagami.Delivered, kagami.Delivered)
	if d.count("GET /0") != 1 || output.InFlight(g) != 0 {
		t.Error("not passed on")
	}
	if err := g.Close(); err != nil || out.closed != 1 {
		t.Errorf("closed %d times, %v", out.closed, err)
	}
}
