package output_test

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kagami"
	"kagami/internal/gor"
	"kagami/internal/stream"
	"kagami/output"
)

// recorded is the i-th of many messages to record.
func recorded(i int) *kagami.Message {
	client, server := netip.MustParseAddrPort("10.0.0.1:40000"), netip.MustParseAddrPort("10.0.0.2:80")
	start := time.Unix(1700000000, int64(i)*1000).UTC()
	raw := fmt.Sprintf("GET /%d HTTP/1.1\r\nHost: example.com\r\n\r\n", i)
	return &kagami.Message{
		Kind: kagami.Request, Proto: kagami.HTTP1, Start: start, End: start,
		Client: client, Server: server, Raw: []byte(raw), WireLen: len(raw),
		Exchange: &kagami.Exchange{ID: kagami.MakeID(client, server, uint32(i), 0, start.Unix()), Method: "GET"},
	}
}

// batchOf is a batch of recorded messages from ≤ i < to, and how they are settled.
func batchOf(t testing.TB, from, to int) (kagami.Batch, *settlements) {
	s := watch(t)
	b := kagami.Batch{Settle: s.settle}
	for i := from; i < to; i++ {
		b.Messages = append(b.Messages, recorded(i))
	}
	return b, s
}

// wantDelivered fails the test unless n messages were settled, all as delivered.
func wantDelivered(t *testing.T, what string, s *settlements, n int) {
	t.Helper()
	if all, of := s.len(), s.count(kagami.Delivered); all != n || of != n {
		t.Errorf("%s: %d settled, %d of them as delivered; want %d", what, all, of, n)
	}
}

func newFile(t testing.TB, cfg output.FileConfig) *output.File {
	t.Helper()
	f, err := output.NewFile(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func recordTo(t *testing.T, f output.Output, from, to int) *settlements {
	t.Helper()
	b, s := batchOf(t, from, to)
	if err := f.Write(context.Background(), b); err != nil {
		t.Fatal(err)
	}
	return s
}

// readFile returns the numbers of the messages in a recording, and the error
// that ends it.
func readFile(t testing.TB, path string) (numbers []int, err error) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var src io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		if src, err = gzip.NewReader(f); err != nil {
			return nil, err
		}
	}
	var r interface {
		Next() (*kagami.Message, error)
	} = gor.NewReader(src)
	if strings.Contains(path, ".kgm") {
		if r, err = stream.NewFileReader(src); err != nil {
			return nil, err
		}
	}
	for {
		m, err := r.Next()
		if err != nil {
			return numbers, err
		}
		n := -1
		if _, err := fmt.Sscanf(string(m.Raw), "GET /%d HTTP/1.1\r\n", &n); err != nil || m.Flags != 0 {
			t.Errorf("%s: %q, flags %b", path, m.Raw, m.Flags)
		}
		numbers = append(numbers, n)
	}
}

// wantRecorded fails the test unless the file holds the messages from ≤ i < to, and is whole.
func wantRecorded(t *testing.T, path string, from, to int) {
	t.Helper()
	numbers, err := readFile(t, path)
	if err != io.EOF {
		t.Errorf("%s: %v", path, err)
	}
	var want []int
	for i := from; i < to; i++ {
		want = append(want, i)
	}
	if !slices.Equal(numbers, want) {
		t.Errorf("%s holds %v, want %d to %d", path, numbers, from, to-1)
	}
}

// filesIn are the names of all files in a directory.
func filesIn(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}

var formats = []string{"a.gor", "a.gor.gz", "a.kgm", "a.kgm.gz", "a", "a.gz"}

func TestFileFormats(t *testing.T) {
	for _, name := range formats {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), name)
			f := newFile(t, output.FileConfig{Path: path})
			one, two := recordTo(t, f, 0, 10), recordTo(t, f, 10, 5000)
			if n := f.InFlight(); n < 1 || n > 5000 {
				t.Errorf("%d in flight", n)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			wantDelivered(t, "the first batch", one, 10)
			wantDelivered(t, "the second batch", two, 4990)
			wantRecorded(t, path, 0, 5000)
			if n := f.InFlight(); n != 0 {
				t.Errorf("%d in flight after Close", n)
			}
			if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o007 != 0 {
				t.Errorf("mode %v: others must not read it", info.Mode())
			}
		})
	}
}

