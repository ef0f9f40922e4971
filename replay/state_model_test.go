package replay_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"kagami"
	"kagami/internal/stream"
	"kagami/replay"
)

// A model is what a listener and the targets know, whatever happens to the replayer.
type model struct {
	random  *rand.Rand
	batches []modelBatch
	sent    []map[uint64]int // of each output: how often a record was sent
	acked   uint64
	next    uint64
}

// A modelBatch is a batch that the listener keeps until it is acknowledged.
type modelBatch struct {
	first, last uint64
	wire        []byte
}

const modelOutputs = 2

func newModel(seed uint64) *model {
	m := &model{random: rand.New(rand.NewPCG(seed, 0)), next: 1}
	for range modelOutputs {
		m.sent = append(m.sent, map[uint64]int{})
	}
	return m
}

// batch makes the next batch. Ids are numbers of records, so that what is
// emitted can be told.
func (m *model) batch() modelBatch {
	n := 1 + m.random.Uint64N(5)
	var b stream.Builder
	for i := range n {
		b.Add(wireMessage(kagami.Request, fmt.Sprintf("%016x", m.next+i), 0))
	}
	x := modelBatch{m.next, m.next + n - 1, append([]byte(nil), b.Finish(m.next)...)}
	m.next += n
	if m.random.IntN(20) == 0 {
		m.next += 1 << 32 // a listener with a spool was started again
	}
	m.batches = append(m.batches, x)
	return x
}

// A task is a message at an output.
type task struct {
	emission
	output int
	record uint64
	begun  bool
}

// run is one run of the replayer, up to a crash. It returns what that leaves.
func (m *model) run(t *testing.T, dir string, resend bool, steps int) (left string) {
	r := startRun(t, dir, func(c *replay.StateConfig) { c.FileSize, c.Resend = 2048, resend }, "a", "b")
	p, a := r.connect(m.next + 1<<40)
	if a.Received < m.acked {
		t.Fatalf("received %d, and %d was acknowledged", a.Received, m.acked)
	}
	var unsent []modelBatch
	for _, b := range m.batches {
		if b.last > a.Received {
			unsent = append(unsent, b)
		}
	}
	var heard atomic.Uint64
	go func() { // as a listener reads
		for {
			f, err := stream.ReadFrame(p.r, stream.Limits{})
			if err != nil {
				return
			}
			heard.Store(f.Acknowledged)
		}
	}()
	var tasks []task
	seen := 0
	take := func() {
		synctest.Wait()
		r.mu.Lock()
		fresh := r.emitted[seen:]
		seen = len(r.emitted)
		r.mu.Unlock()
		for _, e := range fresh {
			tasks = append(tasks, m.tasks(t, r, e)...)
		}
	}
	for range steps {
		switch m.random.IntN(3) {
		case 0:
			time.Sleep(time.Millisecond) // so that there are acknowledgements
			if len(unsent) == 0 {
				unsent = append(unsent, m.batch())
			}
			p.write(unsent[0].wire)
			unsent = unsent[1:]
			take()
		default:
			if len(tasks) > 0 {
				i := m.random.IntN(len(tasks))
				if m.step(t, r, &tasks[i]) {
					tasks = append(tasks[:i], tasks[i+1:]...)
				}
			}
		}
	}
	synctest.Wait()
	m.acked = max(m.acked, heard.Load())
	if m.random.IntN(2) == 0 {
		return r.crash()
	}
	return r.crashNow()
}

// tasks are what is to be done about a message that was emitted: for an output
// that an earlier run has settled it at, nothing.
func (m *model) tasks(t *testing.T, r *stateRun, e emission) (all []task) {
	var record uint64
	fmt.Sscanf(e.m.Exchange.ID.String(), "%x", &record)
	left := modelOutputs
	settle := e.settle
	e.settle = func(reason kagami.Reason) {
		if left--; left == 0 {
			settle(reason)
		}
	}
	for output := range modelOutputs {
		r.outputs[output].In(1)
		x := task{e, output, record, false}
		if reason, known := r.state.Recall(e.m, output); known {
			m.finish(r, &x, reason)
			continue
		}
		if m.sent[output][record] > 0 && !r.resend {
			t.Errorf("record %d was sent by output %d, and is to be sent again", record, output)
		}
		all = append(all, x)
	}
	return all
}

// step goes on with a task, and reports whether it is done.
func (m *model) step(t *testing.T, r *stateRun, x *task) bool {
	switch {
	case !x.begun && m.random.IntN(5) == 0:
		m.finish(r, x, kagami.QueueFull)
		return true
	case !x.begun:
		if err := r.state.Sending(x.output, []*kagami.Message{x.m}); err != nil {
			t.Fatal(err)
		}
		x.begun = true
		m.sent[x.output][x.record]++
		return false
	}
	m.finish(r, x, kagami.Delivered)
	return true
}

func (m *model) finish(r *stateRun, x *task, reason kagami.Reason) {
	r.state.Settled(x.m, x.output, reason)
	r.outputs[x.output].Settle(reason)
	x.settle(reason)
}

// Whatever happens and whenever the replayer crashes: no record is sent twice,
// unless that was asked for; each is sent or accounted for; and the ledger that the last run
// has is that of all that came.
func TestStateHoldsWhateverHappens(t *testing.T) {
	for seed := range uint64(20) {
		resend := seed%2 == 1
		synctest.Test(t, func(t *testing.T) {
			m := newModel(seed)
			dir := filepath.Join(t.TempDir(), "state")
			for range 8 {
				dir = m.run(t, dir, resend, 10+m.random.IntN(600))
			}
			r := m.last(t, dir, resend)
			total := int64(0)
			for _, b := range m.batches {
				total += int64(b.last - b.first + 1)
			}
			for i, stage := range r.outputs {
				st := stage.Statement()
				if st.In != total || st.Missing() != 0 {
					t.Errorf("seed %d: output %d of %d: %+v", seed, i, total, st)
				}
				again := int64(0)
				for record, n := range m.sent[i] {
					again += int64(n - 1)
					if n > 1 && !resend {
						t.Errorf("seed %d: record %d was sent %d times", seed, record, n)
					}
				}
				if again != st.Resent || !resend && st.Resent != 0 {
					t.Errorf("seed %d: %d sent again, and the ledger says %d", seed, again, st.Resent)
				}
				if arrived := int64(len(m.sent[i])); arrived < st.Out || arrived > st.Out+st.Dropped[kagami.InDoubt]+st.Dropped[kagami.QueueFull] {
					t.Errorf("seed %d: %d sent, %+v", seed, arrived, st)
				}
			}
			r.close()
		})
	}
}

// last is a run that ends when all is acknowledged.
func (m *model) last(t *testing.T, dir string, resend bool) *stateRun {
	r := startRun(t, dir, func(c *replay.StateConfig) { c.Resend = resend }, "a", "b")
	p, a := r.connect(m.next + 1<<40)
	for _, b := range m.batches {
		if b.last <= a.Received {
			continue
		}
		p.write(b.wire)
	}
	synctest.Wait()
	for _, e := range r.emitted {
		for _, x := range m.tasks(t, r, e) {
			for !m.step(t, r, &x) {
			}
		}
	}
	if n := len(m.batches); n > 0 {
		p.expectAck(m.batches[n-1].last)
	}
	return r
}
