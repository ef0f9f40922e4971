package main

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// All threads are in batches then, those that are begun later too; and as nice as before. Where
// that may be known, which takes CAP_SYS_NICE, they may be woken late.
func TestYieldOften(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if before.Policy != unix.SCHED_NORMAL && before.Policy != unix.SCHED_BATCH {
		t.Skipf("the tests run with policy %d, which stays", before.Policy)
	}
	yieldOften()
	begun := make(chan bool)
	go func() {
		runtime.LockOSThread() // and this one ends with the goroutine
		begun <- true
	}()
	<-begun
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range threads {
		slack, err := os.ReadFile("/proc/" + thread.Name() + "/timerslack_ns")
		if got := strings.TrimSpace(string(slack)); err == nil && got != timerSlack {
			t.Errorf("thread %s has a timer slack of %s ns, want %s", thread.Name(), got, timerSlack)
		}
		id, _ := strconv.Atoi(thread.Name())
		switch attr, err := unix.SchedGetAttr(id, 0); {
		case err != nil: // it has ended
		case attr.Policy != unix.SCHED_BATCH || attr.Nice != before.Nice:
			t.Errorf("thread %d has policy %d and is %d nice, want %d and %d", id, attr.Policy, attr.Nice, unix.SCHED_BATCH, before.Nice)
		}
	}
}
