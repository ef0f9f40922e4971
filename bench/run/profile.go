//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// profile takes a CPU profile of the listener in each mode at full rate, and prints what
// is at its top. Replayers only receive, so that the rate is high and samples are many.
func profile(b *bed) error {
	if err := os.MkdirAll(b.profiles, 0o755); err != nil {
		return err
	}
	for _, m := range []mode{tcpToNull, toFile, oneProcess} {
		w, err := b.startWrk(port, small)
		if err != nil {
			return err
		}
		err = b.profileOf(m, "keepalive-"+m.name)
		if stopErr := stopWrk(w); err == nil {
			err = stopErr
		}
		if err != nil {
			return err
		}
	}
	for _, m := range []mode{tcpToNull, oneProcess} {
		done := make(chan error, 1)
		stop := make(chan struct{})
		go func() {
			for {
				select {
				case <-stop:
					done <- nil
					return
				default:
				}
				if _, err := b.ab(b.requests, port, tiny); err != nil {
					done <- err
					return
				}
			}
		}()
		err := b.profileOf(m, "connection-each-"+m.name)
		close(stop)
		if abErr := <-done; err == nil {
			err = abErr
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *bed) profileOf(m mode, name string) error {
	const address = "127.0.0.1:6060" // in production's namespace
	l, err := b.begin(m, 100, "--http-pprof", address)
	if err != nil {
		return err
	}
	from, err := b.mark(l)
	if err != nil {
		return err
	}
	path := filepath.Join(b.profiles, name+".pprof")
	out, err := exec.Command("ip", "netns", "exec", b.hosts.production, "curl", "-sSf", "-o", path,
		fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", address, int(b.profile.Seconds()))).CombinedOutput()
	if err != nil {
		return fmt.Errorf("profile: %w: %s", err, out)
	}
	to, err := b.mark(l)
	if err != nil {
		return err
	}
	if _, err := b.end(l); err != nil {
		return err
	}
	perRequest := float64((to.cpu - from.cpu).Microseconds()) / float64(max(1, to.requests-from.requests))
	top, err := exec.Command("go", "tool", "pprof", "-top", "-nodecount=30", b.kagami, path).CombinedOutput()
	if err != nil {
		return fmt.Errorf("go tool pprof: %w: %s", err, top)
	}
	fmt.Printf("## %s: %.2f µs a request, over %v\n\n%s\n", name, perRequest, to.at.Sub(from.at).Round(time.Second), top)
	b.out.Add("profile", name, 100, "CPU µs/request", perRequest)
	return nil
}
