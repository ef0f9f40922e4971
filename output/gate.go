package output

import (
	"context"
	"time"

	"kagami"
)

// A Gate stands before an output and tells Before of the messages of each
// batch, which wait while it returns an error, and Write with them. An [HTTP] needs none: it tells of each
// request at the moment it is sent.
type Gate struct {
	out    Output
	before func([]*kagami.Message) error
}

var _ Output = (*Gate)(nil)

// NewGate returns a gate before out, and owns out from here on.
func NewGate(out Output, before func([]*kagami.Message) error) *Gate { return &Gate{out, before} }

// Write passes on the batch when that is allowed. If ctx ends before, its
// messages are settled as [kagami.DrainTimeout].
func (g *Gate) Write(ctx context.Context, b kagami.Batch) error {
	for g.before(b.Messages) != nil {
		select {
		case <-time.After(beforeRetry):
		case <-ctx.Done():
			b.DoneAll(kagami.DrainTimeout)
			return nil
		}
	}
	return g.out.Write(ctx, b)
}

// InFlight is how many messages the output behind holds.
func (g *Gate) InFlight() int64 { return InFlight(g.out) }

// Close closes the output behind.
func (g *Gate) Close() error { return g.out.Close() }
