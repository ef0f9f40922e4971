//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	clientIP     = "10.78.0.1"
	productionIP = "10.78.0.2"
	outwardIP    = "10.78.1.1" // production's address on the cable to staging
	stagingIP    = "10.78.1.2"
)

// Hosts are three network namespaces: client ── production ── staging.
type hosts struct{ client, production, staging string }

func makeHosts() (*hosts, error) {
	prefix := fmt.Sprintf("kgbench%d-", os.Getpid())
	h := &hosts{prefix + "client", prefix + "prod", prefix + "staging"}
	for _, ns := range h.all() {
		if err := ip("netns", "add", ns); err != nil {
			h.remove()
			return nil, err
		}
	}
	for _, c := range [][]string{
		{"-n", h.client, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", h.production},
		{"-n", h.staging, "link", "add", "eth0", "type", "veth", "peer", "name", "eth1", "netns", h.production},
		{"-n", h.client, "addr", "add", clientIP + "/24", "dev", "eth0"},
		{"-n", h.production, "addr", "add", productionIP + "/24", "dev", "eth0"},
		{"-n", h.production, "addr", "add", outwardIP + "/24", "dev", "eth1"},
		{"-n", h.staging, "addr", "add", stagingIP + "/24", "dev", "eth0"},
		{"-n", h.client, "link", "set", "eth0", "up"},
		{"-n", h.production, "link", "set", "eth0", "up"},
		{"-n", h.production, "link", "set", "eth1", "up"},
		{"-n", h.production, "link", "set", "lo", "up"},
		{"-n", h.staging, "link", "set", "eth0", "up"},
		{"-n", h.staging, "link", "set", "lo", "up"},
	} {
		if err := ip(c...); err != nil {
			h.remove()
			return nil, err
		}
	}
	return h, nil
}

func (h *hosts) all() []string { return []string{h.client, h.production, h.staging} }

// remove takes the hosts away, as many of them as there are, with all that runs on them.
func (h *hosts) remove() {
	for _, ns := range h.all() {
		pids, _ := exec.Command("ip", "netns", "pids", ns).Output()
		for _, field := range strings.Fields(string(pids)) {
			if pid, err := strconv.Atoi(field); err == nil && pid != os.Getpid() { // a thread of ours may be in there
				syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		ip("netns", "del", ns)
	}
}

func ip(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// inside calls f on a thread that is in a namespace: sockets that f opens stay there.
func inside(ns string, f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		fd, err := unix.Open("/run/netns/"+ns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Setns(fd, unix.CLONE_NEWNET)
			unix.Close(fd)
		}
		if err != nil {
			result <- fmt.Errorf("enter namespace %s: %w", ns, err)
			return
		}
		result <- f()
	}()
	return <-result
}

// pinSelf keeps this process, and all it starts, on a processor.
func pinSelf(cpu int) error {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	var set unix.CPUSet
	set.Set(cpu)
	for _, t := range tasks {
		var tid int
		fmt.Sscan(t.Name(), &tid)
		if err := unix.SchedSetaffinity(tid, &set); err != nil && err != unix.ESRCH {
			return fmt.Errorf("pin to processor %d: %w", cpu, err)
		}
	}
	return nil
}
