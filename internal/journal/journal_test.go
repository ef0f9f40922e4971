package journal_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kagami/internal/journal"
)

func frame(payload string) []byte { return append(make([]byte, journal.Head), payload...) }

// write makes the n-th file of some payloads.
func write(t testing.TB, d *journal.Dir, n uint64, payloads ...string) {
	t.Helper()
	f, err := d.Create(n)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range payloads {
		if err := f.Append(frame(p)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(f.Sync(), f.Close(), d.Sync()); err != nil {
		t.Fatal(err)
	}
}

func read(d *journal.Dir, n uint64) (payloads []string, cut int64, err error) {
	cut, err = d.Read(n, func(p []byte) error {
		payloads = append(payloads, string(p))
		return nil
	})
	return payloads, cut, err
}

func open(t testing.TB) (*journal.Dir, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a", "b")
	d, err := journal.OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d, path
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	d, path := open(t)
	want := []string{"a", strings.Repeat("b", 200_000), "c"}
	write(t, d, 3, want...)
	write(t, d, 12)
	for _, name := range []string{"1.journal", "x.journal", "00000001.log", "00000005.journal.tmp"} {
		os.WriteFile(filepath.Join(path, name), nil, 0o600)
	}
	got, cut, err := read(d, 3)
	if err != nil || cut != 0 || !slices.Equal(got, want) {
		t.Errorf("read %d frames, %d bytes cut, %v", len(got), cut, err)
	}
	if files, err := d.Files(); err != nil || !slices.Equal(files, []uint64{3, 12}) {
		t.Errorf("files %v, %v", files, err)
	}
	if err := errors.Join(d.Remove(3), d.Remove(3)); err != nil {
		t.Error(err)
	}
	if files, _ := d.Files(); !slices.Equal(files, []uint64{12}) {
		t.Errorf("files %v", files)
	}
	enough := errors.New("enough")
	write(t, d, 4, "a", "b")
	if _, err := d.Read(4, func([]byte) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("error %v", err)
	}
}

// A file that was cut anywhere, or in which a bit was turned, is read up to the
// frame before.
func TestDamage(t *testing.T) {
	d, _ := open(t)
	write(t, d, 1, "first", "second")
	whole, err := os.ReadFile(d.Path(1))
	if err != nil {
		t.Fatal(err)
	}
	first := 16 + journal.Head + len("first")
	expect := func(name string, b []byte, at int) {
		t.Helper()
		if err := os.WriteFile(d.Path(2), b, 0o600); err != nil {
			t.Fatal(err)
		}
		got, cut, err := read(d, 2)
		switch {
		case at < 16:
			if !errors.Is(err, journal.ErrNoHead) {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		case at < first:
			if len(got) != 0 || err != nil || cut != int64(len(b)-16) {
				t.Errorf("%s: %q, %d cut, %v", name, got, cut, err)
			}
		case !slices.Equal(got, []string{"first"}) || err != nil || cut != int64(len(b)-first):
			t.Errorf("%s: %q, %d cut, %v", name, got, cut, err)
		}
	}
	for n := range whole {
		expect(fmt.Sprintf("cut at %d", n), whole[:n], n)
		turned := bytes.Clone(whole)
		turned[n] ^= 1
		expect(fmt.Sprintf("bit turned at %d", n), turned, n)
	}
}

// FuzzRead reads anything as a file, and what was read is what was written.
func FuzzRead(f *testing.F) {
	d, _ := open(f)
	write(f, d, 1, "first", "second")
	whole, err := os.ReadFile(d.Path(1))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:20])
	f.Add([]byte("KGMJ\r\n\x1a\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		frames := 0
		n, err := journal.ReadFrom(bytes.NewReader(b), func(p []byte) error {
			if len(p) == 0 || len(p) > len(b) {
				t.Errorf("payload of %d bytes", len(p))
			}
			frames++
			return nil
		})
		if n > int64(len(b)) || err != nil && frames > 0 {
			t.Errorf("%d of %d bytes, %d frames, %v", n, len(b), frames, err)
		}
	})
}
