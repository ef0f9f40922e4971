package capture

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"kagami"
	"kagami/internal/http1"
)

// A wiretap turns what connections to a real server carry into the packets of a trace.
type wiretap struct {
	mu   sync.Mutex
	tr   *trace
	dice *dice
	n    int
}

type tapped struct {
	net.Conn
	tap  *wiretap
	wire *wire
}

func (t *wiretap) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n++
	return &tapped{c, t, t.tr.dial(fmt.Sprintf("10.0.0.1:%d", 40000+t.n), aServer)}, nil
}

func (c *tapped) Write(b []byte) (int, error) {
	c.tap.mu.Lock()
	c.tap.dice.scatter(c.wire, true, string(b)) // before the server can answer
	c.tap.mu.Unlock()
	return c.Conn.Write(b)
}

func (c *tapped) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.tap.mu.Lock()
	c.tap.dice.scatter(c.wire, false, string(b[:n]))
	c.tap.mu.Unlock()
	return n, err
}

// What a real client asks a real server in HTTP/2, many at a time, is captured, and so is
// what it answers.
func TestHTTP2Traffic(t *testing.T) {
	const total = 60
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Trailer", "Grpc-Status")
		fmt.Fprintf(w, "%s %d bytes", r.URL.Path, len(body))
		w.Header().Set("Grpc-Status", "0")
	}))
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Start()
	defer srv.Close()
	choices := make([]byte, 3000)
	for i := range choices {
		choices[i] = byte(i * i * 31 >> 3)
	}
	tap := &wiretap{tr: newTrace(t), dice: &dice{choices}}
	transport := &http.Transport{DialContext: tap.dial, Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	want := map[string]string{}
	var wg sync.WaitGroup
	limit := make(chan bool, 10)
	for i := range total {
		path, body := fmt.Sprint("/", i), text(i*i*3)
		answer := fmt.Sprintf("%s %d bytes", path, len(body))
		want[path] = answer
		wg.Go(func() {
			limit <- true
			defer func() { <-limit }()
			resp, err := (&http.Client{Transport: transport}).Post(srv.URL+path, "text/plain", strings.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			if b, err := io.ReadAll(resp.Body); err != nil || string(b) != answer {
				t.Errorf("%s: %q, %v", path, b, err)
			}
		})
	}
	wg.Wait()
	transport.CloseIdleConnections()
	srv.Close()

	tap.mu.Lock()
	defer tap.mu.Unlock()
	tr := tap.tr.run(withAnswers)
	tr.dropped("")
	path := map[*kagami.Exchange]string{}
	for _, m := range tr.requests {
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(m.Raw)))
		if err != nil {
			t.Fatal(err)
		}
		body, _ := http1.Body(m.Raw)
		if want[r.URL.Path] != fmt.Sprintf("%s %d bytes", r.URL.Path, len(body)) {
			t.Errorf("%.100q", m.Raw)
		}
		path[m.Exchange] = r.URL.Path
	}
	for _, m := range tr.responses {
		body, err := http1.Body(m.Raw)
		if p := path[m.Exchange]; err != nil || string(body) != want[p] || !bytes.HasSuffix(m.Raw, []byte("grpc-status: 0\r\n\r\n")) {
			t.Errorf("%s: %.200q", p, m.Raw)
		}
		delete(path, m.Exchange)
	}
	if len(tr.requests) != total || len(tr.responses) != total || len(path) != 0 {
		t.Errorf("%d requests and %d answers, %d without an answer, of %d", len(tr.requests), len(tr.responses), len(path), total)
	}
}
