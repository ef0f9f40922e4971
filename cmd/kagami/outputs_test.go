package main

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"kagami"
)

// A site is a server that remembers what it was asked.
type site struct {
	*httptest.Server
	mu    sync.Mutex
	asked []string
}

func newSite(t *testing.T, start func(*httptest.Server)) *site {
	s := &site{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.asked = append(s.asked, r.Method+" "+r.Header.Get("X-Output"))
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that nobody waits for at the end
	start(s.Server)
	t.Cleanup(s.Close)
	return s
}

// runFile runs what a configuration file says and returns the ledger.
func runFile(t *testing.T, text string) kagami.Statement {
	t.Helper()
	c := mirrorCatalog()
	l, err := parseYAML("c.yaml", []byte(text), c)
	if err != nil {
		t.Fatal(err)
	}
	cfg := resolveLayers(t, c, RoleKagami, l)
	var said bytes.Buffer
	cfg.Console = Console{Stdout: &said, Stderr: &said, Log: slog.New(slog.NewTextHandler(&said, nil))}
	cfg.Summary = filepath.Join(t.TempDir(), "summary.json")
	if err := runMirror(t.Context(), cfg); err != nil {
		t.Fatalf("%v\n%s", err, said.String())
	}
	b, err := os.ReadFile(cfg.Summary)
	if err != nil {
		t.Fatal(err)
	}
	var st kagami.Statement
	if err := json.Unmarshal(b, &st); err != nil {
		t.Fatal(err)
	}
	if !st.Balanced {
		t.Errorf("the ledger does not balance: %s", b)
	}
	return st
}

// Each output of the file has filters, a share, a limit and certificates of its own.
func TestEachOutputOfTheFileHasItsOwn(t *testing.T) {
	posts, others, secret := newSite(t, (*httptest.Server).Start), newSite(t, (*httptest.Server).Start), newSite(t, (*httptest.Server).StartTLS)
	limited, nothing := newSite(t, (*httptest.Server).Start), newSite(t, (*httptest.Server).Start)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secret.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o600); err != nil {
		t.Fatal(err)
	}
	st := runFile(t, fmt.Sprintf(`
inputs:
  - raw: testdata/nginx.pcap
outputs:
  - http: %s
    filters: {allow-method: POST, set-header: "X-Output: posts"}
  - http: %s
    filters: {disallow-method: POST}
  - http: %s
    ca: %s
    server-name: example.com
    filters: {set-header: "X-Output: secret"}
  - http: %s|1/s
  - http: %s
    share: 0%%
`, posts.URL, others.URL, secret.URL, ca, limited.URL, nothing.URL))
	for _, c := range []struct {
		name string
		site *site
		want []string
	}{
		{"posts", posts, []string{"POST posts", "POST posts"}},
		{"others", others, []string{"DELETE ", "GET ", "GET ", "HEAD "}},
		{"secret", secret, []string{"DELETE secret", "GET secret", "GET secret", "HEAD secret", "POST secret", "POST secret"}},
		{"nothing", nothing, nil},
	} {
		slices.Sort(c.site.asked)
		if strings.Join(c.site.asked, ",") != strings.Join(c.want, ",") {
			t.Errorf("%s was asked %q, want %q", c.name, c.site.asked, c.want)
		}
	}
	s, _ := st.Stage("output", limited.URL, kagami.Messages)
	if n := int64(len(limited.asked)); n == 0 || n == 6 || s.Dropped[kagami.RateLimited] != 6-n {
		t.Errorf("with a limit %d of 6 requests arrived, dropped %v", n, s.Dropped)
	}
}
