package replay_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kagami"
	"kagami/replay"
)

// A stateRun is a replayer with a state, from its start to its end or crash.
// Its outputs do what the test says.
type stateRun struct {
	*serverTest
	state   *replay.State
	dir     string
	resend  bool
	filter  *kagami.Stage
	outputs []*kagami.Stage
}

// startRun starts a replayer with outputs of these names. It is used in a synctest bubble.
func startRun(t *testing.T, dir string, change func(*replay.StateConfig), outputs ...string) *stateRun {
	t.Helper()
	cfg := replay.StateConfig{Dir: dir}
	if change != nil {
		change(&cfg)
	}
	state, _, err := replay.OpenState(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := &stateRun{state: state, dir: dir, resend: cfg.Resend, filter: &kagami.Stage{Name: "filter", Unit: kagami.Messages}}
	for _, name := range outputs {
		stage := &kagami.Stage{Name: "output", Of: name, Unit: kagami.Messages}
		state.Output(stage)
		r.outputs = append(r.outputs, stage)
	}
	r.serverTest = &serverTest{t: t, pipes: newPipes(), ended: make(chan error, 1)}
	r.server, err = replay.NewServer(replay.ServerConfig{Listener: r.pipes, State: state, Resend: cfg.Resend})
	if err != nil {
		t.Fatal(err)
	}
	state.Behind(r.server, r.filter)
	ctx, cancel := context.WithCancel(t.Context())
	r.stop = cancel
	go func() { r.ended <- r.server.Run(ctx, r.serverTest.emit) }()
	return r
}

// crash ends the run as a kill -9 does: the next one finds what is in the files
// at this moment. What nobody waits for is written a millisecond late.
func (r *stateRun) crash() (dir string) {
	r.t.Helper()
	time.Sleep(2 * time.Millisecond)
	synctest.Wait()
	return r.crashNow()
}

func (r *stateRun) crashNow() (dir string) {
	r.t.Helper()
	dir = filepath.Join(r.t.TempDir(), "state")
	copyDir(r.t, r.dir, dir)
	r.close()
	return dir
}

// close ends the run in order.
func (r *stateRun) close() {
	r.t.Helper()
	r.stop()
	if err := r.server.Close(); err != nil {
		r.t.Error(err)
	}
	if err := r.state.Close(); err != nil {
		r.t.Error(err)
	}
	synctest.Wait()
}

func copyDir(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// message is the i-th that was emitted.
func (r *stateRun) message(i int) emission {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.emitted[i]
}

// send has an output begin with the i-th message.
func (r *stateRun) send(output, i int) {
	r.t.Helper()
	if err := r.state.Sending(output, []*kagami.Message{r.message(i).m}); err != nil {
		r.t.Fatal(err)
	}
}

// settleAt has an output settle the i-th message, the last output for all.
func (r *stateRun) settleAt(output, i int, reason kagami.Reason) {
	e := r.message(i)
	r.outputs[output].In(1)
	r.outputs[output].Settle(reason)
	r.state.Settled(e.m, output, reason)
	if output == len(r.outputs)-1 {
		e.settle(reason)
	}
}

// deliver sends and settles.
func (r *stateRun) deliver(output, i int) {
	r.send(output, i)
	r.settleAt(output, i, kagami.Delivered)
}

// recalled is what is known of each emitted message at an output.
func (r *stateRun) recalled(output int) string {
	synctest.Wait()
	var all []string
	for _, e := range r.emitted {
		reason, known := r.state.Recall(e.m, output)
		if known {
			all = append(all, fmt.Sprintf("%v:%v", e.m.Exchange.ID, reason))
		}
	}
	return strings.Join(all, " ")
}

func (r *stateRun) expectRecalled(output int, want string) {
	r.t.Helper()
	if got := r.recalled(output); got != want {
		r.t.Errorf("output %d: recalled %q, want %q", output, got, want)
	}
}

// expectLedger compares a line of the ledger.
func expectLedger(t *testing.T, stage *kagami.Stage, in, out int64, dropped string) {
	t.Helper()
	st := stage.Statement()
	var drops []string
	for _, r := range kagami.Reasons() {
		if n := st.Dropped[r]; n > 0 {
			drops = append(drops, fmt.Sprintf("%v %d", r, n))
		}
	}
	if got := strings.Join(drops, ", "); st.In != in || st.Out != out || got != dropped {
		t.Errorf("%s %s: in %d, out %d, dropped %q; want %d, %d, %q", st.Stage, st.Name, st.In, st.Out, got, in, out, dropped)
	}
}
