package output_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"kagami"
	"kagami/output"
)

// reset closes a connection so that the peer gets an RST.
func reset(c net.Conn) {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	c.(*net.TCPConn).SetLinger(0)
	c.Close()
}

// What servers do wrong, and what becomes of a request then.
func TestHTTPMisbehavingServers(t *testing.T) {
	get := crlf("GET / HTTP/1.1", "Host: a")
	post := crlf("POST / HTTP/1.1", "Host: a", "Content-Length: 1") + "x"
	large := crlf("POST / HTTP/1.1", "Host: a", "Content-Length: 8000000") + strings.Repeat("x", 8_000_000)
	answer := func(s string) func(int64, net.Conn, *bufio.Reader) {
		return func(_ int64, c net.Conn, r *bufio.Reader) {
			for {
				if _, err := readRequest(r); err != nil {
					return
				}
				io.WriteString(c, s)
			}
		}
	}
	andClose := func(s string) func(int64, net.Conn, *bufio.Reader) {
		return func(_ int64, c net.Conn, r *bufio.Reader) {
			readRequest(r)
			io.WriteString(c, s)
		}
	}
	for _, c := range []struct {
		name    string
		serve   func(n int64, c net.Conn, r *bufio.Reader)
		request string
		want    kagami.Reason
		conns   int64 // for two requests, one after the other
		failure output.HTTPFailure
	}{
		{"closes at once", func(_ int64, c net.Conn, _ *bufio.Reader) {}, get, kagami.SendError, 2, output.HTTPClosed},
		{"resets in the request", func(_ int64, c net.Conn, r *bufio.Reader) { r.ReadByte(); reset(c) }, get, kagami.SendError, 2, output.HTTPClosed},
		{"resets after the request", func(_ int64, c net.Conn, r *bufio.Reader) { readRequest(r); reset(c) }, post, kagami.SendError, 2, output.HTTPClosed},
		{"is silent", func(_ int64, c net.Conn, r *bufio.Reader) { io.Copy(io.Discard, r) }, get, kagami.Timeout, 2, output.HTTPTimeout},
		{"speaks something else", answer("SSH-2.0-OpenSSH_9.6\r\n"), get, kagami.SendError, 2, output.HTTPGarbage},
		{"speaks HTTP/2", answer("\x00\x00\x12\x04\x00\x00\x00\x00\x00"), get, kagami.SendError, 2, output.HTTPGarbage},
		{"has a head without end", func(_ int64, c net.Conn, r *bufio.Reader) {
			readRequest(r)
			io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			for {
				if _, err := io.WriteString(c, "X: "+strings.Repeat("y", 10_000)+"\r\n"); err != nil {
					return
				}
			}
		}, get, kagami.SendError, 2, output.HTTPGarbage},
		{"has a body without end", func(_ int64, c net.Conn, r *bufio.Reader) {
			readRequest(r)
			io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
			for {
				if _, err := io.WriteString(c, "5\r\nhello\r\n"); err != nil {
					return
				}
			}
		}, get, kagami.Timeout, 2, output.HTTPTimeout},
		{"stops in the head", answer("HTTP/1.1 200 OK\r\nContent-Le"), get, kagami.Timeout, 2, output.HTTPTimeout},
		{"stops in the body", answer("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"), get, kagami.Timeout, 2, output.HTTPTimeout},
		{"closes in the head", andClose("HTTP/1.1 200 OK\r\nContent-Le"), get, kagami.SendError, 2, output.HTTPCutShort},
		{"closes in the body", andClose("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"), get, kagami.SendError, 2, output.HTTPCutShort},
		{"closes in a chunk", andClose("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc"), get, kagami.SendError, 2, output.HTTPCutShort},
		{"has a broken chunk", answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), get, kagami.SendError, 2, output.HTTPGarbage},
		{"says more than it announced", answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more"), get, kagami.Delivered, 2, 0},
		{"says more than it announced, at length", answer("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 100_001)), get, kagami.Delivered, 2, 0},
		{"answers twice", answer(okAnswer + okAnswer), get, kagami.Delivered, 2, 0},
		{"has two lengths", answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok"), get, kagami.Delivered, 2, 0},
		{"has two lengths that differ", answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok"), get, kagami.SendError, 2, output.HTTPGarbage},
		{"has a length that is none", answer("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nok"), get, kagami.SendError, 2, output.HTTPGarbage},
		{"has a bad length, and chunks", answer("HTTP/1.1 200 OK\r\nContent-Length: -1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), get, kagami.Delivered, 2, 0},
		{"has a bad length, and no body", answer("HTTP/1.1 304 Not Modified\r\nContent-Length: 1, 2\r\n\r\n"), get, kagami.Delivered, 2, 0},
		{"ends the body by closing", andClose("HTTP/1.1 200 OK\r\n\r\nhello"), get, kagami.Delivered, 2, 0},
		{"closes after each, unannounced", andClose(okAnswer), get, kagami.Delivered, 2, 0},
		{"closes after each, announced", andClose("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"), post, kagami.Delivered, 2, 0},
		{"is HTTP/1.0", answer("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"), get, kagami.Delivered, 2, 0},
		{"is HTTP/1.0 with keep-alive", answer("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nok"), get, kagami.Delivered, 1, 0},
		{"continues what nobody waits for", answer("HTTP/1.1 100 Continue\r\n\r\n" + okAnswer), post, kagami.Delivered, 1, 0},
		{"has many interim answers", answer(strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 50) + okAnswer), get, kagami.Delivered, 1, 0},
		{"never comes to its answer", func(_ int64, c net.Conn, r *bufio.Reader) {
			readRequest(r)
			for {
				if _, err := io.WriteString(c, "HTTP/1.1 102 Processing\r\n\r\n"); err != nil {
					return
				}
			}
		}, get, kagami.Timeout, 2, output.HTTPTimeout},
		{"switches protocols", answer("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"), get, kagami.Delivered, 2, 0},
		{"answers before it has read all, and closes", func(_ int64, c net.Conn, r *bufio.Reader) {
			io.CopyN(io.Discard, r, 100)
			io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
			c.(interface{ CloseWrite() error }).CloseWrite()
			io.Copy(io.Discard, r)
		}, large, kagami.Delivered, 2, 0},
		{"answers before it has read all, and reads no more", func(_ int64, c net.Conn, r *bufio.Reader) {
			io.CopyN(io.Discard, r, 100)
			io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
			for lines := bytes.Repeat([]byte("\r\n"), 32<<10); ; { // it blocks until the peer hangs up
				if _, err := c.Write(lines); err != nil {
					return
				}
			}
		}, large, kagami.Delivered, 2, 0},
		{"does not read", func(_ int64, c net.Conn, r *bufio.Reader) {
			var b [1]byte
			for c.SetReadDeadline(time.Time{}) == nil {
				if _, err := io.ReadFull(r, b[:]); err != nil {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
		}, large, kagami.Timeout, 2, output.HTTPTimeout},
	} {
		for _, way := range []string{"loop", "goroutines", "TLS"} {
			t.Run(c.name+"/"+way, func(t *testing.T) {
				t.Parallel()
				cfg := output.HTTPConfig{Connections: 1, Timeout: 10 * time.Second}
				if c.want == kagami.Timeout {
					cfg.Timeout = 300 * time.Millisecond
				}
				s := serveWay(t, way, &cfg, c.serve)
				h := newHTTP(t, cfg)
				for range 2 {
					seen := watch(t)
					write(t, h, seen, rawRequest(c.request))
					seen.await(1)
					seen.want(c.want)
				}
				if n := s.accepted.Load(); n != c.conns {
					t.Errorf("%d connections, want %d", n, c.conns)
				}
				st := h.Stats()
				if st.Down {
					t.Error("the target counts as down, and it accepted connections")
				}
				want := [output.NumHTTPFailures]uint64{}
				if c.want != kagami.Delivered {
					want[c.failure] = 2
				}
				if st.Failures != want {
					t.Errorf("failures %v, want %v", st.Failures, want)
				}
			})
		}
	}
}

// serveWay is serveRaw for a server that is to be reached in one of three ways:
// from the loop that Linux has, with a goroutine for each connection, over TLS.
func serveWay(t testing.TB, way string, cfg *output.HTTPConfig, serve func(n int64, c net.Conn, r *bufio.Reader)) *rawServer {
	t.Helper()
	var s *rawServer
	switch way {
	case "TLS":
		ours := newAuthority(t, "ours")
		theirs := &tls.Config{Certificates: []tls.Certificate{ours.issue(t, "127.0.0.1")}}
		s = serveRaw(t, func(n int64, c net.Conn, _ *bufio.Reader) {
			tc := tls.Server(c, theirs)
			if tc.Handshake() == nil {
				defer tc.Close()
				serve(n, tc, bufio.NewReader(tc))
			}
		})
		cfg.URL, cfg.RootCAs = strings.Replace(s.url(), "http:", "https:", 1), ours.pool()
	case "goroutines":
		cfg.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		}
		fallthrough
	default:
		s = serveRaw(t, serve)
		cfg.URL = s.url()
	}
	return s
}

// A connection that was kept may have been closed when it is used again.
func TestHTTPConnectionWasClosed(t *testing.T) {
	for _, c := range []struct {
		name     string
		method   string
		closed   string // when the server closes
		want     kagami.Reason
		requests int // that the server sees
		retries  uint64
	}{
		{"GET after it was closed", "GET", "idle", kagami.Delivered, 2, 1},
		{"POST after it was closed", "POST", "idle", kagami.Delivered, 2, 0}, // a look at the connection shows it
		{"GET while it is sent", "GET", "request", kagami.Delivered, 3, 1},
		{"POST while it is sent", "POST", "request", kagami.SendError, 2, 0},
		{"PATCH while it is sent", "PATCH", "request", kagami.SendError, 2, 0},
		{"DELETE while it is sent", "DELETE", "request", kagami.Delivered, 3, 1},
		{"GET in its answer", "GET", "answer", kagami.SendError, 2, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			seenByServer := make(chan string, 10)
			closed := make(chan struct{})
			s := serveRaw(t, func(n int64, conn net.Conn, r *bufio.Reader) {
				for i := 0; ; i++ {
					req, err := readRequest(r)
					if err != nil {
						return
					}
					seenByServer <- req
					if n == 1 && i == 1 { // only in mode request and answer
						if c.closed == "answer" {
							io.WriteString(conn, "HTTP/1.1 2")
						}
						return
					}
					io.WriteString(conn, okAnswer)
					if n == 1 && c.closed == "idle" {
						conn.Close()
						close(closed)
						return
					}
				}
			})
			if c.closed != "idle" {
				close(closed)
			}
			h := newHTTP(t, output.HTTPConfig{URL: s.url(), Connections: 1})
			raw := crlf(c.method+" / HTTP/1.1", "Host: a", "Content-Length: 1") + "x"
			for i, want := range []kagami.Reason{kagami.Delivered, c.want} {
				seen := watch(t)
				write(t, h, seen, rawRequest(raw))
				seen.await(1)
				seen.want(want)
				if i == 0 {
					<-closed
				}
			}
			if n := len(seenByServer); n != c.requests {
				t.Errorf("the server saw %d requests, want %d", n, c.requests)
			}
			if st := h.Stats(); st.Retries != c.retries {
				t.Errorf("%d retries, want %d", st.Retries, c.retries)
			}
		})
	}
}

func TestHTTPRetriesOnce(t *testing.T) {
	s := serveRaw(t, func(n int64, c net.Conn, r *bufio.Reader) {
		readRequest(r)
		if n == 1 {
			io.WriteString(c, okAnswer)
			readRequest(r)
		}
	})
	h := newHTTP(t, output.HTTPConfig{URL: s.url(), Connections: 1})
	for _, want := range []kagami.Reason{kagami.Delivered, kagami.SendError} {
		seen := watch(t)
		write(t, h, seen, request(1))
		seen.await(1)
		seen.want(want)
	}
	if n := s.accepted.Load(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}

func TestHTTPAmbiguousAlone(t *testing.T) {
	ends := make(chan string, 10)
	s := serveRaw(t, func(n int64, c net.Conn, r *bufio.Reader) {
		for {
			req, err := readRequest(r)
			if err != nil {
				ends <- req // what is left at the end of the connection
				return
			}
			if strings.HasPrefix(req, "POST") {
				io.CopyN(io.Discard, r, 5)
			}
			io.WriteString(c, okAnswer)
		}
	})
	h := newHTTP(t, output.HTTPConfig{URL: s.url(), Ambiguous: output.AmbiguousAlone, Connections: 1})
	odd := crlf("POST /odd HTTP/1.1", "Host: a", "Transfer-Encoding: chunked", "X: 1", "Content-Length: 0") + "0\r\n\r\n"
	get := crlf("GET / HTTP/1.1", "Host: a")
	seen := watch(t)
	write(t, h, seen, rawRequest(get), rawRequest(odd), rawRequest(odd), rawRequest(get), rawRequest(get))
	seen.await(5)
	seen.want(make([]kagami.Reason, 5)...)
	if n := s.accepted.Load(); n != 4 {
		t.Errorf("%d connections, want 4: one for each ambiguous request, and the others'", n)
	}
	for range 3 {
		if rest := <-ends; rest != "" {
			t.Errorf("a connection ended with %q unread", rest)
		}
	}
}

func TestHTTPRedirects(t *testing.T) {
	var elsewhere atomic.Int64
	other, _ := countingServer(t, func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) })
	for _, c := range []struct {
		name      string
		redirects int
		original  bool
		status    int
		location  string
		method    string
		want      []string // method and target of what arrives
		last      int      // index in HTTPStats.Answers of the last answer
	}{
		{"not asked for", 0, false, 302, "/b", "GET", []string{"GET /base/a"}, 3},
		{"a path", 1, false, 302, "/base/b?x=%20y", "GET", []string{"GET /base/a", "GET /base/b?x=%20y"}, 2},
		{"a relative path", 1, false, 301, "b", "GET", []string{"GET /base/a", "GET /base/b"}, 2},
		{"a URL on the target", 1, false, 301, "http://TARGET/c", "GET", []string{"GET /base/a", "GET /c"}, 2},
		{"elsewhere", 1, false, 302, other.URL + "/", "GET", []string{"GET /base/a"}, 3},
		{"another scheme", 1, false, 302, "https://TARGET/c", "GET", []string{"GET /base/a"}, 3},
		{"production's host", 1, false, 302, "http://www.example.com/c", "GET", []string{"GET /base/a"}, 3},
		{"production's host, which the target takes for its own", 1, true, 302, "http://www.example.com/c", "GET", []string{"GET /base/a", "GET /c"}, 2},
		{"see other", 1, false, 303, "/b", "POST", []string{"POST /base/a abc", "GET /b"}, 2},
		{"found, after POST", 1, false, 302, "/b", "POST", []string{"POST /base/a abc", "GET /b"}, 2},
		{"found, after PUT", 1, false, 302, "/b", "PUT", []string{"PUT /base/a abc", "PUT /b abc"}, 2},
		{"temporary", 1, false, 307, "/b", "POST", []string{"POST /base/a abc", "POST /b abc"}, 2},
		{"no more than asked for", 3, false, 302, "/a", "GET", []string{"GET /base/a", "GET /a", "GET /a", "GET /a"}, 3},
		{"not to be understood", 1, false, 302, "http://%zz/", "GET", []string{"GET /base/a"}, 3},
		{"no location", 1, false, 302, "", "GET", []string{"GET /base/a"}, 3},
		{"not a redirect", 1, false, 304, "/b", "GET", []string{"GET /base/a"}, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			arrived := make(chan string, 10)
			s, _ := countingServer(t, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				arrived <- strings.TrimSpace(r.Method + " " + r.RequestURI + " " + string(body))
				if want := "0102030405"; r.Header.Get("Kagami-Replay") != want {
					t.Errorf("id %q, want %q", r.Header.Get("Kagami-Replay"), want)
				}
				if r.Method == "GET" && r.ContentLength > 0 {
					t.Error("GET with the body of the POST before")
				}
				if strings.HasSuffix(r.URL.Path, "/a") {
					if c.location != "" {
						w.Header().Set("Location", strings.Replace(c.location, "TARGET", r.Context().Value(http.LocalAddrContextKey).(net.Addr).String(), 1))
					}
					w.WriteHeader(c.status)
				}
			})
			answers := &recordingOutput{}
			h := newHTTP(t, output.HTTPConfig{URL: s.URL + "/base", Redirects: c.redirects, OriginalHost: c.original, Answers: answers})
			raw := crlf(c.method+" /a HTTP/1.1", "Host: www.example.com")
			if c.method != "GET" {
				raw = crlf(c.method+" /a HTTP/1.1", "Host: www.example.com", "Content-Length: 3") + "abc"
			}
			seen := watch(t)
			write(t, h, seen, rawRequest(raw))
			seen.await(1)
			seen.want(kagami.Delivered)
			var got []string
			for len(arrived) > 0 {
				got = append(got, <-arrived)
			}
			if strings.Join(got, ", ") != strings.Join(c.want, ", ") {
				t.Errorf("arrived %q, want %q", got, c.want)
			}
			st := h.Stats()
			if st.Answers[c.last] == 0 || st.Requests != uint64(len(c.want)) {
				t.Errorf("%d requests, answers %v", st.Requests, st.Answers)
			}
			if n := len(answers.all()); n != 1 {
				t.Errorf("%d answers handed on, want the last one", n)
			}
		})
	}
	if elsewhere.Load() != 0 {
		t.Error("a redirect to another host was followed")
	}
}
