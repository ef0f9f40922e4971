//go:build unix

package capture

import (
	"fmt"
	"testing"
	"time"
)

// From a file's bytes to messages of HTTP/2; an operation is a request.
func BenchmarkHTTP2FileToMessages(b *testing.B) {
	const conns, each = 100, 100
	fields := []string{"user-agent", "Mozilla/5.0 (X11; Linux x86_64)", "accept", "text/html,application/xhtml+xml", "accept-language", "en",
		"accept-encoding", "gzip", "cookie", "session=0123456789abcdef"}
	for _, responses := range []bool{false, true} {
		b.Run(map[bool]string{false: "GET", true: "GET and answer"}[responses], func(b *testing.B) {
			tr := &trace{now: time.Unix(1_700_000_000, 0)}
			wires, talks := make([]*wire, conns), make([]*h2wire, conns)
			for i := range wires {
				wires[i], talks[i] = tr.dial(fmt.Sprintf("10.0.0.%d:40000", i+1), "10.1.0.1:80"), newH2()
				wires[i].send(h2Start)
				if responses {
					wires[i].answer(h2Answer)
				}
			}
			for i := range each {
				for j, w := range wires {
					id := uint32(2*i + 1)
					w.send(talks[j].get(id, fmt.Sprintf("/index.html?id=%06d", i), fields...))
					if responses {
						w.answer(talks[j].ok(id, text(300)))
					}
				}
			}
			file := tr.recorded()
			b.ReportAllocs()
			b.ResetTimer()
			before, done := cpuTime(b), 0
			for n := 0; n < b.N; n = done {
				done += benchmarkFile(b, file, Config{Ports: []uint16{80}, Responses: responses, Wait: true})
			}
			b.ReportMetric(float64(cpuTime(b)-before)/float64(done), "cpu-ns/op")
		})
	}
}
