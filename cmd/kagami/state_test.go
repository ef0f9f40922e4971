package main

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"kagami"
	"kagami/output"
	"kagami/replay"
)

// A holder is an output that keeps what it is given and settles it when it is
// told to, or at its end.
type holder struct {
	mu    sync.Mutex
	more  *sync.Cond
	held  []func(kagami.Reason)
	names []string // of what came
}

func newHolder() *holder {
	h := &holder{}
	h.more = sync.NewCond(&h.mu)
	return h
}

func (h *holder) Write(_ context.Context, b kagami.Batch) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, m := range b.Messages {
		h.names = append(h.names, m.Exchange.ID.String())
		h.held = append(h.held, func(r kagami.Reason) { b.Done(i, r) })
	}
	h.more.Broadcast()
	return nil
}

// settle settles all that is held.
func (h *holder) settle(r kagami.Reason) {
	h.mu.Lock()
	held := h.held
	h.held = nil
	h.mu.Unlock()
	for _, f := range held {
		f(r)
	}
}

func (h *holder) InFlight() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return int64(len(h.held))
}

func (h *holder) Close() error {
	h.settle(kagami.DrainTimeout)
	return nil
}

// awaitHeld waits until the outputs have been given n messages together.
func awaitHeld(t *testing.T, n int, holders ...*holder) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) { // they are two conditions
		got := 0
		for _, h := range holders {
			h.mu.Lock()
			got += len(h.names)
			h.mu.Unlock()
		}
		if got >= n {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d messages came, want %d", got, n)
		}
	}
}

// A keptRun is a pipeline behind a stream server with a state, and two outputs
// among which requests go by turns.
type keptRun struct {
	t       *testing.T
	p       *pipeline
	server  *replay.Server
	outputs [2]*holder
	stop    context.CancelFunc
	ended   chan error
}

func startKept(t *testing.T, dir, address string) *keptRun {
	t.Helper()
	state, _, err := replay.OpenState(replay.StateConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	r := &keptRun{t: t, p: newPipeline("test", true), ended: make(chan error, 1)}
	r.p.state = state
	r.p.splitter = splitter{turns: true, up: map[int]func() bool{}}
	for i, name := range []string{"a", "b"} {
		r.outputs[i] = newHolder()
		gate := output.NewGate(r.outputs[i], func(ms []*kagami.Message) error { return state.Sending(i, ms) })
		if _, err := r.p.addOutput(name, gate, nil, true, output.QueueConfig{}); err != nil {
			t.Fatal(err)
		}
	}
	if r.server, err = replay.NewServer(replay.ServerConfig{Address: address, State: state}); err != nil {
		t.Fatal(err)
	}
	line := r.p.addInput("tcp", r.server, nil)
	state.Behind(r.server, line.stage)
	r.p.join()
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	go func() { r.ended <- r.p.run(ctx) }()
	return r
}

func (r *keptRun) end() kagami.Statement {
	r.t.Helper()
	r.stop()
	if err := <-r.ended; err != nil {
		r.t.Error(err)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	_ = r.p.shutdown(ended)
	if err := r.server.Close(); err != nil {
		r.t.Error(err)
	}
	st := r.p.ledger.Statement()
	if err := r.p.state.Close(); err != nil {
		r.t.Error(err)
	}
	return st
}

// Where each request goes to one of the outputs by turns, what one of them was
// sending when the process was killed does not go to the other.
func TestStateAndSplitOutputs(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "first")
	r := startKept(t, dir, "127.0.0.1:0")
	address := r.server.Addr().String()
	tcp, err := output.NewTCP(output.TCPConfig{Address: address, MinBackoff: time.Millisecond, MaxBackoff: 5 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	var ms []*kagami.Message
	for _, m := range exchanges(21) {
		if m.Kind == kagami.Request {
			ms = append(ms, m)
		}
	}
	fates := make(chan kagami.Reason, len(ms))
	settle := func(_ int, r kagami.Reason) { fates <- r }
	if err := tcp.Write(t.Context(), kagami.Batch{Messages: ms[:1], Settle: settle}); err != nil {
		t.Fatal(err)
	}
	awaitHeld(t, 1, r.outputs[0], r.outputs[1])
	r.outputs[0].settle(kagami.Delivered)
	<-fates
	if err := tcp.Write(t.Context(), kagami.Batch{Messages: ms[1:], Settle: settle}); err != nil {
		t.Fatal(err)
	}
	awaitHeld(t, 21, r.outputs[0], r.outputs[1])
	second := filepath.Join(t.TempDir(), "second")
	if err := os.CopyFS(second, os.DirFS(dir)); err != nil { // what a kill -9 would leave
		t.Fatal(err)
	}
	first := r.outputs
	r.end()

	r = startKept(t, second, address)
	for range 20 {
		if f := <-fates; f != kagami.Delivered { // which to a listener is: acknowledged
			t.Errorf("settled as %v", f)
		}
	}
	st := r.end()
	for i, name := range []string{"a", "b"} {
		if n := len(r.outputs[i].names); n != 0 {
			t.Errorf("%d requests were sent to %s, and all were in doubt", n, name)
		}
		o, _ := st.Stage("output", name, kagami.Messages)
		if n := int64(len(first[i].names)); o.In != n || o.Out+o.Dropped[kagami.InDoubt] != n || o.Missing() != 0 {
			t.Errorf("%s was given %d, and its ledger says %+v", name, n, o)
		}
	}
	if !st.Balanced {
		t.Errorf("not balanced: %v", st.Faults)
	}
	if err := tcp.Close(); err != nil {
		t.Error(err)
	}
}

// What is in doubt is dropped at a stream and sent again at a broker, unless the user says what is to be done at both.
func TestInDoubtGoesByTheInput(t *testing.T) {
	for said, want := range map[InDoubt][2]bool{"": {false, true}, InDoubtDrop: {false, false}, InDoubtResend: {true, true}} {
		cfg := Config{InDoubt: said}
		if got := [2]bool{cfg.resends(InputTCP), cfg.resends(InputNATS)}; got != want {
			t.Errorf("--in-doubt %q: sent again at a stream and at a broker: %v, want %v", said, got, want)
		}
	}
}
