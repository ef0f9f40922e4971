package testbed

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// Cut drops every packet that arrives at a namespace for a TCP port, or from it, as a broken network
// does: without a word. It returns what heals it, which is done at the test's end too.
func Cut(t testing.TB, ns string, port int) (heal func()) {
	t.Helper()
	rules := fmt.Sprintf("add table inet cut; add chain inet cut in { type filter hook input priority 0; }; "+
		"add rule inet cut in tcp dport %[1]d drop; add rule inet cut in tcp sport %[1]d drop", port)
	Run(t, ns, "nft", rules)
	healed := false
	heal = func() {
		if !healed {
			healed = true
			_ = In(ns, "nft", "delete table inet cut").Run() // the namespace may be gone
		}
	}
	t.Cleanup(heal)
	return heal
}

// KillSockets resets the TCP connections of a namespace to a port (ss -K), and returns how many there were.
func KillSockets(t testing.TB, ns string, port int) int {
	t.Helper()
	out := Run(t, ns, "ss", "-K", "-H", "-t", "-n", "dport", "=", fmt.Sprintf(":%d", port))
	return strings.Count(out, fmt.Sprintf(":%d", port))
}

// Tmpfs mounts a small disk on a directory until the test ends.
func Tmpfs(t testing.TB, dir string, bytes int) {
	t.Helper()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%d", bytes), "kagami-test", dir).CombinedOutput(); err != nil {
		t.Fatalf("mount tmpfs on %s: %v: %s", dir, err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount %s: %v: %s", dir, err, out)
		}
	})
}

// Sent is the number of a request before which all were sent, whose paths are /1, /2 and so on. From Next on none was.
func (l *Load) Sent() int64 { return max(0, l.asked.Load()-loadConns) }

// Next is the number of a request from which on none was sent.
func (l *Load) Next() int64 { return l.asked.Load() + 1 }
