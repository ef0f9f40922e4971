package output_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kagami"
	"kagami/output"
)

// A rawServer serves each connection with a function, and remembers what
// was read if the function reads through it.
type rawServer struct {
	net.Listener
	accepted atomic.Int64
	wg       sync.WaitGroup
}

// serveRaw starts a server on loopback that ends with the test.
func serveRaw(t testing.TB, serve func(n int64, c net.Conn, r *bufio.Reader)) *rawServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &rawServer{Listener: l}
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	s.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[c] = true
			mu.Unlock()
			s.wg.Go(func() {
				defer c.Close()
				serve(s.accepted.Add(1), c, bufio.NewReader(c))
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for c := range open {
			c.Close()
		}
		mu.Unlock()
		s.wg.Wait()
	})
	return s
}

func (s *rawServer) url() string { return "http://" + s.Addr().String() }

// readRequest reads a request as it is on the wire, framed by Content-Length.
func readRequest(r *bufio.Reader) (string, error) {
	var b strings.Builder
	length := 0
	for {
		line, err := r.ReadString('\n')
		b.WriteString(line)
		if err != nil {
			return b.String(), err
		}
		if n, ok := strings.CutPrefix(line, "Content-Length: "); ok {
			fmt.Sscan(n, &length)
		}
		if line == "\r\n" {
			_, err = io.CopyN(&b, r, int64(length))
			return b.String(), err
		}
	}
}

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

func TestHTTPSendsByteForByte(t *testing.T) {
	got := make(chan string, 10)
	s := serveRaw(t, func(_ int64, c net.Conn, r *bufio.Reader) {
		for {
			req, err := readRequest(r)
			if err != nil {
				return
			}
			got <- req
			io.WriteString(c, okAnswer)
		}
	})
	h := newHTTP(t, output.HTTPConfig{URL: s.url() + "/base", Connections: 1})
	large := strings.Repeat("0123456789", 10_000)
	ms := []*kagami.Message{
		rawRequest(crlf("GET /a HTTP/1.1", "hOST: www", "X-b:c")),
		rawRequest(crlf("POST /b HTTP/1.1", "Host: www", "Content-Length: 4") + "\x00abc"),
		rawRequest(crlf("PUT /c HTTP/1.1", "Host: www", "Content-Length: 100000") + large),
	}
	seen := watch(t)
	write(t, h, seen, ms...)
	host := s.Addr().String()
	for _, want := range []string{
		crlf("GET /base/a HTTP/1.1", "hOST: "+host, "X-b:c", "Kagami-Replay: 0102030405"),
		crlf("POST /base/b HTTP/1.1", "Host: "+host, "Content-Length: 4", "Kagami-Replay: 0102030405") + "\x00abc",
		crlf("PUT /base/c HTTP/1.1", "Host: "+host, "Content-Length: 100000", "Kagami-Replay: 0102030405") + large,
	} {
		if g := <-got; g != want {
			t.Errorf("arrived\n%.300q\nwant\n%.300q", g, want)
		}
	}
	seen.await(3)
	seen.want(kagami.Delivered, kagami.Delivered, kagami.Delivered)
	if n := s.accepted.Load(); n != 1 {
		t.Errorf("%d connections, want one", n)
	}
}

// A countingServer is a net/http server that counts its connections.
func countingServer(t testing.TB, handler http.HandlerFunc) (s *httptest.Server, conns *atomic.Int64) {
	conns = new(atomic.Int64)
	s = httptest.NewUnstartedServer(handler)
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	return s, conns
}

func TestHTTPReusesConnections(t *testing.T) {
	for _, c := range []struct {
		name    string
		handler http.HandlerFunc
		request string
		want    int64
	}{
		{"an answer with a length", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }, "GET / HTTP/1.1", 1},
		{"a large chunked answer", func(w http.ResponseWriter, _ *http.Request) {
			for range 100 {
				w.Write(make([]byte, 4<<10))
				w.(http.Flusher).Flush()
			}
		}, "GET / HTTP/1.1", 1},
		{"a large answer", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000000")
			w.Write(make([]byte, 1_000_000))
		}, "GET / HTTP/1.1", 1},
		{"an answer in large chunks", func(w http.ResponseWriter, _ *http.Request) {
			for _, n := range []int{100_000, 5000, 300_000} {
				w.Write(make([]byte, n))
				w.(http.Flusher).Flush()
			}
		}, "GET / HTTP/1.1", 1},
		{"HEAD", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "1000") }, "HEAD / HTTP/1.1", 1},
		{"no content", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, "GET / HTTP/1.1", 1},
		{"not modified", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304) }, "GET / HTTP/1.1", 1},
		{"interim answers", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusProcessing)
			io.WriteString(w, "hello")
		}, "GET / HTTP/1.1", 1},
		{"HTTP/1.0", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }, "GET / HTTP/1.0", 1},
		{"HTTP/1.0 without a length", func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			io.WriteString(w, "hello")
		}, "GET / HTTP/1.0", 20},
		{"Connection: close", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Connection", "close") }, "GET / HTTP/1.1", 20},
		{"errors are answers", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", 500) }, "GET / HTTP/1.1", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, conns := countingServer(t, c.handler)
			h := newHTTP(t, output.HTTPConfig{URL: s.URL, Connections: 1})
			seen := watch(t)
			var ms []*kagami.Message
			for range 20 {
				ms = append(ms, rawRequest(crlf(c.request, "Host: a", "Connection: close")))
			}
			write(t, h, seen, ms...)
			seen.await(20)
			seen.want(make([]kagami.Reason, 20)...)
			if n := conns.Load(); n != c.want {
				t.Errorf("%d connections for 20 requests, want %d", n, c.want)
			}
		})
	}
}

