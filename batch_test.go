package kagami_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"kagami"
)

// batchOf returns a batch of n messages, numbered in WireLen, and the record of
// how each was settled.
func batchOf(n int) (kagami.Batch, *settlements) {
	s := &settlements{reasons: make([][]kagami.Reason, n)}
	b := kagami.Batch{Settle: s.settle}
	for i := range n {
		b.Messages = append(b.Messages, &kagami.Message{Kind: kagami.Request, WireLen: i, Exchange: &kagami.Exchange{}})
	}
	return b, s
}

type settlements struct {
	mu      sync.Mutex
	reasons [][]kagami.Reason
}

func (s *settlements) settle(i int, r kagami.Reason) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reasons[i] = append(s.reasons[i], r)
}

// want fails unless each message was settled once, with the reason given for it.
func (s *settlements) want(t *testing.T, want ...kagami.Reason) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.reasons) != len(want) {
		t.Fatalf("%d messages, want %d", len(s.reasons), len(want))
	}
	for i, got := range s.reasons {
		if len(got) != 1 || got[0] != want[i] {
			t.Errorf("message %d was settled %v, want [%v]", i, got, want[i])
		}
	}
}

func numbers(b kagami.Batch) (n []int) {
	for _, m := range b.Messages {
		n = append(n, m.WireLen)
	}
	return n
}

func TestBatchDone(t *testing.T) {
	b, s := batchOf(3)
	b.Done(1, kagami.QueueFull)
	b.Done(0, kagami.Delivered)
	b.Done(2, kagami.Timeout)
	s.want(t, kagami.Delivered, kagami.QueueFull, kagami.Timeout)

	b, s = batchOf(2)
	b.DoneAll(kagami.DrainTimeout)
	s.want(t, kagami.DrainTimeout, kagami.DrainTimeout)
}

func TestBatchNobodyWaitsFor(t *testing.T) {
	b, _ := batchOf(4)
	b.Settle = nil
	b.Done(0, kagami.Delivered)
	b.DoneAll(kagami.QueueFull)
	part := b.Slice(1, 3)
	part.Done(0, kagami.Delivered)
	kept := b.Keep(func(m *kagami.Message) (*kagami.Message, kagami.Reason) {
		if m.WireLen%2 == 0 {
			return nil, kagami.Filtered
		}
		return m, kagami.Delivered
	})
	kept.DoneAll(kagami.Delivered)
	if part.Settle != nil || kept.Settle != nil {
		t.Error("a part of a batch that nobody waits for is waited for")
	}
	if got := numbers(kept); !slices.Equal(got, []int{1, 3}) {
		t.Errorf("kept %v", got)
	}
}

func TestBatchSlice(t *testing.T) {
	b, s := batchOf(6)
	if got := numbers(b.Slice(2, 5)); !slices.Equal(got, []int{2, 3, 4}) {
		t.Errorf("slice 2 to 5 is %v", got)
	}
	b.Slice(0, 2).DoneAll(kagami.Delivered)
	b.Slice(2, 6).Slice(1, 3).DoneAll(kagami.QueueFull) // 3 and 4
	b.Slice(2, 3).Done(0, kagami.Timeout)
	b.Slice(5, 6).Done(0, kagami.Filtered)
	b.Slice(6, 6).DoneAll(kagami.Damaged) // nobody
	s.want(t, kagami.Delivered, kagami.Delivered, kagami.Timeout, kagami.QueueFull, kagami.QueueFull, kagami.Filtered)
}

func TestBatchSliceDoesNotGrowIntoTheBatch(t *testing.T) {
	b, _ := batchOf(3)
	part := b.Slice(0, 1)
	_ = append(part.Messages, &kagami.Message{WireLen: 99})
	if got := numbers(b); !slices.Equal(got, []int{0, 1, 2}) {
		t.Errorf("appending to a slice made the batch %v", got)
	}
}

func TestBatchKeep(t *testing.T) {
	const (
		keep = kagami.Delivered
		out  = kagami.SampledOut
	)
	tests := []struct {
		name string
		by   []kagami.Reason
		kept []int
	}{
		{"nothing there", nil, nil},
		{"all", []kagami.Reason{keep, keep, keep}, []int{0, 1, 2}},
		{"none", []kagami.Reason{out, out, out}, nil},
		{"first goes", []kagami.Reason{out, keep, keep}, []int{1, 2}},
		{"last goes", []kagami.Reason{keep, keep, out}, []int{0, 1}},
		{"in the middle", []kagami.Reason{keep, out, kagami.Filtered, keep}, []int{0, 3}},
		{"one, dropped", []kagami.Reason{kagami.Filtered}, nil},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			b, s := batchOf(len(tc.by))
			var asked []int
			kept := b.Keep(func(m *kagami.Message) (*kagami.Message, kagami.Reason) {
				asked = append(asked, m.WireLen)
				if r := tc.by[m.WireLen]; r != keep {
					return nil, r
				}
				return m, keep
			})
			if got := numbers(kept); !slices.Equal(got, tc.kept) {
				t.Errorf("kept %v, want %v", got, tc.kept)
			}
			if !slices.Equal(asked, numbers(b)) {
				t.Errorf("asked about %v", asked)
			}
			kept.DoneAll(keep)
			s.want(t, tc.by...)
		})
	}
}

