package kagami_test

import (
	"sync"
	"testing"
	"time"

	"kagami"
)

func TestClone(t *testing.T) {
	m := &kagami.Message{
		Kind: kagami.Request, Proto: kagami.HTTP1, Flags: kagami.MidStream, Hop: 2, WireLen: 5,
		Client: addrPort("10.0.0.1:40000"), Server: addrPort("10.0.0.2:80"),
		Raw: []byte("GET /"), Exchange: &kagami.Exchange{Method: "GET"},
	}
	c := m.Clone()
	c.Raw[0] = 'P'
	c.Hop = 9
	if string(m.Raw) != "GET /" || m.Hop != 2 {
		t.Errorf("editing the clone changed the original: %q, hop %d", m.Raw, m.Hop)
	}
	if c.Exchange != m.Exchange {
		t.Error("the clone has an exchange of its own: its answers would not find it")
	}
	if c.Client != m.Client || c.Server != m.Server || c.Kind != m.Kind || c.Proto != m.Proto || c.Flags != m.Flags || c.WireLen != m.WireLen {
		t.Errorf("clone %+v of %+v", c, m)
	}
}

func TestFate(t *testing.T) {
	const (
		undecided = kagami.Undecided
		kept      = kagami.Kept
		dropped   = kagami.Dropped
	)
	tests := []struct {
		name    string
		decided []kagami.Fate
		want    kagami.Fate
	}{
		{"nobody decided", nil, undecided},
		{"kept", []kagami.Fate{kept}, kept},
		{"dropped", []kagami.Fate{dropped}, dropped},
		{"passed the filter, found the queue full", []kagami.Fate{kept, dropped}, dropped},
		{"what was dropped stays dropped", []kagami.Fate{dropped, kept}, dropped},
		{"kept twice", []kagami.Fate{kept, kept}, kept},
		{"undecided decides nothing", []kagami.Fate{kept, undecided}, kept},
	}
	for _, tc := range tests {
		for _, output := range []int{0, 1, kagami.MaxOutputs - 1, kagami.Shared} {
			t.Run(tc.name, func(t *testing.T) {
				var e kagami.Exchange
				for _, f := range tc.decided {
					e.Decide(output, f)
				}
				for other := range kagami.Shared + 1 {
					want := undecided
					if other == output {
						want = tc.want
					}
					if got := e.Fate(other); got != want {
						t.Errorf("decided at %d: fate at %d is %v, want %v", output, other, got, want)
					}
				}
			})
		}
	}
}

func TestFateFromManyGoroutines(t *testing.T) {
	var e kagami.Exchange
	var wg sync.WaitGroup
	for output := range kagami.Shared + 1 {
		wg.Go(func() {
			e.Decide(output, kagami.Kept)
			if output%2 == 0 {
				e.Decide(output, kagami.Dropped)
			}
		})
	}
	wg.Wait()
	for output := range kagami.Shared + 1 {
		want := kagami.Kept
		if output%2 == 0 {
			want = kagami.Dropped
		}
		if got := e.Fate(output); got != want {
			t.Errorf("fate at %d is %v, want %v", output, got, want)
		}
	}
}

func TestNamesOfKindsAndProtocols(t *testing.T) {
	kinds := map[kagami.Kind]string{kagami.Request: "request", kagami.Response: "response", kagami.Replayed: "replayed", 0: "kind(0)", 9: "kind(9)"}
	for k, want := range kinds {
		if k.String() != want {
			t.Errorf("kind %d is %q, want %q", uint8(k), k, want)
		}
	}
	protos := map[kagami.Proto]string{kagami.HTTP1: "http1", kagami.HTTP2: "http2", kagami.WebSocket: "websocket", kagami.Binary: "binary", 0: "proto(0)"}
	for p, want := range protos {
		if p.String() != want {
			t.Errorf("protocol %d is %q, want %q", uint8(p), p, want)
		}
	}
}

// The values are written into recordings.
func TestRecordedValuesAreFixed(t *testing.T) {
	if kagami.Request != 1 || kagami.Response != 2 || kagami.Replayed != 3 {
		t.Error("the kinds are not those of .gor records")
	}
	if kagami.HTTP1 != 1 || kagami.HTTP2 != 2 || kagami.WebSocket != 3 || kagami.Binary != 4 {
		t.Error("the protocols' values changed")
	}
	if kagami.MidStream != 1 || kagami.Ambiguous != 2 || kagami.Truncated != 4 || kagami.Incomplete != 8 {
		t.Error("the flags' values changed")
	}
}

func TestLatency(t *testing.T) {
	at := func(ms int) time.Time { return time.UnixMilli(1_700_000_000_000 + int64(ms)) }
	for _, tc := range []struct {
		name string
		m    kagami.Message
		want time.Duration
	}{
		{"of live traffic", kagami.Message{Kind: kagami.Replayed, Start: at(10), End: at(30)}, 20 * time.Millisecond},
		{"sent late", kagami.Message{Kind: kagami.Replayed, Due: at(4), Start: at(10), End: at(30)}, 26 * time.Millisecond},
		{"sent early", kagami.Message{Kind: kagami.Replayed, Due: at(31), Start: at(10), End: at(30)}, 20 * time.Millisecond},
		{"production's, to be replayed", kagami.Message{Kind: kagami.Response, Due: at(4), Start: at(10), End: at(30)}, 20 * time.Millisecond},
	} {
		if got := tc.m.Latency(); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

func TestExchangeBegun(t *testing.T) {
	var e kagami.Exchange
	e.SetBegun(time.Time{})
	if at, known := e.Begun(); known {
		t.Errorf("nobody said when it began, and it is %v", at)
	}
	at := time.Unix(1_700_000_000, 123)
	e.SetBegun(at)
	if got, known := e.Begun(); !known || !got.Equal(at) {
		t.Errorf("began at %v (%v), want %v", got, known, at)
	}
}
