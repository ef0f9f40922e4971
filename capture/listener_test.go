package capture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"kagami"
)

// A tap is a live Source: packets are put into it while it is read.
type tap struct {
	mu      sync.Mutex
	change  sync.Cond
	packets []Packet
	err     error
	stats   Stats
	asked   int // how often Stats was called
}

func newTap() *tap {
	s := new(tap)
	s.change.L = &s.mu
	return s
}

func (s *tap) put(p ...Packet) {
	s.mu.Lock()
	s.packets = append(s.packets, p...)
	s.mu.Unlock()
	s.change.Broadcast()
}

func (s *tap) end(err error) {
	s.mu.Lock()
	if s.err == nil {
		s.err = err
	}
	s.mu.Unlock()
	s.change.Broadcast()
}

func (s *tap) Next() (Packet, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.packets) == 0 && s.err == nil {
		s.change.Wait()
	}
	if len(s.packets) == 0 {
		return Packet{}, s.err
	}
	p := s.packets[0]
	s.packets = s.packets[1:]
	return p, nil
}

func (s *tap) Buffered() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.packets)
}

func (s *tap) Close() error { s.end(net.ErrClosed); return nil }

func (s *tap) Stats() (Stats, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	return s.stats, nil
}

// listen runs a Listener on a tap in a synctest bubble.
func listen(t *testing.T, cfg Config) (tr *trace, s *tap, stop func() error) {
	tr, s = newTrace(t), newTap()
	l, err := New(cfg, s)
	if err != nil {
		t.Fatal(err)
	}
	tr.Listener = l
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- l.Run(ctx, tr.emit) }()
	return tr, s, func() error {
		cancel()
		err := <-done
		balanced(t, l)
		return err
	}
}

// pass puts what is new in the trace into the tap and lets it be captured.
func (tr *trace) pass(s *tap) {
	s.put(tr.packets...)
	tr.packets = nil
	synctest.Wait()
}

func TestListenerExpiresWithoutPackets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr, s, stop := listen(t, port80)
		w := tr.dial(aClient, aServer)
		w.send(post("/1", text(100))[:70])
		tr.pass(s)
		if n := tr.Stages()[2].Statement().InFlight; n != 1 {
			t.Errorf("%d messages in flight, want 1", n)
		}
		time.Sleep(DefaultExpire - time.Millisecond)
		synctest.Wait()
		tr.dropped("")
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		tr.dropped("incomplete 1")
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// While nothing is unfinished nothing wakes up.
func TestListenerSleeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr, s, stop := listen(t, port80)
		tr.dial(aClient, aServer).send(get("/1"))
		tr.pass(s)
		time.Sleep(time.Hour)
		synctest.Wait()
		tr.mu.Lock()
		if armed := tr.armed; armed {
			t.Error("the timer is armed")
		}
		tr.mu.Unlock()
		tr.wants(get("/1"))
		stop()
	})
}

// What is complete and what the source still holds is handed on after a cancel.
func TestListenerDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr, s, stop := listen(t, port80)
		w := tr.dial(aClient, aServer)
		var want []string
		for i := range 1000 {
			w.send(get(fmt.Sprint("/", i)))
			want = append(want, get(fmt.Sprint("/", i)))
		}
		w.send("GET /unfinished")
		s.put(tr.packets...)
		if err := stop(); err != nil {
			t.Error(err)
		}
		tr.wants(want...)
		tr.dropped("incomplete 1")
	})
}

func TestListenerSourceBreaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr, s, stop := listen(t, port80)
		tr.dial(aClient, aServer).send(get("/1"))
		tr.pass(s)
		broken := errors.New("interface is down")
		s.end(broken)
		synctest.Wait()
		if err := stop(); !errors.Is(err, broken) {
			t.Errorf("error %v, want %v", err, broken)
		}
		tr.wants(get("/1"))
	})
}

func TestListenerCountsLosses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr, s, stop := listen(t, port80)
		w := tr.dial(aClient, aServer)
		tr.pass(s)
		if st := tr.Stages()[2]; st.Bounded() {
			t.Error("bounded before anything was lost")
		}
		s.mu.Lock()
		s.stats = Stats{Received: 100, KernelDropped: 7, InterfaceDropped: 2}
		s.mu.Unlock()
		for range 10 {
			w.send(get("/1"))
		}
		tr.pass(s)
		if s.asked > 1 {
			t.Errorf("asked %d times for statistics within a second", s.asked)
		}
		tr.wait(time.Second)
		w.send(get("/2"))
		tr.pass(s)
		tr.droppedAt(0, "kernel-drop 7, interface-drop 2")
		if st := tr.Stages()[2]; !st.Bounded() {
			t.Error("not bounded after the kernel lost packets")
		}
		s.mu.Lock()
		s.stats.KernelDropped = 8
		s.mu.Unlock()
		stop()
		tr.droppedAt(0, "kernel-drop 8, interface-drop 2")
		if in, out := tr.Stages()[0].Count(); in != 14+10 || out != 14 {
			t.Errorf("%d packets in, %d out", in, out)
		}
	})
}

func TestListenerDropsWhenNobodyTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTap()
		l, err := New(Config{Ports: []uint16{80}, Responses: true, Queue: 4000}, s)
		if err != nil {
			t.Fatal(err)
		}
		tr := newTrace(t)
		tr.Listener = l
		proceed, done := make(chan struct{}), make(chan error)
		go func() {
			done <- l.Run(t.Context(), func(ctx context.Context, b kagami.Batch) error {
				<-proceed
				return tr.emit(ctx, b)
			})
		}()
		w := tr.dial(aClient, aServer)
		for i := range 100 {
			w.send(get(fmt.Sprint("/", i)))
		}
		tr.pass(s)
		close(proceed)
		synctest.Wait()
		for i := range 100 {
			w.answer(ok(fmt.Sprint(i)))
			tr.pass(s)
		}
		kept := len(tr.requests)
		if kept == 0 || kept > 4000/256 {
			t.Errorf("%d requests kept", kept)
		}
		if a := len(tr.responses); a != kept {
			t.Errorf("%d answers to %d requests", a, kept)
		}
		tr.dropped(fmt.Sprintf("queue-full %d, request-dropped %[1]d", 100-kept))
		s.end(io.EOF)
		if err := <-done; err != nil {
			t.Error(err)
		}
		balanced(t, l)
	})
}

// A recording waits instead, and does not read far ahead.
func TestListenerWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTrace(t)
		w := tr.dial(aClient, aServer)
		for range 2000 {
			w.send(post("/", text(100)))
		}
		s := &list{packets: tr.packets}
		l, err := New(Config{Queue: 4000, Wait: true}, s)
		if err != nil {
			t.Fatal(err)
		}
		tr.Listener = l
		done := make(chan error)
		proceed := make(chan struct{})
		go func() {
			done <- l.Run(t.Context(), func(ctx context.Context, b kagami.Batch) error {
				<-proceed
				return tr.emit(ctx, b)
			})
		}()
		synctest.Wait()
		if held := l.messagesInFlight(); held == 0 || held > 12 {
			t.Errorf("%d messages are held", held)
		}
		close(proceed)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if n := len(tr.requests); n != 2000 {
			t.Errorf("%d requests", n)
		}
		tr.dropped("")
		balanced(t, l)
	})
}

func TestListenerStopsWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTrace(t)
		w := tr.dial(aClient, aServer)
		for range 2000 {
			w.send(get("/"))
		}
		l, err := New(Config{Queue: 4000, Wait: true}, &list{packets: tr.packets})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			done <- l.Run(ctx, func(ctx context.Context, b kagami.Batch) error {
				cancel()
				time.Sleep(time.Second)
				if ctx.Err() != nil {
					t.Error("the last batches are given a context that is done")
				}
				return nil
			})
		}()
		if err := <-done; err != nil {
			t.Error(err)
		}
		balanced(t, l)
	})
}

func TestListenerEmitFails(t *testing.T) {
	for _, wait := range []bool{false, true} {
		tr := newTrace(t)
		w := tr.dial(aClient, aServer)
		for range 2000 {
			w.send(get("/"))
		}
		l, err := New(Config{Wait: wait, Queue: 100_000}, &list{packets: tr.packets, block: 10})
		if err != nil {
			t.Fatal(err)
		}
		broken := errors.New("no output left")
		n := 0
		err = l.Run(t.Context(), func(context.Context, kagami.Batch) error {
			if n++; n > 3 {
				return broken
			}
			return nil
		})
		if !errors.Is(err, broken) {
			t.Errorf("error %v, want %v", err, broken)
		}
		if l.messages.Dropped(kagami.DrainTimeout) == 0 {
			t.Error("nothing was dropped")
		}
		balanced(t, l)
	}
}

// Two sources see one direction each.
func TestListenerTwoSources(t *testing.T) {
	tr := newTrace(t)
	w := tr.dial(aClient, aServer)
	for i := range 300 {
		w.send(get(fmt.Sprint("/", i))).answer(ok(fmt.Sprint(i)))
	}
	var from, to list
	for _, p := range tr.packets {
		if p.Data[15] == 1 {
			from.packets = append(from.packets, p)
		} else {
			to.packets = append(to.packets, p)
		}
	}
	from.block, to.block = 3, 7
	l, err := New(Config{Responses: true, Wait: true, Expire: time.Hour}, &to, &from)
	if err != nil {
		t.Fatal(err)
	}
	tr.Listener = l
	if err := l.Run(t.Context(), tr.emit); err != nil {
		t.Fatal(err)
	}
	balanced(t, l)
	if p := tr.pairs(); len(tr.requests) != 300 || strings.Count(p, "=") != 300 || !strings.Contains(p, "/299=299") {
		t.Errorf("pairs: %s", p)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, cfg := range []Config{
		{Ports: []uint16{0}}, {Expire: -1}, {MaxMessage: -1}, {Memory: -1}, {MaxConnections: -1}, {Queue: -1},
	} {
		if _, err := New(cfg, &list{}); err == nil {
			t.Errorf("%+v is accepted", cfg)
		}
	}
	if _, err := New(Config{}); err == nil {
		t.Error("no source is accepted")
	}
	l, err := New(Config{}, &list{})
	if err != nil {
		t.Fatal(err)
	}
	emit := func(context.Context, kagami.Batch) error { return nil }
	if err := l.Run(t.Context(), emit); err != nil {
		t.Error(err)
	}
	if err := l.Run(t.Context(), emit); err == nil {
		t.Error("Run runs twice")
	}
}
