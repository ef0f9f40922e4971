package replay

import (
	"context"
	"fmt"
	"testing"

	"kagami"
	"kagami/internal/stream"
)

// BenchmarkState is what the state costs a request, from its coming in to its
// acknowledgement; an op is a request. Together is how many are sent at once, and so
// journalled with one write.
func BenchmarkState(b *testing.B) {
	for _, together := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("together=%d", together), func(b *testing.B) { benchmarkState(b, StateConfig{}, together) })
	}
	b.Run("sync/together=64", func(b *testing.B) { benchmarkState(b, StateConfig{Sync: true}, 64) })
}

func benchmarkState(b *testing.B, cfg StateConfig, together int) {
	cfg.Dir = b.TempDir()
	s, _, err := OpenState(cfg)
	if err != nil {
		b.Fatal(err)
	}
	s.Output(&kagami.Stage{Name: "output", Of: "a"})
	server := &Server{emitCtx: context.Background()}
	x, err := s.attach(sessionKey{"edge-1", 1}, server)
	if err != nil {
		b.Fatal(err)
	}
	const batch = 64
	messages := make([]*kagami.Message, batch)
	for i := range messages {
		messages[i] = &kagami.Message{Kind: kagami.Request, Exchange: &kagami.Exchange{}}
	}
	b.ReportAllocs()
	h := stream.Head{Seq: 1, Records: batch}
	left := 0
	var a *account
	for b.Loop() {
		if left == 0 {
			p := &pendingBatch{session: &session{server: server}, last: h.Last()}
			a = s.take(x, p, &h, messages, nil)
			left = batch
		}
		i := batch - left
		if i%together == 0 {
			if err := s.Sending(0, messages[i:i+together]); err != nil {
				b.Fatal(err)
			}
		}
		s.Settled(messages[i], 0, kagami.Delivered)
		if left--; left == 0 {
			s.acknowledge(a, h.Last())
			h.Seq += batch
		}
	}
	b.StopTimer()
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}
