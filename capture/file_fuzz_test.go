package capture_test

import (
	"bytes"
	"io"
	"testing"

	"kagami/capture"
)

// FuzzFile reads a file at once and a byte at a time: it ends, the packets are within
// their bounds, and the two agree.
func FuzzFile(f *testing.F) {
	f.Add(pcapFile(little, 0xa1b2c3d4, 1, pcapRecord(little, 1e9, 5, 1500, "abc"), pcapRecord(little, 2e9, 5, 3, "def")))
	f.Add(pcapFile(big, 0xa1b23c4d, 276, pcapRecord(big, 1e9, 5, 1500, "abc"), pcapRecord(big, 2e9, 5, 3, "def")))
	f.Add(pcapFile(little, 0xa1b2cd34, 1, append(pcapRecord(little, 1, 2, 3, ""), "\x07\x00\x00\x00\x08\x00\x04\x00abc"...)))
	f.Add(compress(pcapFile(big, 0xa1b2c3d4, 1, pcapRecord(big, 1e9, 5, 1500, "abc"))))
	f.Add(join(pcapngFile(little, "abc", "de"), pcapngFile(big, "fgh")))
	f.Add(join(section(big), iface(big, 113, 2, option(big, 9, "\x8a"), option(big, 14, "\x00\x00\x00\x00\x00\x00\x00\x01")),
		simple(big, 3, "abc"), obsolete(big, 0, 1<<40, 60, "de"), block(big, 5, []byte("statistics"))))
	f.Fuzz(func(t *testing.T, file []byte) {
		once, err := read(t, bytes.NewReader(file))
		bytewise, err2 := read(t, oneByte{bytes.NewReader(file)})
		if once != bytewise || (err == nil) != (err2 == nil) || err != nil && err.Error() != err2.Error() {
			t.Fatalf("at once %s, %v; a byte at a time %s, %v", once, err, bytewise, err2)
		}
	})
}

func read(t *testing.T, r io.Reader) (string, error) {
	f, err := capture.NewFile(r)
	if err != nil {
		return "", err
	}
	all, err := readAll(f)
	for _, p := range all {
		if p.WireLen < len(p.Data) || len(p.Data) > 16<<20 {
			t.Fatalf("a packet of %d bytes, %d captured", p.WireLen, len(p.Data))
		}
	}
	if _, again := f.Next(); again == nil || again.Error() != err.Error() {
		t.Fatalf("error %v, then %v", err, again)
	}
	return describe(all), err
}
