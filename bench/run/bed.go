//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"kagami/bench/report"
)

// The processors: what production pays for runs on one, all else on the other.
const (
	productionCPU = 0
	otherCPU      = 1
)

// A bed is all that stands while modes come and go: the hosts, nginx on two of
// them, and the replayers.
type bed struct {
	*hosts
	options
	dir                 string
	floor               string
	production, staging *nginx
	idle                *nginx // a staging that has its processor only while nobody else wants it
	replayers           map[string]*process
	running             *listener // the one that was begun and not ended
	out                 *report.Results
}

func makeBed(o options) (b *bed, err error) {
	b = &bed{options: o, replayers: map[string]*process{}, out: &report.Results{When: time.Now().UTC().Truncate(time.Second), Machine: report.ThisMachine()}}
	if b.dir, err = os.MkdirTemp("", "kagami-bench-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			b.remove()
		}
	}()
	os.Chmod(b.dir, 0o755)
	if err := b.build(); err != nil {
		return nil, err
	}
	if err := pinSelf(otherCPU); err != nil {
		return nil, err
	}
	if b.hosts, err = makeHosts(); err != nil {
		return nil, err
	}
	if b.production, err = startNginx(start, filepath.Join(b.dir, "production"), b.hosts.production, productionCPU, productionServers(b.shares)); err != nil {
		return nil, err
	}
	if b.staging, err = startNginx(start, filepath.Join(b.dir, "staging"), b.hosts.staging, otherCPU, stagingServers(port)); err != nil {
		return nil, err
	}
	if b.idle, err = startNginx(startIdle, filepath.Join(b.dir, "idle"), b.hosts.staging, otherCPU, stagingServers(idlePort)); err != nil {
		return nil, err
	}
	return b, nil
}

// build builds what is measured, but for what was given.
func (b *bed) build() error {
	b.floor = filepath.Join(b.dir, "floor")
	wanted := map[string]string{b.floor: "kagami/bench/floor"}
	if b.kagami == "" {
		b.kagami = filepath.Join(b.dir, "kagami")
		wanted[b.kagami] = "kagami/cmd/kagami"
	}
	for path, pkg := range wanted {
		build := exec.Command("go", "build", "-trimpath", "-ldflags", "-X main.version="+b.version, "-o", path, pkg)
		build.Env = append(os.Environ(), "CGO_ENABLED=1")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("go build %s: %w\n%s", pkg, err, out)
		}
	}
	out, err := exec.Command(b.kagami, "--version").Output()
	if err != nil {
		return fmt.Errorf("%s --version: %w", b.kagami, err)
	}
	b.out.Version = string(out[:max(0, len(out)-1)])
	return nil
}

// remove ends and takes away all of it.
func (b *bed) remove() {
	if b.hosts != nil {
		b.hosts.remove()
	}
	os.RemoveAll(b.dir)
}

// replayer is a replayer beside staging that sends it all it gets; it is started
// when it is first asked for, and stays.
func (b *bed) replayer(name string, start func() (*process, error)) error {
	if b.replayers[name] != nil {
		return nil
	}
	p, err := start()
	if err != nil {
		return err
	}
	b.replayers[name] = p
	return nil
}

// quiet waits until staging has got nothing new for a while: what one mode left to
// do must not be paid by the next.
func (b *bed) quiet() error {
	last := int64(-1)
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		n, err := b.staging.requests()
		if err != nil {
			return fmt.Errorf("staging: %w", err)
		}
		i, err := b.idle.requests()
		if err != nil {
			return fmt.Errorf("staging that yields: %w", err)
		}
		n += i
		if n == last {
			return nil
		}
		if time.Now().After(deadline) {
			return errors.New("staging still gets requests: what sends them?")
		}
		last = n
	}
}

// rested waits until production's processor is idle, where there is no load: nginx's mirror
// leaves seconds of work, with pauses in it that look quiet.
func (b *bed) rested() error {
	const pause = 100 * time.Millisecond
	last := time.Duration(0)
	for deadline := time.Now().Add(patience); ; time.Sleep(pause) {
		used, err := busy(productionCPU)
		if err != nil || used-last < pause/4 {
			return err
		}
		if time.Now().After(deadline) {
			return errors.New("production is still busy: with what?")
		}
		last = used
	}
}
