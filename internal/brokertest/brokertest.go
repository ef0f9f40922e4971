// Package brokertest runs nats-server for tests: the real one, as processes on
// loopback, one or a cluster of them, that can be killed and started again. The
// server is the one that go.mod names as a tool.
package brokertest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Patience is how long anything that should happen may take.
const Patience = 60 * time.Second

var built = sync.OnceValues(func() (string, error) {
	var stderr bytes.Buffer
	cmd := exec.Command("go", "tool", "-n", "nats-server")
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go tool -n nats-server: %w\n%s", err, stderr.String())
	}
	return strings.TrimSpace(string(out)), nil
})

// Binary is the path of the server, which is built when it is asked for first.
func Binary(t testing.TB) string {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Brokers are one nats-server, or a cluster of them.
type Brokers struct {
	t       testing.TB
	servers []*server
}

type server struct {
	config string
	port   int
	cmd    *exec.Cmd
	out    *os.File
	ended  chan struct{}
}

// Start starts n servers with JetStream, and waits until they have a leader.
// more is added to each server's configuration. They end with the test.
func Start(t testing.TB, n int, more string) *Brokers {
	t.Helper()
	b := &Brokers{t: t}
	ports := freePorts(t, 2*n)
	var routes []string
	for i := range n {
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", ports[n+i]))
	}
	dir := t.TempDir()
	for i := range n {
		name := fmt.Sprintf("n%d", i)
		text := fmt.Sprintf("server_name: %s\nlisten: 127.0.0.1:%d\njetstream { store_dir: %q }\n%s\n", name, ports[i], filepath.Join(dir, name), more)
		if n > 1 {
			text += fmt.Sprintf("cluster { name: test, listen: 127.0.0.1:%d, routes: [%s] }\n", ports[n+i], strings.Join(routes, ", "))
		}
		s := &server{config: filepath.Join(dir, name+".conf"), port: ports[i]}
		if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		b.servers = append(b.servers, s)
	}
	t.Cleanup(func() {
		for i := range b.servers {
			b.Kill(i)
		}
	})
	for i := range b.servers {
		b.Restart(i)
	}
	return b
}

// freePorts returns ports that were free a moment ago.
func freePorts(t testing.TB, n int) (ports []int) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

// Restart starts a server that does not run.
func (b *Brokers) Restart(i int) {
	b.t.Helper()
	s := b.servers[i]
	out, err := os.OpenFile(s.config+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		b.t.Fatal(err)
	}
	s.cmd, s.out, s.ended = exec.Command(Binary(b.t), "-c", s.config), out, make(chan struct{})
	s.cmd.Stdout, s.cmd.Stderr = out, out
	if err := s.cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	go func() {
		s.cmd.Wait()
		out.Close()
		close(s.ended)
	}()
}

// Kill kills a server (kill -9), and waits for its end.
func (b *Brokers) Kill(i int) {
	s := b.servers[i]
	if s.cmd != nil && s.cmd.Process != nil {
		s.cmd.Process.Kill()
		<-s.ended
	}
	if b.t.Failed() {
		if log, err := os.ReadFile(s.config + ".log"); err == nil {
			if len(log) > 4000 {
				log = log[len(log)-4000:]
			}
			b.t.Logf("nats-server %d:\n%s", i, log)
		}
	}
}

// Pid is the process of a server.
func (b *Brokers) Pid(i int) int { return b.servers[i].cmd.Process.Pid }

// URL names all servers, without a stream.
func (b *Brokers) URL() string {
	var hosts []string
	for _, s := range b.servers {
		hosts = append(hosts, fmt.Sprintf("127.0.0.1:%d", s.port))
	}
	return "nats://" + strings.Join(hosts, ",")
}

// JetStream connects to the servers, and waits until JetStream works. options
// are for the connection.
func (b *Brokers) JetStream(options ...nats.Option) jetstream.JetStream {
	b.t.Helper()
	deadline := time.Now().Add(Patience)
	options = append([]nats.Option{nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(50 * time.Millisecond)}, options...)
	nc, err := nats.Connect(b.URL(), options...)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		b.t.Fatal(err)
	}
	for {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_, err := js.AccountInfo(ctx)
		if err == nil && len(b.servers) > 1 {
			// A cluster is ready when it places a stream on all its servers.
			_, err = js.CreateStream(ctx, jetstream.StreamConfig{Name: "probe", Subjects: []string{"probe"}, Replicas: len(b.servers)})
			if err == nil {
				err = js.DeleteStream(ctx, "probe")
			}
		}
		cancel()
		if err == nil {
			return js
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("JetStream is not there: %v", err)
		}
	}
}
