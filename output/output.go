package output

import (
	"context"
	"time"

	"kagami"
)

// An Output is a place where messages go.
//
// Write takes a batch over. It may return before the messages are settled and
// keep the batch until they are; it never changes a message. It may block for
// as long as the output can take no more. Write is called by one goroutine at
// a time, unless an Output says that it allows more. The order of messages is
// kept as far as the output has one.
//
// An error from Write means that the output is broken for good, not that a
// message was lost: that is what settling is for. The messages of the failed
// batch that Write has not settled by the time it returns, it leaves to the
// caller, who settles them as [kagami.SendError] (of a [File] that is full, as that);
// those of earlier batches the output settles still, in Close at the latest. Nothing is written after an error.
//
// Work in flight is tied to the context of its Write. When that is done, the
// output promptly settles what is not settled yet: as [kagami.InDoubt] where
// bytes of it were sent, else as [kagami.DrainTimeout].
//
// Close is called once, when no Write is under way, and none comes after it.
// It waits for what is in flight, settles all that is left and frees what the
// output holds. Its error says what went wrong then, such as a file that could
// not be flushed.
//
// An Output that can hold messages when Write has returned has a method
// InFlight() int64 that says how many, by looking at what it holds.
type Output interface {
	Write(ctx context.Context, b kagami.Batch) error
	Close() error
}

// InFlight is how many messages an output holds, as far as it says so.
func InFlight(out Output) int64 {
	if h, ok := out.(interface{ InFlight() int64 }); ok {
		return h.InFlight()
	}
	return 0
}

// setDefault gives a field that was not set its default.
func setDefault[T int | int64 | time.Duration](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}
