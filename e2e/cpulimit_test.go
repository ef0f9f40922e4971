package e2e

import (
	"fmt"
	"regexp"
	"strconv"
	"testing"

	"kagami"
	"kagami/internal/testbed"
)

var cpuLimitShare = regexp.MustCompile(`(?m)^kagami_cpu_limit_share (\S+)$`)

// shareNow is the share of the connections that a listener captures, by its metrics.
func shareNow(t *testing.T, h *testbed.Hosts) float64 {
	t.Helper()
	out := testbed.Run(t, h.Production, "curl", "-s", "http://127.0.0.1:9090/metrics")
	m := cpuLimitShare.FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("no share in\n%s", out)
	}
	share, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return share
}

// A load that takes more than --cpu-limit is not captured whole: connections are shed, which
// log, metric and ledger say, and all are captured again when the load is over. Nothing is
// lost without a word.
func TestRootCPULimit(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		nil,
		{"--input-raw-track-response"},
	} {
		t.Run(fmt.Sprint(args), func(t *testing.T) {
			t.Parallel()
			h := testbed.NewHosts(t)
			testbed.StartNginx(t, h.Production, answer)
			k := testbed.StartKagami(t, h.Production, capturing, append([]string{"listen", "--input-raw", ":8080", "--output-null",
				"--cpu-limit", "1%", "--admin", "127.0.0.1:9090"}, args...)...)
			if s := shareNow(t, h); s != 1 {
				t.Errorf("before there is any load the share is %v", s)
			}
			load := testbed.Start(t, testbed.In(h.Client, "wrk", "-t1", "-c64", "-d30s", "http://"+testbed.Addr(testbed.ProductionIP)+"/some/page?x=1"))
			k.WaitFor("shedding connections to stay within --cpu-limit")
			if s := shareNow(t, h); s >= 1 || s <= 0 {
				t.Errorf("while connections are shed the share is %v", s)
			}
			load.Cmd.Process.Kill() // ip netns exec becomes what it runs
			k.WaitFor("capturing all connections again")
			if s := shareNow(t, h); s != 1 {
				t.Errorf("after the load the share is %v", s)
			}
			ab(t, h, "-n", "20", "-c", "1")
			st := k.Stop()
			if st.Shedding == nil {
				t.Fatal("the ledger does not say what was shed")
			}
			said := *st.Shedding
			if said.Cores != 0.01 || said.Lowest >= 1 || said.Lowest <= 0 || said.Share < said.Lowest {
				t.Errorf("the ledger says %+v", said)
			}
			shed := int64(0)
			for _, s := range st.Stages {
				shed += s.Dropped[kagami.CPULimit]
			}
			if shed == 0 {
				t.Error("nothing is cpu-limit in the ledger")
			}
		})
	}
}
