package output_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kagami"
	"kagami/internal/gor"
	"kagami/output"
)

// The oldest files of the recording go, whatever makes it begin new ones. What is
// there of others stays, also where it is called as if it were of this one.
func TestFileKeeps(t *testing.T) {
	one := int64(len(gor.Append(nil, recorded(0))))
	for _, tc := range []struct {
		name, path string
		cfg        output.FileConfig
		want       string
	}{
		{"files", "a.gor", output.FileConfig{QueueLimit: 2, KeepFiles: 3}, "a_0.gor a_4.gor a_5.gor a_6.gor"},
		{"one file", "a.gor", output.FileConfig{QueueLimit: 2, KeepFiles: 1}, "a_0.gor a_6.gor"},
		{"size", "a.gor", output.FileConfig{QueueLimit: 2, KeepSize: 5 * one}, "a_0.gor a_5.gor a_6.gor"},
		{"less than a file", "a.gor", output.FileConfig{QueueLimit: 2, KeepSize: 1}, "a_0.gor a_6.gor"},
		{"compressed", "a.gor.gz", output.FileConfig{SizeLimit: 150, KeepFiles: 2}, "a_0.gor a_4.gor.gz a_5.gor.gz"},
		{"by the name", "%M.gor", output.FileConfig{KeepFiles: 2}, "10.gor 11.gor a_0.gor"},
		{"by time", "%H%M%S.gor", output.FileConfig{TimeLimit: time.Minute, KeepFiles: 2}, "001000_0.gor 001100_0.gor a_0.gor"},
		{"as GoReplay", "a.gor", output.FileConfig{QueueLimit: 2, KeepFiles: 2, GorNames: true}, "a_0.gor a_5.gor a_6.gor"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "a_0.gor"), gor.Append(nil, recorded(99)), 0o600); err != nil {
				t.Fatal(err)
			}
			now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
			tc.cfg.Path, tc.cfg.Now = filepath.Join(dir, tc.path), func() time.Time { return now }
			f := newFile(t, tc.cfg)
			for i := range 12 {
				recordTo(t, f, i, i+1)
				now = now.Add(time.Minute)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			if got := filesIn(t, dir); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
			last := strings.Fields(tc.want)
			var numbers []int
			for _, name := range last {
				n, err := readFile(t, filepath.Join(dir, name))
				if err != io.EOF {
					t.Errorf("%s: %v", name, err)
				}
				numbers = append(numbers, n...)
			}
			if !slices.Contains(numbers, 11) || !slices.Contains(numbers, 99) || slices.Contains(numbers, 0) {
				t.Errorf("%v: want the last message and what was there before, and not the first", numbers)
			}
		})
	}
}

// What was there before and is added to is never deleted, nor what somebody put in the place of a file.
func TestFileKeepsWhatIsNotOurs(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.gor")
	if err := os.WriteFile(filepath.Join(dir, "a_0.gor"), gor.Append(nil, recorded(99)), 0o600); err != nil {
		t.Fatal(err)
	}
	f := newFile(t, output.FileConfig{Path: path, QueueLimit: 2, KeepFiles: 2, Append: true})
	recordTo(t, f, 0, 5) // 0 and 1 into a_0, then a_1, a_2
	if err := errors.Join(os.Rename(filepath.Join(dir, "a_1.gor"), filepath.Join(dir, "mine")),
		os.WriteFile(filepath.Join(dir, "a_1.gor"), []byte("precious"), 0o600)); err != nil {
		t.Fatal(err)
	}
	recordTo(t, f, 5, 12)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if got, want := filesIn(t, dir), "a_0.gor a_1.gor a_4.gor a_5.gor mine"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if b, _ := os.ReadFile(filepath.Join(dir, "a_1.gor")); string(b) != "precious" {
		t.Errorf("it is %q now", b)
	}
}

func TestFileKeepNeedsSeveralFiles(t *testing.T) {
	dir := t.TempDir()
	for path, says := range map[string]string{"a.gor": "there must be several", "%S.gor": "there must be several", "%H-%r.gor": "named after messages"} {
		_, err := output.NewFile(output.FileConfig{Path: filepath.Join(dir, path), KeepFiles: 2})
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want an error that says %q", path, err, says)
		}
	}
	if left := filesIn(t, dir); left != "" {
		t.Errorf("files were made: %s", left)
	}
}

// A file is closed when its time is over, though nothing more comes; the next message begins another.
func TestFileTimeLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		f := newFile(t, output.FileConfig{Path: filepath.Join(dir, "a.gor.gz"), TimeLimit: time.Minute, FlushInterval: 100 * time.Millisecond})
		time.Sleep(time.Hour) // the time of a file begins with its first message
		recordTo(t, f, 0, 1)
		time.Sleep(50 * time.Second)
		recordTo(t, f, 1, 2)
		time.Sleep(11 * time.Second)
		synctest.Wait()
		wantRecorded(t, filepath.Join(dir, "a_0.gor.gz"), 0, 2)
		if got := filesIn(t, dir); got != "a_0.gor.gz" {
			t.Errorf("%s: want one file", got)
		}
		time.Sleep(time.Hour)
		recordTo(t, f, 2, 3)
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		wantRecorded(t, filepath.Join(dir, "a_1.gor.gz"), 2, 3)
	})
}

