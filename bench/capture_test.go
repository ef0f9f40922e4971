//go:build linux

package bench

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime/debug"
	"strconv"
	"syscall"
	"testing"
	"time"

	"kagami"
	"kagami/capture"
)

const clients, each = 100, 100

// BenchmarkCapture is the way from the bytes of a pcap file to messages that were handed
// on, an operation is a request. The file has 100 requests of each of 100 connections.
func BenchmarkCapture(b *testing.B) {
	for _, c := range []struct {
		name      string
		responses bool
		say       func(t *traffic, c *client, i int)
	}{
		{"small GET", false, func(t *traffic, c *client, i int) { t.send(c, smallGet(i)) }},
		{"small GET, answers in the file", false, exchange},
		{"small GET and its answer", true, exchange},
		{"POST of 16 KiB", false, func(t *traffic, c *client, i int) { t.send(c, largePost(i)) }},
		{"1 % reordered", false, func(t *traffic, c *client, i int) {
			before := len(t.buf)
			t.send(c, smallGet(i))
			if i%100 == 1 { // changes places with the one after it
				c.seq -= uint32(len(smallGet(i)))
				t.buf = t.buf[:before]
				first := *c
				c.seq += uint32(len(smallGet(i)))
				t.send(c, smallGet(i+1))
				t.send(&first, smallGet(i))
			} else if i%100 == 2 { // came before
				c.seq -= uint32(len(smallGet(i)))
				t.buf = t.buf[:before]
			}
		}},
		{"a connection each", false, func(t *traffic, c *client, i int) {
			c = clientAt(clients*i + int(c.port))
			t.dial(c)
			t.send(c, smallGet(i))
			t.packet(c, true, fin|ack, "")
			t.packet(c, false, fin|ack, "")
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			file := recording(c.say)
			asTheCommand(b)
			b.ReportAllocs()
			b.ResetTimer()
			done, begin := 0, cpuTime(b)
			for done < b.N {
				n := captureAll(b, bytes.NewReader(file), c.responses)
				if n != clients*each {
					b.Fatalf("%d requests, want %d", n, clients*each)
				}
				done += n
			}
			perCore(b, done, cpuTime(b)-begin)
		})
	}
}

func exchange(t *traffic, c *client, i int) {
	t.send(c, smallGet(i))
	t.packet(c, false, ack, "")
	t.packet(c, false, ack|psh, answer())
	t.packet(c, true, ack, "")
}

// recording is a pcap file in which each client says something, again and again, in turns.
func recording(say func(t *traffic, c *client, i int)) []byte {
	t := newTraffic(nil)
	var all []*client
	for i := range clients {
		all = append(all, clientAt(i))
		t.dial(all[i])
	}
	for i := range each {
		for _, c := range all {
			say(t, c, i)
		}
	}
	return t.buf
}