func TestBatchKeepTakesEditedMessages(t *testing.T) {
	b, s := batchOf(4)
	originals := slices.Clone(b.Messages)
	kept := b.Keep(func(m *kagami.Message) (*kagami.Message, kagami.Reason) {
		switch m.WireLen {
		case 1:
			e := m.Clone()
			e.WireLen = 100
			return e, kagami.Delivered
		case 2:
			return m, kagami.Filtered // dropped, though it came back
		}
		return m, kagami.Delivered
	})
	if got := numbers(kept); !slices.Equal(got, []int{0, 100, 3}) {
		t.Errorf("kept %v", got)
	}
	if !slices.Equal(b.Messages, originals) || !slices.Equal(numbers(b), []int{0, 1, 2, 3}) {
		t.Error("the original batch changed")
	}
	kept.Done(1, kagami.SendError)
	kept.Done(0, kagami.Delivered)
	kept.Done(2, kagami.Delivered)
	s.want(t, kagami.Delivered, kagami.SendError, kagami.Filtered, kagami.Delivered)
}

// However batches are cut and filtered, each message is settled once, as itself.
func TestBatchSettlesExactlyOnce(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 300 {
		n := rng.IntN(40)
		b, s := batchOf(n)
		want := make([]kagami.Reason, n)
		var down func(b kagami.Batch, depth int)
		down = func(b kagami.Batch, depth int) {
			if depth == 0 {
				for i, m := range b.Messages {
					want[m.WireLen] = kagami.Reason(rng.IntN(5))
					b.Done(i, want[m.WireLen])
				}
				return
			}
			kept := b.Keep(func(m *kagami.Message) (*kagami.Message, kagami.Reason) {
				switch rng.IntN(4) {
				case 0:
					want[m.WireLen] = kagami.Filtered
					return nil, kagami.Filtered
				case 1:
					return m.Clone(), kagami.Delivered
				}
				return m, kagami.Delivered
			})
			cut := rng.IntN(len(kept.Messages) + 1)
			down(kept.Slice(0, cut), depth-1)
			down(kept.Slice(cut, len(kept.Messages)), depth-1)
		}
		down(b, 4)
		s.want(t, want...)
		if t.Failed() {
			t.Fatalf("round %d", round)
		}
	}
}

func TestBatchSettlesFromAnyGoroutine(t *testing.T) {
	const n = 200
	b, s := batchOf(n)
	kept := b.Keep(func(m *kagami.Message) (*kagami.Message, kagami.Reason) {
		if m.WireLen%3 == 0 {
			return nil, kagami.SampledOut
		}
		return m, kagami.Delivered
	})
	var wg sync.WaitGroup
	for i := range kept.Messages {
		wg.Go(func() { kept.Done(i, kagami.Delivered) })
	}
	wg.Wait()
	want := make([]kagami.Reason, n)
	for i := 0; i < n; i += 3 {
		want[i] = kagami.SampledOut
	}
	s.want(t, want...)
}

func TestBatchSize(t *testing.T) {
	b, _ := batchOf(3)
	empty := b.Size()
	b.Messages[1].Raw = make([]byte, 1000)
	if got := b.Size() - empty; got != 1000 {
		t.Errorf("1000 bytes count as %d", got)
	}
	if empty <= 0 {
		t.Errorf("messages without bytes count as %d: a queue of them would never be full", empty)
	}
}

func BenchmarkBatchKeep(b *testing.B) {
	for _, every := range []int{0, 10, 2} {
		name := "all"
		if every > 0 {
			name = fmt.Sprintf("without every %dth", every)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			batch, _ := batchOf(64)
			batch.Settle = func(int, kagami.Reason) {}
			for b.Loop() {
				batch.Keep(func(m *kagami.Message) (*kagami.Message, kagami.Reason) {
					if every > 0 && m.WireLen%every == 0 {
						return nil, kagami.SampledOut
					}
					return m, kagami.Delivered
				})
			}
		})
	}
}
