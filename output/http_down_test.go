package output_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"kagami"
	"kagami/output"
)

var errRefused = errors.New("connection refused")

// A fakeTarget stands in for a target within a synctest bubble: its
// connections are pipes.
type fakeTarget struct {
	mu       sync.Mutex
	dial     func(ctx context.Context, address string) error // what becomes of an attempt; nil accepts
	attempts []time.Time
	dialed   []string // addresses
	now      int      // attempts under way
	most     int
	open     atomic.Int64
	requests atomic.Int64
}

func (f *fakeTarget) setDial(dial func(ctx context.Context, address string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dial = dial
}

// take returns the attempts made so far and the most that were under way at
// once, and begins to count anew.
func (f *fakeTarget) take() (at []time.Time, to []string, most int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	at, to, most = f.attempts, f.dialed, f.most
	f.attempts, f.dialed, f.most = nil, nil, 0
	return at, to, most
}

func (f *fakeTarget) DialContext(ctx context.Context, _, address string) (net.Conn, error) {
	f.mu.Lock()
	dial := f.dial
	f.attempts = append(f.attempts, time.Now())
	f.dialed = append(f.dialed, address)
	f.now++
	f.most = max(f.most, f.now)
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.now--
		f.mu.Unlock()
	}()
	if dial != nil {
		if err := dial(ctx, address); err != nil {
			return nil, err
		}
	}
	ours, theirs := net.Pipe()
	f.open.Add(1)
	go func() {
		defer f.open.Add(-1)
		defer ours.Close()
		r := bufio.NewReader(ours)
		for {
			if _, err := readRequest(r); err != nil {
				return
			}
			f.requests.Add(1)
			if _, err := io.WriteString(ours, okAnswer); err != nil {
				return
			}
		}
	}()
	return theirs, nil
}

func refuseAll(context.Context, string) error { return errRefused }

func hang(ctx context.Context, _ string) error {
	<-ctx.Done()
	return ctx.Err()
}

// inBubble runs a test of an HTTP output whose target is f.
func inBubble(t *testing.T, cfg output.HTTPConfig, test func(t *testing.T, f *fakeTarget, h *output.HTTP)) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeTarget{}
		if cfg.URL == "" {
			cfg.URL = "http://192.0.2.1"
		}
		cfg.DialContext = f.DialContext
		h, err := output.NewHTTP(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := h.Close(); err != nil {
				t.Error(err)
			}
			if n := h.InFlight(); n != 0 {
				t.Errorf("%d in flight after Close", n)
			}
			synctest.Wait()
			if n := f.open.Load(); n != 0 {
				t.Errorf("%d connections open after Close", n)
			}
		}()
		test(t, f, h)
	})
}

func TestHTTPTargetIsDown(t *testing.T) {
	var told []error
	cfg := output.HTTPConfig{Notify: func(err error) { told = append(told, err) }}
	inBubble(t, cfg, func(t *testing.T, f *fakeTarget, h *output.HTTP) {
		f.setDial(refuseAll)
		start := time.Now()
		seen, ms := watch(t), requests(100)
		write(t, h, seen, ms...)
		seen.await(100)
		if d := time.Since(start); d != 5*time.Second || seen.count(kagami.SendError) != 100 {
			t.Errorf("%d of 100 settled as send-error after %v, want all when it was down for 5 s", seen.count(kagami.SendError), d)
		}
		if ms[99].Exchange.Fate(0) != kagami.Dropped {
			t.Error("a request that could not be sent is not marked as dropped")
		}
		before := time.Now()
		for range 10 {
			seen = watch(t)
			write(t, h, seen, requests(100)...)
			seen.await(100)
		}
		if d := time.Since(before); d != 0 {
			t.Errorf("1000 more took %v, want them settled at once", d)
		}
		if !h.Stats().Down {
			t.Error("Stats do not say that the target is down")
		}

		time.Sleep(time.Minute)
		attempts, _, _ := f.take()
		var gaps []time.Duration
		for i := range attempts[1:] {
			if gap := attempts[i+1].Sub(attempts[i]); gap > 0 { // the first are made at once
				gaps = append(gaps, gap/time.Millisecond)
			}
		}
		want := []time.Duration{100, 200, 400, 800, 1600, 2000, 2000}
		for i := range want {
			if gaps[i] > want[i] || gaps[i] < want[i]*3/4-1 {
				t.Fatalf("attempts %d ms apart, want the first %d, or up to a quarter less", gaps, want)
			}
		}
		if slices.Equal(gaps[:len(want)], want) {
			t.Error("attempts come at exact times: those of many replayers would come at once")
		}
		if n := len(attempts); n > 32+5+65*2/3 {
			t.Errorf("%d attempts in 65 s", n)
		}

		f.setDial(nil)
		time.Sleep(2 * time.Second)
		if _, _, most := f.take(); most != 1 {
			t.Errorf("%d attempts at once while it was down, want one", most)
		}
		seen = watch(t)
		write(t, h, seen, requests(100)...)
		seen.await(100)
		seen.want(make([]kagami.Reason, 100)...)
		synctest.Wait()
		if len(told) != 2 || !errors.Is(told[0], errRefused) || told[1] != nil {
			t.Errorf("told %v, want that it is down, then that it is up", told)
		}
	})
}

