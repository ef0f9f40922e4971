//go:build linux

package bench

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"kagami/internal/testbed"
)

// A watched is a process whose CPU time is looked at while it works.
type watched struct {
	b       *testing.B
	h       *testbed.Hosts
	k       *testbed.Process
	began   time.Time
	at, cpu []float64 // seconds, and CPU seconds used until then
	shareAt []float64
	share   []float64
}

func (w *watched) look() {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", w.k.Cmd.Process.Pid))
	if err != nil {
		w.b.Fatal(err)
	}
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+2:]))
	user, _ := strconv.ParseFloat(f[11], 64)
	system, _ := strconv.ParseFloat(f[12], 64)
	w.at = append(w.at, time.Since(w.began).Seconds())
	w.cpu = append(w.cpu, (user+system)/100) // of USER_HZ, which Linux has at 100 everywhere
}

var shareMetric = regexp.MustCompile(`(?m)^kagami_cpu_limit_share (\S+)`)

// lookShare asks the listener itself, which costs it something: so not often.
func (w *watched) lookShare() float64 {
	out := testbed.Run(w.b, w.h.Production, "curl", "-s", "http://127.0.0.1:9090/metrics")
	m := shareMetric.FindStringSubmatch(out)
	if m == nil {
		w.b.Fatalf("no share in\n%s", out)
	}
	share, _ := strconv.ParseFloat(m[1], 64)
	w.shareAt, w.share = append(w.shareAt, time.Since(w.began).Seconds()), append(w.share, share)
	return share
}

// over is the most CPU that was used in any so many seconds, from a moment on, in cores.
func (w *watched) over(seconds, from float64) (most float64) {
	for i := range w.at {
		for j := i; j < len(w.at) && w.at[i] >= from; j++ {
			if w.at[j]-w.at[i] >= seconds {
				most = max(most, (w.cpu[j]-w.cpu[i])/(w.at[j]-w.at[i]))
				break
			}
		}
	}
	return most
}

// swing is how far the share was from its middle in any thirty seconds, as a part of it.
func (w *watched) swing(from float64) (most float64) {
	for i := range w.share {
		low, high := w.share[i], w.share[i]
		for j := i; j < len(w.share) && w.shareAt[i] >= from && w.shareAt[j] <= w.shareAt[i]+30; j++ {
			low, high = min(low, w.share[j]), max(high, w.share[j])
		}
		most = max(most, (high-low)/(high+low))
	}
	return most
}

// BenchmarkRootCPULimit measures what a listener takes of a load, gives it a third of
// that as --cpu-limit, and looks for a minute whether it keeps to it: in any ten seconds,
// and without swinging. Then the load ends.
func BenchmarkRootCPULimit(b *testing.B) {
	loads := []struct {
		name string
		args []string
	}{
		{"64 keep-alive connections", []string{"-c64"}},
		{"a connection for each request", []string{"-c64", "-H", "Connection: close"}},
	}
	for _, load := range loads {
		b.Run(load.name, func(b *testing.B) {
			h := testbed.NewHosts(b)
			production := testbed.StartNginx(b, h.Production, "echo ok;")
			pin(b, production.Pid(), productionCPU)
			wrk := func(seconds int) *testbed.Process {
				args := append([]string{"-c", otherCPU, "wrk", "-t1", fmt.Sprintf("-d%ds", seconds)}, load.args...)
				return testbed.Start(b, testbed.In(h.Client, "taskset", append(args, "http://"+testbed.Addr(testbed.ProductionIP)+"/some/page?x=1")...))
			}
			start := func(args ...string) *watched {
				args = append([]string{"-c", productionCPU, testbed.Binary, "listen", "--input-raw", "eth0:8080", "--output-file", "/dev/null", "--output-file-append", "--admin", "127.0.0.1:9090"}, args...)
				return &watched{b: b, h: h, began: time.Now(), k: testbed.StartBinary(b, "taskset", nil, h.Production, "capturing", args...)}
			}
			for b.Loop() {
				free := start()
				running := wrk(13)
				time.Sleep(2 * time.Second)
				for range 20 {
					free.look()
					time.Sleep(500 * time.Millisecond)
				}
				free.look()
				running.Wait()
				free.k.Stop()
				need := free.over(9.9, 0)
				limit := need / 3
				w := start("--cpu-limit", fmt.Sprintf("%.2f%%", 100*limit))
				running = wrk(60)
				w.began = time.Now()
				for i := range 59 {
					w.look()
					if i%2 == 1 {
						w.lookShare()
					}
					time.Sleep(time.Until(w.began.Add(time.Duration(i+1) * time.Second)))
				}
				running.Wait()
				ended := time.Now()
				low := w.share[len(w.share)-1]
				for w.lookShare() < 1 {
					time.Sleep(time.Second)
				}
				back := time.Since(ended).Seconds()
				w.share, w.shareAt = w.share[:29], w.shareAt[:29]
				st := w.k.Stop()
				b.Logf("%s: needs %.2f%% of a core, limit %.2f%%; most in 10 s, from the 10th on: %.2f of the limit (in the whole minute: %.2f); share %.3f at the end, swing in 30 s ±%.0f%%; all again %.0f s after the load's end; balanced %v, bounded %v",
					load.name, 100*need, 100*limit, w.over(10, 10)/limit, w.over(10, 0)/limit, low, 100*w.swing(10), back, st.Balanced, st.Bounded)
				b.Logf("shares: %.3g", w.share)
				b.ReportMetric(w.over(10, 10)/limit, "of-limit")
				b.ReportMetric(w.swing(10), "swing")
			}
		})
	}
}
