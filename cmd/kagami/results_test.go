package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"kagami"
	"kagami/output"
)

// The looker is shown everything, also where outputs are split, and says nothing
// to the inputs: what no target got is not acknowledged.
func TestTheLookerSettlesForNobody(t *testing.T) {
	for _, split := range []bool{false, true} {
		p := newPipeline("test", split)
		in := newFixedInput(exchanges(50))
		p.addInput("in", in, nil)
		for range 2 {
			addKeeper(t, p, 100, true).reason = kagami.DrainTimeout
		}
		k := &keeper{}
		p.setLooker("results", k, output.QueueConfig{OnFull: output.WaitWhenFull})
		p.join()
		if err := p.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := p.shutdown(context.Background()); err != nil {
			t.Fatal(err)
		}
		if len(k.messages) != 100 {
			t.Errorf("split %v: the looker was shown %d messages of 100", split, len(k.messages))
		}
		for m, rs := range in.settled {
			if len(rs) != 1 || m.Kind == kagami.Request && rs[0] != kagami.DrainTimeout {
				t.Errorf("split %v: a %s was settled as %v", split, m.Kind, rs)
			}
		}
		if st := p.ledger.Statement(); !st.Balanced || len(in.settled) != 100 {
			t.Errorf("split %v: %d settled, %v", split, len(in.settled), st.Faults)
		}
	}
}

// staging answers /ok with 200, /busy with 503, and hangs up on /gone.
func staging(w http.ResponseWriter, r *http.Request) {
	switch path := strings.TrimPrefix(r.URL.Path, "/base"); {
	case strings.HasPrefix(path, "/busy/"):
		w.WriteHeader(http.StatusServiceUnavailable)
	case strings.HasPrefix(path, "/gone/"):
		panic(http.ErrAbortHandler)
	}
}

// recording is 200 requests, to each of which production answered 200 after 2 ms.
func recording() string {
	var b strings.Builder
	for i := range 200 {
		path := "ok"
		switch {
		case i%20 == 1:
			path = "busy"
		case i%20 == 2:
			path = "gone"
		}
		at := 1900000000_000000000 + int64(i)*1_000_000
		fmt.Fprintf(&b, "1 %024x %d 0\nGET /%s/%d HTTP/1.1\r\nHost: a\r\n\r\n\n🐵🙈🙉\n", i+1, at, path, i)
		fmt.Fprintf(&b, "2 %024x %d 2000000\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok\n🐵🙈🙉\n", i+1, at)
	}
	return b.String()
}

// The scripts in testdata/results have a staging server and a webhook.
func TestResultsScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/results",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			target := httptest.NewServer(http.HandlerFunc(staging))
			e.Defer(target.Close)
			hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				b, err := io.ReadAll(r.Body)
				if err == nil {
					err = os.WriteFile(filepath.Join(e.WorkDir, "alerts.txt"), append(b, '\n'), 0o600)
				}
				if err != nil {
					http.Error(w, err.Error(), http.StatusInternalServerError)
				}
			}))
			e.Defer(hook.Close)
			e.Setenv("GORACE", "atexit_sleep_ms=0")
			e.Setenv("STAGING", target.URL)
			e.Setenv("HOOK", hook.URL)
			config := filepath.Join(e.WorkDir, "kagami.yaml")
			b, err := os.ReadFile(config)
			if err != nil {
				return err
			}
			if err := os.WriteFile(config, []byte(strings.ReplaceAll(string(b), "${STAGING}", target.URL)), 0o600); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(e.WorkDir, "traffic.gor"), []byte(recording()), 0o600)
		},
	})
}

// Whoever asks whether production's answers come gets one reply.
func TestBringsAnswers(t *testing.T) {
	for _, c := range []struct {
		in   InputConfig
		want bool
	}{
		{InputConfig{Kind: InputRaw}, false},
		{InputConfig{Kind: InputRaw, Raw: RawConfig{TrackResponse: true}}, true},
		{InputConfig{Kind: InputRaw, Raw: RawConfig{ResponseHeads: 1 << 10}}, true},
		{InputConfig{Kind: InputFile}, true},
		{InputConfig{Kind: InputTCP}, true},
		{InputConfig{Kind: InputDummy}, false},
	} {
		cfg := Config{Inputs: []InputConfig{{Kind: InputRaw}, c.in}}
		if got := cfg.bringsAnswers(); got != c.want {
			t.Errorf("%+v: %v", c.in, got)
		}
	}
}
