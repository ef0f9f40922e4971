package output_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kagami"
	"kagami/output"
)

// A talkingServer is a net/http server that speaks the named protocols in clear text.
func talkingServer(t testing.TB, one, two bool, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(handler)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(one)
	s.Config.Protocols.SetUnencryptedHTTP2(two)
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// http2Request is a message that was captured as HTTP/2.
func http2Request(raw string) *kagami.Message {
	m := rawRequest(raw)
	m.Proto = kagami.HTTP2
	return m
}

// What arrives, written down: version, method, target, host, fields, body, trailers.
func arrival(r *http.Request) string {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err.Error()
	}
	var fields []string
	for name, values := range r.Header {
		for _, v := range values {
			fields = append(fields, strings.ToLower(name)+"="+v)
		}
	}
	for name, values := range r.Trailer {
		for _, v := range values {
			fields = append(fields, "trailer "+strings.ToLower(name)+"="+v)
		}
	}
	slices.Sort(fields)
	return fmt.Sprintf("%s %s %s host=%s length=%d %s body=%s", r.Proto, r.Method, r.RequestURI, r.Host, r.ContentLength, strings.Join(fields, " "), body)
}

func TestHTTP2Requests(t *testing.T) {
	arrived := make(chan string, 1)
	s := talkingServer(t, true, true, func(_ http.ResponseWriter, r *http.Request) { arrived <- arrival(r) })
	host := s.Listener.Addr().String()
	h := newHTTP(t, output.HTTPConfig{URL: s.URL + "/base"})
	original := newHTTP(t, output.HTTPConfig{URL: s.URL, OriginalHost: true, NoReplayHeader: true})
	for _, c := range []struct {
		name string
		to   *output.HTTP
		raw  string
		want string
	}{
		{"GET", h, crlf("GET /a%2fb?x=%20&&y HTTP/1.1", "Host: www", "cookie: a=1; b=2", "accept: a", "accept: b"),
			"HTTP/2.0 GET /base/a%2fb?x=%20&&y host=" + host + " length=0 accept=a accept=b cookie=a=1; b=2 kagami-replay=0102030405 body="},
		{"two slashes", h, crlf("GET //a//b HTTP/1.1", "Host: www"), "HTTP/2.0 GET /base//a//b host=" + host + " length=0 kagami-replay=0102030405 body="},
		{"two slashes and nothing before", original, crlf("GET //a//b HTTP/1.1", "Host: www.example.com"), "HTTP/2.0 GET //a//b host=www.example.com length=0  body="},
		{"OPTIONS *", original, crlf("OPTIONS * HTTP/1.1", "Host: www"), "200"},
		{"POST", h, crlf("POST / HTTP/1.1", "Host: www", "content-length: 3", "user-agent: curl") + "abc",
			"HTTP/2.0 POST /base/ host=" + host + " length=3 content-length=3 kagami-replay=0102030405 user-agent=curl body=abc"},
		{"POST of nothing", h, crlf("POST / HTTP/1.1", "Host: www", "content-length: 0"),
			"HTTP/2.0 POST /base/ host=" + host + " length=0 content-length=0 kagami-replay=0102030405 body="},
		{"chunks and trailers", h, crlf("POST /t HTTP/1.1", "Host: www", "te: trailers", "transfer-encoding: chunked") + "3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nx-sum: 1\r\nhost: no\r\n\r\n",
			"HTTP/2.0 POST /base/t host=" + host + " length=-1 kagami-replay=0102030405 te=trailers trailer x-sum=1 body=abcde"},
		{"trailers alone", h, crlf("POST /t HTTP/1.1", "Host: www", "transfer-encoding: chunked") + "0\r\nx-sum: 1\r\n\r\n",
			"HTTP/2.0 POST /base/t host=" + host + " length=-1 kagami-replay=0102030405 trailer x-sum=1 body="},
		{"what belongs to the connection", h, crlf("GET / HTTP/1.1", "Host: www", "Connection: x-own, te", "x-own: 1", "te: gzip", "upgrade: h2c", "keep-alive: 1", "expect: 100-continue", "proxy-connection: x", "http2-settings: x"),
			"HTTP/2.0 GET /base/ host=" + host + " length=0 kagami-replay=0102030405 body="},
		{"another method", h, crlf("PURGE /x HTTP/1.1", "Host: www"), "HTTP/2.0 PURGE /base/x host=" + host + " length=0 kagami-replay=0102030405 body="},
	} {
		t.Run(c.name, func(t *testing.T) {
			seen := watch(t)
			write(t, c.to, seen, http2Request(c.raw))
			seen.await(1)
			seen.want(kagami.Delivered)
			if len(c.want) == 3 { // net/http answered by itself
				return
			}
			if got := <-arrived; got != c.want {
				t.Errorf("arrived\n%s\nwant\n%s", got, c.want)
			}
		})
	}
	if st := h.Stats(); st.Connected != 1 {
		t.Errorf("%d connections, want one for all", st.Connected)
	}
}

