package brokertest

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// built finds the server, and builds it when it is asked for first. The
// environment variable NATS_SERVER names another, to try other versions.
var built = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("NATS_SERVER"); path != "" {
		return path, nil
	}
	var stderr bytes.Buffer
	cmd := exec.Command("go", "tool", "-n", "nats-server")
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go tool -n nats-server: %w\n%s", err, stderr.String())
	}
	return strings.TrimSpace(string(out)), nil
})

// Servers are processes of nats-server.
type Servers struct {
	servers []*server
	through []string // a command that runs each of them
}

type server struct {
	config  string
	port    int
	monitor int
	cmd     *exec.Cmd
	ended   chan struct{}
}

// Launch starts n servers with JetStream, which keep what they have below dir;
// more than one are a cluster. more is added to each one's configuration. It does
// not wait until they are ready. through, if it is given, is a command that runs another one, as ip netns exec does.
func Launch(dir string, n int, more string, through ...string) (*Servers, error) {
	ports, err := freePorts(3 * n)
	if err != nil {
		return nil, err
	}
	var routes []string
	for i := range n {
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", ports[n+i]))
	}
	b := &Servers{through: through}
	for i := range n {
		name := fmt.Sprintf("n%d", i)
		s := &server{config: filepath.Join(dir, name+".conf"), port: ports[i], monitor: ports[2*n+i]}
		text := fmt.Sprintf("server_name: %s\nlisten: 127.0.0.1:%d\nhttp: 127.0.0.1:%d\njetstream { store_dir: %q }\n%s\n",
			name, s.port, s.monitor, filepath.Join(dir, name), more)
		if n > 1 {
			text += fmt.Sprintf("cluster { name: test, listen: 127.0.0.1:%d, routes: [%s] }\n", ports[n+i], strings.Join(routes, ", "))
		}
		if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
			return nil, err
		}
		b.servers = append(b.servers, s)
	}
	for i := range n {
		if err := b.Launch(i); err != nil {
			b.KillAll()
			return nil, err
		}
	}
	return b, nil
}

// freePorts returns ports that were free a moment ago.
func freePorts(n int) (ports []int, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// Launch starts a server that does not run.
func (b *Servers) Launch(i int) error {
	path, err := built()
	if err != nil {
		return err
	}
	s := b.servers[i]
	out, err := os.OpenFile(s.config+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	args := append(slices.Clone(b.through), path, "-c", s.config)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return errors.Join(err, out.Close())
	}
	ended := make(chan struct{})
	s.cmd, s.ended = cmd, ended
	go func() {
		cmd.Wait()
		out.Close()
		close(ended)
	}()
	return nil
}

// Kill kills a server (kill -9), and waits for its end.
func (b *Servers) Kill(i int) {
	if s := b.servers[i]; s.cmd != nil {
		s.cmd.Process.Kill()
		<-s.ended
	}
}

// KillAll kills all of them.
func (b *Servers) KillAll() {
	for i := range b.servers {
		b.Kill(i)
	}
}

// Log is the end of what a server has said.
func (b *Servers) Log(i int) string {
	log, err := os.ReadFile(b.servers[i].config + ".log")
	if err != nil {
		return err.Error()
	}
	return string(log[max(0, len(log)-4000):])
}

// Len is how many there are.
func (b *Servers) Len() int { return len(b.servers) }

// Pid is the process of a server.
func (b *Servers) Pid(i int) int { return b.servers[i].cmd.Process.Pid }

// Monitor is the address at which a server can be asked how it is.
func (b *Servers) Monitor(i int) string {
	return fmt.Sprintf("http://127.0.0.1:%d", b.servers[i].monitor)
}

// URL names all servers, without a stream.
func (b *Servers) URL() string {
	var hosts []string
	for _, s := range b.servers {
		hosts = append(hosts, fmt.Sprintf("127.0.0.1:%d", s.port))
	}
	return "nats://" + strings.Join(hosts, ",")
}
