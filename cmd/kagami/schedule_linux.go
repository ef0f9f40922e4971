package main

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// yieldOften has the kernel take all threads of the process for work in batches (SCHED_BATCH,
// sched(7)): woken up, they do not push production off its processor. Threads that are
// begun later are as the one that begins them. What the user chose stays, nice as well.
func yieldOften() {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return
	}
	for _, t := range threads {
		id, err := strconv.Atoi(t.Name())
		if err != nil {
			continue
		}
		attr, err := unix.SchedGetAttr(id, 0)
		if err != nil || attr.Policy != unix.SCHED_NORMAL {
			continue
		}
		attr.Policy = unix.SCHED_BATCH
		unix.SchedSetAttr(id, attr, 0) // where it is not allowed, a listener costs a little more
	}
}
