package output_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"kagami"
	"kagami/output"
)

// settlements notes how the messages of a batch were settled, and fails the
// test if one is settled twice.
type settlements struct {
	t    testing.TB
	mu   sync.Mutex
	more *sync.Cond
	by   map[int]kagami.Reason
}

func watch(t testing.TB) *settlements {
	s := &settlements{t: t, by: map[int]kagami.Reason{}}
	s.more = sync.NewCond(&s.mu)
	return s
}

// await waits until n messages are settled.
func (s *settlements) await(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.by) < n {
		s.more.Wait()
	}
}

func (s *settlements) settle(i int, r kagami.Reason) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if was, ok := s.by[i]; ok {
		s.t.Errorf("message %d settled twice: %v, then %v", i, was, r)
	}
	s.by[i] = r
	s.more.Broadcast()
}

func (s *settlements) count(r kagami.Reason) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range s.by {
		if v == r {
			n++
		}
	}
	return n
}

func (s *settlements) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.by)
}

// want checks that exactly these reasons were given, in the messages' order.
func (s *settlements) want(rs ...kagami.Reason) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, r := range rs {
		if got, ok := s.by[i]; !ok {
			s.t.Errorf("message %d: not settled, want %v", i, r)
		} else if got != r {
			s.t.Errorf("message %d: settled as %v, want %v", i, got, r)
		}
	}
	if len(s.by) != len(rs) {
		s.t.Errorf("%d settled, want %d", len(s.by), len(rs))
	}
}

// A recordingOutput notes what is written to it. What on returns, if set,
// is the result of Write, which then settles nothing itself.
type recordingOutput struct {
	mu      sync.Mutex
	batches [][]*kagami.Message
	times   []time.Time
	closed  int
	work    sync.WaitGroup // Close waits for it
	on      func(ctx context.Context, b kagami.Batch) error
}

func (o *recordingOutput) Write(ctx context.Context, b kagami.Batch) error {
	o.mu.Lock()
	o.batches = append(o.batches, slices.Clone(b.Messages))
	o.times = append(o.times, time.Now())
	o.mu.Unlock()
	if o.on != nil {
		return o.on(ctx, b)
	}
	b.DoneAll(kagami.Delivered)
	return nil
}

func (o *recordingOutput) Close() error {
	o.work.Wait()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed++
	return nil
}

func (o *recordingOutput) all() (ms []*kagami.Message) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, b := range o.batches {
		ms = append(ms, b...)
	}
	return ms
}

// stuck is what on is for an output that takes nothing more until it is told
// to stop.
func stuck(ctx context.Context, b kagami.Batch) error {
	<-ctx.Done()
	b.DoneAll(kagami.DrainTimeout)
	return nil
}

func request(n int) *kagami.Message {
	id, _ := kagami.IDFromBytes(fmt.Appendf(nil, "%08d", n))
	return &kagami.Message{
		Kind:     kagami.Request,
		Proto:    kagami.HTTP1,
		Raw:      fmt.Appendf(nil, "GET /%d HTTP/1.1\r\nHost: a\r\n\r\n", n),
		Exchange: &kagami.Exchange{ID: id, Method: "GET"},
	}
}

func requests(n int) (ms []*kagami.Message) {
	for i := range n {
		ms = append(ms, request(i))
	}
	return ms
}

func responseTo(m *kagami.Message) *kagami.Message {
	return &kagami.Message{Kind: kagami.Response, Proto: kagami.HTTP1, Raw: []byte("HTTP/1.1 204 No Content\r\n\r\n"), Exchange: m.Exchange}
}

func write(t testing.TB, out output.Output, s *settlements, ms ...*kagami.Message) {
	t.Helper()
	if err := out.Write(t.Context(), kagami.Batch{Messages: ms, Settle: s.settle}); err != nil {
		t.Error(err)
	}
}