// What HTTP/2 cannot say is not sent, and is no fault of the target's.
func TestHTTP2NotReplayable(t *testing.T) {
	s := talkingServer(t, false, true, func(_ http.ResponseWriter, r *http.Request) {})
	h := newHTTP(t, output.HTTPConfig{URL: s.URL, OriginalHost: true})
	seen := watch(t)
	write(t, h, seen,
		http2Request(crlf("GET / HTTP/1.1", "Host: a", "x: \x01")),
		http2Request(crlf("GET / HTTP/1.1", "Host: a b")),
		http2Request(crlf("GET a HTTP/1.1", "Host: a")),
		http2Request(crlf("CONNECT a:1 HTTP/1.1", "Host: a")),
		http2Request(crlf("GET / HTTP/1.1", "Host: a", "content-length: 5")+"x"),
		http2Request(crlf("GET / HTTP/1.1", "Host: a")))
	seen.await(6)
	n := kagami.NotReplayable
	seen.want(n, n, n, n, n, kagami.Delivered)
	if st := h.Stats(); h.InFlight() != 0 || st.Requests != 1 {
		t.Errorf("%d in flight, %d requests sent", h.InFlight(), st.Requests)
	}
}

// Which version is spoken with whom.
func TestHTTP2OrOne(t *testing.T) {
	two, one := crlf("GET /two HTTP/1.1", "Host: a"), crlf("GET /one HTTP/1.1", "Host: a")
	var mu sync.Mutex
	var got []string
	note := func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.Method != "PRI" { // what a server of HTTP/1.1 makes of HTTP/2's preface
			got = append(got, r.URL.Path+" "+r.Proto)
		}
	}
	ours := newAuthority(t, "ours")
	over := func(protocols ...string) *httptest.Server {
		return tlsServer(t, &tls.Config{Certificates: []tls.Certificate{ours.issue(t, "127.0.0.1")}, NextProtos: protocols}, note)
	}
	both, onlyOne, onlyTwo := talkingServer(t, true, true, note), talkingServer(t, true, false, note), talkingServer(t, false, true, note)
	tlsBoth := over("h2", "http/1.1")
	tlsOne := httptest.NewUnstartedServer(http.HandlerFunc(note))
	tlsOne.TLS = &tls.Config{Certificates: []tls.Certificate{ours.issue(t, "127.0.0.1")}}
	tlsOne.StartTLS()
	t.Cleanup(tlsOne.Close)
	for _, c := range []struct {
		name    string
		url     string
		version output.HTTPVersion
		want    string // sorted
	}{
		{"in clear, both", both.URL, output.HTTPAsCaptured, "/one HTTP/1.1, /two HTTP/2.0"},
		{"in clear, both, told 1", both.URL, output.HTTPOne, "/one HTTP/1.1, /two HTTP/1.1"},
		{"in clear, both, told 2", both.URL, output.HTTPTwo, "/one HTTP/2.0, /two HTTP/2.0"},
		{"in clear, HTTP/1.1 alone", onlyOne.URL, output.HTTPAsCaptured, "/one HTTP/1.1, /two HTTP/1.1"},
		{"in clear, HTTP/1.1 alone, told 2", onlyOne.URL, output.HTTPTwo, ""},
		{"in clear, HTTP/2 alone, told 2", onlyTwo.URL, output.HTTPTwo, "/one HTTP/2.0, /two HTTP/2.0"},
		{"TLS, both", tlsBoth.URL, output.HTTPAsCaptured, "/one HTTP/1.1, /two HTTP/2.0"},
		{"TLS, both, told 1", tlsBoth.URL, output.HTTPOne, "/one HTTP/1.1, /two HTTP/1.1"},
		{"TLS, HTTP/1.1 alone", tlsOne.URL, output.HTTPAsCaptured, "/one HTTP/1.1, /two HTTP/1.1"},
		{"TLS, HTTP/1.1 alone, told 2", tlsOne.URL, output.HTTPTwo, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			mu.Lock()
			got = nil
			mu.Unlock()
			var told atomic.Value
			cfg := output.HTTPConfig{URL: c.url, Version: c.version, RootCAs: ours.pool(), Timeout: 500 * time.Millisecond, Notify: func(err error) { told.Store(fmt.Sprint(err)) }}
			if c.want != "" {
				cfg.Timeout = 10 * time.Second
			}
			h := newHTTP(t, cfg)
			seen := watch(t)
			write(t, h, seen, http2Request(two), rawRequest(one))
			seen.await(2)
			mu.Lock()
			defer mu.Unlock()
			slices.Sort(got)
			if s := strings.Join(got, ", "); s != c.want {
				t.Errorf("arrived %q, want %q", s, c.want)
			}
			if c.want != "" {
				seen.want(kagami.Delivered, kagami.Delivered)
				return
			}
			seen.want(kagami.SendError, kagami.SendError)
			if s, _ := told.Load().(string); !strings.Contains(s, "does not speak HTTP/2") || h.Up() {
				t.Errorf("told %q, up %t: want why it is down", s, h.Up())
			}
		})
	}
}

