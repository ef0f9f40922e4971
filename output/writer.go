package output

import (
	"context"
	"fmt"
	"io"

	"kagami"
	"kagami/internal/gor"
)

// A Writer is an Output that writes messages as .gor records to an io.Writer,
// such as standard output: one Write call for a batch, or for each MiB of it.
// A message is delivered when its record was written. One that cannot be told
// from several records in the .gor format, because it contains what separates
// records and its framing does not say where it ends, is dropped as
// [kagami.AmbiguousFraming].
//
// It blocks as long as the io.Writer does. Close does not close the io.Writer.
type Writer struct {
	w    io.Writer
	buf  []byte
	sent []record
}

var _ Output = (*Writer)(nil)

// A record is a message that was put into a buffer, and where its record ends
// there.
type record struct {
	settle func(int, kagami.Reason)
	i      int
	end    int
}

func (r *record) done(reason kagami.Reason) {
	if r.settle != nil {
		r.settle(r.i, reason)
	}
}

// writerBuffer is how much a Writer collects for one Write call.
const writerBuffer = 1 << 20

// NewWriter returns a Writer to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Write writes the batch. The error is that of the io.Writer.
func (w *Writer) Write(_ context.Context, b kagami.Batch) error {
	for i, m := range b.Messages {
		if !gor.Holds(m) {
			b.Done(i, kagami.AmbiguousFraming)
			continue
		}
		w.buf = gor.Append(w.buf, m)
		w.sent = append(w.sent, record{b.Settle, i, len(w.buf)})
		if len(w.buf) >= writerBuffer {
			if err := w.flush(); err != nil {
				return err
			}
		}
	}
	return w.flush()
}

// flush writes what was collected. If that fails, what was written wholly is
// settled, and the rest left to the caller.
func (w *Writer) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	n, err := w.w.Write(w.buf)
	if err == nil && n < len(w.buf) {
		err = io.ErrShortWrite
	}
	for i := range w.sent {
		if w.sent[i].end <= n {
			w.sent[i].done(kagami.Delivered)
		}
	}
	clear(w.sent)
	w.sent = w.sent[:0]
	if w.buf = w.buf[:0]; cap(w.buf) > 2*writerBuffer {
		w.buf = nil // do not keep the memory of one large message
	}
	if err != nil {
		return fmt.Errorf("write records: %w", err)
	}
	return nil
}

// Close does nothing: nothing is held back.
func (w *Writer) Close() error { return nil }
