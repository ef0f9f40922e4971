//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"kagami"
	"kagami/internal/broker"
	"kagami/output"
	"kagami/replay"
)

// A listened is what a listener counted.
type listened struct {
	Written, Delivered int64
	Dropped            map[kagami.Reason]int64
	CPU                float64 // seconds
	Batches, Bytes     int64
}

// A replayed is what a replayer counted.
type replayed struct {
	Received int64
	CPU      float64
	P50, P99 float64 // milliseconds
}

// A childConfig is what a child has to know.
type childConfig struct {
	Run     run
	Index   int
	URL     string // of the broker
	Address string // of the replayer, without a broker
}

func runChild(role string, args []string) error {
	var cfg childConfig
	if err := json.Unmarshal([]byte(args[0]), &cfg); err != nil {
		return err
	}
	if role == "listener" {
		return runListener(cfg)
	}
	return runReplayer(cfg)
}

// cpu is the processor time of this process, in seconds.
func cpu() float64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

func (c childConfig) broker() (broker.Config, error) {
	a, err := broker.ParseAddress(c.URL + "/scale")
	return broker.Config{Address: a, Name: fmt.Sprintf("scale %d", c.Index)}, err
}

func (c childConfig) output() (output.Output, error) {
	switch c.Run.Via {
	case "nats":
		b, err := c.broker()
		if err != nil {
			return nil, err
		}
		return output.NewNATS(output.NATSConfig{Broker: b, ID: fmt.Sprintf("listener%d", c.Index),
			Linger: time.Duration(c.Run.Linger) * time.Millisecond})
	case "tcp":
		return output.NewTCP(output.TCPConfig{Address: c.Address, ID: fmt.Sprintf("listener%d", c.Index)})
	}
	return output.Null{}, nil
}

// block is how often a listener hands messages on, as the kernel's ring does.
const block = 20 * time.Millisecond

// runListener makes requests at a rate, and hands them to the output behind its
// queue, as the command does.
func runListener(cfg childConfig) error {
	out, err := cfg.output()
	if err != nil {
		return err
	}
	q := output.NewQueue(out, output.QueueConfig{})
	var settled [64]atomic.Int64
	settle := func(_ int, r kagami.Reason) { settled[r].Add(1) }
	in := bufio.NewReader(os.Stdin)
	fmt.Println("ready")
	if _, err := in.ReadString('\n'); err != nil {
		return err
	}
	begun, used := time.Now(), cpu()
	x := listened{Dropped: map[kagami.Reason]int64{}}
	rate := float64(cfg.Run.Rate) / float64(cfg.Run.Listeners)
	tick := time.NewTicker(block)
	defer tick.Stop()
	for time.Since(begun) < time.Duration(cfg.Run.Seconds)*time.Second {
		<-tick.C
		due := int64(time.Since(begun).Seconds() * rate)
		b := kagami.Batch{Settle: settle}
		for ; x.Written < due; x.Written++ {
			b.Messages = append(b.Messages, synthetic(cfg.Index, x.Written))
		}
		if err := q.Write(context.Background(), b); err != nil {
			return err
		}
	}
	if err := q.Close(); err != nil {
		return err
	}
	x.CPU = cpu() - used
	for r := range settled {
		if n := settled[r].Load(); n > 0 && r == 0 {
			x.Delivered = n
		} else if n > 0 {
			x.Dropped[kagami.Reason(r)] = n
		}
	}
	if n, ok := out.(*output.NATS); ok {
		x.Batches, x.Bytes = n.Stats().Batches, n.Stats().Bytes
	}
	return json.NewEncoder(os.Stdout).Encode(x)
}

// requestBytes is how long a synthetic request is.
const requestBytes = 400

// connections is how many clients a listener has at a time.
const connections = 1000

var padding = strings.Repeat("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 ", 8)

