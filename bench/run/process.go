//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long what should happen at once may take on a busy machine.
const patience = 20 * time.Second

// A process runs in a namespace, on one processor.
type process struct {
	name   string
	cmd    *exec.Cmd
	output *output
	ended  chan struct{}
	err    error
}

// start starts a command and waits until it prints ready.
func start(ns string, cpu int, ready, name string, args ...string) (*process, error) {
	return run(ns, []string{"taskset", "-c", strconv.Itoa(cpu)}, ready, name, args)
}

// startIdle is start for one that has its processor only while nobody else wants it (SCHED_IDLE).
func startIdle(ns string, cpu int, ready, name string, args ...string) (*process, error) {
	return run(ns, []string{"chrt", "--idle", "0", "taskset", "-c", strconv.Itoa(cpu)}, ready, name, args)
}

func run(ns string, under []string, ready, name string, args []string) (*process, error) {
	// Each becomes what it starts: the process is the command's own.
	words := append([]string{"netns", "exec", ns}, under...)
	cmd := exec.Command("ip", append(append(words, name), args...)...)
	p := &process{name: name, cmd: cmd, output: &output{news: make(chan struct{}, 1)}, ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.output, p.output
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = cmd.Wait()
		close(p.ended)
	}()
	for timeout := time.After(patience); !strings.Contains(p.output.String(), ready); {
		select {
		case <-p.output.news:
		case <-p.ended:
			if !strings.Contains(p.output.String(), ready) {
				return nil, fmt.Errorf("%s ended (%v) and did not say %q: %s", name, p.err, ready, p.output.String())
			}
		case <-timeout:
			p.kill()
			return nil, fmt.Errorf("%s did not say %q: %s", name, ready, p.output.String())
		}
	}
	return p, nil
}

// stop asks the process to end, and kills it if it does not.
func (p *process) stop(within time.Duration) error {
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
		var exit *exec.ExitError
		if errors.As(p.err, &exit) {
			return fmt.Errorf("%s: %w: %s", p.name, p.err, p.output.String())
		}
		return p.err
	case <-time.After(within):
		p.kill()
		return fmt.Errorf("%s did not end within %v and was killed", p.name, within)
	}
}

// kill ends the process at once.
func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.ended
}

// cpu is the time that all threads of the process had a processor, user and system.
func (p *process) cpu() (time.Duration, error) {
	// The clock of another process: its number, inverted, and CPUCLOCK_SCHED.
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^p.cmd.Process.Pid)<<3|2, &t); err != nil {
		return 0, fmt.Errorf("CPU time of %s: %w: %s", p.name, err, p.output.String())
	}
	return time.Duration(t.Nano()), nil
}

// memory is a line of /proc/PID/status (VmRSS, VmHWM), in MiB.
func (p *process) memory(line string) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for l := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(l, line+":"); ok {
			kib, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 64)
			return kib / 1024, err
		}
	}
	return 0, fmt.Errorf("no %s in /proc/%d/status", line, p.cmd.Process.Pid)
}

// busy is how long a processor was not idle since the machine was started.
func busy(cpu int) (time.Duration, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	for l := range strings.Lines(string(b)) {
		f := strings.Fields(l)
		if len(f) < 8 || f[0] != "cpu"+strconv.Itoa(cpu) {
			continue
		}
		var ticks int64
		for _, i := range []int{1, 2, 3, 6, 7} { // user, nice, system, irq, softirq; proc(5)
			n, _ := strconv.ParseInt(f[i], 10, 64)
			ticks += n
		}
		return time.Duration(ticks) * (time.Second / 100), nil // USER_HZ
	}
	return 0, fmt.Errorf("no processor %d in /proc/stat", cpu)
}

// An output is what a process printed; news has something when there is more.
type output struct {
	mu   sync.Mutex
	b    bytes.Buffer
	news chan struct{}
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case o.news <- struct{}{}:
	default:
	}
	if o.b.Len() > 1<<20 { // a program that talks for each request
		return len(p), nil
	}
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}
