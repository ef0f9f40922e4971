//go:build linux

package output_test

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"kagami"
	"kagami/output"
)

// limitFiles makes every file of this process end at size bytes until the test is over.
func limitFiles(t *testing.T, size uint64) (lift func()) {
	t.Helper()
	signal.Ignore(syscall.SIGXFSZ)
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	limit := old
	limit.Cur = size
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	lift = func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		lift()
		signal.Reset(syscall.SIGXFSZ)
	})
	return lift
}

// When there is no room for a write the file ends with a whole record, and
// exactly what is in it is settled as delivered.
func TestFileIsFull(t *testing.T) {
	for _, name := range []string{"a.gor", "a.kgm", "a.gor.gz"} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), name)
			const n = 200_000
			limit := uint64(1_000_000)
			f := newFile(t, output.FileConfig{Path: path})
			lift := limitFiles(t, limit)
			b, s := batchOf(t, 0, n)
			err := f.Write(context.Background(), b)
			if !errors.Is(err, syscall.EFBIG) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "--output-file-append") {
				t.Errorf("%v, want an error with the file and what to do", err)
			}
			lift()
			if err := f.Write(context.Background(), b.Slice(n-1, n)); err == nil {
				t.Error("the next Write: no error")
			}
			if err := f.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
			numbers, end := readFile(t, path)
			if end != io.EOF {
				t.Errorf("the file ends with %v", end)
			}
			all, delivered := s.len(), s.count(kagami.Delivered)
			if len(numbers) != delivered || delivered == 0 || delivered == all || all == n {
				t.Errorf("%d messages in the file, %d settled as delivered, %d settled, of %d", len(numbers), delivered, all, n)
			}
			if failed := s.count(kagami.DiskFull); failed != all-delivered {
				t.Errorf("%d settled as disk-full, want %d", failed, all-delivered)
			}
			if info, err := os.Stat(path); err != nil || uint64(info.Size()) > limit || uint64(info.Size()) < limit/4 {
				t.Errorf("%d bytes, %v", info.Size(), err)
			} else if name == "a.gor" && uint64(info.Size()) < limit-200 {
				t.Errorf("%d bytes: there was room for another record", info.Size())
			}
		})
	}
}
