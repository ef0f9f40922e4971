package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"kagami"
)

// A demoServer answers like a small shop, and counts.
type demoServer struct {
	addr   string
	server *http.Server
	count  atomic.Int64
	done   chan struct{}
}

func startDemoServer() (*demoServer, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &demoServer{addr: l.Addr().String(), done: make(chan struct{})}
	s.server = &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.count.Add(1)
		n, _ := io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"path":%q,"received":%d}`+"\n", r.URL.Path, n)
	})}
	go func() {
		defer close(s.done)
		s.server.Serve(l)
	}()
	return s, nil
}

func (s *demoServer) served() int64 { return s.count.Load() }

func (s *demoServer) port() string {
	_, port, _ := net.SplitHostPort(s.addr)
	return port
}

func (s *demoServer) stop() {
	s.server.Close()
	<-s.done
}

// driveLoad sends so many requests a second until ctx is done: most over
// connections that are kept, every tenth over one of its own.
func driveLoad(ctx context.Context, base string, rate int) {
	const clients = 8
	kept := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}, Timeout: 5 * time.Second}
	defer kept.CloseIdleConnections()
	once := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	tokens := make(chan int)
	var wg sync.WaitGroup
	for range clients {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for n := range tokens {
				client := kept
				if n%10 == 0 {
					client = once
				}
				demoRequest(client, base, n)
			}
		}()
	}
	began := time.Now()
	for n := 1; ; n++ {
		due := began.Add(time.Duration(n) * time.Second / time.Duration(rate))
		timer := time.NewTimer(time.Until(due))
		select {
		case <-timer.C:
			tokens <- n
			continue
		case <-ctx.Done():
			timer.Stop()
		}
		break
	}
	close(tokens)
	wg.Wait()
}

// demoRequest sends the n-th request. What the answer says does not matter;
// that it came is counted by the server.
func demoRequest(client *http.Client, base string, n int) {
	var resp *http.Response
	var err error
	if n%5 == 0 {
		body := fmt.Sprintf(`{"item":%d,"note":%q}`, n, strings.Repeat("please ", n%400))
		resp, err = client.Post(base+"/orders", "application/json", strings.NewReader(body))
	} else {
		resp, err = client.Get(fmt.Sprintf("%s/items/%d?page=%d", base, n, n%7))
	}
	if err == nil {
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
}

// A child is a kagami process that the demo started.
type child struct {
	cmd   *exec.Cmd
	ready map[string]string // what it said when it was ready
	ended chan struct{}
	err   error
	said  bytes.Buffer // its warnings and errors; safe to read after ended
}

// startChild runs this program with args and returns when it has logged the
// message ready.
func startChild(ctx context.Context, warnings io.Writer, ready string, args ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.Command(self, append(args, "--log-format", "json")...), ended: make(chan struct{})}
	// What the environment says of other inputs and outputs is not for the demo.
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "KAGAMI_") {
			c.cmd.Env = append(c.cmd.Env, v)
		}
	}
	fmt.Fprintf(warnings, "$ kagami %s\n", strings.Join(quoted(args), " "))
	stderr, err := c.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	isReady := make(chan map[string]string, 1)
	go c.listen(stderr, ready, isReady)
	select {
	case c.ready = <-isReady:
		return c, nil
	case <-c.ended:
		return nil, fmt.Errorf("kagami %s ended: %w\n%s", args[0], c.err, bytes.TrimSpace(c.said.Bytes()))
	case <-ctx.Done():
		c.kill()
		return nil, ctx.Err()
	}
}

// listen reads the child's log until it ends.
func (c *child) listen(stderr io.Reader, ready string, isReady chan<- map[string]string) {
	defer close(c.ended)
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		var entry map[string]any
		if json.Unmarshal(lines.Bytes(), &entry) != nil {
			c.said.Write(append(lines.Bytes(), '\n'))
			continue
		}
		switch {
		case entry["msg"] == ready:
			said := map[string]string{}
			for k, v := range entry {
				said[k] = fmt.Sprint(v)
			}
			select {
			case isReady <- said:
			default:
			}
		case entry["level"] == "WARN" || entry["level"] == "ERROR":
			fmt.Fprintln(&c.said, entry["msg"], entry["error"])
		}
	}
	c.err = c.cmd.Wait()
}

// finish asks the child to drain, waits for its end and returns its ledger.
func (c *child) finish(summary string) (kagami.Statement, error) {
	c.cmd.Process.Signal(syscall.SIGTERM)
	<-c.ended
	st, err := readStatement(summary)
	if err != nil {
		return st, fmt.Errorf("%s: %w\n%s", strings.Join(c.cmd.Args[1:2], ""), err, bytes.TrimSpace(c.said.Bytes()))
	}
	if c.err != nil && c.cmd.ProcessState.ExitCode() != exitUnbalanced {
		return st, fmt.Errorf("kagami %s: %w\n%s", c.cmd.Args[1], c.err, bytes.TrimSpace(c.said.Bytes()))
	}
	return st, nil
}

func (c *child) kill() {
	c.cmd.Process.Kill()
	<-c.ended
}

// quoted puts those of args into quotes that a shell would not take as they are.
func quoted(args []string) []string {
	q := make([]string, len(args))
	for i, a := range args {
		if q[i] = a; strings.ContainsAny(a, "|%$*? '\"") {
			q[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
	}
	return q
}
