package output_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kagami"
	"kagami/internal/stream"
	"kagami/internal/trust"
	"kagami/output"
	"kagami/replay"
)

// BenchmarkTCP is what a listener pays to stream a record of 400 bytes: an op is
// a record, cpu-ns/op the processor time of this process, user and system. The
// replayer is another process.
func BenchmarkTCP(b *testing.B) {
	for _, pace := range []struct {
		name string
		each int           // messages of a Write
		wait time.Duration // after each
	}{{"flood", 256, 0}, {"20000ps", 200, 10 * time.Millisecond}} {
		for _, mode := range []string{"clear", "tls"} {
			b.Run(pace.name+"/"+mode, func(b *testing.B) { benchmarkTCP(b, mode == "tls", pace.each, pace.wait) })
		}
	}
}

func benchmarkTCP(b *testing.B, secure bool, each int, wait time.Duration) {
	dir := b.TempDir()
	addr := benchReplayer(b, dir, secure)
	cfg := output.TCPConfig{Address: addr}
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
	messages := make([]*kagami.Message, each)
	for i := range messages {
		messages[i] = benchMessage(i)
	}
	size := len(stream.AppendRecord(nil, messages[0]))
	b.SetBytes(int64(size))
	b.ReportMetric(float64(size), "bytes/record")
	b.ReportAllocs()
	b.ResetTimer()
	before := cpuTime(b)
	for n := 0; n < b.N; n += each {
		batch := kagami.Batch{Messages: messages[:min(each, b.N-n)], Settle: func(int, kagami.Reason) {}}
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
}

func benchMessage(i int) *kagami.Message {
	raw := fmt.Sprintf("GET /products/%08d?color=blue HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: Mozilla/5.0\r\nCookie: ", i)
	raw += strings.Repeat("c", 330-len(raw)) + "\r\n\r\n"
	id, _ := kagami.IDFromBytes([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, byte(i), byte(i >> 8)})
	at := time.Unix(1_700_000_000, 0)
	return &kagami.Message{Kind: kagami.Request, Proto: kagami.HTTP1, Start: at, End: at, Raw: []byte(raw), WireLen: len(raw),
		Exchange: &kagami.Exchange{ID: id, Method: "GET"}}
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
