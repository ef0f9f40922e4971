package output_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"kagami"
	"kagami/internal/gor"
	"kagami/output"
)

// limited is an io.Writer that takes so many bytes.
type limited struct {
	bytes.Buffer
	room  int
	calls int
}

var errFull = errors.New("full")

func (l *limited) Write(b []byte) (int, error) {
	l.calls++
	n := min(len(b), l.room)
	l.room -= n
	l.Buffer.Write(b[:n])
	if n < len(b) {
		return n, errFull
	}
	return n, nil
}

func TestWriterWritesRecords(t *testing.T) {
	l := &limited{room: 1 << 20}
	w := output.NewWriter(l)
	s := recordTo(t, w, 0, 100)
	wantDelivered(t, "the batch", s, 100)
	var want []byte
	for i := range 100 {
		want = gor.Append(want, recorded(i))
	}
	if !bytes.Equal(l.Bytes(), want) || l.calls != 1 {
		t.Errorf("%d bytes in %d calls, want %d in one", l.Len(), l.calls, len(want))
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

func TestWriterThatFails(t *testing.T) {
	size := len(gor.Append(nil, recorded(0)))
	w := output.NewWriter(&limited{room: 3*size + 5})
	b, s := batchOf(t, 0, 6)
	if err := w.Write(context.Background(), b); !errors.Is(err, errFull) {
		t.Errorf("%v, want the error of the io.Writer", err)
	}
	wantDelivered(t, "what was written wholly, and no more", s, 3)
}

func TestWriterRefusesWhatCannotBeToldApart(t *testing.T) {
	l := &limited{room: 1 << 20}
	b, s := batchOf(t, 0, 2)
	b.Messages[0].Raw = append(b.Messages[0].Raw, gor.Separator...)
	if err := output.NewWriter(l).Write(context.Background(), b); err != nil {
		t.Fatal(err)
	}
	s.want(kagami.AmbiguousFraming, kagami.Delivered)
	if !bytes.Equal(l.Bytes(), gor.Append(nil, recorded(1))) {
		t.Errorf("wrote %q", l.Bytes())
	}
}

func TestNullTakesEverything(t *testing.T) {
	s := recordTo(t, output.Null{}, 0, 10)
	wantDelivered(t, "the batch", s, 10)
	if err := (output.Null{}).Close(); err != nil {
		t.Error(err)
	}
}
