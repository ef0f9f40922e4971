package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A Dir is a directory of journal files, which no other process has.
type Dir struct {
	path string
	lock *os.File
}

// suffix is how the names of journal files end, behind eight digits or more.
const suffix = ".journal"

// OpenDir opens the directory for this process alone, and makes it if it is not
// there. The error says so if another process has it.
func OpenDir(path string) (*Dir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(path, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lockFile(lock); err != nil {
		lock.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &Dir{path, lock}, nil
}

// Close lets others have the directory.
func (d *Dir) Close() error { return d.lock.Close() }

// Files returns the numbers of the files that there are, in order. What has
// another name is left alone.
func (d *Dir) Files() ([]uint64, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, err
	}
	var numbers []uint64
	for _, e := range entries {
		digits, ok := strings.CutSuffix(e.Name(), suffix)
		if n, err := strconv.ParseUint(digits, 10, 64); ok && err == nil && len(digits) >= 8 && e.Type().IsRegular() {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// Path is where the n-th file is.
func (d *Dir) Path(n uint64) string {
	return filepath.Join(d.path, fmt.Sprintf("%08d%s", n, suffix))
}

// Remove removes the n-th file. It is none that is open.
func (d *Dir) Remove(n uint64) error {
	err := os.Remove(d.Path(n))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Sync puts on disk which files there are.
func (d *Dir) Sync() error {
	f, err := os.Open(d.path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
