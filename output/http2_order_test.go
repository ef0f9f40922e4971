package output_test

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"kagami"
	"kagami/output"
)

// What a client sent on one connection of HTTP/2 goes one after the other with KeepOrder, over
// HTTP/2 where the target speaks it, else over HTTP/1.1; also what is given up does not hold up
// what is behind it, and a client of HTTP/1 has its order beside it.
func TestHTTP2KeepsOrder(t *testing.T) {
	const clients, each = 6, 40
	for _, speaks := range []bool{true, false} {
		t.Run(fmt.Sprint("HTTP/2 ", speaks), func(t *testing.T) {
			s := &orderServer{T: t, came: map[int][]int{}, now: map[int]int{}}
			versions := make(chan int, 2*clients*each)
			srv := talkingServer(t, true, speaks, func(w http.ResponseWriter, r *http.Request) {
				if r.Method == "PRI" {
					return // an old server takes the preface for a request
				}
				versions <- r.ProtoMajor
				s.ServeHTTP(w, r)
			})
			h, seen := newHTTP(t, output.HTTPConfig{URL: srv.URL, KeepOrder: true, Connections: 4}), watch(t)
			var ms []*kagami.Message
			for n := range each {
				for client := range clients {
					m := of(client+1, n)
					if client > 0 {
						m.Proto = kagami.HTTP2
					}
					if n == each/2 {
						m.Raw = []byte("no request") // which is settled at once
					}
					ms = append(ms, m)
				}
			}
			write(t, h, seen, ms...)
			seen.await(len(ms))
			for client := range clients {
				s.want(client+1, each-1)
			}
			if s.overlap > 0 {
				t.Errorf("%d requests came before the one before them was answered", s.overlap)
			}
			if d, n := seen.count(kagami.Delivered), seen.count(kagami.NotReplayable); d != clients*(each-1) || n != clients {
				t.Errorf("%d delivered, %d not replayable", d, n)
			}
			two := 0
			for range len(versions) {
				if <-versions == 2 {
					two++
				}
			}
			if want := map[bool]int{true: (clients - 1) * (each - 1), false: 0}[speaks]; two != want {
				t.Errorf("%d requests came over HTTP/2, want %d", two, want)
			}
			if n := h.InFlight(); n != 0 {
				t.Errorf("%d in flight", n)
			}
		})
	}
}

// Write waits until what it brought is under way, and what waits for its turn is sent
// before Close returns; or, when the context ends, given up.
func TestHTTP2KeepOrderWaits(t *testing.T) {
	var gate atomic.Pointer[chan struct{}]
	shut := func() chan struct{} {
		c := make(chan struct{})
		gate.Store(&c)
		return c
	}
	came := make(chan struct{}, 10)
	srv := talkingServer(t, true, true, func(w http.ResponseWriter, r *http.Request) {
		came <- struct{}{}
		<-*gate.Load()
	})
	open := shut()
	h, seen := newHTTP(t, output.HTTPConfig{URL: srv.URL, KeepOrder: true, Connections: 2, Timeout: time.Minute}), watch(t)
	ms := []*kagami.Message{of(1, 0), of(1, 1), of(2, 0), of(3, 0), of(3, 1)}
	for _, m := range ms {
		m.Proto = kagami.HTTP2
	}
	wrote := make(chan error)
	go func() {
		wrote <- h.Write(t.Context(), kagami.Batch{Messages: ms, Settle: seen.settle})
	}()
	<-came
	<-came // two are under way, of three that may be
	select {
	case <-wrote:
		t.Error("Write returned while a request waited for room")
	default:
	}
	if n := h.InFlight(); n != 5 {
		t.Errorf("%d in flight, want 5", n)
	}
	close(open)
	if err := <-wrote; err != nil {
		t.Error(err)
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	seen.want(make([]kagami.Reason, 5)...)

	for range 3 {
		<-came
	}
	defer close(shut())
	h, seen = newHTTP(t, output.HTTPConfig{URL: srv.URL, KeepOrder: true, Connections: 1, Timeout: time.Minute}), watch(t)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		wrote <- h.Write(ctx, kagami.Batch{Messages: ms, Settle: seen.settle})
	}()
	<-came
	cancel()
	if err := <-wrote; err != nil {
		t.Error(err)
	}
	seen.await(5)
	if d, n := seen.count(kagami.InDoubt), seen.count(kagami.DrainTimeout); d != 1 || n != 4 {
		t.Errorf("%d in doubt, %d given up: want 1, 4", d, n)
	}
}
