//go:build linux

package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"kagami"
	"kagami/capture"
)

func TestParseAB(t *testing.T) {
	const good = "Complete requests:      10000\nFailed requests:        0\nRequests per second:    7314.20 [#/sec] (mean)\n"
	if rate, err := parseAB(good); err != nil || rate != 7314.2 {
		t.Errorf("%v, %v", rate, err)
	}
	for name, out := range map[string]string{
		"failed":         strings.Replace(good, "requests:        0", "requests:        3", 1),
		"another answer": good + "Non-2xx responses:      12\n",
		"no rate":        "Complete requests:      10000\n",
	} {
		if _, err := parseAB(out); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestCheckWrk(t *testing.T) {
	const good = "Running 1m test @ http://10.0.0.1:8080/\n  10 requests in 1s\nRequests/sec:     10.00\nTransfer/sec:      1.00KB\n"
	if err := checkWrk(good); err != nil {
		t.Error(err)
	}
	for name, out := range map[string]string{
		"errors":     "  Socket errors: connect 0, read 3, write 0, timeout 0\n" + good,
		"statuses":   "  Non-2xx or 3xx responses: 7\n" + good,
		"no address": "unable to connect to 10.0.0.1:8080 Connection refused\n",
		"no end":     "Running 1m test @ http://10.0.0.1:8080/\n",
	} {
		if err := checkWrk(out); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestStubStatus(t *testing.T) {
	const answer = "Active connections: 1 \nserver accepts handled requests\n 5 5 1234 \nReading: 0 Writing: 1 Waiting: 0 \n"
	m := counters.FindStringSubmatch(answer)
	if m == nil || m[1] != "1234" {
		t.Errorf("%q", m)
	}
}

func TestOutcomeOfALedger(t *testing.T) {
	queueFull, sampledOut, kernelDrop := kagami.QueueFull, kagami.SampledOut, kagami.KernelDrop
	o := read(kagami.Statement{Balanced: true, Bounded: true, Stages: []kagami.StageStatement{
		{Stage: "capture", Unit: kagami.Packets, In: 30, Out: 27, Dropped: map[kagami.Reason]int64{kernelDrop: 2, kagami.NotHTTP: 1}},
		{Stage: "capture", Unit: kagami.Messages, In: 20, Out: 20},
		{Stage: "output", Name: "tcp://x", Unit: kagami.Messages, In: 20, Out: 7, Dropped: map[kagami.Reason]int64{queueFull: 4, sampledOut: 9}},
	}})
	if o.captured != 20 || o.delivered != 7 || !o.bounded || !o.balanced || len(o.dropped) != 2 || o.dropped["queue-full"] != 4 || o.dropped["kernel-drop"] != 2 {
		t.Errorf("%+v", o)
	}
}

func TestModesTakeTurns(t *testing.T) {
	modes := []mode{{name: "a"}, {name: "b"}, {name: "c"}}
	for n, want := range []string{"abc", "bca", "cab", "abc"} {
		got := ""
		for _, m := range turn(modes, n) {
			got += m.name
		}
		if got != want {
			t.Errorf("round %d: %s, want %s", n, got, want)
		}
	}
	if len(turn(nil, 3)) != 0 {
		t.Error("modes out of none")
	}
}

func TestChoose(t *testing.T) {
	all, err := choose("")
	if err != nil || len(all) != len(sections) {
		t.Errorf("%d sections, %v", len(all), err)
	}
	some, err := choose("idle,profile")
	if err != nil || len(some) != 2 || some[1].name != "profile" {
		t.Errorf("%v, %v", some, err)
	}
	if _, err := choose("tabel"); err == nil || !strings.Contains(err.Error(), "table") {
		t.Errorf("%v", err)
	}
}

func TestSharesInAddresses(t *testing.T) {
	for share, want := range map[float64]string{100: "x", 10: "x|10%", 0.5: "x|0.5%"} {
		if got := suffixed("x", share); got != want {
			t.Errorf("%g: %q, want %q", share, got, want)
		}
	}
}

func TestParseShares(t *testing.T) {
	got, err := parseShares("1,10,100")
	if err != nil || len(got) != 3 || got[0] != 1 || got[2] != 100 {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "0", "0.5", "101", "10,", "x"} {
		if got, err := parseShares(bad); err == nil {
			t.Errorf("%q: %v", bad, got)
		}
	}
}

// Half a second of 1000 a second that comes 3 ms behind the schedule: one of them 10 ms later, one
// 2 ms earlier, one not at all, and the last tenth another 0.5 ms later.
func TestOffSchedule(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	at := make([]time.Time, 500)
	for i := range at {
		at[i] = start.Add(time.Duration(i)*time.Millisecond + 3*time.Millisecond)
		if i >= 450 {
			at[i] = at[i].Add(500 * time.Microsecond)
		}
	}
	at[100] = at[100].Add(10 * time.Millisecond)
	at[200] = at[200].Add(-2 * time.Millisecond)
	at[300] = time.Time{}
	off, drift := offSchedule(at, 1000)
	slices.Sort(off)
	if n := len(off); n != 499 || off[0] != 0 || off[n-1] != 10 || off[n-2] != 2 || off[n-3] != 0.5 || drift != 0.5 {
		t.Errorf("%d errors, %v to %v, %v, %v, drift %v", n, off[0], off[n-1], off[n-2], off[n-3], drift)
	}
}

func TestNumberOf(t *testing.T) {
	for data, want := range map[string]int{"E..\x00GET /small?n=0 HTTP/1.1\r\n": 0, "GET /small?n=24999 HTTP/1.1\r\n": 24999,
		"HTTP/1.1 200 OK\r\n\r\n": -1, "GET /small?n=-1 HTTP/1.1": -1, "GET /small?n=": -1, "GET /tiny?n=1 HTTP/1.1": -1, "": -1} {
		if n, ok := numberOf(capture.Packet{Data: []byte(data)}); ok != (want >= 0) || ok && n != want {
			t.Errorf("%q: %d, %v", data, n, ok)
		}
	}
}
