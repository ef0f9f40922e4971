package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kagami"
	"kagami/internal/testbed"
)

// The ways to say what to capture: by interface, address, any, lo, several
// ports, both IP versions. Each request is captured once.
func TestRootInputForms(t *testing.T) {
	h := testbed.NewHosts(t)
	testbed.StartNginx(t, h.Production, answer)
	testbed.StartNginxOn(t, h.Production, 8081, answer)
	const n = 50
	for _, c := range []struct {
		input  string
		from   string   // the namespace that asks
		urls   []string // each is asked n times
		expect int
	}{
		{"eth0:8080", h.Client, []string{"http://10.77.0.2:8080/"}, n},
		{":8080", h.Client, []string{"http://10.77.0.2:8080/"}, n},
		{"any:8080", h.Client, []string{"http://[fd77::2]:8080/"}, n},
		{"eth*:8080", h.Client, []string{"http://10.77.0.2:8080/"}, n},
		{":8080,8081", h.Client, []string{"http://10.77.0.2:8080/", "http://10.77.0.2:8081/"}, 2 * n},
		{":8081", h.Client, []string{"http://10.77.0.2:8080/", "http://10.77.0.2:8081/"}, n},
		{"10.77.0.2:8080", h.Client, []string{"http://10.77.0.2:8080/"}, n},
		{"10.77.1.1:8080", h.Client, []string{"http://10.77.0.2:8080/"}, 0},
		{"[fd77::2]:8080", h.Client, []string{"http://[fd77::2]:8080/", "http://10.77.0.2:8080/"}, n},
		{"eth1:8080", h.Client, []string{"http://10.77.0.2:8080/"}, 0},
		{"lo:8080", h.Production, []string{"http://127.0.0.1:8080/", "http://[::1]:8080/"}, 2 * n},
		{":8080", h.Production, []string{"http://127.0.0.1:8080/", "http://10.77.0.2:8080/"}, 2 * n},
		{"127.0.0.1:8080", h.Production, []string{"http://127.0.0.1:8080/"}, n},
		{"10.77.0.2:8080", h.Production, []string{"http://10.77.0.2:8080/"}, n}, // comes by on lo
	} {
		t.Run(c.input+" "+strings.Join(c.urls, " "), func(t *testing.T) {
			k := testbed.StartKagami(t, h.Production, capturing, "listen", "--input-raw", c.input, "--output-null")
			for _, url := range c.urls {
				testbed.Run(t, c.from, "ab", "-q", "-n", fmt.Sprint(n), "-c", "5", url)
			}
			expectOut(t, k.Stop(), "capture", "", c.expect)
		})
	}
}

// Responses are captured when something needs them, each paired with its
// request, over connections that are kept and over one each.
func TestRootResponses(t *testing.T) {
	h := testbed.NewHosts(t)
	production := testbed.StartNginx(t, h.Production, "echo_duplicate 200 \"$request_uri \"; echo;")
	for _, flags := range [][]string{{"-k"}, nil} {
		t.Run("ab "+strings.Join(flags, " "), func(t *testing.T) {
			before := len(production.Requests())
			file := filepath.Join(t.TempDir(), "all.kgm")
			k := testbed.StartKagami(t, h.Production, capturing, "listen",
				"--input-raw", ":8080", "--input-raw-track-response", "--output-file", file)
			ab(t, h, append([]string{"-n", "1000", "-c", "20"}, flags...)...)
			st := k.Stop()
			served := len(production.Requests()) - before
			expectOut(t, st, "capture", "", 2*served)
			requests, responses := pairs(t, file)
			if requests != served || responses != served {
				t.Errorf("%d served; %d requests and %d responses recorded", served, requests, responses)
			}
		})
	}
}

// With --input-raw-response-heads the kernel cuts answers short: each has its head, and
// the bodies stay where they are.
func TestRootResponseHeads(t *testing.T) {
	h := testbed.NewHosts(t)
	production := testbed.StartNginx(t, h.Production, "echo_duplicate 200000 x;")
	file := filepath.Join(t.TempDir(), "all.kgm")
	k := testbed.StartKagami(t, h.Production, capturing, "listen",
		"--input-raw", ":8080", "--input-raw-response-heads", "1kb", "--output-file", file)
	testbed.Run(t, h.Client, "wrk", "-t1", "-c10", "-d1s", "http://"+testbed.ProductionIP+":8080/")
	st := k.Stop()
	served := len(production.Requests())
	requests, responses, bytes := 0, 0, 0
	for _, m := range messages(t, file) {
		switch m.Kind {
		case kagami.Request:
			requests++
		case kagami.Response:
			responses++
			bytes += len(m.Raw)
			if m.Flags&kagami.Truncated == 0 || !strings.HasPrefix(string(m.Raw), "HTTP/1.1 200 OK\r\n") {
				t.Fatalf("flags %b: %.100q", m.Flags, m.Raw)
			}
		}
	}
	// wrk stops in the middle of answers, up to one a connection.
	if requests < served || responses < requests-10 {
		t.Errorf("%d served; %d requests and %d responses recorded: %+v", served, requests, responses, st.Stages)
	}
	if bytes > 60_000*responses {
		t.Errorf("%d answers of 200 000 bytes take %d", responses, bytes)
	}
}

