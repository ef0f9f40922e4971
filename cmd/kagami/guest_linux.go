package main

import (
	"os"
	"path"
	"strconv"
	"strings"
)

// fileMemory is how many bytes of files the process has mapped and in memory: its
// program and the libraries (statm's third field, see proc(5)).
func fileMemory() int64 {
	b, err := os.ReadFile("/proc/self/statm")
	fields := strings.Fields(string(b))
	if err != nil || len(fields) < 3 {
		return programMemory
	}
	pages, err := strconv.ParseInt(fields[2], 10, 64)
	if err != nil {
		return programMemory
	}
	return pages * int64(os.Getpagesize())
}

// cgroupMemory is what the process's control group, or one that it is in, may have of
// memory, in bytes; 0 if there is no limit. root is where proc and sys are: "/".
func cgroupMemory(root string) int64 {
	b, err := os.ReadFile(path.Join(root, "proc/self/cgroup"))
	if err != nil {
		return 0
	}
	least := int64(0)
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3) // ID:controllers:path, see cgroups(7)
		if len(f) != 3 {
			continue
		}
		base, file := path.Join(root, "sys/fs/cgroup"), "memory.max"
		if f[0] != "0" {
			if base, file = path.Join(base, "memory"), "memory.limit_in_bytes"; f[1] != "memory" {
				continue
			}
		}
		for dir := path.Clean("/" + f[2]); ; dir = path.Dir(dir) {
			if n := readLimit(path.Join(base, dir, file)); n > 0 && (least == 0 || n < least) {
				least = n
			}
			if dir == "/" {
				break
			}
		}
	}
	return least
}

// readLimit reads a limit: 0 if there is none.
func readLimit(name string) int64 {
	const none = 1 << 60 // of version 1: the largest number of pages
	b, err := os.ReadFile(name)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64) // "max" is no number
	if err != nil || n >= none {
		return 0
	}
	return n
}
