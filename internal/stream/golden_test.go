package stream_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"strings"
	"testing"

	"kagami/internal/stream"
)

// The golden files of a version are written once, with -update, when that
// version is made, and never again: every later one has to read them.
var update = flag.Bool("update", false, "write the golden files of the version at hand")

const (
	goldenFile = "testdata/v1.kgm"
	goldenText = "testdata/v1.txt"
)

// handmade returns a batch put together by what docs/format.md says, of records
// that this version would not write.
func handmade(hop byte, seq uint64, records ...[]byte) []byte {
	body := bytes.Join(records, nil)
	b := append([]byte("KGMB"), 1, 0, hop, 0)
	b = binary.BigEndian.AppendUint64(b, seq)
	b = binary.BigEndian.AppendUint32(b, uint32(len(records)))
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	sum := crc32.Checksum(append(bytes.Clone(b), body...), crc32.MakeTable(crc32.Castagnoli))
	return append(binary.BigEndian.AppendUint32(b, sum), body...)
}

// record returns a record of these fields, each with its type and length.
func record(kind, proto byte, flags uint16, fields ...string) []byte {
	all := strings.Join(fields, "")
	b := binary.BigEndian.AppendUint32(nil, uint32(8+len(all)))
	b = append(b, kind, proto)
	b = binary.BigEndian.AppendUint16(b, flags)
	return append(b, all...)
}

// golden returns the file, and the part of it that a FileWriter writes.
func golden(t *testing.T) (file, written []byte) {
	messages := many()
	large := messages[7]
	large.Raw = large.Raw[:100] // large enough for its length to take two bytes
	large.Raw = append(large.Raw, large.Raw...)
	large.WireLen = len(large.Raw)
	messages[8].Hop = 3 // which ends the batch
	written = write(t, messages[:2], messages[2:])
	file = append(bytes.Clone(written), written[:16]...) // two files joined
	raw := "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	file = append(file, handmade(255, 10,
		record(77, 1, 0, "\x01\x01\xaa"), // an unknown kind
		record(1, 1, 0, "\x63\x05hello", "\x08"+string(rune(len(raw)))+raw, "\x01\x01\xbb", "\xff\x00"), // unknown fields, another order
		record(2, 9, 0x8000, "\x07\x03GET"), // an unknown protocol and flag, no id
	)...)
	return file, written
}

// describe writes what a reader makes of a file.
func describe(t *testing.T, file io.Reader) string {
	t.Helper()
	f, err := stream.NewFileReader(file)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for {
		m, err := f.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		start := "never"
		if !m.Start.IsZero() {
			start = fmt.Sprintf("%d to %d", m.Start.UnixNano(), m.End.UnixNano())
		}
		fmt.Fprintf(&b, "%v %v flags %#04x hop %d, exchange %q method %q, %v to %v, %s, %d bytes on the wire\n%q\n\n",
			m.Kind, m.Proto, uint16(m.Flags), m.Hop, m.Exchange.ID, m.Exchange.Method, m.Client, m.Server, start, m.WireLen, m.Raw)
	}
	fmt.Fprintf(&b, "%d of an unknown kind, %d bytes\n", f.Unknown(), f.Offset())
	return b.String()
}

func TestGoldenFile(t *testing.T) {
	if *update {
		file, _ := golden(t)
		if err := os.WriteFile(goldenFile, file, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(goldenText, []byte(describe(t, bytes.NewReader(file))), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(goldenText)
	if err != nil {
		t.Fatal(err)
	}
	if got := describe(t, bytes.NewReader(file)); got != string(want) {
		t.Errorf("read\n%s\nwant\n%s", got, want)
	}
	if _, written := golden(t); !bytes.HasPrefix(file, written) {
		t.Error("this version writes other bytes than version 1 of the format has")
	}
	if n := strings.Count(string(want), "exchange"); n != len(many())+2 {
		t.Errorf("%d messages in the golden file", n)
	}
}

// The example in the document is the start of the golden file.
func TestExampleInDocument(t *testing.T) {
	doc, err := os.ReadFile("../../docs/format.md")
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(doc), "## An example")
	var bytes []byte
	for _, line := range strings.Split(example, "\n") {
		for _, word := range strings.Fields(line) {
			b, err := hex.DecodeString(word)
			if !strings.HasPrefix(line, "    ") || err != nil || len(b) != 1 {
				break
			}
			bytes = append(bytes, b[0])
		}
	}
	if len(bytes) < 100 || !strings.HasPrefix(string(file), string(bytes)) {
		t.Errorf("the document says\n% x\nand the file is\n% x", bytes, file[:min(len(file), len(bytes))])
	}
}
