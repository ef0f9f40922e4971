package output_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"kagami"
	"kagami/output"
)

// of is a request of a client: GET /client/n.
func of(client, n int) *kagami.Message {
	m := rawRequest(crlf(fmt.Sprintf("GET /%d/%d HTTP/1.1", client, n), "Host: a"))
	if client > 0 {
		m.Client = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, 1}), uint16(client))
		m.Server = netip.MustParseAddrPort("10.0.0.2:80")
	}
	return m
}

// An orderServer notes in which order the requests of each client come, and
// whether one came before the one before it was answered.
type orderServer struct {
	*testing.T
	before func(client, n int) // called for each request, if set, before it is answered

	mu      sync.Mutex
	came    map[int][]int
	now     map[int]int
	overlap int
}

func (s *orderServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var client, n int
	if _, err := fmt.Sscanf(r.URL.Path, "/%d/%d", &client, &n); err != nil {
		s.Error(err)
	}
	s.mu.Lock()
	s.came[client] = append(s.came[client], n)
	if s.now[client]++; s.now[client] > 1 {
		s.overlap++
	}
	s.mu.Unlock()
	if s.before != nil {
		s.before(client, n)
	}
	s.mu.Lock()
	s.now[client]--
	s.mu.Unlock()
	io.WriteString(w, "ok")
}

// want checks that so many requests of a client came, in order.
func (s *orderServer) want(client, n int) {
	s.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if got := s.came[client]; len(got) != n || !slices.IsSorted(got) {
		s.Errorf("client %d: came %v, want %d in order", client, got, n)
	}
}

// ordered runs a test of an output that keeps the order, once with the loop
// where there is one, and once with a goroutine for each connection.
func ordered(t *testing.T, cfg output.HTTPConfig, before func(client, n int), test func(t *testing.T, s *orderServer, h *output.HTTP)) {
	for name, dial := range map[string]func(context.Context, string, string) (net.Conn, error){
		"as it is": nil, "with a dialer": (&net.Dialer{}).DialContext,
	} {
		t.Run(name, func(t *testing.T) {
			s := &orderServer{T: t, before: before, came: map[int][]int{}, now: map[int]int{}}
			srv, _ := countingServer(t, s.ServeHTTP)
			c := cfg
			c.URL, c.DialContext, c.KeepOrder = srv.URL, dial, true
			h := newHTTP(t, c)
			test(t, s, h)
		})
	}
}

func TestHTTPKeepsOrder(t *testing.T) {
	const clients, each = 7, 60
	ordered(t, output.HTTPConfig{Connections: 16}, nil, func(t *testing.T, s *orderServer, h *output.HTTP) {
		seen := watch(t)
		var ms []*kagami.Message
		for n := range each {
			for client := range clients {
				ms = append(ms, of(client+1, n))
			}
		}
		write(t, h, seen, ms...)
		seen.await(len(ms))
		for client := range clients {
			s.want(client+1, each)
		}
		if s.overlap > 0 {
			t.Errorf("%d requests came before the one before them was answered", s.overlap)
		}
		if n := seen.count(kagami.Delivered); n != len(ms) {
			t.Errorf("%d delivered, want %d", n, len(ms))
		}
	})
}

// What has no client address has no order to keep, and goes on all connections at once.
func TestHTTPKeepsNoOrderOfUnknownClients(t *testing.T) {
	came, answer := make(chan struct{}), make(chan struct{})
	ordered(t, output.HTTPConfig{Connections: 4}, func(int, int) { came <- struct{}{}; <-answer }, func(t *testing.T, _ *orderServer, h *output.HTTP) {
		seen := watch(t)
		write(t, h, seen, of(0, 0), of(0, 1), of(0, 2), of(0, 3))
		for range 4 {
			<-came
		}
		for range 4 {
			answer <- struct{}{}
		}
		seen.await(4)
		seen.want(make([]kagami.Reason, 4)...)
	})
}

// A client connection whose request is not answered holds up no other.
func TestHTTPStalledConnectionHoldsUpNoOther(t *testing.T) {
	release := make(chan struct{})
	ordered(t, output.HTTPConfig{Connections: 2}, func(client, n int) {
		if client == 1 && n == 0 {
			<-release
		}
	}, func(t *testing.T, s *orderServer, h *output.HTTP) {
		stalled, others := watch(t), watch(t)
		for n := range 40 {
			b := kagami.Batch{Messages: []*kagami.Message{of(1, n)}, Settle: func(_ int, r kagami.Reason) { stalled.settle(n, r) }}
			if err := h.Write(t.Context(), b); err != nil {
				t.Error(err)
			}
			b = kagami.Batch{Messages: []*kagami.Message{of(2, n)}, Settle: func(_ int, r kagami.Reason) { others.settle(n, r) }}
			if err := h.Write(t.Context(), b); err != nil {
				t.Error(err)
			}
		}
		others.await(40)
		if n := stalled.len(); n != 0 {
			t.Errorf("%d settled behind the one that stalls", n)
		}
		// The connection that settled the last one may not have let go of it yet.
		if n := h.InFlight(); n != 40 && n != 41 {
			t.Errorf("%d in flight, want 40", n)
		}
		release <- struct{}{}
		stalled.await(40)
		s.want(1, 40)
		s.want(2, 40)
		if s.overlap > 0 {
			t.Errorf("%d overlap", s.overlap)
		}
	})
}