// A target that is restarted loses nothing, if there is room to wait.
func TestHTTPTargetRestarts(t *testing.T) {
	inBubble(t, output.HTTPConfig{Connections: 4}, func(t *testing.T, f *fakeTarget, h *output.HTTP) {
		f.setDial(refuseAll)
		time.AfterFunc(3*time.Second, func() { f.setDial(nil) })
		q := output.NewQueue(h, output.QueueConfig{})
		seen := watch(t)
		write(t, q, seen, requests(5000)...)
		seen.await(5000)
		seen.want(make([]kagami.Reason, 5000)...)
		if n := f.requests.Load(); n != 5000 {
			t.Errorf("%d arrived, want each once", n)
		}
		synctest.Wait()
		if n := q.InFlight(); n != 0 {
			t.Errorf("%d in flight", n)
		}
		// The queue owns h; closing h twice does no harm here.
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestHTTPTargetHangs(t *testing.T) {
	inBubble(t, output.HTTPConfig{Timeout: time.Second}, func(t *testing.T, f *fakeTarget, h *output.HTTP) {
		f.setDial(hang)
		start := time.Now()
		for range 20 {
			seen := watch(t)
			write(t, h, seen, requests(200)...)
			seen.await(200)
			if seen.count(kagami.SendError) != 200 {
				t.Fatalf("settled %v, want send-error", seen.by)
			}
		}
		if d := time.Since(start); d != 2*time.Second {
			t.Errorf("4000 requests to a target that does not answer took %v, want 2 s: one to find out, one to hope", d)
		}
		synctest.Wait()
		if start = time.Now(); h.Close() != nil || time.Since(start) != 0 {
			t.Errorf("Close took %v with an attempt under way", time.Since(start))
		}
	})
}

func TestHTTPCancelWhileDown(t *testing.T) {
	for _, c := range []struct {
		name string
		dial func(context.Context, string) error
	}{{"refuses", refuseAll}, {"hangs", hang}} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, output.HTTPConfig{}, func(t *testing.T, f *fakeTarget, h *output.HTTP) {
				f.setDial(c.dial)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				seen := watch(t)
				if err := h.Write(ctx, kagami.Batch{Messages: requests(50), Settle: seen.settle}); err != nil {
					t.Error(err)
				}
				if n := seen.count(kagami.DrainTimeout); n != 50 {
					t.Errorf("%d of 50 given up when the context ended", n)
				}
			})
		})
	}
}

func TestHTTPCloseWaitsForAnswers(t *testing.T) {
	release := make(chan struct{})
	arrived := make(chan struct{})
	s := serveRaw(t, func(_ int64, c net.Conn, r *bufio.Reader) {
		readRequest(r)
		close(arrived)
		<-release
		io.WriteString(c, okAnswer)
	})
	h, err := output.NewHTTP(output.HTTPConfig{URL: s.url()})
	if err != nil {
		t.Fatal(err)
	}
	seen := watch(t)
	write(t, h, seen, request(1))
	<-arrived
	closed := make(chan struct{})
	go func() {
		h.Close()
		close(closed)
	}()
	select {
	case <-closed:
		t.Error("Close did not wait for the answer")
	default:
	}
	close(release)
	<-closed
	seen.want(kagami.Delivered)
}

