package output_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"kagami"
	"kagami/internal/stream"
	"kagami/internal/trust"
	"kagami/output"
	"kagami/replay"
)

// BenchmarkTCP is what a listener pays to stream a record of 400 bytes: an op is
// a record, cpu-ns/op the processor time of this process, user and system, wire-B/op what a
// record takes on the connection (in TLS: before it is encrypted). The replayer is another process.
func BenchmarkTCP(b *testing.B) {
	for _, pace := range []struct {
		name string
		each int           // messages of a Write
		wait time.Duration // after each
	}{{"flood", 256, 0}, {"20000ps", 200, 10 * time.Millisecond}, {"1000ps", 20, 20 * time.Millisecond}} {
		for _, mode := range []string{"clear", "tls", "zstd", "tls+zstd", "spool", "spool+zstd"} {
			b.Run(pace.name+"/"+mode, func(b *testing.B) { benchmarkTCP(b, mode, pace.each, pace.wait) })
		}
	}
}

func benchmarkTCP(b *testing.B, mode string, each int, wait time.Duration) {
	dir := b.TempDir()
	secure := strings.Contains(mode, "tls")
	addr := benchReplayer(b, dir, secure)
	var sent atomic.Int64
	cfg := output.TCPConfig{Address: addr, Compress: strings.Contains(mode, "zstd")}
	cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		return countedConn{conn, &sent}, err
	}
	if strings.Contains(mode, "spool") {
		cfg.Spool = &output.TCPSpool{Dir: filepath.Join(dir, "spool")}
	}
	if secure {
		client, err := trust.JoinClient(func() (trust.Join, error) { return trust.ReadJoin(filepath.Join(dir, "edge.join")) })
		if err != nil {
			b.Fatal(err)
		}
		cfg.Trust = client
	}
	out, err := output.NewTCP(cfg)
	if err != nil {
		b.Fatal(err)
	}
	all := benchMessages(5000)
	size := 0
	for _, m := range all {
		size += len(stream.AppendRecord(nil, m))
	}
	b.ReportMetric(float64(size)/float64(len(all)), "record-B/op")
	b.ReportAllocs()
	b.ResetTimer()
	before := cpuTime(b)
	for n := 0; n < b.N; n += each {
		from := n % (len(all) - each)
		batch := kagami.Batch{Messages: all[from : from+min(each, b.N-n)], Settle: func(int, kagami.Reason) {}}
		if err := out.Write(context.Background(), batch); err != nil {
			b.Fatal(err)
		}
		if wait > 0 {
			time.Sleep(wait)
		}
	}
	if err := out.Close(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
	b.ReportMetric(float64(sent.Load())/float64(b.N), "wire-B/op")
}

// A countedConn counts what is written to it.
type countedConn struct {
	net.Conn
	sent *atomic.Int64
}

func (c countedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.sent.Add(int64(n))
	return n, err
}

// benchMessages are n requests to one site, of 400 bytes as records: 500 clients, each with a session of
// its own, four browsers, paths with a number and a query.
func benchMessages(n int) []*kagami.Message {
	r := rand.New(rand.NewPCG(1, 2))
	browsers := []string{"(X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "(Windows NT 10.0; Win64; x64) AppleWebKit/537.36",
		"(Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15", "(iPhone; CPU iPhone OS 17_5 like Mac OS X)"}
	sessions := make([]string, 500)
	for i := range sessions {
		sessions[i] = fmt.Sprintf("%016x%016x", r.Uint64(), r.Uint64())
	}
	server := netip.MustParseAddrPort("198.51.100.1:8080")
	at := time.Unix(1_700_000_000, 0)
	messages := make([]*kagami.Message, n)
	for i := range messages {
		who := r.IntN(len(sessions))
		at = at.Add(time.Duration(r.IntN(100_000)))
		client := netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(who)}), uint16(40_000+who))
		raw := fmt.Sprintf("GET /products/%d?color=%s&page=%d HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: Mozilla/5.0 %s\r\n"+
			"Accept: text/html,*/*;q=0.8\r\nAccept-Encoding: gzip, deflate, br\r\nAccept-Language: en\r\nReferer: http://shop.example.com/%d\r\nCookie: session=%s\r\n\r\n",
			r.IntN(1_000_000), []string{"red", "green", "blue"}[r.IntN(3)], r.IntN(20), browsers[who%4], r.IntN(1_000_000), sessions[who])
		messages[i] = &kagami.Message{Kind: kagami.Request, Proto: kagami.HTTP1, Start: at, End: at.Add(time.Duration(r.IntN(50_000))),
			Client: client, Server: server, Raw: []byte(raw), WireLen: len(raw),
			Exchange: &kagami.Exchange{ID: kagami.MakeID(client, server, r.Uint32(), uint32(i%3), at.Unix()), Method: "GET"}}
	}
	return messages
}

// benchReplayer starts a process that plays the replayer.
func benchReplayer(b *testing.B, dir string, secure bool) (addr string) {
	b.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestReplayerOfBenchmark$")
	cmd.Env = append(os.Environ(), "KAGAMI_BENCH_DIR="+dir, fmt.Sprintf("KAGAMI_BENCH_TLS=%v", secure))
	stdin, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		stdin.Close()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(line)
}

// TestReplayerOfBenchmark is the process that benchReplayer starts.
func TestReplayerOfBenchmark(t *testing.T) {
	path := os.Getenv("KAGAMI_BENCH_DIR")
	if path == "" {
		t.Skip("it is for BenchmarkTCP")
	}
	cfg := replay.ServerConfig{Address: "127.0.0.1:0"}
	if os.Getenv("KAGAMI_BENCH_TLS") == "true" {
		dir, err := trust.OpenDir(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := dir.Add("edge", "127.0.0.1:1", ""); err != nil {
			t.Fatal(err)
		}
		if cfg.Trust, err = dir.Server(); err != nil {
			t.Fatal(err)
		}
	}
	s, err := replay.NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println(s.Addr())
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	_ = s.Run(ctx, func(_ context.Context, b kagami.Batch) error {
		b.DoneAll(kagami.Delivered)
		return nil
	})
	_ = s.Close()
}