// synthetic is the n-th request of a listener.
func synthetic(listener int, n int64) *kagami.Message {
	raw := make([]byte, 0, requestBytes)
	raw = fmt.Appendf(raw, "GET /items/%d?page=%d HTTP/1.1\r\nHost: www.example.com\r\nAccept: */*\r\nUser-Agent: ", n, n%7)
	raw = append(raw, padding[:requestBytes-len(raw)-4]...)
	raw = append(raw, "\r\n\r\n"...)
	c := n % connections
	client := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(listener), byte(c >> 8), byte(c)}), uint16(30_000+c))
	var id [16]byte
	binary.BigEndian.PutUint64(id[:], uint64(listener))
	binary.BigEndian.PutUint64(id[8:], uint64(n))
	e := &kagami.Exchange{Method: "GET"}
	e.ID, _ = kagami.IDFromBytes(id[:])
	now := time.Now()
	return &kagami.Message{Kind: kagami.Request, Proto: kagami.HTTP1, Raw: raw, WireLen: len(raw), Start: now, End: now,
		Client: client, Server: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, 1}), 80), Exchange: e}
}

// An input is what a replayer takes from.
type input interface {
	Run(context.Context, func(context.Context, kagami.Batch) error) error
	Close() error
}

// runReplayer counts what comes until its standard input ends.
func runReplayer(cfg childConfig) error {
	in, ready, err := cfg.input()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var received atomic.Int64
	// One goroutine measures, for a histogram is not for several.
	type sample struct{ n, took int64 }
	samples := make(chan sample, 1024)
	took := hdrhistogram.New(1, int64(time.Minute), 3)
	measured := make(chan struct{})
	go func() {
		defer close(measured)
		for s := range samples {
			_ = took.RecordValues(s.took, s.n)
		}
	}()
	ended := make(chan error, 1)
	go func() {
		ended <- in.Run(ctx, func(_ context.Context, b kagami.Batch) error {
			received.Add(int64(len(b.Messages)))
			now := time.Now()
			samples <- sample{int64(len(b.Messages)), max(1, int64(now.Sub(b.Messages[0].Start)))}
			b.DoneAll(kagami.Delivered)
			return nil
		})
	}()
	fmt.Println(ready())
	stdin := bufio.NewReader(os.Stdin)
	if _, err := stdin.ReadString('\n'); err != nil { // it begins
		return err
	}
	used := cpu()
	if _, err := stdin.ReadString('\n'); err == nil {
		return errors.New("a second line, where the end was to come")
	}
	x := replayed{CPU: cpu() - used}
	cancel()
	if err := errors.Join(<-ended, in.Close()); err != nil {
		return err
	}
	close(samples)
	<-measured
	x.Received = received.Load()
	x.P50, x.P99 = float64(took.ValueAtQuantile(50))/1e6, float64(took.ValueAtQuantile(99))/1e6
	return json.NewEncoder(os.Stdout).Encode(x)
}

// input opens what a replayer takes from, and returns a function that waits
// until it takes, and says where.
func (c childConfig) input() (input, func() string, error) {
	if c.Run.Via == "tcp" {
		s, err := replay.NewServer(replay.ServerConfig{Address: "127.0.0.1:0"})
		if err != nil {
			return nil, nil, err
		}
		return s, func() string { return s.Addr().String() }, nil
	}
	b, err := c.broker()
	if err != nil {
		return nil, nil, err
	}
	n, err := replay.NewNATS(replay.NATSConfig{Broker: b})
	if err != nil {
		return nil, nil, err
	}
	least := c.Run.Shards / c.Run.Replayers * 3 / 4
	most := (c.Run.Shards + c.Run.Replayers - 1) / c.Run.Replayers
	return n, func() string {
		for {
			if s := n.Stats(); s.Replayers == c.Run.Replayers && s.Shards >= least && s.Shards <= most {
				return "ready"
			}
			time.Sleep(10 * time.Millisecond)
		}
	}, nil
}