func TestHTTP2Answers(t *testing.T) {
	s := talkingServer(t, false, true, func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Date"] = nil
		w.Header().Set("Content-Type", "x/y")
		switch r.URL.Path {
		case "/plain":
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(404)
			io.WriteString(w, "nope")
		case "/stream":
			io.WriteString(w, "no")
			w.(http.Flusher).Flush()
			io.WriteString(w, "pe")
		case "/trailers":
			io.WriteString(w, "hello world")
			w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
			w.Header().Set(http.TrailerPrefix+"Grpc-Message", "ok")
		case "/trailers-only":
			w.WriteHeader(200)
			w.Header().Set(http.TrailerPrefix+"X-Sum", "1")
		case "/empty":
			w.WriteHeader(204)
		case "/long":
			w.Write(make([]byte, 100_000))
		}
	})
	answers := &recordingOutput{}
	h := newHTTP(t, output.HTTPConfig{URL: s.URL, Answers: answers, AnswerSize: 200})
	for _, c := range []struct{ method, path, want string }{
		{"GET", "/plain", "HTTP/1.1 404 \r\ncontent-length: 4\r\ncontent-type: x/y\r\n\r\nnope"},
		{"GET", "/stream", "HTTP/1.1 200 \r\ncontent-length: 4\r\ncontent-type: x/y\r\n\r\nnope"},
		{"HEAD", "/plain", "HTTP/1.1 404 \r\ncontent-length: 4\r\ncontent-type: x/y\r\n\r\n"},
		{"GET", "/trailers", "HTTP/1.1 200 \r\ncontent-type: x/y\r\ntransfer-encoding: chunked\r\n\r\nb\r\nhello world\r\n0\r\ngrpc-message: ok\r\ngrpc-status: 0\r\n\r\n"},
		{"GET", "/trailers-only", "HTTP/1.1 200 \r\ncontent-type: x/y\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx-sum: 1\r\n\r\n"},
		{"GET", "/empty", "HTTP/1.1 204 \r\ncontent-type: x/y\r\n\r\n"},
		{"GET", "/long", "HTTP/1.1 200 \r\ncontent-length: 100000\r\ncontent-type: x/y\r\n\r\n"},
	} {
		before := time.Now()
		m := http2Request(crlf(c.method+" "+c.path+" HTTP/1.1", "Host: a"))
		m.Hop = 3
		if c.method == "HEAD" {
			m.Due = before.Add(-time.Minute)
		}
		seen := watch(t)
		write(t, h, seen, m)
		seen.await(1)
		seen.want(kagami.Delivered)
		all := answers.all()
		a := all[len(all)-1]
		if c.path == "/long" {
			if len(a.Raw) != 200 || a.Flags != kagami.Truncated || a.WireLen != len(c.want)+100_000 || !strings.HasPrefix(string(a.Raw), c.want) {
				t.Errorf("long answer: %d of %d bytes, flags %b: %.80q", len(a.Raw), a.WireLen, a.Flags, a.Raw)
			}
			continue
		}
		if string(a.Raw) != c.want || a.WireLen != len(c.want) || a.Flags != 0 {
			t.Errorf("%s %s: answer %q of %d bytes, flags %b, want %q", c.method, c.path, a.Raw, a.WireLen, a.Flags, c.want)
		}
		if a.Kind != kagami.Replayed || a.Proto != kagami.HTTP2 || a.Hop != 3 || a.Exchange != m.Exchange ||
			a.Start.Before(before) || a.End.Before(a.Start) || a.Client.Port() == 0 || a.Server.String() != s.Listener.Addr().String() {
			t.Errorf("answer %+v does not belong to its request", a)
		}
	}
	if st := h.Stats(); st.Answers != [6]uint64{0, 0, 5, 0, 2, 0} || st.Connected != 1 || st.Requests != 7 {
		t.Errorf("stats %+v", st)
	} else if n := len(output.LagBounds()); st.Lag[n] != 1 || st.LagSum < time.Minute || st.LagSum > 2*time.Minute {
		t.Errorf("lags %v, %v together: want that of the one that is a minute late", st.Lag, st.LagSum)
	}
}

