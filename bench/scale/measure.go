//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"kagami/internal/broker"
	"kagami/internal/brokertest"
)

// A result is what came of a run. Processor times are seconds of one request.
type result struct {
	Run                                 run
	Written, Delivered, Received        int64
	Batches                             int64
	ListenerCPU, BrokerCPU, ReplayerCPU float64
	BrokerIn, BrokerOut                 float64 // bytes of one request
	BrokerMemory                        int64   // bytes, of the largest server
	P50, P99                            float64 // milliseconds; the worst replayer's
}

const header = `| via | listeners | replayers | shards | servers | linger ms | requests/s | requests a batch | listener µs | broker µs | replayer µs | bytes in | bytes out | median ms | 99 % ms |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |`

func (x result) row() string {
	r := x.Run
	us := func(s float64) string { return strconv.FormatFloat(s*1e6, 'f', 2, 64) }
	if r.Via == "null" {
		return fmt.Sprintf("| making requests | %d | | | | | %d | | %s | | | | | | |", r.Listeners, r.Rate, us(x.ListenerCPU))
	}
	lost := ""
	if x.Delivered != x.Written || x.Received != x.Delivered {
		lost = fmt.Sprintf(" %d of %d published, %d received", x.Delivered, x.Written, x.Received)
	}
	if r.Via == "tcp" {
		return fmt.Sprintf("| tcp | %d | %d | | | | %d | | %s | | %s | | | %.1f | %.1f |%s",
			r.Listeners, r.Replayers, r.Rate, us(x.ListenerCPU), us(x.ReplayerCPU), x.P50, x.P99, lost)
	}
	return fmt.Sprintf("| nats | %d | %d | %d | %d | %d | %d | %.1f | %s | %s | %s | %.0f | %.0f | %.1f | %.1f |%s",
		r.Listeners, r.Replayers, r.Shards, r.Servers, r.Linger, r.Rate, float64(x.Delivered)/float64(max(1, x.Batches)),
		us(x.ListenerCPU), us(x.BrokerCPU), us(x.ReplayerCPU), x.BrokerIn, x.BrokerOut, x.P50, x.P99, lost)
}

// A child is a listener or a replayer.
type child struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   *bufio.Reader
	ready string
}

// startChild starts one and waits until it is ready.
func startChild(role string, cfg childConfig) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(cfg)
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.Command(self, "-child", role, string(text))}
	c.cmd.Stderr = os.Stderr
	// As the command sets it where live traffic is captured.
	c.cmd.Env = append(os.Environ(), "GOGC=400")
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	c.out = bufio.NewReader(out)
	return c, c.cmd.Start()
}

func (c *child) awaitReady() (err error) {
	c.ready, err = c.out.ReadString('\n')
	c.ready = strings.TrimSpace(c.ready)
	return err
}

func (c *child) begin() error {
	_, err := io.WriteString(c.stdin, "\n")
	return err
}

// finish reads what a child counted, and waits for its end.
func (c *child) finish(x any) error {
	return errors.Join(json.NewDecoder(c.out).Decode(x), c.cmd.Wait())
}