func TestHTTPOrderIsBounded(t *testing.T) {
	release := make(chan struct{})
	stall := func(client, n int) {
		if n == 0 {
			<-release
		}
	}
	requests := func() (ms []*kagami.Message) {
		for n := range 10 {
			ms = append(ms, of(1, n))
		}
		return ms
	}
	t.Run("drop", func(t *testing.T) {
		ordered(t, output.HTTPConfig{OrderWait: 3}, stall, func(t *testing.T, s *orderServer, h *output.HTTP) {
			seen := watch(t)
			ms := requests()
			write(t, h, seen, ms...)
			if n := seen.count(kagami.QueueFull); n != 6 || ms[4].Exchange.Fate(0) != kagami.Dropped {
				t.Errorf("%d given up, want 6, and their answers with them", n)
			}
			release <- struct{}{}
			seen.await(10)
			s.want(1, 4)
		})
	})
	t.Run("wait", func(t *testing.T) {
		ordered(t, output.HTTPConfig{OrderWait: 3, OnFull: output.WaitWhenFull}, stall, func(t *testing.T, s *orderServer, h *output.HTTP) {
			seen := watch(t)
			go func() { release <- struct{}{} }()
			write(t, h, seen, requests()...)
			seen.await(10)
			seen.want(make([]kagami.Reason, 10)...)
			s.want(1, 10)
		})
	})
	t.Run("wait, and be told to stop", func(t *testing.T) {
		stop := make(chan struct{})
		ordered(t, output.HTTPConfig{OrderWait: 3, OnFull: output.WaitWhenFull}, func(_, n int) {
			if n == 0 {
				stop <- struct{}{}
				<-release
			}
		}, func(t *testing.T, s *orderServer, h *output.HTTP) {
			ctx, cancel := context.WithCancel(t.Context())
			go func() { <-stop; cancel() }()
			seen := watch(t)
			if err := h.Write(ctx, kagami.Batch{Messages: requests(), Settle: seen.settle}); err != nil {
				t.Error(err)
			}
			seen.await(10)
			if seen.count(kagami.InDoubt) != 1 || seen.count(kagami.DrainTimeout) != 9 {
				t.Errorf("settled as %v, want one in doubt and nine not sent", seen.by)
			}
			release <- struct{}{}
		})
	})
}

// What is given up makes room for the next of its connection.
func TestHTTPOrderGoesOnBehindAFailure(t *testing.T) {
	ordered(t, output.HTTPConfig{Connections: 3}, func(_, n int) {
		if n%3 == 0 {
			panic(http.ErrAbortHandler) // the connection is closed without an answer
		}
	}, func(t *testing.T, s *orderServer, h *output.HTTP) {
		seen := watch(t)
		var ms []*kagami.Message
		for n := range 9 {
			m := of(1, n)
			m.Raw = append([]byte("POST"), m.Raw[3:]...) // not sent twice
			ms = append(ms, m)
		}
		ms[4].Raw = []byte("nonsense\r\n\r\n")
		write(t, h, seen, ms...)
		seen.await(9)
		const ok, no = kagami.Delivered, kagami.SendError
		seen.want(no, ok, ok, no, kagami.NotReplayable, ok, no, ok, ok)
		s.mu.Lock()
		defer s.mu.Unlock()
		if want := []int{0, 1, 2, 3, 5, 6, 7, 8}; !slices.Equal(s.came[1], want) {
			t.Errorf("came %v, want %v", s.came[1], want)
		}
	})
}

// Close sends what waits for its turn.
func TestHTTPCloseSendsWhatKeepsOrder(t *testing.T) {
	for _, dial := range []func(context.Context, string, string) (net.Conn, error){nil, (&net.Dialer{}).DialContext} {
		s := &orderServer{T: t, came: map[int][]int{}, now: map[int]int{}}
		srv, _ := countingServer(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Connection", "close")
			s.ServeHTTP(w, r)
		})
		h, err := output.NewHTTP(output.HTTPConfig{URL: srv.URL, DialContext: dial, KeepOrder: true})
		if err != nil {
			t.Fatal(err)
		}
		seen := watch(t)
		var ms []*kagami.Message
		for n := range 100 {
			ms = append(ms, of(1+n%2, n/2))
		}
		write(t, h, seen, ms...)
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		seen.want(make([]kagami.Reason, 100)...)
		s.want(1, 50)
		s.want(2, 50)
	}
}

// A target that is lost takes with it what waits behind others.
func TestHTTPKeepsOrderWhileDown(t *testing.T) {
	inBubble(t, output.HTTPConfig{KeepOrder: true, Timeout: time.Second}, func(t *testing.T, f *fakeTarget, h *output.HTTP) {
		f.setDial(refuseAll)
		seen := watch(t)
		write2 := func(from int) {
			b := kagami.Batch{Messages: []*kagami.Message{of(1, from), of(1, from+1), of(2, from)},
				Settle: func(i int, r kagami.Reason) { seen.settle(3*from+i, r) }}
			if err := h.Write(t.Context(), b); err != nil {
				t.Error(err)
			}
		}
		begin := time.Now()
		write2(0)
		seen.want(kagami.SendError, kagami.SendError, kagami.SendError)
		if d := time.Since(begin); d < time.Second || d > 2*time.Second {
			t.Errorf("given up after %v, want the timeout", d)
		}
		f.setDial(nil)
		time.Sleep(5 * time.Second)
		write2(1)
		synctest.Wait()
		if n := seen.count(kagami.Delivered); n != 3 || seen.len() != 6 {
			t.Errorf("settled as %v, want three delivered", seen.by)
		}
	})
}

func TestHTTPOrderIsRefused(t *testing.T) {
	if _, err := output.NewHTTP(output.HTTPConfig{URL: "http://a", OrderWait: -1}); err == nil {
		t.Error("a wait list of -1: no error")
	}
}
