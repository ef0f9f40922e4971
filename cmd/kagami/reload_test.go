package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"kagami"
)

// resolved is the configuration of a file.
func resolved(t *testing.T, text string) Config {
	t.Helper()
	c := mirrorCatalog()
	l, err := parseYAML("c.yaml", []byte(text), c)
	if err != nil {
		t.Fatal(err)
	}
	return resolveLayers(t, c, RoleKagami, l)
}

// What a reload does with each difference between two files.
func TestReloadPlans(t *testing.T) {
	const in, out = "inputs: [{raw: ':80'}]\n", "outputs: [{http: 'http://a'}, {file: f.gor}]\n"
	for _, c := range []struct {
		name, before, after string
		outputs             string // by place before the reload, or new
		kept                string
	}{
		{"nothing", in + out, in + out, "0 1", ""},
		{"a share and a limit", in + out, in + "outputs: [{http: 'http://a|10%|5/s'}, {file: f.gor, share: 5%, sample-by: client}]\n", "0 1", ""},
		{"filters", in + out, "inputs: [{raw: ':80', filters: {allow-method: GET}}]\nfilters: {allow-url: /}\nsafe-methods: true\noutputs: [{http: 'http://a', filters: {disallow-url: /x}}, {file: f.gor}]\n", "0 1", ""},
		{"order", in + out, in + "outputs: [{file: f.gor}, {http: 'http://a'}]\n", "1 0", ""},
		{"another target", in + out, in + "outputs: [{http: 'http://b'}, {file: f.gor}]\n", "new 1", ""},
		{"a target more", in + out, in + "outputs: [{http: 'http://a'}, {http: 'http://a'}, {file: f.gor}]\n", "0 new 1", ""},
		{"a target's settings", in + out, in + "outputs: [{http: 'http://a', timeout: 9s}, {file: f.gor}]\n", "new 1", ""},
		{"a filter that sets the Host", in + out, in + "filters: {set-header: 'Host: x'}\n" + out, "new 1", ""},
		{"a recording's settings", in + out, in + "outputs: [{http: 'http://a'}, {file: f.gor, append: true, share: 5%}]\n", "0 1", "file f.gor keeps how it was opened"},
		{"another recording", in + out, in + "outputs: [{http: 'http://a'}, {file: g.gor}]\n", "0 new", ""},
		{"the process", in + out, "memory-limit: 1gb\nsummary: x.json\n" + in + out, "0 1", "memory-limit stays 64mb; summary stays \"\""},
		{"an input's settings", in + out, "inputs: [{raw: ':80', expire: 9s}]\n" + out, "0 1", "raw :80 keeps how it was opened"},
		{"another input", in + out, "inputs: [{raw: ':81'}]\n" + out, "0 1", "raw :80 goes on; raw :81 is not opened"},
		{"split", "split-output: true\n" + in + out, "split-output: true\n" + in + "outputs: [{http: 'http://a', share: 5%}, {file: g.gor}]\n", "0 1",
			"file f.gor goes on as it is: with --split-output, --state, results or comparing, outputs change with a restart; file g.gor is not opened"},
		{"answers", "inputs: [{raw: ':80', track-response: true}]\noutputs: [{http: 'http://a'}]\n", "inputs: [{raw: ':80', track-response: true}]\noutputs: [{http: 'http://a'}, {file: f.gor}]\n",
			"0 new", "raw :80 goes on without answers"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before, after := resolved(t, c.before), resolved(t, c.after)
			var lines []*outputLine
			for i, cfg := range before.Outputs {
				lines = append(lines, &outputLine{index: i, opened: opened{cfg: cfg}})
			}
			p := planReload(&before, &before, &after, lines)
			var outputs []string
			for _, out := range p.outputs {
				if out.line == nil {
					outputs = append(outputs, "new")
				} else {
					outputs = append(outputs, fmt.Sprint(out.line.index))
				}
			}
			if got := strings.Join(outputs, " "); got != c.outputs {
				t.Errorf("outputs %s, want %s", got, c.outputs)
			}
			if got := strings.Join(p.kept, "; "); !strings.HasPrefix(got, c.kept) || (got == "") != (c.kept == "") {
				t.Errorf("kept %q, want %q", got, c.kept)
			}
		})
	}
}

// endlessInput hands on exchanges from several goroutines until it is stopped.
type endlessInput struct {
	stage   *kagami.Stage
	batches chan int // how many to hand on; closed at the end

	mu      sync.Mutex
	settled map[*kagami.Message]int
}

func (in *endlessInput) Stages() []*kagami.Stage { return []*kagami.Stage{in.stage} }

func (in *endlessInput) Run(_ context.Context, emit func(context.Context, kagami.Batch) error) error {
	var wg sync.WaitGroup
	for range 3 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for n := range in.batches {
				ms := exchanges(n)
				in.stage.In(len(ms))
				in.stage.Out(len(ms))
				in.mu.Lock()
				for _, m := range ms {
					in.settled[m] = 0
				}
				in.mu.Unlock()
				emit(context.Background(), kagami.Batch{Messages: ms, Settle: func(i int, _ kagami.Reason) {
					in.mu.Lock()
					defer in.mu.Unlock()
					in.settled[ms[i]]++
				}})
			}
		}()
	}
	wg.Wait()
	return nil
}

