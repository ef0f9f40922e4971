//go:build linux

package main

import (
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
)

// The load: over as many connections at a time.
const (
	abConnections  = 100
	wrkConnections = 32
)

var (
	abRate   = regexp.MustCompile(`Requests per second:\s+([0-9.]+)`)
	abFailed = regexp.MustCompile(`(?m)^(Failed requests|Non-2xx responses):\s+([1-9]\d*)`)
)

// ab asks for a path n times, a connection for each, and returns requests a second.
func (b *bed) ab(n, port int, path string) (float64, error) {
	out, err := exec.Command("ip", "netns", "exec", b.client, "taskset", "-c", strconv.Itoa(otherCPU),
		"ab", "-q", "-n", strconv.Itoa(n), "-c", strconv.Itoa(abConnections), url(port, path)).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("ab: %w: %s", err, out)
	}
	return parseAB(string(out))
}

func parseAB(out string) (float64, error) {
	if m := abFailed.FindString(out); m != "" {
		return 0, fmt.Errorf("ab: %s", m)
	}
	m := abRate.FindStringSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("ab does not say how fast it was: %s", out)
	}
	return strconv.ParseFloat(m[1], 64)
}

// startWrk starts wrk asking for a path, over keep-alive connections unless flags say
// something else, until stopWrk, an hour at most.
func (b *bed) startWrk(port int, path string, flags ...string) (*process, error) {
	return startWrkAt(b.client, otherCPU, url(port, path), flags...)
}

func startWrkAt(ns string, cpu int, url string, flags ...string) (*process, error) {
	args := append([]string{"-t1", "-c" + strconv.Itoa(wrkConnections), "-d3600"}, flags...)
	return start(ns, cpu, "", "wrk", append(args, url)...)
}

// stopWrk ends wrk; an error of a connection or an answer is one of the run.
func stopWrk(p *process) error {
	p.cmd.Process.Signal(syscall.SIGINT)
	<-p.ended
	return checkWrk(p.output.String())
}

// checkWrk looks for errors in what wrk prints at its end.
func checkWrk(out string) error {
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "Socket errors:") || strings.HasPrefix(line, "Non-2xx") || strings.HasPrefix(line, "unable") {
			return fmt.Errorf("wrk: %s", line)
		}
	}
	if !strings.Contains(out, "Requests/sec:") {
		return fmt.Errorf("wrk did not come to an end: %s", out)
	}
	return nil
}

func url(port int, path string) string {
	return fmt.Sprintf("http://%s:%d%s", productionIP, port, path)
}
