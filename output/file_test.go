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
					time.Sleep(1)
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

func TestFileChunks(t *testing.T) {
	type have []string
	for _, tc := range []struct {
		name string
		path string
		cfg  output.FileConfig
		have have   // files that exist, each with the message 0
		want string // the files then
	}{
		{"none without a limit", "a.gor", output.FileConfig{}, nil, "a.gor"},
		{"by number", "a.gor", output.FileConfig{QueueLimit: 4}, nil, "a_0.gor a_1.gor a_2.gor"},
		{"by size", "a.gor", output.FileConfig{SizeLimit: 450}, nil, "a_0.gor a_1.gor a_2.gor"},
		{"by either", "a.gor", output.FileConfig{SizeLimit: 450, QueueLimit: 8}, nil, "a_0.gor a_1.gor a_2.gor"},
		{"compressed", "a.gor.gz", output.FileConfig{QueueLimit: 4}, nil, "a_0.gor.gz a_1.gor.gz a_2.gor.gz"},
		{"compressed, by size before that", "a.gor.gz", output.FileConfig{SizeLimit: 450}, nil, "a_0.gor.gz a_1.gor.gz a_2.gor.gz"},
		{"kgm", "a.kgm", output.FileConfig{QueueLimit: 4}, nil, "a_0.kgm a_1.kgm a_2.kgm"},
		{"above those that exist", "a.gor", output.FileConfig{QueueLimit: 5}, have{"a_3.gor", "a_10.gor", "b_20.gor", "a_x.gor"}, "a_10.gor a_11.gor a_12.gor a_3.gor a_x.gor b_20.gor"},
		{"going on with the last", "a.gor", output.FileConfig{QueueLimit: 5, Append: true}, have{"a_3.gor", "a_10.gor"}, "a_10.gor a_11.gor a_3.gor"},
		{"going on with the last, by size", "a.gor", output.FileConfig{SizeLimit: 1100, Append: true}, have{"a_0.gor"}, "a_0.gor a_1.gor"},
		{"none to go on with", "a.gor", output.FileConfig{QueueLimit: 5, Append: true}, nil, "a_0.gor a_1.gor"},
		{"as GoReplay names them", "a.gor", output.FileConfig{QueueLimit: 4, GorNames: true}, nil, "a_0.gor a_1.gor a_2.gor"},
		{"as GoReplay, compressed", "a.gor.gz", output.FileConfig{QueueLimit: 4, GorNames: true}, nil, "a.gor_0.gz a.gor_1.gz a.gor_2.gz"},
		{"as GoReplay, without a limit", "a.gor", output.FileConfig{GorNames: true}, nil, "a_0.gor"},
		{"as GoReplay, without a limit, the second time", "a.gor", output.FileConfig{GorNames: true}, have{"a_0.gor"}, "a_0.gor a_1.gor"},
		{"as GoReplay, appending", "a.gor", output.FileConfig{QueueLimit: 4, SizeLimit: 450, GorNames: true, Append: true}, have{"a.gor"}, "a.gor"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, name := range tc.have {
				if err := os.WriteFile(filepath.Join(dir, name), gor.Append(nil, recorded(0)), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			tc.cfg.Path = filepath.Join(dir, tc.path)
			f := newFile(t, tc.cfg)
			one := recordTo(t, f, 1, 6)
			two := recordTo(t, f, 6, 11)
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			wantDelivered(t, "the first batch", one, 5)
			wantDelivered(t, "the second batch", two, 5)
			if got := filesIn(t, dir); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
			var all []int
			for _, name := range strings.Fields(filesIn(t, dir)) {
				numbers, err := readFile(t, filepath.Join(dir, name))
				if err != io.EOF || len(numbers) == 0 {
					t.Errorf("%s: %v, %v", name, numbers, err)
				}
				all = append(all, numbers...)
			}
			slices.Sort(all)
			all = slices.Compact(all) // 0 was there several times
			if want := []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}; !slices.Equal(all[len(all)-10:], want) {
				t.Errorf("%v", all)
			}
		})
	}
}

