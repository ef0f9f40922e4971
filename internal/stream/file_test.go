package stream_test

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"kagami"
	"kagami/internal/stream"
)

// write returns the messages as a .kgm file with a batch for each group.
func write(t testing.TB, groups ...[]*kagami.Message) []byte {
	t.Helper()
	var buf bytes.Buffer
	w, err := stream.NewFileWriter(&buf, stream.FileWriterConfig{})
	if err != nil {
		t.Fatal(err)
	}
	for _, group := range groups {
		for _, m := range group {
			if err := w.Write(m); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	return buf.Bytes()
}

// read returns what can be read of a file, and the error it ends with.
func read(r io.Reader) (messages []*kagami.Message, err error) {
	f, err := stream.NewFileReader(r)
	if err != nil {
		return nil, err
	}
	for {
		m, err := f.Next()
		if err != nil {
			return messages, err
		}
		messages = append(messages, m)
	}
}

func TestFileRoundTrip(t *testing.T) {
	want := many()
	file := write(t, want[:2], want[2:])
	for name, r := range map[string]io.Reader{
		"whole":     bytes.NewReader(file),
		"in halves": iotest.HalfReader(bytes.NewReader(file)),
		"bytewise":  iotest.OneByteReader(bytes.NewReader(file)),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := read(r)
			if err != io.EOF || len(got) != len(want) {
				t.Fatalf("%d messages, %v; want %d and the end of the file", len(got), err, len(want))
			}
			for i := range want {
				same(t, got[i], want[i])
			}
		})
	}
}

func TestFileCutShort(t *testing.T) {
	first := write(t, many()[:3])
	file := write(t, many()[:3], many()[3:5])
	for n := range len(file) {
		got, err := read(bytes.NewReader(file[:n]))
		want, offset := 0, 0
		switch {
		case n == len(first):
			if err != io.EOF {
				t.Fatalf("a file of whole batches ends with %v", err)
			}
			continue
		case n > len(first):
			want, offset = 3, len(first)
		case n >= 16:
			offset = 16
		}
		if n == 16 {
			if err != io.EOF {
				t.Fatalf("a file without batches ends with %v", err)
			}
			continue
		}
		var damage *stream.DamageError
		if len(got) != want || !errors.As(err, &damage) || damage.Offset != int64(offset) || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("cut at byte %d: %d messages, %v; want %d and the damage at %d", n, len(got), err, want, offset)
		}
	}
}
