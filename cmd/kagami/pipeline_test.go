package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"

	"kagami"
	"kagami/filter"
	"kagami/output"
)

// exchanges returns n requests, each followed by its response.
func exchanges(n int) []*kagami.Message {
	client := netip.MustParseAddrPort("192.0.2.1:40000")
	server := netip.MustParseAddrPort("192.0.2.2:80")
	var ms []*kagami.Message
	for i := range n {
		x := &kagami.Exchange{ID: kagami.MakeID(client, server, uint32(i), 0, 0), Method: "GET"}
		ms = append(ms,
			&kagami.Message{Kind: kagami.Request, Proto: kagami.HTTP1, Client: client, Server: server, Exchange: x,
				Raw: fmt.Appendf(nil, "GET /%d HTTP/1.1\r\nHost: a.example\r\n\r\n", i)},
			&kagami.Message{Kind: kagami.Response, Proto: kagami.HTTP1, Client: client, Server: server, Exchange: x,
				Raw: []byte("HTTP/1.1 204 No Content\r\n\r\n")})
	}
	return ms
}

// fixedInput emits messages, in batches, and remembers how each was settled.
type fixedInput struct {
	stage    kagami.Stage
	messages []*kagami.Message
	err      error

	mu      sync.Mutex
	settled map[*kagami.Message][]kagami.Reason
}

func newFixedInput(ms []*kagami.Message) *fixedInput {
	return &fixedInput{stage: kagami.Stage{Name: "fixed", Unit: kagami.Messages}, messages: ms,
		settled: map[*kagami.Message][]kagami.Reason{}}
}

func (f *fixedInput) Stages() []*kagami.Stage { return []*kagami.Stage{&f.stage} }

func (f *fixedInput) Run(ctx context.Context, emit func(context.Context, kagami.Batch) error) error {
	for ms := f.messages; len(ms) > 0; {
		n := min(7, len(ms))
		batch := ms[:n]
		ms = ms[n:]
		f.stage.In(n)
		err := emit(ctx, kagami.Batch{Messages: batch, Settle: func(i int, r kagami.Reason) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.settled[batch[i]] = append(f.settled[batch[i]], r)
		}})
		if err != nil {
			return err
		}
		f.stage.Out(n)
	}
	return f.err
}

// keeper is an output that keeps what it is given.
type keeper struct {
	mu       sync.Mutex
	messages []*kagami.Message
	reason   kagami.Reason // how it settles
}

var _ output.Output = (*keeper)(nil)

func (k *keeper) Write(_ context.Context, b kagami.Batch) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.messages = append(k.messages, b.Messages...)
	b.DoneAll(k.reason)
	return nil
}

func (k *keeper) Close() error { return nil }

func (k *keeper) ids(kind kagami.Kind) map[kagami.ID]bool {
	ids := map[kagami.ID]bool{}
	for _, m := range k.messages {
		if m.Kind == kind {
			ids[m.Exchange.ID] = true
		}
	}
	return ids
}

func addKeeper(t *testing.T, p *pipeline, percent float64, requests bool) *keeper {
	t.Helper()
	k := &keeper{}
	var f filter.Filter
	if percent < 100 {
		share, err := kagami.ShareOf(percent)
		if err != nil {
			t.Fatal(err)
		}
		if f, err = filter.NewSample(filter.SampleConfig{Share: share, Side: kagami.OutputSide}); err != nil {
			t.Fatal(err)
		}
	}
	name := fmt.Sprintf("out%d", len(p.outputs))
	if _, err := p.addOutput(name, k, f, requests, output.QueueConfig{OnFull: output.WaitWhenFull}); err != nil {
		t.Fatal(err)
	}
	return k
}