func TestFileTokens(t *testing.T) {
	zone := time.FixedZone("here", 2*3600)
	for _, tc := range []struct {
		path, want string
	}{
		{"%Y-%m-%d_%H%M%S.gor", "2030-01-02_030405.gor 2030-01-02_030406.gor"},
		{"%Y%m%d.gor", "20300102.gor"},
		{"100%.%x.%.gor", "100%.%x.%.gor"},
		{"%i.gor", "abcdefgh.gor"},
		{"%t.gor", "1.gor 2.gor"},
		{"%S-%NS-%t.gor", "05-000000678-1.gor 05-000000678-2.gor 06-000000678-1.gor 06-000000678-2.gor"},
		{"%r", recorded(0).Exchange.ID.String() + " " + recorded(1).Exchange.ID.String()},
	} {
		t.Run(strings.ReplaceAll(tc.path, "%", ""), func(t *testing.T) { // the name becomes part of the directory's
			dir := t.TempDir()
			now := time.Date(2030, 1, 2, 3, 4, 5, 678, zone)
			f := newFile(t, output.FileConfig{Path: filepath.Join(dir, tc.path), Instance: "abcdefgh", Now: func() time.Time { return now }})
			b, s := batchOf(t, 0, 2)
			for _, m := range b.Messages { // each with its answer
				answer := recorded(3)
				answer.Kind, answer.Exchange = kagami.Response, m.Exchange
				answer.Raw = []byte("HTTP/1.1 204 No Content\r\n\r\n")
				b.Messages = append(b.Messages, answer)
			}
			if err := f.Write(context.Background(), b); err != nil {
				t.Fatal(err)
			}
			now = now.Add(time.Second)
			b, s2 := batchOf(t, 0, 2)
			b.Messages[1].Kind = kagami.Response
			if err := f.Write(context.Background(), b); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			wantDelivered(t, "the first batch", s, 4)
			wantDelivered(t, "the second batch", s2, 2)
			if got := filesIn(t, dir); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
	t.Run("random instances", func(t *testing.T) {
		dir := t.TempDir()
		for range 2 {
			f := newFile(t, output.FileConfig{Path: filepath.Join(dir, "%i")})
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
		}
		got := strings.Fields(filesIn(t, dir))
		if len(got) != 2 || len(got[0]) != 8 || strings.Trim(got[0]+got[1], "abcdefghijklmnopqrstuvwxyz") != "" {
			t.Errorf("%q: want two different names of eight letters", got)
		}
	})
}

// More names than files that are kept open: those that were closed are added to.
func TestFileManyNames(t *testing.T) {
	for _, ext := range []string{".gor", ".kgm", ".gor.gz"} {
		t.Run(ext, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				f := newFile(t, output.FileConfig{Path: filepath.Join(dir, "%r"+ext)})
				for range 3 {
					s := recordTo(t, f, 0, 40)
					time.Sleep(1500 * time.Millisecond)
					wantDelivered(t, "after the interval", s, 40)
				}
				time.Sleep(5 * time.Second) // long enough for all to be closed
				recordTo(t, f, 0, 40)
				if err := f.Close(); err != nil {
					t.Fatal(err)
				}
				all := strings.Fields(filesIn(t, dir))
				if len(all) != 40 {
					t.Errorf("%d files", len(all))
				}
				for i := range 40 {
					name := recorded(i).Exchange.ID.String() + ext
					numbers, err := readFile(t, filepath.Join(dir, name))
					if err != io.EOF || !slices.Equal(numbers, []int{i, i, i, i}) {
						t.Errorf("%s: %v, %v", name, numbers, err)
					}
				}
			})
		})
	}
}

// The clock goes back to a name that was there before, as at the end of summer time.
func TestFileNameComesBack(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2030, 1, 1, 2, 0, 0, 0, time.UTC)
	f := newFile(t, output.FileConfig{Path: filepath.Join(dir, "%H.gor"), Now: func() time.Time { return now }})
	recordTo(t, f, 0, 2)
	now = now.Add(time.Hour)
	recordTo(t, f, 10, 11)
	now = now.Add(-time.Hour)
	recordTo(t, f, 2, 4)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	wantRecorded(t, filepath.Join(dir, "02.gor"), 0, 4)
	wantRecorded(t, filepath.Join(dir, "03.gor"), 10, 11)
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
