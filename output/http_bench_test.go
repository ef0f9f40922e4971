//go:build unix

package output_test

import (
	"bufio"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"kagami"
	"kagami/output"
)

// BenchmarkHTTP sends requests to a server on loopback, which costs about as
// much as the sender and is part of the figures.
func BenchmarkHTTP(b *testing.B) {
	answer := []byte(okKeptAnswer)
	s := serveRaw(b, func(_ int64, c net.Conn, r *bufio.Reader) {
		for {
			for { // the requests have no body
				line, err := r.ReadSlice('\n')
				if err != nil {
					return
				}
				if len(line) == 2 {
					break
				}
			}
			if _, err := c.Write(answer); err != nil {
				return
			}
		}
	})
	for _, c := range []struct {
		name  string
		conns int
	}{{"1 connection", 1}, {"8 connections", 8}, {"64 connections", 64}} {
		b.Run(c.name, func(b *testing.B) {
			h := newHTTP(b, output.HTTPConfig{URL: s.url(), Connections: c.conns})
			q := output.NewQueue(h, output.QueueConfig{OnFull: output.WaitWhenFull})
			var delivered atomic.Int64
			m := rawRequest(crlf("GET /index.html HTTP/1.0", "Host: www.example.com", "User-Agent: ApacheBench/2.3", "Accept: */*"))
			batch := kagami.Batch{Settle: func(_ int, r kagami.Reason) {
				if r == kagami.Delivered {
					delivered.Add(1)
				}
			}}
			for range 32 {
				batch.Messages = append(batch.Messages, m)
			}
			b.ReportAllocs()
			before := cpuTime(b)
			for i := 0; i < b.N; i += len(batch.Messages) { // per request
				_ = q.Write(b.Context(), batch)
			}
			if err := q.Close(); err != nil || delivered.Load() < int64(b.N) {
				b.Fatalf("%d of %d delivered: %v", delivered.Load(), b.N, err)
			}
			b.ReportMetric(float64(cpuTime(b)-before)/float64(delivered.Load()), "cpu-ns/op")
		})
	}
}

// cpuTime is the processor time that this process has used.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// okKeptAnswer keeps the connection of an HTTP/1.0 request.
const okKeptAnswer = "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok"
