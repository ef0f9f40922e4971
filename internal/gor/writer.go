package gor

import (
	"bytes"
	"io"
	"strconv"

	"kagami"
	"kagami/internal/http1"
)

// Append appends m to dst as one record and returns the result. The header has
// four fields, and the id is the message's in hexadecimal.
func Append(dst []byte, m *kagami.Message) []byte {
	dst = strconv.AppendUint(dst, uint64(m.Kind), 10)
	dst = append(dst, ' ')
	if id := m.Exchange.ID; id.IsZero() {
		dst = append(dst, "00"...) // a field must not be empty
	} else {
		dst = id.AppendHex(dst)
	}
	dst = append(dst, ' ')
	start := int64(0)
	if !m.Start.IsZero() {
		start = m.Start.UnixNano()
	}
	dst = strconv.AppendInt(dst, start, 10)
	latency := int64(-1)
	if !m.End.Before(m.Start) {
		latency = int64(m.End.Sub(m.Start))
	}
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, latency, 10)
	dst = append(dst, '\n')
	dst = append(dst, m.Raw...)
	return append(dst, Separator...)
}

// Holds reports whether m, written as a record, is read as that record again. It
// is not if it has the separator in it and its own framing does not tell where
// it ends: a message that was cut short, or is not HTTP, or has the separator in
// its head. Whoever sent such a message could make up records.
func Holds(m *kagami.Message) bool {
	if !bytes.Contains(m.Raw, []byte(mark)) {
		return true
	}
	f := http1.Framer{Response: m.Kind != kagami.Request}
	f.Expect(m.Exchange.Method)
	n, done, err := f.Feed(m.Raw)
	return err == nil && done && n == len(m.Raw) && !bytes.Contains(m.Raw[:f.Head().Len], []byte(mark))
}

// A Writer writes records to an io.Writer, one Write call each, without
// buffering. It is not for use from several goroutines at once.
type Writer struct {
	w   io.Writer
	buf []byte
}

// NewWriter returns a Writer to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Write writes m as one record.
func (w *Writer) Write(m *kagami.Message) error {
	w.buf = Append(w.buf[:0], m)
	_, err := w.w.Write(w.buf)
	return err
}
