package main

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kagami"
	"kagami/capture"
)

func testLedger() (*kagami.Ledger, *kagami.Stage) {
	l := &kagami.Ledger{Role: "test"}
	l.Add(&kagami.Stage{Name: "capture", Unit: kagami.Packets}).In(3)
	filter := l.Add(&kagami.Stage{Name: "filter", Of: "raw :80", Unit: kagami.Messages})
	filter.In(10)
	filter.Drop(kagami.SampledOut, 4)
	filter.Out(6)
	for range 2 { // two outputs of one name
		out := l.Add(&kagami.Stage{Name: "output", Of: "bad \xff name", Unit: kagami.Messages, InFlight: func() int64 { return 2 }})
		out.In(6)
		out.Out(4)
	}
	return l, filter
}

// The metrics are the ledger, whatever the outputs are called.
func TestAdminServesTheLedger(t *testing.T) {
	ledger, _ := testLedger()
	var sick error
	a, err := startAdmin("127.0.0.1:0", ledger, false, func() error { return sick }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer a.stop()
	get := func(path string) (int, string) {
		resp, err := http.Get("http://" + a.listener.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	code, metrics := get("/metrics")
	if code != 200 {
		t.Fatalf("/metrics: %d %s", code, metrics)
	}
	for _, line := range []string{
		`kagami_packets_in_total{output="",stage="capture"} 3`,
		`kagami_messages_total{output="raw :80",reason="sampled-out",stage="filter"} 4`,
		`kagami_messages_total{output="raw :80",reason="delivered",stage="filter"} 6`,
		`kagami_messages_in_flight{output="bad � name",stage="output"} 2`,
		`kagami_messages_in_flight{output="bad � name#2",stage="output"} 2`,
	} {
		if !strings.Contains(metrics, line+"\n") {
			t.Errorf("no line %s in\n%s", line, metrics)
		}
	}
	if code, body := get("/healthz"); code != 200 || body != "ok\n" {
		t.Errorf("/healthz: %d %q", code, body)
	}
	sick = errors.New("an output broke")
	if code, body := get("/healthz"); code != 503 || !strings.Contains(body, "an output broke") {
		t.Errorf("/healthz: %d %q", code, body)
	}
	if code, _ := get("/debug/pprof/"); code != 404 {
		t.Errorf("/debug/pprof/ is served without being asked for: %d", code)
	}
	if _, err := startAdmin(a.listener.Addr().String(), ledger, false, nil, slog.Default()); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a busy address: %v", err)
	}
}

func TestProgressLine(t *testing.T) {
	ledger, filter := testLedger()
	began := time.Unix(1000, 0)
	p := &progressLine{ledger: ledger, began: began, lastTime: began, files: func() (int64, int64) { return 250, 1000 }}
	if got, want := p.text(began.Add(2*time.Second)), "10 in, 8 delivered (4/s), dropped: sampled-out 4, 17% sent, about 10s left"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	filter.In(30)
	p.files = func() (int64, int64) { return 0, 0 }
	if got, want := p.text(began.Add(5*time.Second)), "40 in, 8 delivered (0/s), dropped: sampled-out 4"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Ten seconds without a message are explained, once; with one, nothing is said.
func TestQuietInputIsExplained(t *testing.T) {
	for _, messages := range []int{0, 1} {
		synctest.Test(t, func(t *testing.T) {
			in := newFixedInput(nil)
			in.stage.Out(messages)
			var log strings.Builder
			q := quietInput{in: in, why: func() string { return "the moon is wrong" }}
			began := time.Now()
			q.explain(t.Context(), slog.New(slog.NewTextHandler(&log, nil)))
			if time.Since(began) != 10*time.Second {
				t.Errorf("after %s", time.Since(began))
			}
			if said := strings.Count(log.String(), "the moon is wrong"); said != 1-messages {
				t.Errorf("%d messages, said %d times: %s", messages, said, log.String())
			}
		})
	}
}

func TestExplainCapture(t *testing.T) {
	raw := RawConfig{Host: "eth0", Ports: []uint16{80, 8080}}
	for _, c := range []struct {
		name string
		d    capture.Diagnosis
		says []string
	}{
		{"nothing at all", capture.Diagnosis{}, []string{"no packet to port 80, 8080", "eth0"}},
		{"TLS", capture.Diagnosis{Packets: 9, BytesToServer: 9, TLS: 2}, []string{"encrypted", "2"}},
		{"another host's server", capture.Diagnosis{Packets: 9, Foreign: 3}, []string{"not this host's", "--input-raw-promisc"}},
		{"not HTTP", capture.Diagnosis{Packets: 9, BytesToServer: 9, NotHTTP: 1}, []string{"not HTTP"}},
		{"one direction", capture.Diagnosis{Packets: 9, BytesToClient: 9}, []string{"only answers"}},
		{"joined in the middle", capture.Diagnosis{Packets: 9, BytesToServer: 9, Waiting: 4}, []string{"4 connections were joined"}},
		{"opened, silent", capture.Diagnosis{Packets: 9, SYNs: 3}, []string{"nothing was sent"}},
		{"gaps", capture.Diagnosis{Packets: 9, BytesToServer: 9, Gaps: 5}, []string{"5 gaps"}},
		{"own", capture.Diagnosis{Packets: 9, OwnTraffic: 5}, []string{"--allow-self"}},
		{"websockets", capture.Diagnosis{Packets: 9, BytesToServer: 9, Upgraded: 5}, []string{"left HTTP"}},
		{"none of these", capture.Diagnosis{Packets: 9, BytesToServer: 9}, []string{"no whole request"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := explainCapture(c.d, raw)
			for _, text := range c.says {
				if !strings.Contains(got, text) {
					t.Errorf("%q does not say %q", got, text)
				}
			}
		})
	}
}
