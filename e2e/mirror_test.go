package e2e

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kagami"
	"kagami/internal/testbed"
	"kagami/replay"
)

func TestMain(m *testing.M) {
	if kind := os.Getenv(wrapVariable); kind != "" {
		wrap(kind)
	}
	os.Exit(testbed.Main(m))
}

const (
	total     = 10000
	answer    = "echo ok;"
	capturing = "capturing"
	listening = "listening"
)

// ab sends n requests at production's nginx from the client.
func ab(t *testing.T, h *testbed.Hosts, flags ...string) {
	t.Helper()
	args := append([]string{"-q", "-n", fmt.Sprint(total), "-c", "100"}, flags...) // ab takes the last of a flag's values
	out := testbed.Run(t, h.Client, "ab", append(args, "http://"+testbed.Addr(testbed.ProductionIP)+"/some/page?x=1")...)
	if !strings.Contains(out, "Failed requests:        0") {
		t.Fatalf("ab: %s", out)
	}
}

// messages returns what is in a recording.
func messages(t *testing.T, path string) []*kagami.Message {
	t.Helper()
	r, err := replay.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var all []*kagami.Message
	for {
		m, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
}

// recorded returns the ids of the requests in a recording.
func recorded(t *testing.T, path string) []kagami.ID {
	t.Helper()
	var ids []kagami.ID
	for _, m := range messages(t, path) {
		if m.Kind == kagami.Request {
			ids = append(ids, m.Exchange.ID)
		}
	}
	return ids
}

// chosen returns those of ids that a share at the outputs behind a hop includes.
func chosen(ids []kagami.ID, percent float64, hop uint8) map[string]int {
	share, _ := kagami.ShareOf(percent)
	salt := kagami.NewSalt(0, hop, kagami.OutputSide)
	set := map[string]int{}
	for _, id := range ids {
		if share.Includes(salt.ID(id)) {
			set[id.String()] = 1
		}
	}
	return set
}

// expectIDs compares what staging's log holds with what it should hold.
func expectIDs(t *testing.T, got, want map[string]int) {
	t.Helper()
	missing, extra := 0, 0
	for id, n := range want {
		if got[id] != n {
			missing++
		}
	}
	for id := range got {
		if want[id] == 0 {
			extra++
		}
	}
	if missing+extra > 0 {
		t.Errorf("staging got %d ids, want %d: %d missing or repeated, %d not chosen", len(got), len(want), missing, extra)
	}
}

// expectShare checks that so many of the total are a plausible share: within
// four standard deviations.
func expectShare(t *testing.T, n int, percent float64) {
	t.Helper()
	p := percent / 100
	mean, sigma := p*total, math.Sqrt(p*(1-p)*total)
	if math.Abs(float64(n)-mean) > 4*sigma {
		t.Errorf("%d of %d requests chosen: want about %.0f", n, total, mean)
	}
}

func expectOut(t *testing.T, st kagami.Statement, stage, of string, want int) {
	t.Helper()
	s, ok := st.Stage(stage, of, kagami.Messages)
	if !ok || s.Out != int64(want) {
		t.Errorf("stage %s %s: %d out, want %d; dropped %v", stage, of, s.Out, want, s.Dropped)
	}
}

// The line that people type first: exactly the chosen share reaches staging,
// each request once.
func TestRootOneProcess(t *testing.T) {
	for _, percent := range []float64{10, 20, 50, 100} {
		t.Run(fmt.Sprintf("%v%%", percent), func(t *testing.T) {
			h := testbed.NewHosts(t)
			production := testbed.StartNginx(t, h.Production, answer)
			staging := testbed.StartNginx(t, h.Staging, answer)
			target := fmt.Sprintf("http://%s|%v%%", testbed.Addr(testbed.StagingIP), percent)
			if percent == 100 {
				target = "http://" + testbed.Addr(testbed.StagingIP)
			}
			all := filepath.Join(t.TempDir(), "all.gor")
			k := testbed.StartKagami(t, h.Production, capturing,
				"--input-raw", ":8080", "--output-http", target, "--output-file", all)
			ab(t, h)
			st := k.Stop()
			ids := recorded(t, all)
			if n := len(production.Requests()); n != total || len(ids) != total {
				t.Fatalf("nginx logged %d requests, %d captured", n, len(ids))
			}
			want := chosen(ids, percent, 0)
			expectShare(t, len(want), percent)
			expectIDs(t, staging.IDs(), want)
			expectOut(t, st, "output", "http://"+testbed.Addr(testbed.StagingIP), len(want))
			expectOut(t, st, "capture", "", total)
		})
	}
}

// Two processes: a light listener, the work done elsewhere. The share can be
// taken on either side, and both.
func TestRootListenReplay(t *testing.T) {
	h := testbed.NewHosts(t)
	production := testbed.StartNginx(t, h.Production, answer)
	staging := testbed.StartNginx(t, h.Staging, answer)
	all := filepath.Join(t.TempDir(), "all.gor")
	replayer := testbed.StartKagami(t, h.Staging, listening, "replay", "--insecure",
		"--input-tcp", ":28020", "--output-http", "http://"+testbed.Addr(testbed.StagingIP)+"|50%", "--on-full", "wait")
	listener := testbed.StartKagami(t, h.Production, capturing, "listen", "--insecure",
		"--input-raw", ":8080", "--output-tcp", testbed.StagingIP+":28020|20%", "--output-file", all)
	ab(t, h)
	listened := listener.Stop()
	replayed := replayer.Stop()
	ids := recorded(t, all)
	if n := len(production.Requests()); n != total || len(ids) != total {
		t.Fatalf("nginx logged %d requests, %d captured", n, len(ids))
	}
	streamed := chosen(ids, 20, 0)
	want := map[string]int{}
	for id := range chosen(ids, 50, 1) {
		if streamed[id] == 1 {
			want[id] = 1
		}
	}
	expectIDs(t, staging.IDs(), want)
	expectOut(t, listened, "output", "tcp://"+testbed.StagingIP+":28020", len(streamed))
	expectOut(t, replayed, "stream", "", len(streamed))
	expectOut(t, replayed, "output", "http://"+testbed.Addr(testbed.StagingIP), len(want))
}

// Record now, replay later: through a .gor file, a compressed one and a .kgm.
func TestRootRecordReplay(t *testing.T) {
	for _, name := range []string{"traffic.gor", "traffic.gor.gz", "traffic.kgm"} {
		t.Run(name, func(t *testing.T) {
			h := testbed.NewHosts(t)
			testbed.StartNginx(t, h.Production, answer)
			staging := testbed.StartNginx(t, h.Staging, answer)
			file := filepath.Join(t.TempDir(), name)
			listener := testbed.StartKagami(t, h.Production, capturing, "listen", "--input-raw", ":8080", "--output-file", file)
			ab(t, h)
			listener.Stop()
			replayer := testbed.StartKagami(t, h.Staging, "", "replay",
				"--input-file", file+"|max", "--output-http", "http://"+testbed.Addr(testbed.StagingIP)+"|10%")
			if code := replayer.Wait(); code != 0 {
				t.Fatalf("exit code %d at the end of the file", code)
			}
			replayer.Statement()
			expectIDs(t, staging.IDs(), chosen(recorded(t, file), 10, 1))
		})
	}
}

// Keep-alive at full speed, all of it to a file: as many messages as nginx
// logged, or a ledger that says where each missing one went.
func TestRootKeepAlive(t *testing.T) {
	loads := map[string]func(*testing.T, *testbed.Hosts){
		"ab -k": func(t *testing.T, h *testbed.Hosts) { ab(t, h, "-k") },
		"wrk": func(t *testing.T, h *testbed.Hosts) {
			testbed.Run(t, h.Client, "wrk", "-t1", "-c64", "-d3s", "http://"+testbed.Addr(testbed.ProductionIP)+"/some/page?x=1")
		},
		"wrk, IPv6": func(t *testing.T, h *testbed.Hosts) {
			testbed.Run(t, h.Client, "wrk", "-t1", "-c64", "-d1s", "http://[fd77::2]:8080/some/page?x=1")
		},
	}
	for name, load := range loads {
		t.Run(name, func(t *testing.T) {
			h := testbed.NewHosts(t)
			production := testbed.StartNginx(t, h.Production, answer)
			file := filepath.Join(t.TempDir(), "all.gor")
			k := testbed.StartKagami(t, h.Production, capturing, "listen", "--input-raw", ":8080", "--output-file", file)
			load(t, h)
			production.Settle()
			peak := testbed.Memory(t, k.Cmd.Process.Pid, "VmHWM")
			st := k.Stop()
			ids := recorded(t, file)
			seen := map[kagami.ID]bool{}
			for _, id := range ids {
				seen[id] = true
			}
			if len(seen) != len(ids) {
				t.Errorf("%d ids are not unique", len(ids)-len(seen))
			}
			c, _ := st.Stage("capture", "", kagami.Messages)
			o, _ := st.Stage("output", "", kagami.Messages)
			served := int64(len(production.Requests()))
			t.Logf("nginx served %d, captured %d (dropped %v), recorded %d (dropped %v), bounded %v, peak memory %d MiB",
				served, c.Out, c.Dropped, len(ids), o.Dropped, st.Bounded, peak>>20)
			if o.Out != int64(len(ids)) {
				t.Errorf("the ledger says %d recorded, the file holds %d", o.Out, len(ids))
			}
			// A load generator that is cut off leaves requests that nginx never
			// logs, one a connection at most: those alone may be captured beyond.
			if c.In < served && !st.Bounded {
				t.Errorf("nginx served %d requests, only %d were begun", served, c.In)
			}
			if over := c.In - served; over > 64 {
				t.Errorf("%d more captured than nginx served", over)
			}
		})
	}
}