func TestHTTPClosesIdleConnections(t *testing.T) {
	inBubble(t, output.HTTPConfig{IdleTimeout: 3 * time.Second}, func(t *testing.T, f *fakeTarget, h *output.HTTP) {
		// Twenty at once, then one a second: most connections have nothing to do.
		seen := watch(t)
		write(t, h, seen, requests(20)...)
		seen.await(20)
		synctest.Wait()
		most := f.open.Load()
		for range 10 {
			time.Sleep(time.Second)
			seen = watch(t)
			write(t, h, seen, request(1))
			seen.await(1)
		}
		synctest.Wait()
		if n := f.open.Load(); most < 2 || n != 1 {
			t.Errorf("%d connections open after a burst with %d, want 1", n, most)
		}
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if n := f.open.Load(); n != 0 {
			t.Errorf("%d connections open without work", n)
		}
		f.take()
		time.Sleep(time.Hour)
		if at, _, _ := f.take(); len(at) != 0 {
			t.Errorf("%d attempts at a connection without work", len(at))
		}
	})
}

// A names is a resolver for tests.
type names struct {
	mu    sync.Mutex
	addrs []string
	err   error
	asked int
}

func (n *names) set(err error, addrs ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.addrs, n.err = addrs, err
}

func (n *names) lookup(_ context.Context, _ string) (list []netip.Addr, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked++
	for _, a := range n.addrs {
		list = append(list, netip.MustParseAddr(a))
	}
	return list, n.err
}

func TestHTTPResolvesAgain(t *testing.T) {
	dns := &names{addrs: []string{"192.0.2.1"}}
	cfg := output.HTTPConfig{URL: "http://staging:81", Lookup: dns.lookup, Connections: 1}
	inBubble(t, cfg, func(t *testing.T, f *fakeTarget, h *output.HTTP) {
		send := func(n int) {
			t.Helper()
			for range n {
				seen := watch(t)
				write(t, h, seen, request(1))
				seen.await(1)
				seen.want(kagami.Delivered)
				time.Sleep(time.Second)
			}
		}
		send(20)
		dns.set(nil, "192.0.2.2", "192.0.2.3")
		send(20)
		_, to, _ := f.take()
		if len(to) != 2 || to[0] != "192.0.2.1:81" || !slices.Contains([]string{"192.0.2.2:81", "192.0.2.3:81"}, to[1]) {
			t.Errorf("connected to %v, want one of the new addresses after 30 s", to)
		}
		if dns.asked > 3 {
			t.Errorf("asked for the address %d times in 40 s", dns.asked)
		}
		dns.set(errors.New("resolver is down"))
		send(90)
		if _, to, _ := f.take(); len(to) != 0 {
			t.Errorf("connected to %v: a failed look-up is no reason", to)
		}
	})
}

func TestHTTPTriesAllAddresses(t *testing.T) {
	dns := &names{addrs: []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}}
	cfg := output.HTTPConfig{URL: "http://staging", Lookup: dns.lookup, Timeout: 3 * time.Second}
	inBubble(t, cfg, func(t *testing.T, f *fakeTarget, h *output.HTTP) {
		f.setDial(func(ctx context.Context, address string) error {
			switch address {
			case "192.0.2.1:80":
				return hang(ctx, "")
			case "192.0.2.2:80":
				return errRefused
			}
			return nil
		})
		start := time.Now()
		seen := watch(t)
		write(t, h, seen, request(1))
		seen.await(1)
		seen.want(kagami.Delivered)
		if d := time.Since(start); d != time.Second {
			t.Errorf("took %v, want a third of the time for each", d)
		}
	})
}

func TestHTTPHostIsUnknown(t *testing.T) {
	dns := &names{err: &net.DNSError{Err: "no such host", Name: "staging", IsNotFound: true}}
	var told []error
	cfg := output.HTTPConfig{URL: "http://staging", Lookup: dns.lookup, Notify: func(err error) { told = append(told, err) }}
	inBubble(t, cfg, func(t *testing.T, f *fakeTarget, h *output.HTTP) {
		seen := watch(t)
		write(t, h, seen, requests(2)...)
		seen.await(2)
		seen.want(kagami.SendError, kagami.SendError)
		dns.set(nil, "192.0.2.1")
		time.Sleep(2 * time.Second)
		seen = watch(t)
		write(t, h, seen, requests(2)...)
		seen.await(2)
		seen.want(kagami.Delivered, kagami.Delivered)
		var unknown *net.DNSError
		if len(told) != 2 || !errors.As(told[0], &unknown) || told[1] != nil {
			t.Errorf("told %v", told)
		}
	})
}