func TestQueueKeepsOrderAndMerges(t *testing.T) {
	out := &recordingOutput{}
	gate := make(chan struct{})
	out.on = func(_ context.Context, b kagami.Batch) error {
		<-gate
		b.DoneAll(kagami.Delivered)
		return nil
	}
	q := output.NewQueue(out, output.QueueConfig{})
	ms, seen := requests(1000), watch(t)
	for i := 0; i < len(ms); i += 2 {
		b := kagami.Batch{Messages: ms, Settle: seen.settle}.Slice(i, i+2)
		if err := q.Write(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	close(gate)
	if err := q.Close(); err != nil {
		t.Error(err)
	}
	if got := out.all(); !slices.Equal(got, ms) {
		t.Errorf("%d messages arrived, want the %d that were written, in order", len(got), len(ms))
	}
	if n := len(out.batches); n > 6 {
		t.Errorf("written as %d batches, want the 500 small ones merged", n)
	}
	if seen.count(kagami.Delivered) != len(ms) {
		t.Errorf("%d delivered, want %d", seen.count(kagami.Delivered), len(ms))
	}
	if out.closed != 1 {
		t.Errorf("output closed %d times, want once", out.closed)
	}
}

func TestQueueDropsWhenFull(t *testing.T) {
	size := request(0).Size()
	for _, c := range []struct {
		name string
		cfg  output.QueueConfig
	}{
		{"messages", output.QueueConfig{Index: 5, Messages: 3}},
		{"bytes", output.QueueConfig{Index: 5, Bytes: 3*size + 10}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				out := &recordingOutput{on: stuck}
				q := output.NewQueue(out, c.cfg)
				seen, ms := watch(t), requests(5)
				write(t, q, seen, ms...)
				synctest.Wait()
				if n := q.InFlight(); n != 3 {
					t.Errorf("%d in flight, want 3", n)
				}
				answers := watch(t)
				write(t, q, answers, responseTo(ms[3]), responseTo(ms[4]), responseTo(ms[0]))
				answers.want(kagami.RequestDropped, kagami.RequestDropped, kagami.QueueFull)
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				if err := q.Shutdown(ctx); err != nil && !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
				seen.want(kagami.DrainTimeout, kagami.DrainTimeout, kagami.DrainTimeout, kagami.QueueFull, kagami.QueueFull)
				for i, m := range ms {
					if got := m.Exchange.Fate(5) == kagami.Dropped; got != (i >= 3) {
						t.Errorf("request %d dropped at output 5: %v", i, got)
					}
				}
			})
		})
	}
}

func TestQueueTakesOneThatIsLargerThanItself(t *testing.T) {
	out := &recordingOutput{}
	q := output.NewQueue(out, output.QueueConfig{Bytes: 10, OnFull: output.WaitWhenFull})
	seen := watch(t)
	write(t, q, seen, requests(3)...)
	if err := q.Close(); err != nil {
		t.Error(err)
	}
	seen.want(kagami.Delivered, kagami.Delivered, kagami.Delivered)
}

func TestQueueWaitsWhenFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &recordingOutput{on: func(_ context.Context, b kagami.Batch) error {
			time.Sleep(time.Second)
			b.DoneAll(kagami.Delivered)
			return nil
		}}
		q := output.NewQueue(out, output.QueueConfig{Messages: 10, OnFull: output.WaitWhenFull})
		start := time.Now()
		var wg sync.WaitGroup
		var seen [3]*settlements
		for w := range seen {
			seen[w] = watch(t)
			wg.Go(func() { write(t, q, seen[w], requests(20)...) })
		}
		wg.Wait()
		if d := time.Since(start); d < 5*time.Second {
			t.Errorf("60 messages through a queue of 10, emptied once a second, in %v: Write did not wait", d)
		}
		if err := q.Close(); err != nil {
			t.Error(err)
		}
		for _, s := range seen {
			s.want(make([]kagami.Reason, 20)...)
		}
	})
}

func TestQueueStopsWaitingWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &recordingOutput{on: stuck}
		q := output.NewQueue(out, output.QueueConfig{Messages: 2, OnFull: output.WaitWhenFull})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		seen := watch(t)
		if err := q.Write(ctx, kagami.Batch{Messages: requests(4), Settle: seen.settle}); err != nil {
			t.Error(err)
		}
		if n := seen.count(kagami.DrainTimeout); n != 2 {
			t.Errorf("%d given up, want the 2 without room", n)
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		// The output is stuck, but nothing of what the queue holds is lost.
		if err := q.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		seen.want(kagami.DrainTimeout, kagami.DrainTimeout, kagami.DrainTimeout, kagami.DrainTimeout)
	})
}

func TestQueueWaitsUntilDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &recordingOutput{}
		out.on = func(_ context.Context, b kagami.Batch) error {
			time.Sleep(300 * time.Microsecond) // writing takes time: it must not add up
			b.DoneAll(kagami.Delivered)
			return nil
		}
		q := output.NewQueue(out, output.QueueConfig{})
		base := time.Now()
		ms := requests(1003)
		for i, m := range ms[:1000] {
			m.Due = base.Add(time.Duration(i) * time.Millisecond)
		}
		ms[1000].Due = base.Add(999 * time.Millisecond)
		ms[1001].Due = base.Add(10 * time.Millisecond) // behind a later one: order is kept
		seen := watch(t)
		write(t, q, seen, ms...)
		if err := q.Close(); err != nil {
			t.Error(err)
		}
		if got := out.all(); !slices.Equal(got, ms) {
			t.Fatalf("%d messages arrived, want %d in order", len(got), len(ms))
		}
		for i, b := range out.batches[:999] {
			if late := out.times[i].Sub(b[0].Due); late > 0 || late < -time.Millisecond/2 || len(b) != 1 {
				t.Fatalf("message %d written %v late in a batch of %d", i, late, len(b))
			}
		}
		if last := out.batches[999]; len(last) != 4 {
			t.Errorf("last batch has %d messages, want the 4 that were due together", len(last))
		}
	})
}

func TestQueueOfABrokenOutput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("disk full")
		release := make(chan struct{})
		out := &recordingOutput{on: func(_ context.Context, b kagami.Batch) error {
			b.Done(1, kagami.Delivered)
			<-release
			b.Done(2, kagami.Timeout)
			return broken
		}}
		var told []error
		q := output.NewQueue(out, output.QueueConfig{Index: 1, Broken: func(err error) { told = append(told, err) }})
		first, second, third := watch(t), watch(t), watch(t)
		ms := requests(4)
		write(t, q, first, ms...)
		synctest.Wait()
		write(t, q, second, request(5))
		if q.Err() != nil {
			t.Errorf("error %v before the output broke", q.Err())
		}
		close(release)
		synctest.Wait()
		first.want(kagami.SendError, kagami.Delivered, kagami.Timeout, kagami.SendError)
		second.want(kagami.SendError)
		write(t, q, third, request(6), responseTo(ms[0]))
		third.want(kagami.SendError, kagami.RequestDropped)
		if q.Err() != broken || len(told) != 1 || told[0] != broken {
			t.Errorf("Err() = %v, told %v, want %v once", q.Err(), told, broken)
		}
		if n := q.InFlight(); n != 0 {
			t.Errorf("%d in flight, want 0", n)
		}
		if err := q.Close(); err != nil {
			t.Error(err)
		}
		if out.closed != 1 {
			t.Errorf("output closed %d times, want once", out.closed)
		}
	})
}

func TestQueueShutdownGivesUpInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &recordingOutput{}
		q := output.NewQueue(out, output.QueueConfig{Messages: 2, OnFull: output.WaitWhenFull})
		ms := requests(5)
		ms[1].Due = time.Now().Add(time.Hour)
		seen := watch(t)
		var writer sync.WaitGroup
		writer.Go(func() { write(t, q, seen, ms...) })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		start := time.Now()
		if err := q.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown: %v, want deadline exceeded", err)
		}
		if d := time.Since(start); d != 5*time.Second {
			t.Errorf("Shutdown took %v, want 5s", d)
		}
		// No need to wait for the writer: all is settled.
		seen.want(kagami.Delivered, kagami.DrainTimeout, kagami.DrainTimeout, kagami.DrainTimeout, kagami.DrainTimeout)
		writer.Wait()
		late := watch(t)
		write(t, q, late, request(9))
		late.want(kagami.DrainTimeout)
	})
}