func TestHTTPConcurrencyIsBounded(t *testing.T) {
	var now, most atomic.Int64
	var once sync.Once
	full := make(chan struct{})
	release := make(chan struct{})
	s, conns := countingServer(t, func(http.ResponseWriter, *http.Request) {
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		if n == 8 {
			once.Do(func() { close(full) })
		}
		<-release
	})
	h := newHTTP(t, output.HTTPConfig{URL: s.URL, Connections: 8})
	seen := watch(t)
	written := make(chan struct{})
	go func() {
		write(t, h, seen, requests(20)...)
		close(written)
	}()
	<-full // eight are being served at the same time
	select {
	case <-written:
		t.Error("Write did not wait with 20 requests and 8 connections")
	default:
	}
	if n := h.InFlight(); n != 20 {
		t.Errorf("%d in flight, want 20", n)
	}
	if st := h.Stats(); st.Open != 8 || st.Busy != 8 || st.Waiting != 12 {
		t.Errorf("%d open, %d busy, %d waiting, want 8, 8 and 12", st.Open, st.Busy, st.Waiting)
	}
	close(release)
	<-written
	seen.await(20)
	seen.want(make([]kagami.Reason, 20)...)
	if most.Load() != 8 || conns.Load() != 8 {
		t.Errorf("%d at once on %d connections, want 8 on 8", most.Load(), conns.Load())
	}
}

