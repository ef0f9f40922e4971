//go:build linux

package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"kagami"
	"kagami/internal/testbed"
)

var wrkRate = regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`)

// keepAlive is what nginx serves wrk over 64 connections in four seconds.
func keepAlive(b *testing.B, h *testbed.Hosts) float64 {
	b.Helper()
	out := testbed.Run(b, h.Client, "taskset", "-c", otherCPU, "wrk", "-t1", "-c64", "-d4s", "http://"+testbed.Addr(testbed.ProductionIP)+"/some/page?x=1")
	m := wrkRate.FindStringSubmatch(out)
	if m == nil {
		b.Fatalf("wrk: %s", out)
	}
	rate, _ := strconv.ParseFloat(m[1], 64)
	return rate
}

// BenchmarkRootReplayerAway compares production's throughput, as much as it serves, while everything is streamed to a replayer
// that is away, with a spool and without, and with one that is full, with that of a listener that throws everything
// away. They alternate; of each round the ratio is taken, and the median of those reported, with the most memory that the listener had.
func BenchmarkRootReplayerAway(b *testing.B) {
	h := testbed.NewHosts(b)
	production := testbed.StartNginx(b, h.Production, "echo ok;")
	pin(b, production.Pid(), productionCPU)
	tcp := []string{"--output-tcp", "127.0.0.1:28020"}
	dir := b.TempDir()
	spool := func(n int, more ...string) func() []string {
		return func() []string {
			return append(append(tcp, "--spool", filepath.Join(dir, fmt.Sprint(n))), more...)
		}
	}
	ways := []struct {
		name string
		args func() []string
	}{
		{"null", func() []string { return []string{"--output-null"} }},
		{"away", func() []string { return tcp }},
		{"spool", spool(1)},
		{"zstd-spool", spool(2, "--output-tcp-compress", "zstd")},
		{"full-spool", spool(3, "--spool-size", "1mb")},
	}
	const rounds = 5
	rates, ratios, peaks, costs := map[string][]float64{}, map[string][]float64{}, map[string][]float64{}, map[string][]float64{}
	for b.Loop() {
		for range rounds {
			for _, w := range ways {
				k := testbed.StartBinary(b, "taskset", nil, h.Production, "capturing",
					append([]string{"-c", productionCPU, testbed.Binary, "listen", "--input-raw", ":8080", "--drain-timeout", "100ms"}, w.args()...)...)
				rates[w.name] = append(rates[w.name], keepAlive(b, h))
				peaks[w.name] = append(peaks[w.name], float64(testbed.Memory(b, k.Cmd.Process.Pid, "VmHWM"))/(1<<20))
				ratios[w.name] = append(ratios[w.name], rates[w.name][len(rates[w.name])-1]/rates["null"][len(rates["null"])-1])
				spent := cpuMicros(b, k.Cmd.Process.Pid)
				_ = k.Cmd.Process.Signal(syscall.SIGTERM)
				k.Wait() // with an error, where all that was captured is lost
				st := k.Statement()
				if o, _ := st.Stage("output", "", kagami.Messages); o.In == 0 || o.Missing() != 0 {
					b.Errorf("%s: %+v", w.name, o)
				}
				c, _ := st.Stage("capture", "", kagami.Messages)
				costs[w.name] = append(costs[w.name], spent/float64(c.In))
				os.RemoveAll(dir)
			}
		}
	}
	for _, w := range ways {
		b.Logf("%-10s %s; to null: %s; peak memory: %s; CPU time of the listener a request: %s", w.name, spread(rates[w.name], "%.0f requests/s"),
			spread(ratios[w.name], "%.3f"), spread(peaks[w.name], "%.0f MiB"), spread(costs[w.name], "%.2f µs"))
		b.ReportMetric(median(ratios[w.name]), w.name+"/null")
	}
}

// cpuMicros is the CPU time that a process has had, user and system, in microseconds (proc(5): in ticks of 10 ms).
func cpuMicros(b *testing.B, pid int) float64 {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	f := strings.Fields(rest)
	user, _ := strconv.ParseFloat(f[11], 64)
	system, _ := strconv.ParseFloat(f[12], 64)
	return (user + system) * 10_000
}
