package testbed

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"kagami"
)

// Patience is how long anything that should happen may take. It is not a
// measure: a test that waits this long has failed.
const Patience = 60 * time.Second

// A Process is kagami (or another program) running in a namespace.
type Process struct {
	t       testing.TB
	Cmd     *exec.Cmd
	summary string

	mu    sync.Mutex
	lines []string
	news  chan struct{} // a line came, or the process ended
	ended chan struct{}
	err   error
}

// Start runs a command until it is stopped, or the test ends.
func Start(t testing.TB, cmd *exec.Cmd) *Process {
	t.Helper()
	p := &Process{t: t, Cmd: cmd, news: make(chan struct{}, 1), ended: make(chan struct{})}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		lines := bufio.NewScanner(stderr)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			p.mu.Lock()
			p.lines = append(p.lines, lines.Text())
			p.mu.Unlock()
			p.tell()
		}
		p.err = cmd.Wait()
		close(p.ended)
		p.tell()
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-p.ended
		if t.Failed() {
			t.Logf("%s\n%s", strings.Join(cmd.Args, " "), p.Stderr())
		}
	})
	return p
}

func (p *Process) tell() {
	select {
	case p.news <- struct{}{}:
	default:
	}
}

// Stderr is what it has printed there so far.
func (p *Process) Stderr() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "\n")
}

// WaitFor waits until the process has printed text on stderr.
func (p *Process) WaitFor(text string) {
	p.t.Helper()
	p.WaitForTimes(text, 1)
}

// WaitForTimes waits until it has printed it n times.
func (p *Process) WaitForTimes(text string, n int) {
	p.t.Helper()
	p.waitUntil("say "+strconv.Quote(text), func(stderr string) bool { return strings.Count(stderr, text) >= n })
}

// WaitUntil waits until what the process has printed on stderr will do.
func (p *Process) WaitUntil(enough func(stderr string) bool) {
	p.t.Helper()
	p.waitUntil("print what was waited for", enough)
}

func (p *Process) waitUntil(what string, enough func(stderr string) bool) {
	p.t.Helper()
	timeout := time.After(Patience)
	for !enough(p.Stderr()) {
		select {
		case <-p.news:
		case <-p.ended:
			if !enough(p.Stderr()) {
				p.t.Fatalf("ended and did not %s:\n%s", what, p.Stderr())
			}
		case <-timeout:
			p.t.Fatalf("did not %s:\n%s", what, p.Stderr())
		}
	}
}

// Wait waits for the process's end and returns its exit code.
func (p *Process) Wait() int {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(Patience):
		p.t.Fatalf("did not end:\n%s", p.Stderr())
	}
	var exit *exec.ExitError
	if p.err != nil && !errors.As(p.err, &exit) {
		p.t.Fatal(p.err)
	}
	return p.Cmd.ProcessState.ExitCode()
}

// Stop sends SIGTERM, expects exit code 0, and returns the ledger.
func (p *Process) Stop() kagami.Statement {
	p.t.Helper()
	p.Cmd.Process.Signal(syscall.SIGTERM)
	if code := p.Wait(); code != 0 {
		p.t.Fatalf("exit code %d after SIGTERM:\n%s", code, p.Stderr())
	}
	return p.Statement()
}

// Statement reads the ledger that the process wrote at its end, and expects it
// to balance.
func (p *Process) Statement() kagami.Statement {
	p.t.Helper()
	st := p.RawStatement()
	if !st.Balanced {
		p.t.Errorf("ledger does not balance: %v", st.Faults)
	}
	return st
}

// RawStatement reads the ledger, whether it balances or not.
func (p *Process) RawStatement() kagami.Statement {
	p.t.Helper()
	b, err := os.ReadFile(p.summary)
	if err != nil {
		p.t.Fatal(err)
	}
	var st kagami.Statement
	if err := json.Unmarshal(b, &st); err != nil {
		p.t.Fatalf("%s: %v", p.summary, err)
	}
	return st
}

// StartKagami runs kagami in a namespace and waits until it says ready.
func StartKagami(t testing.TB, ns, ready string, args ...string) *Process {
	t.Helper()
	return StartBinary(t, Binary, nil, ns, ready, args...)
}

// StartBinary is StartKagami of another binary, with more environment.
func StartBinary(t testing.TB, path string, env []string, ns, ready string, args ...string) *Process {
	t.Helper()
	summary := filepath.Join(t.TempDir(), "summary.json")
	cmd := In(ns, path, append(args, "--summary", summary)...)
	cmd.Env = append(os.Environ(), env...)
	p := Start(t, cmd)
	p.summary = summary
	p.WaitFor(ready)
	return p
}

// RunKagami runs kagami to its end and returns exit code, stdout and stderr.
func RunKagami(t testing.TB, ns string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	cmd := In(ns, Binary, args...)
	var out, diag bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &diag
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), diag.String()
}

// Memory is a line of /proc/PID/status, in bytes: VmHWM is the most a process has had resident.
func Memory(t testing.TB, pid int, line string) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(line + `:\s+(\d+) kB`).FindSubmatch(b)
	if m == nil {
		t.Fatalf("no %s in %s", line, b)
	}
	kb, _ := strconv.Atoi(string(m[1]))
	return kb << 10
}
