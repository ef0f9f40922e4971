//go:build unix

package capture

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"syscall"
	"testing"
	"time"

	"kagami"
)

const browserGet = "GET /index.html?id=%06d HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n" +
	"Accept: text/html,application/xhtml+xml\r\nAccept-Language: en\r\nAccept-Encoding: gzip\r\nCookie: session=0123456789abcdef\r\n\r\n"

// recorded is a pcap file (Ethernet, µs) of the trace's packets.
func (tr *trace) recorded() []byte {
	var b bytes.Buffer
	for _, v := range []any{uint32(0xa1b2c3d4), uint16(2), uint16(4), uint32(0), uint32(0), uint32(262144), uint32(linkEthernet)} {
		binary.Write(&b, binary.LittleEndian, v)
	}
	for _, p := range tr.packets {
		b.Write(binary.LittleEndian.AppendUint32(nil, uint32(p.Time.Unix())))
		b.Write(binary.LittleEndian.AppendUint32(nil, uint32(p.Time.Nanosecond()/1000)))
		b.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(p.Data)+14)))
		b.Write(binary.LittleEndian.AppendUint32(nil, uint32(p.WireLen+14)))
		b.Write([]byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0})
		b.Write(p.Data)
	}
	return b.Bytes()
}

// The way from a file's bytes to messages that were handed on; an operation is a request.
func BenchmarkFileToMessages(b *testing.B) {
	const conns, each = 100, 100
	for _, c := range []struct {
		name      string
		responses bool
		say       func(w *wire, i int)
	}{
		{"keep-alive GET", false, func(w *wire, i int) { w.send(fmt.Sprintf(browserGet, i)) }},
		{"keep-alive GET, ACKs and answers in the file", false, func(w *wire, i int) {
			w.send(fmt.Sprintf(browserGet, i))
			w.put(false, w.sseq, flagACK, "")
			w.answer(ok(text(300)))
			w.put(true, w.cseq, flagACK, "")
		}},
		{"keep-alive GET and answer", true, func(w *wire, i int) { w.send(fmt.Sprintf(browserGet, i)).answer(ok(text(300))) }},
		{"POST of 16 KiB", false, func(w *wire, i int) { w.send(cut(post("/upload", text(16<<10)), 1448)...) }},
		{"one connection each", false, func(w *wire, i int) {
			w.client = netipAddrPort(w.client.Addr(), 1024+i)
			w.open()
			w.send(fmt.Sprintf(browserGet, i))
			w.close()
			w.hangUp()
		}},
		{"1 % reordered", false, func(w *wire, i int) {
			w.send(fmt.Sprintf(browserGet, i), fmt.Sprintf(browserGet, i))
			if i%50 == 0 {
				w.tr.swap()
			}
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			tr := &trace{now: time.Unix(1_700_000_000, 0)}
			var wires []*wire
			for i := range conns {
				wires = append(wires, tr.dial(fmt.Sprintf("10.0.0.%d:40000", i+1), "10.1.0.1:80"))
			}
			for i := range each {
				for _, w := range wires {
					c.say(w, i)
				}
			}
			file := tr.recorded()
			b.ReportAllocs()
			b.ResetTimer()
			before, done := cpuTime(b), 0
			for n := 0; n < b.N; n = done {
				done += benchmarkFile(b, file, Config{Ports: []uint16{80}, Responses: c.responses, Wait: true})
			}
			b.ReportMetric(float64(cpuTime(b)-before)/float64(done), "cpu-ns/op")
		})
	}
}

// cpuTime is the CPU time that the process has used, for the machine may be
// busy with something else.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func benchmarkFile(b *testing.B, file []byte, cfg Config) (requests int) {
	f, err := NewFile(bytes.NewReader(file))
	if err != nil {
		b.Fatal(err)
	}
	l, err := New(cfg, f)
	if err != nil {
		b.Fatal(err)
	}
	err = l.Run(b.Context(), func(_ context.Context, batch kagami.Batch) error {
		for _, m := range batch.Messages {
			if m.Kind == kagami.Request {
				requests++
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return requests
}

// A Listener that has seen a million connections is no slower than a new one.
func BenchmarkAfterAMillionConnections(b *testing.B) {
	for _, seen := range []int{0, 1_000_000} {
		b.Run(fmt.Sprint(seen), func(b *testing.B) {
			l, put := feed(b, Config{Ports: []uint16{80}, Queue: 1 << 40})
			tr := &trace{now: time.Unix(1_700_000_000, 0)}
			for i := range seen {
				tr.packets = tr.packets[:0]
				tr.dial(clientAt(i), aServer).send(get("/"))
				put(tr.packets)
				l.out.flush()
				l.out.queue = nil
			}
			tr.packets = nil
			var wires []*wire
			for i := range 100 {
				wires = append(wires, tr.dial(fmt.Sprintf("10.0.0.%d:40000", i+1), "10.1.0.1:80"))
			}
			put(tr.packets)
			var rounds [][]Packet
			for i := range 100 {
				tr.packets = nil
				for _, w := range wires {
					w.send(fmt.Sprintf(browserGet, i))
				}
				rounds = append(rounds, tr.packets)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; {
				for _, packets := range rounds {
					put(packets)
					l.out.flush()
					l.out.queue = nil
					n += len(packets)
				}
				b.StopTimer()
				for _, c := range l.asm.table.conns { // once more from the start
					for i := range c.half {
						if h := &c.half[i]; h.has(halfSynced) {
							h.next = h.start
						}
					}
				}
				b.StartTimer()
			}
		})
	}
}
