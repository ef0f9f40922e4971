package main

import (
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"sync/atomic"
	"testing"

	"kagami"
)

func TestTargetMetrics(t *testing.T) {
	var down atomic.Bool
	up := func() bool { return !down.Load() }
	always := func() bool { return true }
	targets := []target{{name: "http://a", up: up}, {name: "http://b", up: always}, {name: "http://a", up: always}}
	a, err := startAdmin("127.0.0.1:0", &kagami.Ledger{}, false, func() error { return nil }, slog.New(slog.DiscardHandler), newTargetCollector(func() []target { return targets }))
	if err != nil {
		t.Fatal(err)
	}
	defer a.stop()
	for _, want := range [][]string{
		{`kagami_target_up{output="http://a"} 1`, `kagami_target_up{output="http://a#2"} 1`, `kagami_target_up{output="http://b"} 1`},
		{`kagami_target_up{output="http://a"} 0`, `kagami_target_up{output="http://a#2"} 1`, `kagami_target_up{output="http://b"} 1`},
	} {
		r, err := http.Get("http://" + a.listener.Addr().String() + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if got := regexp.MustCompile(`(?m)^kagami_target_up.*$`).FindAllString(string(body), -1); !slices.Equal(got, want) {
			t.Errorf("metrics %q, want %q", got, want)
		}
		down.Store(true)
	}
}
