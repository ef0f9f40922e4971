package output_test

import (
	"context"
	"runtime"
	"testing"
	"weak"

	"kagami"
	"kagami/output"
)

// An encoder is an output that keeps how to settle messages, and not the messages.
type encoder struct{ written chan func(int, kagami.Reason) }

func (e encoder) Write(_ context.Context, b kagami.Batch) error {
	e.written <- b.Settle
	return nil
}

func (e encoder) Close() error { return nil }

// What an output has encoded is kept by nobody until it is settled: behind a window of a few
// megabytes of records there would be several times that of messages.
func TestQueueLetsGoOfWhatIsEncoded(t *testing.T) {
	e := encoder{make(chan func(int, kagami.Reason), 1)}
	q := output.NewQueue(e, output.QueueConfig{})
	settled := 0
	message := func() weak.Pointer[kagami.Message] {
		m := &kagami.Message{Exchange: &kagami.Exchange{}, Raw: []byte("GET / HTTP/1.1\r\n\r\n")}
		q.Write(t.Context(), kagami.Batch{Messages: []*kagami.Message{m}, Settle: func(int, kagami.Reason) { settled++ }})
		return weak.Make(m)
	}()
	settle := <-e.written
	for range 1000 { // until the queue has seen that it is written
		if runtime.GC(); message.Value() == nil {
			break
		}
	}
	if message.Value() != nil {
		t.Error("a message that is encoded is still held")
	}
	if settle(0, kagami.Delivered); settled != 1 {
		t.Errorf("settled %d times", settled)
	}
	if err := q.Close(); err != nil {
		t.Error(err)
	}
}