func TestQueueShutdownSendsWhatIsQueued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &recordingOutput{}
		q := output.NewQueue(out, output.QueueConfig{Messages: 2, OnFull: output.WaitWhenFull})
		ms := requests(5)
		for i, m := range ms {
			m.Due = time.Now().Add(time.Duration(i) * time.Second)
		}
		seen := watch(t)
		var writer sync.WaitGroup
		writer.Go(func() { write(t, q, seen, ms...) })
		synctest.Wait()
		if err := q.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		seen.want(make([]kagami.Reason, 5)...)
		writer.Wait()
	})
}

// Whatever happens at the same time, every message is settled once.
func TestQueueSettlesAllOnceUnderLoad(t *testing.T) {
	for _, full := range []output.OnFull{output.DropWhenFull, output.WaitWhenFull} {
		for _, ending := range []string{"close", "give up", "break"} {
			t.Run(full.String()+" "+ending, func(t *testing.T) {
				written := 0
				out := &recordingOutput{}
				out.on = func(_ context.Context, b kagami.Batch) error {
					if written += len(b.Messages); ending == "break" && written > 2000 {
						b.Done(0, kagami.Delivered)
						return errors.New("broken")
					}
					out.work.Go(func() { b.DoneAll(kagami.Delivered) })
					return nil
				}
				q := output.NewQueue(out, output.QueueConfig{Messages: 50, OnFull: full})
				seen := watch(t)
				var writers sync.WaitGroup
				const each = 3000
				for w := range 4 {
					r := rand.New(rand.NewPCG(uint64(w), 1))
					all := kagami.Batch{Messages: requests(each), Settle: func(i int, r kagami.Reason) { seen.settle(w*each+i, r) }}
					writers.Go(func() {
						for from := 0; from < each; {
							to := min(each, from+1+r.IntN(20))
							if err := q.Write(t.Context(), all.Slice(from, to)); err != nil {
								t.Error(err)
							}
							from = to
						}
					})
				}
				ctx, cancel := context.WithCancel(t.Context())
				if ending == "give up" {
					cancel()
				} else {
					writers.Wait()
				}
				_ = q.Shutdown(ctx) // its error is looked at elsewhere
				cancel()
				writers.Wait()
				if seen.len() != 4*each {
					t.Errorf("%d settled, want all %d", seen.len(), 4*each)
				}
				if full == output.WaitWhenFull && ending == "close" && seen.count(kagami.Delivered) != 4*each {
					t.Errorf("%d delivered, want all %d", seen.count(kagami.Delivered), 4*each)
				}
				if n := q.InFlight(); n != 0 {
					t.Errorf("%d in flight at the end", n)
				}
			})
		}
	}
}

func BenchmarkQueue(b *testing.B) {
	for _, size := range []int{1, 64} {
		b.Run(fmt.Sprintf("batches of %d", size), func(b *testing.B) {
			q := output.NewQueue(discard{}, output.QueueConfig{OnFull: output.WaitWhenFull})
			var settled int64
			batch := kagami.Batch{Messages: requests(size), Settle: func(int, kagami.Reason) { settled++ }}
			b.ReportAllocs()
			for i := 0; i < b.N; i += size { // per message
				_ = q.Write(b.Context(), batch)
			}
			_ = q.Close()
			if settled < int64(b.N) {
				b.Fatalf("%d settled of %d", settled, b.N)
			}
		})
	}
}

// discard delivers to nowhere.
type discard struct{}

func (discard) Write(_ context.Context, b kagami.Batch) error {
	b.DoneAll(kagami.Delivered)
	return nil
}
func (discard) Close() error { return nil }
