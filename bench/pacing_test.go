package bench

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"kagami"
	"kagami/internal/gor"
	"kagami/output"
	"kagami/replay"
)

// BenchmarkPacing replays a recording at 5000 requests a second to a server on
// loopback, for five seconds, and reports how far from its time each request
// was written, and how far from it the server had read it. Both are in one
// process; on a machine that has other work it is that which is measured.
func BenchmarkPacing(b *testing.B) {
	const rate, seconds = 5000, 5
	path := pacedRecording(b, rate*seconds)
	for b.Loop() {
		arrived := make([]time.Time, rate*seconds)
		url, stop := pacedServer(b, arrived)
		var sent sentOutput
		h, err := output.NewHTTP(output.HTTPConfig{URL: url, Answers: &sent})
		if err != nil {
			b.Fatal(err)
		}
		files, err := replay.NewFiles(replay.FilesConfig{Patterns: []string{path}, Pacer: replay.Rate(rate)})
		if err != nil {
			b.Fatal(err)
		}
		queue := output.NewQueue(h, output.QueueConfig{OnFull: output.WaitWhenFull})
		if err := files.Run(b.Context(), queue.Write); err != nil {
			b.Fatal(err)
		}
		if err := queue.Close(); err != nil {
			b.Fatal(err)
		}
		stop()
		if n := len(sent.off); n != rate*seconds {
			b.Fatalf("%d answers, want %d", n, rate*seconds)
		}
		reportOff(b, "written", sent.off)
		var off []time.Duration
		for i, at := range arrived {
			off = append(off, at.Sub(sent.first.Add(time.Duration(i)*time.Second/rate)).Abs())
		}
		reportOff(b, "read", off)
	}
}

func reportOff(b *testing.B, what string, off []time.Duration) {
	slices.Sort(off)
	for _, q := range []struct {
		name string
		at   int
	}{{"p50", len(off) / 2}, {"p99", len(off) * 99 / 100}, {"max", len(off) - 1}} {
		b.ReportMetric(float64(off[q.at])/float64(time.Microsecond), what+"-"+q.name+"-µs")
	}
}

// pacedRecording writes a recording of n requests for /0, /1 and so on.
func pacedRecording(b *testing.B, n int) string {
	b.Helper()
	var all []byte
	for i := range n {
		id, err := kagami.IDFromBytes(fmt.Appendf(nil, "%08d", i))
		if err != nil {
			b.Fatal(err)
		}
		at := time.Unix(1_700_000_000, int64(i)*int64(time.Millisecond))
		all = gor.Append(all, &kagami.Message{Kind: kagami.Request, Proto: kagami.HTTP1, Start: at, End: at,
			Raw:      fmt.Appendf(nil, "GET /%d HTTP/1.1\r\nHost: a\r\nUser-Agent: some browser, with a long name\r\nAccept: */*\r\n\r\n", i),
			Exchange: &kagami.Exchange{ID: id, Method: "GET"}})
	}
	path := filepath.Join(b.TempDir(), "paced.gor")
	if err := os.WriteFile(path, all, 0o600); err != nil {
		b.Fatal(err)
	}
	return path
}

// pacedServer notes when it has read each request. stop ends it.
func pacedServer(b *testing.B, arrived []time.Time) (url string, stop func()) {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { notePaced(c, arrived) })
		}
	})
	return "http://" + l.Addr().String(), func() { l.Close(); wg.Wait() }
}

func notePaced(c net.Conn, arrived []time.Time) {
	defer c.Close()
	r := bufio.NewReader(c)
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return
		}
		if rest, ok := bytes.CutPrefix(line, []byte("GET /")); ok {
			now := time.Now()
			n := 0
			for _, digit := range rest[:bytes.IndexByte(rest, ' ')] {
				n = 10*n + int(digit-'0')
			}
			arrived[n] = now
		}
		if string(line) == "\r\n" {
			if _, err := c.Write([]byte("HTTP/1.1 204 No Content\r\n\r\n")); err != nil {
				return
			}
		}
	}
}

// sentOutput is given answers, and notes how far from its time each request
// was written.
type sentOutput struct {
	first time.Time // that anything was due
	off   []time.Duration
}

func (o *sentOutput) Write(_ context.Context, b kagami.Batch) error {
	for _, m := range b.Messages {
		if o.first.IsZero() || m.Due.Before(o.first) {
			o.first = m.Due
		}
		o.off = append(o.off, m.Start.Sub(m.Due).Abs())
	}
	return nil
}

func (o *sentOutput) Close() error { return nil }
