package stream_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"strings"
	"testing"

	"kagami"
	"kagami/internal/stream"
)

// repaired returns the batch with its CRC-32C made right.
func repaired(b []byte) []byte {
	b = bytes.Clone(b)
	sum := crc32.Checksum(append(bytes.Clone(b[:28]), b[32:]...), crc32.MakeTable(crc32.Castagnoli))
	binary.BigEndian.PutUint32(b[28:], sum)
	return b
}

func frame(b []byte) (stream.Frame, error) {
	return stream.ReadFrame(bufio.NewReader(bytes.NewReader(b)), stream.Limits{})
}

func TestBatchRoundTrip(t *testing.T) {
	h, messages, unknown, err := stream.ParseBatch(batch(7, many()...), stream.Limits{})
	if err != nil || unknown != 0 || h.Seq != 7 || h.Last() != 6+uint64(len(many())) {
		t.Fatalf("%+v, %d unknown, %v", h, unknown, err)
	}
	for i, want := range many() {
		same(t, messages[i], want)
	}
}

// What the document says, byte by byte.
func TestBatchByHand(t *testing.T) {
	raw := "GET / HTTP/1.1\r\n\r\n"
	m := &kagami.Message{
		Kind: kagami.Request, Proto: kagami.HTTP1, Flags: kagami.Truncated, Hop: 2,
		Start: noon, End: noon.Add(1), Client: client, Server: server6, Raw: []byte(raw), WireLen: 300,
		Exchange: &kagami.Exchange{Method: "GET"},
	}
	m.Exchange.ID, _ = kagami.ParseID("0a0b0c")
	at := func(ns int64) string { return string(binary.BigEndian.AppendUint64(nil, uint64(ns))) }
	want := handmade(2, 99, record(1, 1, 4,
		"\x01\x03\x0a\x0b\x0c",
		"\x02\x06\xc0\x00\x02\x07\xc3\xcb",
		"\x03\x12\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x1f\x90",
		"\x04\x08"+at(noon.UnixNano()),
		"\x05\x08"+at(noon.UnixNano()+1),
		"\x06\x08\x00\x00\x00\x00\x00\x00\x01\x2c",
		"\x08\x12"+raw))
	if got := batch(99, m); !bytes.Equal(got, want) {
		t.Errorf("got  %x\nwant %x", got, want)
	}
}

