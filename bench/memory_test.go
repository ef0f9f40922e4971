//go:build linux

package bench

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// BenchmarkMemoryListener is how much memory the command takes at most, --memory-limit as it
// is by default, when it reads from a file a million connections with a request in each and none
// of them closed, or less of each than a request, or four million SYNs without anything after them.
func BenchmarkMemoryListener(b *testing.B) {
	dir := b.TempDir()
	kagami := filepath.Join(dir, "kagami")
	if out, err := exec.Command("go", "build", "-o", kagami, "kagami/cmd/kagami").CombinedOutput(); err != nil {
		b.Fatalf("go build: %v\n%s", err, out)
	}
	for _, c := range []struct {
		name        string
		connections int
		say         func(t *traffic, i int)
	}{
		{"a million connections", 1_000_000, func(t *traffic, i int) {
			c := clientAt(i)
			t.dial(c)
			t.send(c, smallGet(i))
		}},
		{"a million connections, answers tracked", 1_000_000, func(t *traffic, i int) {
			c := clientAt(i)
			t.dial(c)
			exchange(t, c, i)
		}},
		{"SYN flood", 4_000_000, func(t *traffic, i int) { t.packet(clientAt(i), true, syn, "") }},
		{"a million connections, of each half a request", 1_000_000, func(t *traffic, i int) {
			c := clientAt(i)
			t.dial(c)
			t.send(c, smallGet(i)[:100])
		}},
		{"10 000 uploads of which each misses its end", 10_000, func(t *traffic, i int) {
			c := clientAt(i)
			t.dial(c)
			t.send(c, unfinished)
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			file := filepath.Join(dir, "x.pcap")
			writeTraffic(b, file, c.connections, c.say)
			args := []string{"listen", "--input-raw", file + ":80", "--output-null"}
			if strings.Contains(c.name, "tracked") {
				args = append(args, "--input-raw-track-response")
			}
			for b.Loop() {
				cmd := exec.Command(kagami, args...)
				out, err := cmd.CombinedOutput()
				if err != nil {
					b.Fatalf("%v\n%s", err, out)
				}
				usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
				b.ReportMetric(float64(usage.Maxrss)/1024, "MiB-peak")
				b.ReportMetric((cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime()).Seconds()*1e9/float64(c.connections), "cpu-ns/connection")
			}
		})
	}
}

// unfinished is the beginning of an upload, 100 KB of it.
var unfinished = "POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + strings.Repeat("x", 100_000)

// writeTraffic writes a pcap file of so many connections.
func writeTraffic(b *testing.B, path string, connections int, say func(t *traffic, i int)) {
	b.Helper()
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	w := bufio.NewWriterSize(f, 1<<20)
	i := 0
	_, err = io.Copy(w, newTraffic(func(t *traffic) bool {
		if i == connections {
			return false
		}
		say(t, i)
		i++
		return true
	}))
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		b.Fatal(err)
	}
}
