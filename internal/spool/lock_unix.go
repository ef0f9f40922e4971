//go:build unix

package spool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// lock takes the directory for this process, until the file is closed.
func lock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		if err = f.Truncate(0); err == nil {
			_, err = fmt.Fprintf(f, "%d\n", os.Getpid())
		}
		if err != nil && errors.Is(err, syscall.ENOSPC) {
			err = nil // the number is for people
		}
	} else if errors.Is(err, syscall.EWOULDBLOCK) {
		who := make([]byte, 32)
		n, _ := f.ReadAt(who, 0)
		err = fmt.Errorf("another process uses it (%s): give each its own directory", strings.TrimSpace("pid "+string(who[:n])))
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// ownerOf returns to whom files below dir are to be given: to its owner, if root makes them.
func ownerOf(dir string) (own func(path string) error, err error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || os.Geteuid() != 0 || st.Uid == 0 {
		return func(string) error { return nil }, nil
	}
	return func(path string) error { return os.Lchown(path, int(st.Uid), int(st.Gid)) }, nil
}