func TestHTTPCancelSettlesAll(t *testing.T) {
	arrived := make(chan struct{}, 2)
	release := make(chan struct{})
	s, _ := countingServer(t, func(http.ResponseWriter, *http.Request) {
		arrived <- struct{}{}
		<-release
	})
	defer close(release)
	h := newHTTP(t, output.HTTPConfig{URL: s.URL, Connections: 2, Timeout: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	seen, ms := watch(t), requests(5)
	written := make(chan error)
	go func() { written <- h.Write(ctx, kagami.Batch{Messages: ms, Settle: seen.settle}) }()
	<-arrived
	<-arrived
	cancel()
	if err := <-written; err != nil {
		t.Error(err)
	}
	seen.await(5)
	if d, s := seen.count(kagami.InDoubt), seen.count(kagami.DrainTimeout); d != 2 || s != 3 {
		t.Errorf("%d in doubt, %d not sent, want 2 and 3: %v", d, s, seen.by)
	}
	for i, m := range ms {
		if m.Exchange.Fate(0) != kagami.Dropped {
			t.Errorf("request %d is not marked as dropped", i)
		}
	}
	late := watch(t)
	if err := h.Write(ctx, kagami.Batch{Messages: requests(1), Settle: late.settle}); err != nil {
		t.Errorf("Write with an ended context: %v, want it settled", err)
	}
	late.await(1)
	late.want(kagami.DrainTimeout)
}

func TestHTTPWriteAfterClose(t *testing.T) {
	h, err := output.NewHTTP(output.HTTPConfig{URL: "127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	h.Close()
	if h.Write(t.Context(), kagami.Batch{Messages: requests(1)}) == nil {
		t.Error("Write after Close: no error")
	}
}

func TestHTTPOverTLS(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 1 || r.TLS.NegotiatedProtocol == "h2" {
			t.Errorf("%s arrived", r.Proto)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil || len(body) != 100_000 {
			t.Errorf("body of %d bytes: %v", len(body), err)
		}
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that fail on purpose
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	other := x509.NewCertPool()
	for _, c := range []struct {
		name string
		cfg  output.HTTPConfig
		want kagami.Reason
	}{
		{"trusted", output.HTTPConfig{RootCAs: roots}, kagami.Delivered},
		{"not verified", output.HTTPConfig{RootCAs: other, SkipVerify: true}, kagami.Delivered},
		{"unknown certificate", output.HTTPConfig{RootCAs: other}, kagami.DrainTimeout},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var told []error
			c.cfg.URL, c.cfg.Connections = s.URL, 1
			c.cfg.Notify = func(err error) {
				told = append(told, err)
				cancel() // and wait no longer for a target that can't be reached
			}
			h := newHTTP(t, c.cfg)
			seen := watch(t)
			post := crlf("POST / HTTP/1.1", "Host: a", "Content-Length: 100000") + strings.Repeat("x", 100_000)
			if err := h.Write(ctx, kagami.Batch{Messages: []*kagami.Message{rawRequest(post), rawRequest(post)}, Settle: seen.settle}); err != nil {
				t.Error(err)
			}
			seen.await(2)
			seen.want(c.want, c.want)
			if c.want == kagami.Delivered {
				if n := h.Stats().Connected; n != 1 || len(told) != 0 {
					t.Errorf("%d connections, want one; told %v", n, told)
				}
				return
			}
			var unknown x509.UnknownAuthorityError
			if len(told) != 1 || !errors.As(told[0], &unknown) || !strings.Contains(told[0].Error(), s.URL) {
				t.Errorf("told %v, want what is wrong and where", told)
			}
		})
	}
}

func TestHTTPAnswers(t *testing.T) {
	s, _ := countingServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Date"] = nil
		if r.URL.Path == "/long" {
			w.Write(make([]byte, 1000))
			return
		}
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(404)
		io.WriteString(w, "nope")
	})
	answers := &recordingOutput{}
	h := newHTTP(t, output.HTTPConfig{URL: s.URL, Answers: answers, AnswerSize: 200})
	seen := watch(t)
	ms := []*kagami.Message{rawRequest(crlf("GET / HTTP/1.1", "Host: a")), rawRequest(crlf("GET /long HTTP/1.1", "Host: a")), rawRequest("x")}
	ms[0].Hop = 3
	before := time.Now()
	for i, m := range ms { // one after the other, so that their order is known
		b := kagami.Batch{Messages: []*kagami.Message{m}, Settle: func(_ int, r kagami.Reason) { seen.settle(i, r) }}
		if err := h.Write(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		seen.await(i + 1)
	}
	got := answers.all()
	if len(got) != 2 {
		t.Fatalf("%d answers, want 2", len(got))
	}
	want := crlf("HTTP/1.1 404 Not Found", "Content-Length: 4", "Content-Type: text/plain; charset=utf-8") + "nope"
	a := got[0]
	if string(a.Raw) != want || a.WireLen != len(want) || a.Flags != 0 {
		t.Errorf("answer %q of %d bytes, flags %b, want %q", a.Raw, a.WireLen, a.Flags, want)
	}
	if a.Kind != kagami.Replayed || a.Proto != kagami.HTTP1 || a.Hop != 3 || a.Exchange != ms[0].Exchange {
		t.Errorf("answer %+v does not belong to its request", a)
	}
	if a.Start.Before(before) || a.End.Before(a.Start) || a.Client.Port() == 0 || a.Server.String() != s.Listener.Addr().String() {
		t.Errorf("answer from %v to %v, %v → %v", a.Start, a.End, a.Server, a.Client)
	}
	if b := got[1]; len(b.Raw) != 200 || b.Flags != kagami.Truncated || b.WireLen <= 1000 || !bytes.HasPrefix(b.Raw, []byte("HTTP/1.1 200 OK\r\n")) {
		t.Errorf("long answer: %d of %d bytes, flags %b, want 200, truncated", len(b.Raw), b.WireLen, b.Flags)
	}
	seen.want(kagami.Delivered, kagami.Delivered, kagami.NotReplayable)
}

func TestHTTPStats(t *testing.T) {
	s, _ := countingServer(t, func(w http.ResponseWriter, r *http.Request) {
		var status int
		fmt.Sscanf(r.URL.Path, "/%d", &status)
		w.WriteHeader(status)
	})
	h := newHTTP(t, output.HTTPConfig{URL: s.URL, Connections: 1})
	var ms []*kagami.Message
	for _, status := range []int{200, 204, 301, 404, 404, 500, 799} {
		ms = append(ms, rawRequest(crlf(fmt.Sprintf("GET /%d HTTP/1.1", status), "Host: a")))
	}
	ms[0].Due = time.Now().Add(-time.Minute)
	ms[1].Due = time.Now().Add(time.Minute) // sent early, it does not count as negative
	seen := watch(t)
	write(t, h, seen, ms...)
	seen.await(len(ms))
	st := h.Stats()
	if want := [6]uint64{1, 0, 2, 1, 2, 1}; st.Answers != want || st.Requests != 7 || st.Connected != 1 {
		t.Errorf("answers %v to %d requests on %d connections, want %v, 7, 1", st.Answers, st.Requests, st.Connected, want)
	}
	bounds := output.LatencyBounds()
	if len(st.Latency) != len(bounds)+1 || st.Latency[len(bounds)] != 1 {
		t.Errorf("latencies %v: want the one that is a minute late in the last bucket", st.Latency)
	}
	var sum uint64
	for _, n := range st.Latency {
		sum += n
	}
	if sum != 7 || st.LatencySum < time.Minute || st.LatencySum > time.Minute+10*time.Second {
		t.Errorf("%d latencies, %v together, want 7, a little over a minute", sum, st.LatencySum)
	}
	// Of two it was said when they were to be sent: one was early, and one a minute late.
	last := len(output.LagBounds())
	if len(st.Lag) != last+1 || st.Lag[0] != 1 || st.Lag[last] != 1 || st.LagSum < time.Minute || st.LagSum > time.Minute+10*time.Second {
		t.Errorf("lags %v, %v together: want one in the first bucket, one in the last, and a little over a minute", st.Lag, st.LagSum)
	}
}

func TestNewHTTPRefuses(t *testing.T) {
	for _, c := range []struct {
		cfg  output.HTTPConfig
		want string
	}{
		{output.HTTPConfig{}, "no host"},
		{output.HTTPConfig{URL: "ftp://staging"}, `scheme "ftp"`},
		{output.HTTPConfig{URL: "http://"}, "no host"},
		{output.HTTPConfig{URL: "http://:8080"}, "no host"},
		{output.HTTPConfig{URL: "http://staging?x=1"}, "query"},
		{output.HTTPConfig{URL: "http://staging/#x"}, "fragment"},
		{output.HTTPConfig{URL: "http://staging:99999"}, "port"},
		{output.HTTPConfig{URL: "http://staging:0"}, "port"},
		{output.HTTPConfig{URL: "http://bücher.example"}, "xn--"},
		{output.HTTPConfig{URL: "http://user:secret@a b"}, "not a URL"},
		{output.HTTPConfig{URL: "staging", Timeout: -1}, "timeout"},
		{output.HTTPConfig{URL: "staging", Connections: -1}, "connections"},
		{output.HTTPConfig{URL: "staging", Redirects: -1}, "redirects"},
		{output.HTTPConfig{URL: "staging", Index: 63}, "output number"},
		{output.HTTPConfig{URL: "staging", ReplayHeader: "A: b\r\nC"}, "header name"},
	} {
		h, err := output.NewHTTP(c.cfg)
		if err == nil {
			h.Close()
			t.Errorf("%+v accepted, want an error with %q", c.cfg, c.want)
		} else if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: error %q, want one with %q", c.cfg.URL, err, c.want)
		}
	}
}

func TestHTTPString(t *testing.T) {
	h := newHTTP(t, output.HTTPConfig{URL: "https://user:secret@Staging:8443/base/"})
	if got := h.String(); got != "https://staging:8443/base" {
		t.Errorf("String() = %q", got)
	}
}

func TestHTTPCheckAndTargets(t *testing.T) {
	noHost := &net.DNSError{Err: "no such host", Name: "staging", IsNotFound: true}
	h := newHTTP(t, output.HTTPConfig{URL: "https://staging", Lookup: func(context.Context, string) ([]netip.Addr, error) { return nil, noHost }})
	if err := h.Check(t.Context()); !errors.Is(err, noHost) || !strings.Contains(err.Error(), "resolve staging") {
		t.Errorf("Check of an unknown host: %v", err)
	}
	if got := h.Targets(); len(got) != 0 {
		t.Errorf("targets %v of an unknown host", got)
	}
	h = newHTTP(t, output.HTTPConfig{URL: "https://staging", Lookup: func(_ context.Context, host string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("::ffff:192.0.2.1"), netip.MustParseAddr("2001:db8::1")}, nil
	}})
	if err := h.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if got := fmt.Sprint(h.Targets()); got != "[192.0.2.1:443 [2001:db8::1]:443]" {
		t.Errorf("targets %v", got)
	}
	h = newHTTP(t, output.HTTPConfig{URL: "http://[::1]:8080"})
	if got := fmt.Sprint(h.Targets()); got != "[[::1]:8080]" {
		t.Errorf("targets of an address %v", got)
	}
	if err := h.Check(t.Context()); err != nil {
		t.Error(err)
	}
}