func TestHTTP2Redirects(t *testing.T) {
	var mu sync.Mutex
	var got []string
	s := talkingServer(t, false, true, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		got = append(got, strings.TrimSpace(r.Method+" "+r.URL.Path+" "+string(body)))
		mu.Unlock()
		if r.URL.Path == "/a" {
			http.Redirect(w, r, "/b", http.StatusTemporaryRedirect)
		}
	})
	h := newHTTP(t, output.HTTPConfig{URL: s.URL, Redirects: 2})
	seen := watch(t)
	write(t, h, seen, http2Request(crlf("POST /a HTTP/1.1", "Host: a", "content-length: 3")+"abc"))
	seen.await(1)
	seen.want(kagami.Delivered)
	mu.Lock()
	defer mu.Unlock()
	if strings.Join(got, ", ") != "POST /a abc, POST /b abc" {
		t.Errorf("arrived %q", got)
	}
}

// Requests share a connection, and no more are under way than there may be.
func TestHTTP2ConcurrencyIsBounded(t *testing.T) {
	full, release := make(chan struct{}), make(chan struct{})
	var now, most atomic.Int64
	s := talkingServer(t, false, true, func(http.ResponseWriter, *http.Request) {
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		if n == 8 {
			close(full)
		}
		<-release
	})
	h := newHTTP(t, output.HTTPConfig{URL: s.URL, Connections: 8})
	seen := watch(t)
	written := make(chan struct{})
	ms := requests(20)
	for _, m := range ms {
		m.Proto = kagami.HTTP2
	}
	go func() {
		write(t, h, seen, ms...)
		close(written)
	}()
	<-full
	select {
	case <-written:
		t.Error("Write did not wait with 20 requests where 8 may be under way")
	default:
	}
	if n, st := h.InFlight(), h.Stats(); n != 20 || st.Open != 1 || st.Busy != 8 || st.Waiting != 12 {
		t.Errorf("%d in flight, %d open, %d busy, %d waiting, want 20, 1, 8 and 12", n, st.Open, st.Busy, st.Waiting)
	}
	close(release)
	<-written
	seen.await(20)
	seen.want(make([]kagami.Reason, 20)...)
	if n := most.Load(); n != 8 {
		t.Errorf("%d at once, want 8", n)
	}
}
