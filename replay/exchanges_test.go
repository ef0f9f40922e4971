package replay_test

import (
	"testing"
	"time"

	"kagami"
	"kagami/replay"
)

// at is a fixed day, so many milliseconds in.
func at(ms int) time.Time { return time.UnixMilli(1_700_000_000_000 + int64(ms)) }

func message(kind kagami.Kind, id byte, ms int) *kagami.Message {
	kid, err := kagami.IDFromBytes([]byte{id})
	if err != nil {
		panic(err)
	}
	m := &kagami.Message{Kind: kind, Start: at(ms), End: at(ms), Exchange: &kagami.Exchange{ID: kid}}
	if kind == kagami.Request {
		m.Exchange.Method = "GET"
	}
	return m
}

func TestExchangesJoinAnswersToTheirRequest(t *testing.T) {
	var table replay.Exchanges
	a, b := message(kagami.Request, 1, 0), message(kagami.Request, 2, 1)
	for _, m := range []*kagami.Message{a, b} {
		if !table.Join(m) {
			t.Fatalf("request %v: not known", m.Exchange.ID)
		}
	}
	for _, tc := range []struct {
		name   string
		answer *kagami.Message
		want   *kagami.Exchange
	}{
		{"the later request's", message(kagami.Response, 2, 2), b.Exchange},
		{"the earlier request's", message(kagami.Response, 1, 3), a.Exchange},
		{"staging's answer to the same", message(kagami.Replayed, 1, 4), a.Exchange},
		{"an orphan", message(kagami.Response, 3, 5), nil},
	} {
		own := tc.answer.Exchange
		known := table.Join(tc.answer)
		if tc.want == nil {
			if known || tc.answer.Exchange != own {
				t.Errorf("%s: known %v, exchange %p: want its own, %p", tc.name, known, tc.answer.Exchange, own)
			}
			continue
		}
		if !known || tc.answer.Exchange != tc.want {
			t.Errorf("%s: known %v, method %q: want the request's exchange", tc.name, known, tc.answer.Exchange.Method)
		}
	}
}

func TestExchangesLaterRequestWithTheSameID(t *testing.T) {
	table := replay.Exchanges{Age: time.Second}
	first, second := message(kagami.Request, 1, 0), message(kagami.Request, 1, 900)
	table.Join(first)
	table.Join(second)
	// The first is too old by now, and forgetting it must not take the second along.
	answer := message(kagami.Response, 1, 1100)
	if !table.Join(answer) || answer.Exchange != second.Exchange {
		t.Errorf("answer did not join the later request")
	}
	if n := table.Len(); n != 1 {
		t.Errorf("%d remembered, want 1", n)
	}
}

func TestExchangesAreBounded(t *testing.T) {
	t.Run("in age", func(t *testing.T) {
		table := replay.Exchanges{Age: time.Second}
		table.Join(message(kagami.Request, 1, 0))
		if !table.Join(message(kagami.Response, 1, 1000)) {
			t.Error("an answer at exactly the age: not known")
		}
		if table.Join(message(kagami.Response, 1, 1001)) {
			t.Error("an answer past the age: known")
		}
		if n := table.Len(); n != 0 {
			t.Errorf("%d remembered, want 0", n)
		}
	})
	t.Run("in age, behind one from the future", func(t *testing.T) {
		table := replay.Exchanges{Age: time.Second}
		table.Join(message(kagami.Request, 1, 60_000))
		table.Join(message(kagami.Request, 2, 0))
		if table.Join(message(kagami.Response, 2, 2000)) {
			t.Error("an answer past the age: known")
		}
	})
	t.Run("in number", func(t *testing.T) {
		table := replay.Exchanges{Max: 100}
		for i := range 250 {
			table.Join(message(kagami.Request, byte(i), i))
			if n := table.Len(); n > 100 {
				t.Fatalf("%d remembered after %d requests, want at most 100", n, i+1)
			}
		}
		if table.Join(message(kagami.Response, 149, 250)) {
			t.Error("the 101st from the end is still known")
		}
		if !table.Join(message(kagami.Response, 150, 250)) || !table.Join(message(kagami.Response, 249, 250)) {
			t.Error("the last 100 are not known")
		}
		table.Reset()
		if table.Join(message(kagami.Response, 249, 250)) || table.Len() != 0 {
			t.Error("known after Reset")
		}
		if table.Join(message(kagami.Request, 7, 251)); !table.Join(message(kagami.Response, 7, 252)) {
			t.Error("not usable after Reset")
		}
	})
}

func BenchmarkExchangesJoin(b *testing.B) {
	var table replay.Exchanges
	messages := make([]*kagami.Message, 0, 256)
	for i := range 128 {
		messages = append(messages, message(kagami.Request, byte(i), i), message(kagami.Response, byte(i), i+1))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		table.Join(messages[i%256])
	}
}

// Frames of a WebSocket join the exchange of the request for it, also long after it and
// behind many others.
func TestExchangesJoinFrames(t *testing.T) {
	const ask = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
	for _, only := range []bool{false, true} {
		table := replay.Exchanges{Max: 10, Age: time.Second, OnlyWebSockets: only}
		socket := func(id byte, ms int) *kagami.Message {
			m := message(kagami.Request, id, ms)
			m.Proto, m.Raw = kagami.HTTP1, []byte(ask)
			return m
		}
		frame := func(kind kagami.Kind, id byte, ms int) *kagami.Message {
			m := message(kind, id, ms)
			m.Proto = kagami.WebSocket
			return m
		}
		a := socket(1, 0)
		table.Join(a)
		for i := range 100 {
			table.Join(message(kagami.Request, byte(100+i), 10*i))
		}
		if want := map[bool]int{false: 11, true: 1}[only]; table.Len() != want {
			t.Errorf("only %v: %d remembered, want %d", only, table.Len(), want)
		}
		const hour = 3_600_000
		for _, m := range []*kagami.Message{frame(kagami.Request, 1, 50_000), frame(kagami.Response, 1, 60_000), frame(kagami.Request, 1, 60_000+hour), frame(kagami.Replayed, 1, 60_000+2*hour)} {
			if !table.Join(m) || m.Exchange != a.Exchange {
				t.Errorf("only %v: a frame of %v does not belong to its WebSocket", only, m.Start)
			}
		}
		late := frame(kagami.Request, 1, 60_001+3*hour)
		if !table.Join(late) || late.Exchange == a.Exchange {
			t.Errorf("only %v: a frame after an hour of silence belongs to it still", only)
		}
		if m := frame(kagami.Response, 1, 60_001+3*hour); table.Join(m) {
			t.Errorf("only %v: and so does a server's", only)
		}
		b := socket(2, 0)
		table.Join(b)
		table.Join(message(kagami.Request, 2, 1)) // the id comes round again
		if m := frame(kagami.Request, 2, 2); !table.Join(m) || m.Exchange == b.Exchange {
			t.Errorf("only %v: a frame belongs to a WebSocket whose id another request has now", only)
		}
	}
}