func measure(r run) (x result, err error) {
	x.Run = r
	dir, err := os.MkdirTemp("", "kagami-scale-")
	if err != nil {
		return x, err
	}
	defer os.RemoveAll(dir)
	var children []*child
	defer func() {
		for _, c := range children {
			c.cmd.Process.Kill()
		}
	}()
	var servers *brokertest.Servers
	var stream jetstream.Stream
	cfg := childConfig{Run: r}
	if r.Via == "nats" {
		if servers, err = brokertest.Launch(dir, r.Servers, ""); err != nil {
			return x, err
		}
		defer servers.KillAll()
		nc, js, err := servers.Ready(brokertest.Patience)
		if err != nil {
			return x, err
		}
		defer nc.Close()
		ctx, cancel := context.WithTimeout(context.Background(), brokertest.Patience)
		defer cancel()
		if stream, _, err = broker.Ensure(ctx, js, "scale", broker.StreamConfig{Shards: r.Shards, Replicas: r.Servers}); err != nil {
			return x, err
		}
		cfg.URL = servers.URL()
	}
	start := func(role string, n int, set func(i int, c *childConfig)) (started []*child, err error) {
		for i := range n {
			mine := cfg
			mine.Index = i
			set(i, &mine)
			c, err := startChild(role, mine)
			if c != nil && c.cmd.Process != nil {
				children, started = append(children, c), append(started, c)
			}
			if err != nil {
				return started, err
			}
		}
		for _, c := range started {
			if err := c.awaitReady(); err != nil {
				return started, err
			}
		}
		return started, nil
	}
	var replayers []*child
	if r.Via != "null" {
		if replayers, err = start("replayer", r.Replayers, func(int, *childConfig) {}); err != nil {
			return x, err
		}
	}
	listeners, err := start("listener", r.Listeners, func(i int, c *childConfig) {
		if r.Via == "tcp" {
			c.Address = replayers[i%len(replayers)].ready
		}
	})
	if err != nil {
		return x, err
	}
	before, err := look(servers)
	if err != nil {
		return x, err
	}
	for _, c := range append(replayers, listeners...) {
		if err := c.begin(); err != nil {
			return x, err
		}
	}
	for _, c := range listeners {
		var l listened
		if err := c.finish(&l); err != nil {
			return x, err
		}
		x.Written += l.Written
		x.Delivered += l.Delivered
		x.Batches += l.Batches
		x.ListenerCPU += l.CPU
	}
	if stream != nil {
		if err := awaitEmpty(stream); err != nil {
			return x, err
		}
	}
	after, err := look(servers)
	if err != nil {
		return x, err
	}
	for _, c := range replayers {
		var p replayed
		c.stdin.Close()
		if err := c.finish(&p); err != nil {
			return x, err
		}
		x.Received += p.Received
		x.ReplayerCPU += p.CPU
		x.P50, x.P99 = max(x.P50, p.P50), max(x.P99, p.P99)
	}
	n := float64(max(1, x.Delivered)) // what was dropped before the broker cost the listener alone
	x.ListenerCPU /= float64(max(1, x.Written))
	x.ReplayerCPU /= n
	x.BrokerCPU = (after.cpu - before.cpu) / n
	x.BrokerIn, x.BrokerOut = float64(after.in-before.in)/n, float64(after.out-before.out)/n
	x.BrokerMemory = after.memory
	return x, nil
}

// awaitEmpty waits until replayers have acknowledged all that was published.
func awaitEmpty(s jetstream.Stream) error {
	for begun := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		info, err := s.Info(context.Background())
		if err == nil && info.State.Msgs == 0 {
			return nil
		}
		if time.Since(begun) > brokertest.Patience {
			return fmt.Errorf("the stream does not become empty: %v", err)
		}
	}
}

// A looked is what the broker's servers have used and seen, together.
type looked struct {
	cpu     float64
	in, out int64
	memory  int64
}

func look(servers *brokertest.Servers) (x looked, err error) {
	if servers == nil {
		return x, nil
	}
	for i := range servers.Len() {
		used, err := processCPU(servers.Pid(i))
		if err != nil {
			return x, err
		}
		x.cpu += used
		resp, err := http.Get(servers.Monitor(i) + "/varz")
		if err != nil {
			return x, err
		}
		var v struct {
			In  int64 `json:"in_bytes"`
			Out int64 `json:"out_bytes"`
			Mem int64 `json:"mem"`
		}
		err = json.NewDecoder(resp.Body).Decode(&v)
		resp.Body.Close()
		if err != nil {
			return x, err
		}
		x.in, x.out, x.memory = x.in+v.In, x.out+v.Out, max(x.memory, v.Mem)
	}
	return x, nil
}

// processCPU is the processor time of a process, in seconds.
func processCPU(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	var ticks int64
	for _, f := range fields[11:13] { // utime and stime, in hundredths of a second
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return float64(ticks) / 100, nil
}
