package output_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"kagami"
	"kagami/output"
)

// What is being written counts as well as what waits; and the next message is
// late from when it was due.
func TestQueueDepth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		out := &recordingOutput{on: func(_ context.Context, b kagami.Batch) error {
			<-release
			b.DoneAll(kagami.Delivered)
			return nil
		}}
		q := output.NewQueue(out, output.QueueConfig{Messages: 10, Bytes: 1 << 20})
		want := func(d output.QueueDepth) {
			t.Helper()
			synctest.Wait()
			if d.MaxMessages, d.MaxBytes = 10, 1<<20; q.Depth() != d {
				t.Errorf("depth %+v, want %+v", q.Depth(), d)
			}
		}
		want(output.QueueDepth{})
		ms := requests(3)
		size := ms[0].Size()
		ms[1].Due = time.Now().Add(time.Minute)
		seen := watch(t)
		write(t, q, seen, ms...)
		want(output.QueueDepth{Messages: 3, Bytes: size + ms[1].Size() + ms[2].Size()})
		time.Sleep(time.Minute + 3*time.Second) // of the bubble's clock
		want(output.QueueDepth{Messages: 3, Bytes: size + ms[1].Size() + ms[2].Size(), Late: 3 * time.Second})
		close(release)
		want(output.QueueDepth{})
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	})
}
