package output

import (
	"bytes"
	"context"
	"runtime"
	"testing"
	"time"

	"kagami"
	"kagami/internal/stream"
)

// A window that fills and is acknowledged at once, again and again, uses its buffers again, those
// that batches have outgrown as well; and they do not become more than a quarter more than the window.
func TestTCPWindowUsesItsBuffersAgain(t *testing.T) {
	const window, each, rounds = 1 << 20, 256, 8
	w := newTCPWindow(TCPConfig{BatchSize: 64 << 10, Window: window, WindowBatches: 1000}, nil)
	start := time.Unix(1_700_000_000, 0)
	m := &kagami.Message{Kind: kagami.Request, Proto: kagami.HTTP1, Start: start, End: start, Raw: bytes.Repeat([]byte("x"), 400),
		Exchange: &kagami.Exchange{Method: "GET"}}
	batch := kagami.Batch{Messages: make([]*kagami.Message, each), Settle: func(int, kagami.Reason) {}}
	for i := range batch.Messages {
		batch.Messages[i] = m
	}
	records, most := uint64(0), int64(0)
	fill := func() {
		for full := false; !full; {
			x := newTCPWrite(context.Background(), batch)
			w.add(x)
			full = x.next < each
			most = max(most, w.memory+w.freed)
		}
		for w.take() != nil {
			w.wrote()
		}
		records = w.last
		if _, err := w.ack(w.last); err != nil {
			t.Fatal(err)
		}
		most = max(most, w.memory+w.freed)
	}
	fill()
	fill()
	warm := records
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range rounds {
		fill()
	}
	runtime.ReadMemStats(&after)
	n := records - warm
	if n < rounds*window/2/uint64(stream.RecordBound(m)) {
		t.Fatalf("%d records in %d windows", n, rounds)
	}
	if garbage := (after.TotalAlloc - before.TotalAlloc) / n; garbage > 100 {
		t.Errorf("%d bytes of garbage a record", garbage)
	}
	if bound := int64(window + window/4 + 2*64<<10); most > bound {
		t.Errorf("%d bytes of buffers, want %d at most", most, bound)
	}
}
