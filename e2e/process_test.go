package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"kagami"
)

// patience is how long anything that should happen may take. It is not a
// measure: a test that waits this long has failed.
const patience = 60 * time.Second

// A process is kagami (or another program) running in a namespace.
type process struct {
	t       *testing.T
	cmd     *exec.Cmd
	summary string

	mu    sync.Mutex
	lines []string
	news  chan struct{} // a line came, or the process ended
	ended chan struct{}
	err   error
}

// start runs a command until it is stopped, or the test ends.
func start(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, news: make(chan struct{}, 1), ended: make(chan struct{})}
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
			t.Logf("%s\n%s", strings.Join(cmd.Args, " "), p.stderr())
		}
	})
	return p
}

func (p *process) tell() {
	select {
	case p.news <- struct{}{}:
	default:
	}
}

func (p *process) stderr() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "\n")
}

// waitFor waits until the process has printed text on stderr.
func (p *process) waitFor(text string) {
	p.t.Helper()
	timeout := time.After(patience)
	for !strings.Contains(p.stderr(), text) {
		select {
		case <-p.news:
		case <-p.ended:
			if !strings.Contains(p.stderr(), text) {
				p.t.Fatalf("ended without saying %q:\n%s", text, p.stderr())
			}
		case <-timeout:
			p.t.Fatalf("did not say %q:\n%s", text, p.stderr())
		}
	}
}

// wait waits for the process's end and returns its exit code.
func (p *process) wait() int {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.t.Fatalf("did not end:\n%s", p.stderr())
	}
	var exit *exec.ExitError
	if p.err != nil && !errors.As(p.err, &exit) {
		p.t.Fatal(p.err)
	}
	return p.cmd.ProcessState.ExitCode()
}

// stop sends SIGTERM, expects exit code 0, and returns the ledger.
func (p *process) stop() kagami.Statement {
	p.t.Helper()
	p.cmd.Process.Signal(syscall.SIGTERM)
	if code := p.wait(); code != 0 {
		p.t.Fatalf("exit code %d after SIGTERM:\n%s", code, p.stderr())
	}
	return p.statement()
}

// statement reads the ledger that the process wrote at its end, and expects it
// to balance.
func (p *process) statement() kagami.Statement {
	p.t.Helper()
	st := p.rawStatement()
	if !st.Balanced {
		p.t.Errorf("ledger does not balance: %v", st.Faults)
	}
	return st
}

func (p *process) rawStatement() kagami.Statement {
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

// startKagami runs kagami in a namespace and waits until it says ready.
func startKagami(t *testing.T, ns, ready string, args ...string) *process {
	t.Helper()
	return startBinary(t, binary, nil, ns, ready, args...)
}

func startBinary(t *testing.T, path string, env []string, ns, ready string, args ...string) *process {
	t.Helper()
	summary := filepath.Join(t.TempDir(), "summary.json")
	cmd := in(ns, path, append(args, "--summary", summary)...)
	cmd.Env = append(os.Environ(), env...)
	p := start(t, cmd)
	p.summary = summary
	p.waitFor(ready)
	return p
}

// runKagami runs kagami to its end and returns exit code, stdout and stderr.
func runKagami(t *testing.T, ns string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	cmd := in(ns, binary, args...)
	var out, diag bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &diag
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), diag.String()
}