func TestDamagedRecords(t *testing.T) {
	for _, test := range []struct {
		name   string
		record []byte
		want   string
	}{
		{"field twice", record(1, 1, 0, "\x01\x01a", "\x01\x01b"), "occurs twice"},
		{"field of type 0", record(1, 1, 0, "\x00\x00"), "type 0"},
		{"field without a length", record(1, 1, 0, "\x63"), "does not fit"},
		{"field with half a length", record(1, 1, 0, "\x63\x80"), "does not fit"},
		{"field longer than its record", record(1, 1, 0, "\x63\x02x"), "does not fit"},
		{"field longer than memory", record(1, 1, 0, "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), "does not fit"},
		{"length of 11 bytes", record(1, 1, 0, "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), "does not fit"},
		{"no id", record(1, 1, 0, "\x01\x00"), "id of 0 bytes"},
		{"long id", record(1, 1, 0, "\x01\x15"+strings.Repeat("x", 21)), "id of 21 bytes"},
		{"address", record(1, 1, 0, "\x02\x04abcd"), "address of 4 bytes"},
		{"time", record(1, 1, 0, "\x04\x04abcd"), "time of 4 bytes"},
		{"wire length", record(1, 1, 0, "\x06\x08\xff\xff\xff\xff\xff\xff\xff\xff"), "wire length"},
		{"method", record(2, 1, 0, "\x07\x81\x02"+strings.Repeat("x", 257)), "method of 257 bytes"},
		{"too short", []byte{0, 0, 0, 7, 1, 1, 0, 0}, "record of 7 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, _, _, err := stream.ParseBatch(handmade(0, 1, test.record), stream.Limits{})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
			// In a file the damage is where the batch begins.
			file := append(write(t, many()[:1]), handmade(0, 2, test.record)...)
			messages, err := read(bytes.NewReader(file))
			var damage *stream.DamageError
			if len(messages) != 1 || !errors.As(err, &damage) || damage.Offset != int64(len(file)-len(test.record)-stream.BatchHead) {
				t.Errorf("%d messages, %v", len(messages), err)
			}
		})
	}
}

// Whatever bit is turned in a file, it is noticed, and what stands before that
// batch is read.
func TestTurnedBits(t *testing.T) {
	first := write(t, many()[:2])
	file := write(t, many()[:2], many()[2:4])
	for i := range file {
		turned := bytes.Clone(file)
		turned[i] ^= 1 << (i % 8)
		messages, err := read(bytes.NewReader(turned))
		want := 0
		if i >= len(first) {
			want = 2
		}
		var damage *stream.DamageError
		if len(messages) != want || !errors.As(err, &damage) {
			t.Fatalf("byte %d: %d messages, %v; want %d and damage", i, len(messages), err, want)
		}
	}
}

func TestLimits(t *testing.T) {
	limits := stream.Limits{Record: 1000, Batch: 2000, Records: 3}
	var file bytes.Buffer
	w, err := stream.NewFileWriter(&file, stream.FileWriterConfig{Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	large := request(9)
	large.Raw = make([]byte, 1000)
	for i := range 10 {
		if err := w.Write(request(i)); err != nil {
			t.Fatal(err)
		}
		if err := w.Write(large); !errors.Is(err, stream.ErrTooLarge) {
			t.Fatalf("large message: %v", err)
		}
	}
	if n := w.Buffered(); n != 1 {
		t.Errorf("%d buffered of 10 in batches of 3", n)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	r, err := stream.NewFileReaderLimits(bytes.NewReader(file.Bytes()), limits)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for ; err == nil; n++ {
		_, err = r.Next()
	}
	if n != 11 || err != io.EOF || r.Offset() != int64(file.Len()) {
		t.Errorf("%d read, %v, up to byte %d of %d", n-1, err, r.Offset(), file.Len())
	}
	for name, less := range map[string]stream.Limits{"record": {Record: 300}, "batch": {Batch: 900}, "records": {Records: 2}} {
		r, err := stream.NewFileReaderLimits(bytes.NewReader(file.Bytes()), less)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = r.Next(); !errors.Is(err, stream.ErrTooLarge) {
			t.Errorf("limit of %s: %v", name, err)
		}
	}
}

// A failing writer breaks the file, and goes on to say so.
func TestFileWriterFails(t *testing.T) {
	full := errors.New("disk full")
	w, err := stream.NewFileWriter(writerFunc(func(p []byte) (int, error) {
		if len(p) > 100 {
			return 0, full
		}
		return len(p), nil
	}), stream.FileWriterConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(request(1)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := w.Flush(); err != full {
			t.Errorf("flush: %v", err)
		}
		if err := w.Write(request(2)); err != full {
			t.Errorf("write: %v", err)
		}
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// What a file must not do to a terminal or a log, a peer must not either.
func TestTextOfPeers(t *testing.T) {
	text := "no \x1b[31mred\x07\n" + strings.Repeat("é", 600)
	a, err := stream.ReadAnswer(bytes.NewReader(stream.AppendAnswer(nil, stream.Answer{
		Refused: &stream.Refusal{Code: stream.CodeBusy, Text: text},
	})))
	if err != nil || a.Refused == nil || a.Refused.Code != stream.CodeBusy {
		t.Fatalf("%+v, %v", a, err)
	}
	if got := a.Refused.Error(); !strings.HasPrefix(got, "no ?[31mred??éé") || len(got) != 1023 || strings.ContainsRune(got, '�') {
		t.Errorf("%d bytes: %.40q…", len(got), got)
	}
	f, err := frame(stream.AppendFrame(nil, stream.Frame{Type: stream.FrameEnd, Text: text}))
	if err != nil || f.Text != a.Refused.Text {
		t.Errorf("%+v, %v", f, err)
	}
}