// A .kgm whose batches are compressed is smaller, and can be added to, compressed or not.
func TestFileCompressed(t *testing.T) {
	dir := t.TempDir()
	size := map[bool]int64{}
	for _, compress := range []bool{true, false} {
		path := filepath.Join(dir, fmt.Sprintf("%v.kgm", compress))
		for i, again := range []bool{compress, !compress} {
			f := newFile(t, output.FileConfig{Path: path, Compress: again, Append: i > 0})
			recordTo(t, f, 5000*i, 5000*(i+1))
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			if info, err := os.Stat(path); err == nil && i == 0 {
				size[compress] = info.Size()
			}
		}
		wantRecorded(t, path, 0, 10000)
	}
	if size[true] == 0 || size[true] > size[false]/3 {
		t.Errorf("%d bytes compressed, %d not", size[true], size[false])
	}
}

// A file that exists is not touched, and the error says what to do.
func TestFileExists(t *testing.T) {
	for _, name := range formats {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := output.NewFile(output.FileConfig{Path: path})
		if !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), "--output-file-append") || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
		if b, _ := os.ReadFile(path); string(b) != "precious" {
			t.Errorf("%s: it is %q now", name, b)
		}
	}
}

func TestNewFileErrors(t *testing.T) {
	dir := t.TempDir()
	for _, tc := range []struct {
		name string
		cfg  output.FileConfig
		says string
	}{
		{"no path", output.FileConfig{}, "no path"},
		{"S3", output.FileConfig{Path: "s3://bucket/key"}, "S3"},
		{"directory", output.FileConfig{Path: dir}, "directory"},
		{"no directory", output.FileConfig{Path: dir + "/none/a.gor"}, "none"},
		{"no directory, and what is to be free there", output.FileConfig{Path: dir + "/none/a.gor", MinFree: 1}, "there is no directory " + dir + "/none: make it"},
		{"no directory, chunks", output.FileConfig{Path: dir + "/none/a.gor", QueueLimit: 1}, "none"},
		{"flush", output.FileConfig{Path: dir + "/a.gor", FlushInterval: -1}, "flush interval"},
		{"size", output.FileConfig{Path: dir + "/a.gor", SizeLimit: -1}, "negative"},
		{"queue", output.FileConfig{Path: dir + "/a.gor", QueueLimit: -1}, "negative"},
		{"max", output.FileConfig{Path: dir + "/a.gor", MaxSize: -1}, "negative"},
	} {
		if _, err := output.NewFile(tc.cfg); err == nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v, want an error that says %q", tc.name, err, tc.says)
		}
	}
	if left := filesIn(t, dir); left != "" {
		t.Errorf("files were made: %s", left)
	}
}

// A message is in the file at the latest when the flush interval has passed,
// and settled then and not before.
func TestFileFlushes(t *testing.T) {
	for _, name := range formats {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), name)
				f := newFile(t, output.FileConfig{Path: path})
				for i := range 3 {
					s := recordTo(t, f, i, i+1)
					time.Sleep(time.Second - 1)
					synctest.Wait()
					wantDelivered(t, "before the interval is over", s, 0)
					if n := f.InFlight(); n != 1 {
						t.Errorf("%d in flight, want 1", n)
					}
					time.Sleep(time.Nanosecond)
					synctest.Wait()
					wantDelivered(t, "after it", s, 1)
					numbers, err := readFile(t, path)
					if len(numbers) != i+1 || f.InFlight() != 0 {
						t.Errorf("%d messages in the file (%v), %d in flight", len(numbers), err, f.InFlight())
					}
					time.Sleep(time.Minute) // nothing happens
				}
				recordTo(t, f, 3, 4)
				time.Sleep(time.Second / 2)
				if err := f.Close(); err != nil { // while the timer runs
					t.Error(err)
				}
				wantRecorded(t, path, 0, 4)
			})
		})
	}
}