// pairs counts the requests in a recording, and the responses that name one of
// them and answer it.
func pairs(t *testing.T, path string) (requests, responses int) {
	t.Helper()
	uris := map[kagami.ID]string{}
	for _, m := range messages(t, path) {
		if m.Kind == kagami.Request {
			requests++
			uris[m.Exchange.ID] = strings.Fields(string(m.Raw))[1]
		} else if uri, ok := uris[m.Exchange.ID]; ok && strings.Contains(string(m.Raw), uri) {
			responses++
		}
	}
	return requests, responses
}

// A staging server that calls production again does not make a loop: what
// carries our id is not mirrored.
func TestRootNoLoop(t *testing.T) {
	h := testbed.NewHosts(t)
	production := testbed.StartNginx(t, h.Production, answer)
	// This "staging" forwards what it is sent to production.
	testbed.StartNginxOn(t, h.Staging, 8080, "proxy_pass http://"+testbed.Production2IP+":8080;")
	k := testbed.StartKagami(t, h.Production, capturing, "--input-raw", ":8080",
		"--output-http", "http://"+testbed.Addr(testbed.StagingIP))
	ab(t, h, "-n", "200", "-c", "10")
	production.WaitForRequests(400)
	production.Settle()
	st := k.Stop()
	if n := len(production.Requests()); n != 400 {
		t.Errorf("production served %d requests, want 200 and their copies", n)
	}
	c, _ := st.Stage("capture", "", kagami.Messages)
	if c.Out != 200 || c.Dropped[kagami.OwnTraffic] != 200 {
		t.Errorf("%d captured, dropped %v", c.Out, c.Dropped)
	}
}

// Staging's answers can be recorded beside the requests.
func TestRootTrackResponse(t *testing.T) {
	h := testbed.NewHosts(t)
	testbed.StartNginx(t, h.Production, answer)
	testbed.StartNginx(t, h.Staging, "echo from staging;")
	file := filepath.Join(t.TempDir(), "all.gor")
	k := testbed.StartKagami(t, h.Production, capturing, "--input-raw", ":8080", "--output-file", file,
		"--output-http", "http://"+testbed.Addr(testbed.StagingIP), "--output-http-track-response")
	ab(t, h, "-n", "300", "-c", "10")
	k.Stop()
	kinds := map[kagami.Kind]int{}
	for _, m := range messages(t, file) {
		kinds[m.Kind]++
		if m.Kind == kagami.Replayed && !strings.Contains(string(m.Raw), "from staging") {
			t.Errorf("not staging's answer: %q", m.Raw)
		}
	}
	if kinds[kagami.Request] != 300 || kinds[kagami.Replayed] != 300 {
		t.Errorf("recorded %v", kinds)
	}
}

// Metrics are the ledger, read while it runs.
func TestRootAdmin(t *testing.T) {
	h := testbed.NewHosts(t)
	testbed.StartNginx(t, h.Production, answer)
	k := testbed.StartKagami(t, h.Production, capturing, "listen", "--input-raw", ":8080", "--output-null", "--admin", "127.0.0.1:9090")
	ab(t, h, "-n", "100", "-c", "10")
	metrics := testbed.Run(t, h.Production, "curl", "-s", "--retry", "20", "--retry-delay", "0", "http://127.0.0.1:9090/metrics")
	for _, line := range []string{"kagami_messages_in_total{", "kagami_packets_total{", "kagami_connections_in_flight{", "process_cpu_seconds_total"} {
		if !strings.Contains(metrics, line) {
			t.Errorf("no %s in\n%s", line, metrics)
		}
	}
	if health := testbed.Run(t, h.Production, "curl", "-s", "http://127.0.0.1:9090/healthz"); health != "ok\n" {
		t.Errorf("/healthz: %q", health)
	}
	k.Stop()
}

// The demo shows the whole chain, and ends with 0 only if all counts agree.
func TestRootDemo(t *testing.T) {
	testbed.NeedRoot(t)
	demo := func(path string, env ...string) (int, string) {
		cmd := exec.Command(path, "demo", "--seconds", "1")
		cmd.Env = append(cmd.Environ(), env...)
		out, err := cmd.Output()
		if err != nil && cmd.ProcessState == nil {
			t.Fatal(err)
		}
		return cmd.ProcessState.ExitCode(), string(out)
	}
	if code, out := demo(testbed.Binary); code != 0 || !strings.Contains(out, "delivered to staging1 (100 %)") {
		t.Errorf("exit code %d:\n%s", code, out)
	}
	if code, out := demo(testbed.Losing, "LOSE_KAGAMI_MESSAGE=filter"); code != 4 {
		t.Errorf("a message was lost, exit code %d:\n%s", code, out)
	}
}

// The same through a broker.
func TestRootDemoNATS(t *testing.T) {
	testbed.NeedRoot(t)
	path := filepath.Join(t.TempDir(), "kagami")
	if err := testbed.Build(path, "embed_nats"); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "demo", "--nats", "--seconds", "2")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || !strings.Contains(string(out), "delivered to staging1 (100 %)") {
		t.Errorf("%v:\n%s\n%s", err, out, stderr.String())
	}
}
