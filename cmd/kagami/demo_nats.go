package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"kagami"
)

// natsServer is the program that demo --nats runs as the broker. It is not
// part of this one, which it would make half as large again.
const natsServer = "nats-server"

// findNATSServer finds it beside this program, or in the PATH.
func findNATSServer() (string, error) {
	if self, err := os.Executable(); err == nil {
		path := filepath.Join(filepath.Dir(self), natsServer)
		if info, err := os.Stat(path); err == nil && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	path, err := exec.LookPath(natsServer)
	if err != nil {
		return "", errors.New("--nats needs the program nats-server, beside kagami or in the PATH: make nats-server builds it")
	}
	return path, nil
}

// A demoBroker is a NATS server with JetStream, on loopback.
type demoBroker struct {
	cmd   *exec.Cmd
	addr  string
	ended chan struct{}
}

// startDemoBroker starts one at a port that the system chooses, and returns
// when it listens there.
func startDemoBroker(ctx context.Context, dir string) (*demoBroker, error) {
	path, err := findNATSServer()
	if err != nil {
		return nil, err
	}
	b := &demoBroker{cmd: exec.Command(path, "-a", "127.0.0.1", "-p", "-1", "-js", "-sd", dir), ended: make(chan struct{})}
	stderr, err := b.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := b.cmd.Start(); err != nil {
		return nil, err
	}
	ready, said := make(chan string, 1), make(chan string, 1)
	go func() {
		defer close(b.ended)
		var last string
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			last = lines.Text()
			if _, addr, ok := strings.Cut(last, "Listening for client connections on "); ok {
				ready <- strings.TrimSpace(addr)
				_, _ = io.Copy(io.Discard, stderr)
			}
		}
		_ = b.cmd.Wait()
		said <- last
	}()
	select {
	case b.addr = <-ready:
		return b, nil
	case last := <-said:
		return nil, fmt.Errorf("%s ended: %s", path, last)
	case <-ctx.Done():
		b.stop()
		return nil, ctx.Err()
	}
}

func (b *demoBroker) url() string { return "nats://" + b.addr + "/demo" }

func (b *demoBroker) stop() {
	b.cmd.Process.Kill()
	<-b.ended
}

// await waits until the replayer has taken from the broker, and staging1 has
// got, all that the listener published; ten seconds at most.
func (d *demo) await(listened kagami.Statement) {
	if d.broker == nil {
		return
	}
	out, _ := listened.Stage("output", "", kagami.Messages)
	for begun := time.Now(); d.staging1.served() < out.Out && time.Since(begun) < 10*time.Second; {
		time.Sleep(20 * time.Millisecond)
	}
}