func TestFileMaxSize(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.gor")
	size := int64(len(gor.Append(nil, recorded(0))))
	f := newFile(t, output.FileConfig{Path: path, MaxSize: 3 * size, QueueLimit: 2})
	one := recordTo(t, f, 0, 1)
	b, two := batchOf(t, 1, 9)
	err := f.Write(context.Background(), b)
	if err == nil || !strings.Contains(err.Error(), "--output-file-max-size-limit") || !strings.Contains(err.Error(), path) {
		t.Errorf("%v, want an error that names the flag and the file", err)
	}
	if err := f.Close(); err != nil {
		t.Error(err) // it was told once
	}
	wantDelivered(t, "the first batch", one, 1)
	wantDelivered(t, "the second batch, as far as there was room", two, 2)
	wantRecorded(t, strings.Replace(path, "a.", "a_0.", 1), 0, 2)
	wantRecorded(t, strings.Replace(path, "a.", "a_1.", 1), 2, 3)
}

// What a format cannot hold is dropped by itself.
func TestFileRefusesMessages(t *testing.T) {
	for name, want := range map[string]kagami.Reason{"a.gor": kagami.AmbiguousFraming, "a.kgm": kagami.Delivered} {
		f := newFile(t, output.FileConfig{Path: filepath.Join(t.TempDir(), name)})
		b, s := batchOf(t, 0, 3)
		b.Messages[1].Raw = []byte("GET / HTTP/1.1\r\nA: b" + gor.Separator + "1 00 0 0\nDELETE / HTTP/1.1\r\n\r\n")
		if err := f.Write(context.Background(), b); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		s.want(kagami.Delivered, want, kagami.Delivered)
	}
}

// A device cannot be made, and is not added to: it is written to.
func TestFileDevice(t *testing.T) {
	f := newFile(t, output.FileConfig{Path: os.DevNull})
	s := recordTo(t, f, 0, 10)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	wantDelivered(t, "in the null device", s, 10)
}

// Behind a queue, as it is used, and looked at meanwhile.
func TestFileBehindAQueue(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.gor")
	q := output.NewQueue(newFile(t, output.FileConfig{Path: path, FlushInterval: time.Millisecond}), output.QueueConfig{OnFull: output.WaitWhenFull})
	var all []*settlements
	for i := range 200 {
		b, s := batchOf(t, 50*i, 50*i+50)
		if err := q.Write(context.Background(), b); err != nil {
			t.Fatal(err)
		}
		if n := q.InFlight(); n > 10_000 {
			t.Errorf("%d in flight", n)
		}
		all = append(all, s)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		wantDelivered(t, "a batch", s, 50)
	}
	wantRecorded(t, path, 0, 10_000)
}

func BenchmarkFile(b *testing.B) {
	for _, name := range []string{"a.gor", "a.kgm", "a.gor.gz"} {
		b.Run(name, func(b *testing.B) {
			var batch kagami.Batch
			for i := range 256 {
				m := recorded(i)
				m.Raw = append(m.Raw[:len(m.Raw)-2:len(m.Raw)-2], "Cookie: "+strings.Repeat("x", 400)+"\r\n\r\n"...)
				batch.Messages = append(batch.Messages, m)
			}
			settled := 0
			batch.Settle = func(int, kagami.Reason) { settled++ }
			f := newFile(b, output.FileConfig{Path: filepath.Join(b.TempDir(), name)})
			b.ReportAllocs()
			n := 0
			for b.Loop() { // one message
				if n++; n%256 == 0 {
					if err := f.Write(context.Background(), batch); err != nil {
						b.Fatal(err)
					}
				}
			}
			if err := f.Close(); err != nil || settled != n/256*256 {
				b.Fatal(err, settled, n)
			}
		})
	}
}
