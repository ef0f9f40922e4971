package stream_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"runtime"
	"testing"

	"kagami"
	"kagami/internal/stream"
)

// What a decoder makes of bytes, encoded again, decodes to the same.

func FuzzRecord(f *testing.F) {
	for _, m := range many() {
		if len(m.Raw) < 1000 {
			f.Add(stream.AppendRecord(nil, m))
		}
	}
	f.Add(record(1, 1, 0, "\x63\x05hello"))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, messages, unknown, err := stream.ParseBatch(handmade(0, 1, b), stream.Limits{})
		if err != nil {
			return
		}
		if len(messages)+unknown != 1 {
			t.Fatalf("%d messages and %d unknown of one record", len(messages), unknown)
		}
		for _, m := range messages {
			again(t, m)
		}
	})
}

func again(t *testing.T, m *kagami.Message) {
	t.Helper()
	if bound, n := stream.RecordBound(m), len(stream.AppendRecord(nil, m)); n > bound {
		t.Errorf("record of %d bytes, and %d are its bound", n, bound)
	}
	before := *m
	before.Hop = 0
	_, messages, _, err := stream.ParseBatch(batch(1, &before), stream.Limits{})
	if err != nil || len(messages) != 1 {
		t.Fatalf("%d messages, %v, of\n%+v", len(messages), err, m)
	}
	same(t, messages[0], &before)
}

func FuzzBatch(f *testing.F) {
	f.Add(batch(1, many()[:5]...), true)
	f.Add(batch(1<<40, request(1)), false)
	f.Add(handmade(255, 1, record(77, 0, 0)), true)
	f.Add(handmade(0, 1, record(1, 1, 0, "\x08\xff\xff\xff\xff\x0f")), true)
	f.Fuzz(func(t *testing.T, b []byte, repair bool) {
		if repair && len(b) >= stream.BatchHead {
			b = repaired(b)
		}
		h, messages, unknown, err := stream.ParseBatch(b, stream.Limits{})
		if err != nil {
			return
		}
		if len(messages)+unknown != h.Records {
			t.Fatalf("%d messages and %d unknown of %d records", len(messages), unknown, h.Records)
		}
		for _, m := range messages {
			again(t, m)
		}
	})
}

func FuzzFile(f *testing.F) {
	golden, err := os.ReadFile(goldenFile)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(golden)
	f.Add(write(f, many()[:2], many()[2:5]))
	f.Add(write(f)[:9])
	huge := write(f, many()[:1])
	copy(huge[16+20:], "\x01\xff\xff\xff\x01\xff\xff\xff") // a batch of 32 MiB, announced
	f.Add(huge)
	f.Fuzz(func(t *testing.T, b []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		messages, err := read(bytes.NewReader(b))
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 2<<20+uint64(100*len(b)) {
			t.Errorf("%d bytes allocated for a file of %d", n, len(b))
		}
		var damage *stream.DamageError
		if err != io.EOF && (!errors.As(err, &damage) || damage.Offset > int64(len(b))) {
			t.Errorf("ends with %v", err)
		}
		for _, m := range messages {
			if m.Exchange == nil {
				t.Error("a message without an exchange")
			}
		}
	})
}

func FuzzHello(f *testing.F) {
	f.Add(stream.AppendHello(nil, stream.Hello{Listener: "edge-1", Epoch: 1 << 60, Next: 7, Hop: 3, Responses: true}))
	f.Add(stream.AppendHello(nil, stream.Hello{Listener: "edge-1", Next: 1, Token: "edge:q7zM\xff"}))
	f.Add(stream.AppendAnswer(nil, stream.Answer{Received: 7, Acknowledged: 6}))
	f.Add(stream.AppendAnswer(nil, stream.Answer{Refused: &stream.Refusal{Code: stream.CodeInsecure, Text: "no\x1b[31m"}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := stream.ReadHello(bytes.NewReader(b)); err == nil {
			again, err := stream.ReadHello(bytes.NewReader(stream.AppendHello(nil, h)))
			if h.Version != 0 && (err != nil || again != h) {
				t.Errorf("%+v, %v; want %+v", again, err, h)
			}
		}
		a, err := stream.ReadAnswer(bytes.NewReader(b))
		if err != nil {
			return
		}
		again, err := stream.ReadAnswer(bytes.NewReader(stream.AppendAnswer(nil, a)))
		if err != nil {
			t.Fatal(err)
		}
		if a.Refused != nil && (again.Refused == nil || *again.Refused != *a.Refused) {
			t.Errorf("%+v, want %+v", again.Refused, a.Refused)
		}
		if a.Refused == nil && a.Version != 0 && again != a {
			t.Errorf("%+v, want %+v", again, a)
		}
	})
}

func FuzzFrame(f *testing.F) {
	f.Add(stream.AppendFrame(nil, stream.Frame{Type: stream.FrameAlive, Acknowledged: 1 << 50}))
	f.Add(stream.AppendFrame(nil, stream.Frame{Type: stream.FrameEnd, Code: stream.CodeDamaged, Text: "damaged"}))
	f.Add(batch(1, request(1)))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := frame(b)
		if err != nil || got.Type == stream.FrameBatch {
			return
		}
		if again, err := frame(stream.AppendFrame(nil, got)); err != nil || again != got {
			t.Errorf("%+v, %v; want %+v", again, err, got)
		}
	})
}
