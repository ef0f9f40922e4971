package output_test

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kagami/internal/gor"
	"kagami/output"
)

func TestFileAppend(t *testing.T) {
	for _, name := range formats {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), name)
			for i := range 3 { // the first makes it
				f := newFile(t, output.FileConfig{Path: path, Append: true})
				recordTo(t, f, 10*i, 10*i+10)
				if err := f.Close(); err != nil {
					t.Fatal(err)
				}
			}
			wantRecorded(t, path, 0, 30)
		})
	}
}

// Behind a last record that has no end, or not all of it, records can be added
// that are read.
func TestFileAppendBehindARecordWithoutEnd(t *testing.T) {
	for _, zip := range []bool{false, true} {
		for cut := range len(gor.Separator) + 1 {
			before := gor.Append(gor.Append(nil, recorded(0)), recorded(1))
			before = before[:len(before)-cut]
			path := filepath.Join(t.TempDir(), "a.gor")
			var err error
			if zip {
				path += ".gz"
				var b strings.Builder
				z := gzip.NewWriter(&b)
				_, err = z.Write(before)
				before = []byte(b.String())
				if err = errors.Join(err, z.Close()); err == nil {
					before = []byte(b.String())
				}
			}
			if err = errors.Join(err, os.WriteFile(path, before, 0o600)); err != nil {
				t.Fatal(err)
			}
			f := newFile(t, output.FileConfig{Path: path, Append: true})
			recordTo(t, f, 2, 5)
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			if cut != len(gor.Separator)-1 {
				wantRecorded(t, path, 0, 5)
				continue
			}
			// One line end of the separator cannot be told from one of the message.
			numbers, err := readFileLenient(t, path)
			if err != io.EOF || !slices.Equal(numbers, []int{0, 1, 2, 3, 4}) {
				t.Errorf("%d bytes missing, compressed %v: %v, %v", cut, zip, numbers, err)
			}
		}
	}
}

// readFileLenient is readFile for messages with a line end too many.
func readFileLenient(t *testing.T, path string) ([]int, error) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var src io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		if src, err = gzip.NewReader(f); err != nil {
			t.Fatal(err)
		}
	}
	r := gor.NewReader(src)
	var numbers []int
	for {
		m, err := r.Next()
		if err != nil {
			return numbers, err
		}
		n := -1
		if _, err := fmt.Sscanf(string(m.Raw), "GET /%d HTTP/1.1\r\n", &n); err != nil {
			t.Errorf("%q", m.Raw)
		}
		numbers = append(numbers, n)
	}
}

// What is no recording of the same kind, or is damaged, is not added to.
func TestFileAppendRefused(t *testing.T) {
	record := string(gor.Append(nil, recorded(0)))
	dir := t.TempDir()
	made := func(name string) string {
		path := filepath.Join(dir, name)
		f := newFile(t, output.FileConfig{Path: path})
		recordTo(t, f, 0, 100)
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	kgm, gz := made("made.kgm"), made("made.gor.gz")
	for _, tc := range []struct{ name, is, says string }{
		{"text.gor", "hello, this is text\n", "not a recording, but text"},
		{"pcap.gor", "\xd4\xc3\xb2\xa1\x02\x00\x04\x00", "pcap"},
		{"kgm.gor", kgm, ".kgm"},
		{"gzip.gor", gz, "gzip"},
		{"plain.gor.gz", record, "gzip"},
		{"gor.kgm", record, "not a .kgm file"},
		{"cut.kgm", kgm[:len(kgm)-1], "cut short"},
		{"flipped.kgm", kgm[:60] + "\xff" + kgm[61:], "damaged"},
		{"cut.gor.gz", gz[:len(gz)-1], "unexpected EOF"},
	} {
		path := filepath.Join(dir, tc.name)
		if err := os.WriteFile(path, []byte(tc.is), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := output.NewFile(output.FileConfig{Path: path, Append: true})
		if err == nil || !strings.Contains(err.Error(), tc.says) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want an error that says %q", tc.name, err, tc.says)
		}
		if b, _ := os.ReadFile(path); string(b) != tc.is {
			t.Errorf("%s was changed", tc.name)
		}
	}
}