func runPipeline(t *testing.T, p *pipeline) kagami.Statement {
	t.Helper()
	p.join()
	if err := p.run(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := p.shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	st := p.ledger.Statement()
	if !st.Balanced {
		t.Errorf("not balanced: %v", st.Faults)
	}
	return st
}

func (f *fixedInput) expectSettledOnce(t *testing.T) {
	t.Helper()
	for i, m := range f.messages {
		if got := f.settled[m]; len(got) != 1 {
			t.Errorf("message %d was settled %d times: %v", i, len(got), got)
		}
	}
}

// Every output gets its own share; the smaller is part of the larger; answers
// go where their request went, and nowhere else.
func TestPipelineSharesAndAnswers(t *testing.T) {
	p := newPipeline("test", false)
	in := newFixedInput(exchanges(1000))
	p.addInput("fixed", in, nil)
	all, half, tenth := addKeeper(t, p, 100, false), addKeeper(t, p, 50, false), addKeeper(t, p, 10, false)
	runPipeline(t, p)
	in.expectSettledOnce(t)
	if n := len(all.messages); n != 2000 {
		t.Errorf("100%%: %d messages", n)
	}
	if n := len(half.ids(kagami.Request)); n < 400 || n > 600 {
		t.Errorf("50%%: %d requests", n)
	}
	for id := range tenth.ids(kagami.Request) {
		if !half.ids(kagami.Request)[id] {
			t.Errorf("%s is in the 10%% and not in the 50%%", id)
		}
	}
	for _, k := range []*keeper{half, tenth} {
		requests, responses := k.ids(kagami.Request), k.ids(kagami.Response)
		if len(requests) != len(responses) {
			t.Errorf("%d requests, %d responses", len(requests), len(responses))
		}
		for id := range responses {
			if !requests[id] {
				t.Errorf("%s: an answer without its request", id)
			}
		}
	}
}

// What a filter before all outputs drops, and the answer to it, reaches none.
func TestPipelineSharedFilter(t *testing.T) {
	p := newPipeline("test", false)
	in := newFixedInput(exchanges(10))
	odd := filter.FilterFunc(func(m *kagami.Message) (*kagami.Message, kagami.Reason) {
		if m.Raw[5]%2 == 0 {
			return nil, kagami.Filtered
		}
		return m, kagami.Delivered
	})
	p.addInput("fixed", in, odd)
	out := addKeeper(t, p, 100, false)
	st := runPipeline(t, p)
	in.expectSettledOnce(t)
	s, _ := st.Stage("filter", "", kagami.Messages)
	if s.Dropped[kagami.Filtered] != 5 || s.Dropped[kagami.RequestDropped] != 5 || len(out.messages) != 10 {
		t.Errorf("dropped %v, %d reached the output", s.Dropped, len(out.messages))
	}
}

// An output of requests only drops answers by name; the others get them.
func TestPipelineRequestsOnly(t *testing.T) {
	p := newPipeline("test", false)
	in := newFixedInput(exchanges(10))
	p.addInput("fixed", in, nil)
	web, file := addKeeper(t, p, 100, true), addKeeper(t, p, 100, false)
	st := runPipeline(t, p)
	in.expectSettledOnce(t)
	s, _ := st.Stage("output", "out0", kagami.Messages)
	if len(web.messages) != 10 || len(file.messages) != 20 || s.Dropped[kagami.NotReplayable] != 10 {
		t.Errorf("%d and %d messages, dropped %v", len(web.messages), len(file.messages), s.Dropped)
	}
}

// With --split-output each exchange goes to one output, whole.
func TestPipelineSplit(t *testing.T) {
	p := newPipeline("test", true)
	in := newFixedInput(exchanges(1000))
	p.addInput("fixed", in, nil)
	a, b, c := addKeeper(t, p, 100, false), addKeeper(t, p, 100, false), addKeeper(t, p, 100, false)
	runPipeline(t, p)
	in.expectSettledOnce(t)
	if n := len(a.messages) + len(b.messages) + len(c.messages); n != 2000 {
		t.Errorf("%d messages in all", n)
	}
	for _, k := range []*keeper{a, b, c} {
		if n := len(k.ids(kagami.Request)); n < 250 || n > 420 || n != len(k.ids(kagami.Response)) {
			t.Errorf("%d requests, %d responses", n, len(k.ids(kagami.Response)))
		}
	}
}

// A message counts as delivered for its input if one output delivered it.
func TestPipelineSettlesWhenAllHave(t *testing.T) {
	p := newPipeline("test", false)
	in := newFixedInput(exchanges(10))
	p.addInput("fixed", in, nil)
	addKeeper(t, p, 100, false).reason = kagami.SendError
	addKeeper(t, p, 100, false)
	runPipeline(t, p)
	in.expectSettledOnce(t)
	for m, rs := range in.settled {
		if rs[0] != kagami.Delivered {
			t.Errorf("%s settled as %v", m.Exchange.ID, rs)
		}
	}
}

// Answers that an http output hears go to the outputs that take answers.
func TestPipelineAnswers(t *testing.T) {
	p := newPipeline("test", false)
	in := newFixedInput(exchanges(20))
	p.addInput("fixed", in, nil)
	answers := p.answersTo("web", 0)
	web := addKeeper(t, p, 100, true)
	file := addKeeper(t, p, 100, false)
	p.join()
	if err := p.run(context.Background()); err != nil {
		t.Fatal(err)
	}
	// web hears an answer to each request that it sent.
	if err := p.shutdownIf(context.Background(), func(o *outputLine) bool { return o.index == 0 }); err != nil {
		t.Fatal(err)
	}
	for _, m := range web.messages {
		answer := *m
		answer.Kind = kagami.Replayed
		if err := answers.Write(context.Background(), kagami.Batch{Messages: []*kagami.Message{&answer}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.shutdownIf(context.Background(), func(o *outputLine) bool { return o.index != 0 }); err != nil {
		t.Fatal(err)
	}
	if n := len(file.ids(kagami.Replayed)); n != 20 {
		t.Errorf("%d replayed answers recorded", n)
	}
	if st := p.ledger.Statement(); !st.Balanced {
		t.Errorf("not balanced: %v", st.Faults)
	}
}

// One input's error ends the others, and is returned.
func TestPipelineInputBreaks(t *testing.T) {
	p := newPipeline("test", false)
	broken := newFixedInput(exchanges(3))
	broken.err = errors.New("the cable is out")
	p.addInput("broken", broken, nil)
	p.addInput("patient", waitingInput{&kagami.Stage{Name: "waiting", Unit: kagami.Messages}}, nil)
	addKeeper(t, p, 100, false)
	p.join()
	if err := p.run(context.Background()); !errors.Is(err, broken.err) {
		t.Errorf("err = %v", err)
	}
	if err := p.shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	if st := p.ledger.Statement(); !st.Balanced {
		t.Errorf("not balanced: %v", st.Faults)
	}
}

// waitingInput brings nothing until it is told to end.
type waitingInput struct{ stage *kagami.Stage }

func (w waitingInput) Stages() []*kagami.Stage { return []*kagami.Stage{w.stage} }

func (w waitingInput) Run(ctx context.Context, _ func(context.Context, kagami.Batch) error) error {
	<-ctx.Done()
	return nil
}

// By turns every output gets as many, answers go where their request went, and
// a target that is down is passed over.
func TestPipelineSplitByTurns(t *testing.T) {
	for _, down := range []int{-1, 1} {
		p := newPipeline("test", true)
		p.splitter = splitter{turns: true, up: map[int]func() bool{0: func() bool { return true }, 1: func() bool { return down != 1 }}}
		in := newFixedInput(exchanges(999))
		p.addInput("fixed", in, nil)
		keepers := []*keeper{addKeeper(t, p, 2000, false), addKeeper(t, p, 2000, false), addKeeper(t, p, 2000, false)}
		st := runPipeline(t, p)
		in.expectSettledOnce(t)
		if !st.Balanced {
			t.Errorf("faults %v", st.Faults)
		}
		for k, keeper := range keepers {
			requests, answers := keeper.ids(kagami.Request), keeper.ids(kagami.Response)
			want := 333
			switch {
			case down == k:
				want = 0
			case down >= 0 && k == 2: // which has its own turns and those of the one that is down
				want = 666
			}
			if len(requests) != want || len(answers) != want {
				t.Errorf("with output %d down, output %d got %d requests and %d answers, want %d", down, k, len(requests), len(answers), want)
			}
		}
	}
}

// A late answer finds its request's output; the messages of a WebSocket stay together.
func TestSplitterKeepsConversationsTogether(t *testing.T) {
	s := splitter{turns: true}
	ms := exchanges(10)
	for i := 0; i < len(ms); i += 2 {
		k := s.place(ms[i], 3, map[*kagami.Exchange]int{})
		ms[i].Exchange.Decide(k, kagami.Kept)
		if got := s.place(ms[i+1], 3, nil); got != k {
			t.Errorf("answer %d goes to output %d, want its request's, %d", i, got, k)
		}
	}
	for _, m := range exchanges(20) {
		if m.Kind != kagami.Request {
			continue
		}
		m.Raw = []byte("GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: WebSocket\r\n\r\n")
		frame := *m
		frame.Proto, frame.Raw = kagami.WebSocket, []byte{0x81, 0x80, 0, 0, 0, 0}
		if a, b := s.place(m, 3, map[*kagami.Exchange]int{}), s.place(&frame, 3, map[*kagami.Exchange]int{}); a != b {
			t.Errorf("a WebSocket is asked for at output %d, and its frame goes to %d", a, b)
		}
	}
}