// captureAll captures from a pcap file and returns how many requests were in it.
func captureAll(b *testing.B, file io.Reader, responses bool) (requests int) {
	f, err := capture.NewFile(file)
	if err != nil {
		b.Fatal(err)
	}
	l, err := capture.New(capture.Config{Ports: []uint16{80}, Responses: responses, Wait: true}, f)
	if err != nil {
		b.Fatal(err)
	}
	err = l.Run(b.Context(), func(_ context.Context, batch kagami.Batch) error {
		for _, m := range batch.Messages {
			if m.Kind == kagami.Request {
				requests++
			}
		}
		batch.DoneAll(kagami.Delivered)
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return requests
}

// cpuTime is the CPU time that the process has used; the machine may be busy with
// something else.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// asTheCommand lets garbage pile up as the command does (cmd/kagami/guest.go), unless GOGC
// says how much.
func asTheCommand(b *testing.B) {
	if os.Getenv("GOGC") == "" {
		before := debug.SetGCPercent(400)
		b.Cleanup(func() { debug.SetGCPercent(before) })
	}
}

func perCore(b *testing.B, requests int, used time.Duration) {
	b.ReportMetric(float64(used)/float64(requests), "cpu-ns/op")
	b.ReportMetric(float64(requests)/used.Seconds(), "requests/s/core")
}

// BenchmarkCaptureAfterConnections is BenchmarkCapture's small GET with a listener that
// has already seen so many connections.
func BenchmarkCaptureAfterConnections(b *testing.B) {
	for _, seen := range []int{0, 1_000_000} {
		b.Run(fmt.Sprint(seen), func(b *testing.B) {
			asTheCommand(b)
			block := recording(func(t *traffic, c *client, i int) { t.send(c, smallGet(i)) })[24:]
			dials := block[:clients*3*(record+headers)]
			block = block[len(dials):]
			size := record + headers + len(smallGet(0))
			i, sent := 0, 0
			var begin time.Duration
			t := newTraffic(func(t *traffic) bool {
				switch {
				case i < seen:
					c := clientAt(clients + i)
					t.dial(c)
					t.send(c, smallGet(i))
					i++
				case sent == 0:
					t.buf = append(t.buf, dials...)
					sent++
				case sent > b.N:
					return false
				default:
					if sent == 1 {
						b.ReportAllocs()
						b.ResetTimer()
						begin = cpuTime(b)
					} else {
						advance(block, size)
					}
					t.buf = append(t.buf, block...)
					sent += clients * each
				}
				return true
			})
			if n := captureAll(b, t, false); n != seen+sent-1 {
				b.Fatalf("%d requests, want %d", n, seen+sent-1)
			}
			perCore(b, sent-1, cpuTime(b)-begin)
		})
	}
}

// advance changes the sequence numbers of the packets in a block so that it can be sent
// once more.
func advance(block []byte, size int) {
	for p := block; len(p) > 0; p = p[size:] {
		seq := binary.BigEndian.Uint32(p[seqOffset:])
		binary.BigEndian.PutUint32(p[seqOffset:], seq+uint32(each*(size-record-headers)))
	}
}

// BenchmarkMemoryMillionConnections is how much memory a listener takes that sees a
// million connections, each from another endpoint with a request in it, none of them
// closed; and a million more.
func BenchmarkMemoryMillionConnections(b *testing.B) {
	benchmarkMemory(b, 1, func(t *traffic, i int) {
		c := clientAt(i)
		t.dial(c)
		t.send(c, smallGet(i))
	})
}

// BenchmarkMemorySYNFlood is the same of SYNs without anything after them.
func BenchmarkMemorySYNFlood(b *testing.B) {
	benchmarkMemory(b, 0, func(t *traffic, i int) { t.packet(clientAt(i), true, syn, "") })
}

// benchmarkMemory reports the process's resident memory before a listener sees
// connections, and the largest until it saw a million and two million: equal, for its
// table is full long before.
func benchmarkMemory(b *testing.B, requests int, connection func(t *traffic, i int)) {
	const million = 1_000_000
	for b.Loop() {
		debug.FreeOSMemory()
		if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil { // proc(5): resets VmHWM
			b.Fatal(err)
		}
		before, peak, i := memory(b, "VmRSS"), 0.0, 0
		n := captureAll(b, newTraffic(func(t *traffic) bool {
			switch i {
			case million:
				peak = memory(b, "VmHWM")
			case 2 * million:
				return false
			}
			connection(t, i)
			i++
			return true
		}), false)
		if n != 2*million*requests {
			b.Fatalf("%d requests, want %d", n, 2*million*requests)
		}
		b.ReportMetric(before, "MiB-before")
		b.ReportMetric(peak, "MiB-peak-1M")
		b.ReportMetric(memory(b, "VmHWM"), "MiB-peak-2M")
	}
}

// memory is a line of /proc/self/status, in MiB.
func memory(b *testing.B, line string) float64 {
	b.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	m := regexp.MustCompile(line + `:\s+(\d+) kB`).FindSubmatch(status)
	if m == nil {
		b.Fatalf("no %s in /proc/self/status", line)
	}
	kib, _ := strconv.Atoi(string(m[1]))
	return float64(kib) / 1024
}
