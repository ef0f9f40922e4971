//go:build linux

package bench

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"kagami"
	"kagami/internal/testbed"
)

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

const (
	productionCPU = "0"
	otherCPU      = "1"
)

// pin keeps a process of one thread on a processor.
func pin(b *testing.B, pid int, cpu string) {
	b.Helper()
	n, _ := strconv.Atoi(cpu)
	var set unix.CPUSet
	set.Set(n)
	if err := unix.SchedSetaffinity(pid, &set); err != nil {
		b.Fatal(err)
	}
}

var requestsPerSecond = regexp.MustCompile(`Requests per second:\s+([0-9.]+)`)

// throughput is what nginx serves ab: 10 000 requests over 100 connections at a
// time, one request each.
func throughput(b *testing.B, h *testbed.Hosts) float64 {
	b.Helper()
	out := testbed.Run(b, h.Client, "taskset", "-c", otherCPU, "ab", "-q", "-n", "10000", "-c", "100",
		"http://"+testbed.Addr(testbed.ProductionIP)+"/some/page?x=1")
	m := requestsPerSecond.FindStringSubmatch(out)
	if m == nil {
		b.Fatalf("ab: %s", out)
	}
	rate, _ := strconv.ParseFloat(m[1], 64)
	return rate
}

// BenchmarkRootStagingTrouble compares production's throughput while everything
// is mirrored straight to a staging server that is well, with one that is
// down and one that takes ten seconds a request. The three alternate; of each
// round the ratio to the healthy one is taken, and the median of those reported.
func BenchmarkRootStagingTrouble(b *testing.B) {
	h := testbed.NewHosts(b)
	production := testbed.StartNginx(b, h.Production, "echo ok;")
	pin(b, production.Pid(), productionCPU)
	well := testbed.StartNginx(b, h.Staging, "echo ok;")
	pin(b, well.Pid(), otherCPU)
	slow := testbed.StartNginxOn(b, h.Staging, 8081, "echo_sleep 10; echo ok;")
	pin(b, slow.Pid(), otherCPU)
	targets := []struct{ name, url string }{
		{"well", "http://" + testbed.StagingIP + ":8080"},
		{"down", "http://" + testbed.StagingIP + ":8082"},
		{"slow", "http://" + testbed.StagingIP + ":8081"},
	}
	const rounds = 9
	rates := map[string][]float64{}
	ratios := map[string][]float64{}
	for b.Loop() {
		for range rounds {
			for _, t := range targets {
				k := testbed.StartBinary(b, "taskset", nil, h.Production, "capturing",
					"-c", productionCPU, testbed.Binary, "--input-raw", ":8080", "--output-http", t.url, "--drain-timeout", "100ms")
				rates[t.name] = append(rates[t.name], throughput(b, h))
				st := k.Stop()
				if c, _ := st.Stage("capture", "", kagami.Messages); c.In != 10000 {
					b.Errorf("%s: %d of 10000 requests captured, bounded %v", t.name, c.In, st.Bounded)
				}
			}
			for _, name := range []string{"down", "slow"} {
				last := len(rates[name]) - 1
				ratios[name] = append(ratios[name], rates[name][last]/rates["well"][last])
			}
		}
	}
	for _, t := range targets {
		b.Logf("%-5s %s", t.name, spread(rates[t.name], "%.0f requests/s"))
	}
	for _, name := range []string{"down", "slow"} {
		b.Logf("%-5s to well: %s", name, spread(ratios[name], "%.3f"))
		b.ReportMetric(median(ratios[name]), name+"/well")
	}
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

func spread(v []float64, format string) string {
	return fmt.Sprintf("median "+format+", min "+format+", max "+format, median(v), slices.Min(v), slices.Max(v))
}
