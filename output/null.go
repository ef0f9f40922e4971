package output

import (
	"context"

	"kagami"
)

// Null is an Output that sends nothing anywhere: every message is delivered.
type Null struct{}

var _ Output = Null{}

// Write settles all messages as delivered.
func (Null) Write(_ context.Context, b kagami.Batch) error {
	b.DoneAll(kagami.Delivered)
	return nil
}

// Close does nothing.
func (Null) Close() error { return nil }
