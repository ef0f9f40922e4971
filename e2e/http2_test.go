package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kagami"
	"kagami/internal/http1"
	"kagami/internal/testbed"
)

// HTTP/2 in clear between real programs: nginx speaks gRPC to another nginx, and curl speaks
// HTTP/2 with prior knowledge. All of it is captured, with its bodies.
func TestRootHTTP2(t *testing.T) {
	h := testbed.NewHosts(t)
	large := strings.Repeat("a large answer ", 200)
	production := testbed.StartNginx(t, h.Production, `grpc_pass grpc://127.0.0.1:8082; }
	}
	server {
		listen 8082 http2;
		access_log off;
		location / { return 200 "an answer of gRPC"; }
		location /large { return 200 "`+large+`";`)
	all := filepath.Join(t.TempDir(), "all.kgm")
	k := testbed.StartKagami(t, h.Production, capturing, "listen", "--input-raw", "lo:8082", "--input-raw-track-response", "--output-file", all,
		"--queue-bytes", "1gb", "--queue-messages", "100000")
	body, sent := filepath.Join(t.TempDir(), "body"), bytes.Repeat([]byte("\x00binary\xff"), 5000)
	if err := os.WriteFile(body, sent, 0o644); err != nil {
		t.Fatal(err)
	}
	ab(t, h, "-k", "-n", "2000", "-c", "20")
	ab(t, h, "-n", "200", "-c", "5", "-p", body)
	const direct = 10
	for i := range direct {
		testbed.Run(t, h.Production, "curl", "-sSf", "--http2-prior-knowledge", fmt.Sprintf("http://127.0.0.1:8082/large/%d", i))
	}
	st := k.Stop()
	served := len(production.Requests())
	if served != 2200 {
		t.Errorf("nginx served %d requests, want 2200", served)
	}
	kinds, bodies, answers := map[kagami.Kind]int{}, 0, 0
	for _, m := range messages(t, all) {
		if m.Proto != kagami.HTTP2 {
			t.Errorf("a message of %v: %.60q", m.Proto, m.Raw)
		}
		kinds[m.Kind]++
		b, err := http1.Body(m.Raw)
		switch {
		case err != nil:
			t.Errorf("%.60q: %v", m.Raw, err)
		case bytes.Equal(b, sent):
			bodies++
		case string(b) == large:
			answers++
		}
	}
	if kinds[kagami.Request] != served+direct || kinds[kagami.Response] != served+direct {
		t.Errorf("%d requests, captured %d and %d answers", served+direct, kinds[kagami.Request], kinds[kagami.Response])
	}
	if bodies != 200 || answers != direct {
		t.Errorf("%d bodies and %d large answers as they were sent, want %d and %d", bodies, answers, 200, direct)
	}
	expectOut(t, st, "capture", "", 2*(served+direct))
}
