package main

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// timerSlack is how much later than asked for the kernel may wake a thread that sleeps, in
// nanoseconds. While there is work, the Go runtime's monitor sleeps for 20 µs again and
// again, and looks whether anything hangs: each time at the cost of a few requests.
const timerSlack = "1000000"

// yieldOften has the kernel take all threads of the process for work in batches (SCHED_BATCH,
// sched(7)): woken up, they do not push production off its processor. And it lets them sleep
// a little longer (proc_pid_timerslack_ns(5)). Threads that are begun later are as the one
// that begins them. What the user chose stays, nice as well.
func yieldOften() {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return
	}
	for _, t := range threads {
		// Where either is not allowed, a listener costs a little more.
		os.WriteFile("/proc/"+t.Name()+"/timerslack_ns", []byte(timerSlack), 0)
		id, err := strconv.Atoi(t.Name())
		if err != nil {
			continue
		}
		attr, err := unix.SchedGetAttr(id, 0)
		if err != nil || attr.Policy != unix.SCHED_NORMAL {
			continue
		}
		attr.Policy = unix.SCHED_BATCH
		unix.SchedSetAttr(id, attr, 0)
	}
}