// While traffic flows the configuration is replaced again and again. Every request has the old
// treatment or the new one: it is settled once, gets to one of the targets, and to the
// recording that is always there; and the ledger balances over all that there was.
func TestReloadLosesNothing(t *testing.T) {
	var mu sync.Mutex
	got := map[string]map[string]int{"a": {}, "b": {}}
	serve := func(name string) string {
		s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			got[name][r.Header.Get("Kagami-Replay")]++
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	a, b := serve("a"), serve("b")
	dir := t.TempDir()
	file := func(outputs string) Config {
		cfg := resolved(t, "inputs: [{dummy: x}]\noutputs:\n  - {file: "+dir+"/all.kgm, on-full: wait}\n"+outputs)
		cfg.AllowSelf = true
		return cfg
	}
	configs := []Config{
		file("  - {http: '" + a + "', on-full: wait}\n"),
		file("  - {http: '" + b + "', on-full: wait}\n  - {null: true}\n"),
		file("  - {http: '" + b + "', share: 50%, on-full: wait}\n  - {http: '" + a + "', on-full: wait}\n"),
	}
	var log bytes.Buffer
	first := configs[0]
	first.Console = Console{Stdout: io.Discard, Stderr: io.Discard, Log: slog.New(slog.NewTextHandler(&log, nil))}
	first.Reload = &Reload{First: configs[0], Signals: make(chan os.Signal)}
	m, err := newMirror(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	// In place of the made-up input, one that brings as much as it can.
	in := &endlessInput{stage: &kagami.Stage{Name: "endless", Unit: kagami.Messages}, batches: make(chan int), settled: map[*kagami.Message]int{}}
	m.inputs[0].input = in
	m.ledger = &kagami.Ledger{Role: "test"}
	m.joined = false
	m.join()
	ran := make(chan error)
	go func() { ran <- m.pipeline.run(t.Context()) }()
	lines := 0
	for i := range 60 {
		if i >= 30 { // what was taken away has ended when it comes back, and goes on with its line of the ledger
			m.retiring.Wait()
		}
		if i == 33 {
			lines = len(m.ledger.Stages())
		}
		for range 3 {
			in.batches <- 1 + i%20
		}
		if err := m.reload(t.Context(), configs[i%3]); err != nil {
			t.Fatal(err)
		}
	}
	m.retiring.Wait() // also for the one that fails: what it opens has its old line
	bad := configs[1]
	bad.Outputs = append(bad.Outputs[:len(bad.Outputs):len(bad.Outputs)], OutputConfig{Kind: OutputFile, Address: filepath.Join(dir, "none", "f.gor")})
	if err := m.reload(t.Context(), bad); err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("an output that cannot be opened: %v", err)
	}
	in.batches <- 5
	close(in.batches)
	if err := <-ran; err != nil {
		t.Fatal(err)
	}
	m.retiring.Wait()
	if err := m.shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	st := m.ledger.Statement()
	if !st.Balanced {
		t.Errorf("not balanced: %v", st.Faults)
	}
	mu.Lock()
	defer mu.Unlock()
	requests := map[string]int{}
	for msg, n := range in.settled {
		if n != 1 {
			t.Errorf("a message was settled %d times", n)
		}
		if msg.Kind == kagami.Request {
			requests[msg.Exchange.ID.String()]++
		}
	}
	all, _ := st.Stage("output", dir+"/all.kgm", kagami.Messages)
	if all.Out != int64(len(in.settled)) {
		t.Errorf("%d of %d messages recorded, dropped %v", all.Out, len(in.settled), all.Dropped)
	}
	for id, n := range requests {
		// With the third configuration b gets some of what a gets.
		if sent := got["a"][id]; sent+got["b"][id] < n || sent > n {
			t.Errorf("request %s: captured %d times, at the targets %d and %d times", id, n, sent, got["b"][id])
		}
	}
	if s := log.String(); strings.Count(s, "the configuration is reloaded") != 60 {
		t.Errorf("the log does not have each reload")
	}
	if n := len(st.Stages); n != lines {
		t.Errorf("%d lines of the ledger, and there were %d after 33 reloads", n, lines)
	}
}

// An output that a reload brings is refused if it is what an input captures: for pods their
// addresses count, and not this host's, as at the start.
func TestReloadRefusesSelf(t *testing.T) {
	pods, here := &podServers{}, newLocalAddrs()
	pods.set([]netip.Addr{netip.MustParseAddr("192.0.2.7")})
	m := &mirror{cfg: resolved(t, "inputs: [{raw: ':80'}, {raw: 'k8s://shop/pod/web-0:8080'}]\noutputs: [{http: 'http://a'}]\n"),
		live: map[int]liveInput{0: {local: here.has}, 1: {local: pods.has}}}
	for addr, fine := range map[string]bool{
		"127.0.0.1:80":   false, // is here
		"127.0.0.1:8080": true,  // is here, and no pod
		"192.0.2.7:8080": false, // is a pod
		"192.0.2.7:80":   true,
		"192.0.2.8:8080": true,
	} {
		to := target{name: addr, addrs: func() []netip.AddrPort { return []netip.AddrPort{netip.MustParseAddrPort(addr)} }}
		if err := m.checkSelf(&outputLine{opened: opened{target: &to}}); (err == nil) != fine {
			t.Errorf("%s: %v", addr, err)
		}
	}
}