// A recording can be read to its end while it is made: so it is whole after a crash.
func TestFileIsWholeWhileItIsMade(t *testing.T) {
	for _, name := range formats {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), name)
				f := newFile(t, output.FileConfig{Path: path, Sync: output.SyncFlush})
				for i := range 5 {
					if !strings.Contains(name, "kgm") { // of which the head is written with the first record
						wantRecorded(t, path, 0, 10*i)
					}
					s := recordTo(t, f, 10*i, 10*i+10)
					time.Sleep(time.Second)
					synctest.Wait()
					wantDelivered(t, "after the flush interval", s, 10)
					wantRecorded(t, path, 0, 10*i+10)
				}
				if err := f.Close(); err != nil {
					t.Fatal(err)
				}
				wantRecorded(t, path, 0, 50)
			})
		})
	}
}

// How large a compressed recording may be is of what is on the disk.
func TestFileMaxSizeCompressed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.gor.gz")
	const most = 20_000
	f := newFile(t, output.FileConfig{Path: path, MaxSize: most, Sync: output.SyncClose})
	b, s := batchOf(t, 0, 50_000)
	err := f.Write(context.Background(), b)
	if !errors.Is(err, output.ErrMaxSize) {
		t.Fatalf("%v, want ErrMaxSize", err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	numbers, end := readFile(t, path)
	info, err := os.Stat(path)
	if err != nil || info.Size() < most || info.Size() > most+300 {
		t.Errorf("%d bytes, want %d and little more (%v)", info.Size(), most, err)
	}
	if end != io.EOF || len(numbers) != s.count(kagami.Delivered) || len(numbers) < 1000 {
		t.Errorf("%d messages in the file, which ends with %v; %d settled as delivered", len(numbers), end, s.count(kagami.Delivered))
	}
}

// Somebody else's bytes are not written over.
func TestFileCompressedIsNotShared(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.gor.gz")
	f := newFile(t, output.FileConfig{Path: path})
	other, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	other.WriteString("precious")
	other.Close()
	s := recordTo(t, f, 0, 3)
	if err := f.Close(); err == nil || !strings.Contains(err.Error(), "somebody else") {
		t.Errorf("%v, want an error", err)
	}
	if b, _ := os.ReadFile(path); !strings.HasSuffix(string(b), "precious") || s.count(kagami.SendError) != 3 {
		t.Errorf("the file ends with %q, %d settled as send-error", b[len(b)-8:], s.count(kagami.SendError))
	}
}

// What others need of the disk is left to them.
func TestFileMinFree(t *testing.T) {
	if !output.CanWatchDisk {
		t.Skip("this system does not say how much of a disk is free")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "a.gor")
	_, err := output.NewFile(output.FileConfig{Path: path, MinFree: 1 << 60})
	if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "--min-free-disk") {
		t.Errorf("%v, want an error that names the file and the flag", err)
	}
	if left := filesIn(t, dir); left != "" {
		t.Errorf("files were made: %s", left)
	}
	f := newFile(t, output.FileConfig{Path: path, MinFree: 1})
	recordTo(t, f, 0, 3)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	wantRecorded(t, path, 0, 3)
}

// Behind a queue, what comes after the end of a recording is dropped by that name.
func TestFileEndsBehindAQueue(t *testing.T) {
	var broke error
	f := newFile(t, output.FileConfig{Path: filepath.Join(t.TempDir(), "a.gor"), MaxSize: 200})
	q := output.NewQueue(f, output.QueueConfig{Broken: func(err error) { broke = err }, OnFull: output.WaitWhenFull})
	b, s := batchOf(t, 0, 100)
	late, s2 := batchOf(t, 0, 100)
	for _, b := range []kagami.Batch{b, late} {
		if err := q.Write(context.Background(), b); err != nil {
			t.Fatal(err)
		}
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(broke, output.ErrMaxSize) || !errors.Is(q.Err(), output.ErrMaxSize) {
		t.Errorf("told %v, Err is %v: want ErrMaxSize", broke, q.Err())
	}
	if d, l := s.count(kagami.Delivered), s.count(kagami.SizeLimit)+s2.count(kagami.SizeLimit); d != 2 || l != 198 {
		t.Errorf("%d delivered, %d over the size limit: want 2, 198", d, l)
	}
}

// A file that cannot be made breaks the recording. What waits for other files of it
// is written, and settled once.
func TestFileThatCannotBeMade(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, recorded(50).Exchange.ID.String()), 0o700); err != nil {
		t.Fatal(err)
	}
	f := newFile(t, output.FileConfig{Path: filepath.Join(dir, "%r")})
	q := output.NewQueue(f, output.QueueConfig{OnFull: output.WaitWhenFull})
	b, s := batchOf(t, 0, 100)
	if err := q.Write(context.Background(), b); err != nil {
		t.Fatal(err)
	}
	if err := q.Close(); err != nil {
		t.Error(err) // it was told once
	}
	if d, e := s.count(kagami.Delivered), s.count(kagami.SendError); q.Err() == nil || d != 50 || e != 50 {
		t.Errorf("%d delivered, %d send errors, %v: want 50, 50 and why", d, e, q.Err())
	}
}
