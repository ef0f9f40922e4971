package output_test

import (
	"bytes"
	"strings"
	"testing"

	"kagami"
	"kagami/internal/http1"
	"kagami/output"
)

// crlf makes a raw message of lines, with a blank line behind the head.
func crlf(lines ...string) string { return strings.Join(lines, "\r\n") + "\r\n\r\n" }

func rawRequest(raw string) *kagami.Message {
	id, _ := kagami.ParseID("0102030405")
	method, _, _ := strings.Cut(raw, " ")
	return &kagami.Message{
		Kind:     kagami.Request,
		Proto:    kagami.HTTP1,
		Raw:      []byte(raw),
		Exchange: &kagami.Exchange{ID: id, Method: method},
	}
}

func newHTTP(t testing.TB, cfg output.HTTPConfig) *output.HTTP {
	t.Helper()
	h, err := output.NewHTTP(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func TestAppendRequest(t *testing.T) {
	const id = "Kagami-Replay: 0102030405"
	plain := output.HTTPConfig{URL: "http://staging:8080"}
	for _, c := range []struct {
		name string
		cfg  output.HTTPConfig
		in   string
		want string
	}{
		{
			"order, case and whitespace stay",
			plain,
			crlf("GET /a?b=%20c;d HTTP/1.1", "uSER-aGENT:curl", "hOST:   www.example.com", "Accept:\t*/*  ", "X-Empty:", "Cookie: a=1", "cookie: b=2"),
			crlf("GET /a?b=%20c;d HTTP/1.1", "uSER-aGENT:curl", "hOST: staging:8080", "Accept:\t*/*  ", "X-Empty:", "Cookie: a=1", "cookie: b=2", id),
		},
		{
			"original host",
			output.HTTPConfig{URL: "staging", OriginalHost: true},
			crlf("GET / HTTP/1.1", "Host: www.example.com"),
			crlf("GET / HTTP/1.1", "Host: www.example.com", id),
		},
		{
			"no replay header",
			output.HTTPConfig{URL: "https://staging/", NoReplayHeader: true},
			crlf("GET / HTTP/1.1", "Host: www.example.com", "Kagami-Replay: 99"),
			crlf("GET / HTTP/1.1", "Host: staging", "Kagami-Replay: 99"),
		},
		{
			"replay header of another name replaces what is there",
			output.HTTPConfig{URL: "staging", ReplayHeader: "X-Copy"},
			crlf("GET / HTTP/1.1", "x-copy: 7", "Host: www.example.com", "X-COPY: 8"),
			crlf("GET / HTTP/1.1", "x-copy: 0102030405", "Host: staging"),
		},
		{
			"what belongs to the connection",
			plain,
			crlf("GET / HTTP/1.1", "Host: a", "connection : Keep-Alive, X-Hop,  te", "KEEP-ALIVE: timeout=5", "X-Hop: 1", "TE: trailers",
				"Proxy-Connection: keep-alive", "Proxy-Authorization: Basic eA==", "Upgrade: websocket", "Expect: 100-continue", "X-Hope: 2", "Proxy: stays", "x-hop : 3"),
			"", // whitespace before a colon is ambiguous: see below
		},
		{
			"what belongs to the connection, well formed",
			plain,
			crlf("POST / HTTP/1.1", "X-Hop: 0", "Host: a", "connection: Keep-Alive, X-Hop,  te,", "KEEP-ALIVE: timeout=5", "X-Hop: 1", "TE: trailers",
				"Proxy-Connection: keep-alive", "Proxy-Authorization: Basic eA==", "Upgrade: websocket", "Expect: 100-continue", "X-Hope: 2", "Proxy: stays", "Content-Length: 3") + "abc",
			crlf("POST / HTTP/1.1", "Host: staging:8080", "X-Hope: 2", "Proxy: stays", "Content-Length: 3", id) + "abc",
		},
		{
			"Connection cannot take away what frames the message",
			plain,
			crlf("POST / HTTP/1.1", "Host: a", "Connection: content-length, host, transfer-encoding, trailer", "Content-Length: 3") + "abc",
			crlf("POST / HTTP/1.1", "Host: staging:8080", "Content-Length: 3", id) + "abc",
		},
		{
			"several Connection fields",
			plain,
			crlf("GET / HTTP/1.1", "Connection: close", "A: 1", "B: 2", "Host: a", "Connection: b", "C: 3", "Connection: a"),
			crlf("GET / HTTP/1.1", "Host: staging:8080", "C: 3", id),
		},
		{
			"chunked with trailer stays as it is",
			plain,
			crlf("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked", "Trailer: X-Sum") + "3;ext=1\r\nabc\r\n0\r\nX-Sum: 9\r\n\r\n",
			crlf("POST / HTTP/1.1", "Host: staging:8080", "Transfer-Encoding: chunked", "Trailer: X-Sum", id) + "3;ext=1\r\nabc\r\n0\r\nX-Sum: 9\r\n\r\n",
		},
		{
			"body of any bytes",
			plain,
			crlf("PUT / HTTP/1.1", "Host: a", "Content-Length: 4") + "\x00\r\n\xff",
			crlf("PUT / HTTP/1.1", "Host: staging:8080", "Content-Length: 4", id) + "\x00\r\n\xff",
		},
		{
			"empty lines around a request are not sent",
			plain,
			"\r\n\r\n" + crlf("POST / HTTP/1.1", "Host: a", "Content-Length: 1") + "x\r\n",
			crlf("POST / HTTP/1.1", "Host: staging:8080", "Content-Length: 1", id) + "x",
		},
		{
			"base path",
			output.HTTPConfig{URL: "http://Staging.example.com/v2/a%2Fb/"},
			crlf("GET /x?y=/z HTTP/1.1", "Host: a"),
			crlf("GET /v2/a%2Fb/x?y=/z HTTP/1.1", "Host: staging.example.com", id),
		},
		{
			"absolute form",
			output.HTTPConfig{URL: "http://staging/v2"},
			crlf("GET http://www.example.com:80/x?u=http://b/ HTTP/1.1", "Host: www.example.com"),
			crlf("GET /v2/x?u=http://b/ HTTP/1.1", "Host: staging", id),
		},
		{
			"absolute form without a path",
			plain,
			crlf("GET http://www.example.com?a=b HTTP/1.1", "Host: www.example.com"),
			crlf("GET /?a=b HTTP/1.1", "Host: staging:8080", id),
		},
		{
			"a path with a URL in it is no absolute form",
			output.HTTPConfig{URL: "http://staging/v2"},
			crlf("GET /http://b/ HTTP/1.1", "Host: a"),
			crlf("GET /v2/http://b/ HTTP/1.1", "Host: staging", id),
		},
		{
			"OPTIONS of the server",
			output.HTTPConfig{URL: "http://staging/v2"},
			crlf("OPTIONS * HTTP/1.1", "Host: a"),
			crlf("OPTIONS * HTTP/1.1", "Host: staging", id),
		},
		{
			"OPTIONS of the server, absolute form",
			output.HTTPConfig{URL: "http://staging/v2"},
			crlf("OPTIONS http://www.example.com HTTP/1.1", "Host: a"),
			crlf("OPTIONS * HTTP/1.1", "Host: staging", id),
		},
		{
			"credentials of the target are added",
			output.HTTPConfig{URL: "http://user:p%40ss@staging"},
			crlf("GET / HTTP/1.1", "Host: a"),
			crlf("GET / HTTP/1.1", "Host: staging", "Authorization: Basic dXNlcjpwQHNz", id),
		},
		{
			"credentials of the target replace the client's",
			output.HTTPConfig{URL: "http://user:p%40ss@staging"},
			crlf("GET / HTTP/1.1", "authorization: Bearer x", "Host: a", "Authorization: Bearer y"),
			crlf("GET / HTTP/1.1", "authorization: Basic dXNlcjpwQHNz", "Host: staging", id),
		},
		{
			"HTTP/1.0 asks for the connection to be kept",
			plain,
			crlf("GET / HTTP/1.0", "User-Agent: ApacheBench/2.3"),
			crlf("GET / HTTP/1.0", "User-Agent: ApacheBench/2.3", "Host: staging:8080", "Connection: keep-alive", id),
		},
		{
			"a second Host is left out",
			plain,
			crlf("GET / HTTP/1.1", "Host: a", "X: 1", "Host: b"),
			crlf("GET / HTTP/1.1", "Host: staging:8080", "X: 1", id),
		},
		{
			"unknown methods",
			plain,
			crlf("M-SEARCH /x HTTP/1.1", "Host: a"),
			crlf("M-SEARCH /x HTTP/1.1", "Host: staging:8080", id),
		},
		{
			"ambiguous framing goes out as it came",
			output.HTTPConfig{URL: "http://staging", Ambiguous: output.AmbiguousAlone},
			"POST / HTTP/1.0\nHost : a\nX: 1\n folded\nConnection: X-Hop,\r\n Keep-Alive\nX-Hop : 1\n 2\nContent-Length: 3\nTransfer-Encoding: chunked\n\nabc0",
			"POST / HTTP/1.0\nHost : staging\r\nX: 1\n folded\nContent-Length: 3\nTransfer-Encoding: chunked\n" + id + "\r\n\nabc0",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHTTP(t, c.cfg)
			m := rawRequest(c.in)
			got, reason := h.AppendRequest([]byte("before|"), m)
			if c.want == "" {
				if reason != kagami.AmbiguousFraming || string(got) != "before|" {
					t.Fatalf("got %v and %q, want ambiguous", reason, got)
				}
				return
			}
			if reason != kagami.Delivered {
				t.Fatalf("not sent: %v", reason)
			}
			if want := "before|" + c.want; string(got) != want {
				t.Errorf("sent\n%q\nwant\n%q", got, want)
			}
			if string(m.Raw) != c.in {
				t.Error("the message was changed")
			}
		})
	}
}

func TestWhatIsNotSent(t *testing.T) {
	get := crlf("GET / HTTP/1.1", "Host: a")
	with := func(raw string, f func(*kagami.Message)) *kagami.Message {
		m := rawRequest(raw)
		f(m)
		return m
	}
	post := func(fields ...string) string {
		return crlf(append([]string{"POST / HTTP/1.1", "Host: a"}, fields...)...)
	}
	asIs := func(*kagami.Message) {}
	for _, c := range []struct {
		name string
		m    *kagami.Message
		want kagami.Reason
	}{
		{"a response", with(get, func(m *kagami.Message) { m.Kind = kagami.Response }), kagami.NotReplayable},
		{"a replayed answer", with(get, func(m *kagami.Message) { m.Kind = kagami.Replayed }), kagami.NotReplayable},
		{"incomplete", with(get, func(m *kagami.Message) { m.Flags = kagami.Incomplete }), kagami.NotReplayable},
		{"truncated", with(get, func(m *kagami.Message) { m.Flags = kagami.Truncated }), kagami.NotReplayable},
		{"a websocket frame", with(get, func(m *kagami.Message) { m.Proto = kagami.WebSocket }), kagami.NotReplayable},
		{"unknown protocol", with(get, func(m *kagami.Message) { m.Proto = kagami.Binary }), kagami.NotReplayable},
		{"CONNECT", with(crlf("CONNECT b:443 HTTP/1.1", "Host: b:443"), asIs), kagami.NotReplayable},
		{"no HTTP", with("hello\r\n\r\n", asIs), kagami.NotReplayable},
		{"nothing", with("", asIs), kagami.NotReplayable},
		{"head cut short", with("GET / HTTP/1.1\r\nHost: a\r\n", asIs), kagami.NotReplayable},
		{"body cut short", with(post("Content-Length: 5")+"abc", asIs), kagami.NotReplayable},
		{"chunked body cut short", with(post("Transfer-Encoding: chunked")+"5\r\nabc", asIs), kagami.NotReplayable},
		{"flagged as ambiguous", with(get, func(m *kagami.Message) { m.Flags = kagami.Ambiguous }), kagami.AmbiguousFraming},
		{"body longer than said", with(post("Content-Length: 1")+"aGET /b HTTP/1.1\r\n\r\n", asIs), kagami.AmbiguousFraming},
		{"body of no length", with(get+"x", asIs), kagami.AmbiguousFraming},
		{"more behind the last chunk", with(post("Transfer-Encoding: chunked")+"0\r\n\r\nGET", asIs), kagami.AmbiguousFraming},
		{"broken chunk", with(post("Transfer-Encoding: chunked")+"z\r\n", asIs), kagami.AmbiguousFraming},
		{"two lengths", with(post("Content-Length: 1", "Content-Length: 1")+"a", asIs), kagami.AmbiguousFraming},
		{"length and chunks", with(post("Content-Length: 5", "Transfer-Encoding: chunked")+"0\r\n\r\n", asIs), kagami.AmbiguousFraming},
		{"bare LF", with("GET / HTTP/1.1\nHost: a\n\n", asIs), kagami.AmbiguousFraming},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHTTP(t, output.HTTPConfig{URL: "http://127.0.0.1:1"})
			if got, r := h.AppendRequest(nil, c.m); r != c.want || got != nil {
				t.Errorf("AppendRequest: %q, %v, want %v", got, r, c.want)
			}
		})
	}
}

// Whatever comes in, what is sent is one request that can be read in one way
// only, with the body it had, and sending it once more would change nothing.
func FuzzAppendRequest(f *testing.F) {
	for _, raw := range []string{
		crlf("GET /a?b HTTP/1.1", "Host: a", "Connection: X, close", "X: 1", "Upgrade: h2c"),
		crlf("GET http://a/b HTTP/1.0", "Kagami-Replay: 1", "Authorization: x"),
		crlf("POST / HTTP/1.1", "host: a", "Content-Length: 3", "Expect: 100-continue") + "abc\r\n",
		crlf("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked", "Connection: Transfer-Encoding") + "3\r\nabc\r\n0\r\nT: 1\r\n\r\n",
		"\r\nGET / HTTP/1.1\r\n X: 1\r\nHost : a\n\n",
	} {
		f.Add([]byte(raw))
	}
	targets := []*output.HTTP{
		newHTTP(f, output.HTTPConfig{URL: "http://u:p@staging:8080/base"}),
		newHTTP(f, output.HTTPConfig{URL: "http://staging:8080", OriginalHost: true, NoReplayHeader: true}),
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		for i, h := range targets {
			got, r := h.AppendRequest(nil, rawRequest(string(raw)))
			if r != kagami.Delivered {
				if got != nil {
					t.Fatalf("%v, and yet %q", r, got)
				}
				continue
			}
			var framer http1.Framer
			if n, done, err := framer.Feed(got); err != nil || !done || n != len(got) {
				t.Fatalf("target %d: %q became %q: %d of %d bytes are a request, %v", i, raw, got, n, len(got), err)
			}
			if framer.Head().Ambiguous || framer.Head().Close || framer.Head().Upgrade || framer.Head().Expect100 {
				t.Fatalf("target %d: %q became %q: %+v", i, raw, got, *framer.Head())
			}
			_, body := http1.SplitHead(got)
			if _, was := http1.SplitHead(bytes.TrimLeft(raw, "\r\n")); !bytes.HasPrefix(was, body) {
				t.Fatalf("target %d: body %q became %q", i, was, body)
			}
			if i == 0 {
				if host, _ := http1.Header(got, "Host"); string(host) != "staging:8080" {
					t.Fatalf("%q became %q: Host is %q", raw, got, host)
				}
				if id, _ := http1.Header(got, "Kagami-Replay"); string(id) != "0102030405" {
					t.Fatalf("%q became %q: id is %q", raw, got, id)
				}
				continue
			}
			if again, r := h.AppendRequest(nil, rawRequest(string(got))); r != kagami.Delivered || !bytes.Equal(again, got) {
				t.Fatalf("%q became %q, and that %q, %v", raw, got, again, r)
			}
		}
	})
}

func BenchmarkAppendRequest(b *testing.B) {
	for _, c := range []struct{ name, raw string }{
		{"ab", crlf("GET /index.html HTTP/1.0", "Host: www.example.com", "User-Agent: ApacheBench/2.3", "Accept: */*")},
		{"browser", crlf("GET /products/12345?ref=home HTTP/1.1", "Host: www.example.com", "Connection: keep-alive",
			"sec-ch-ua: \"Chromium\";v=\"130\", \"Not?A_Brand\";v=\"99\"", "sec-ch-ua-mobile: ?0", "sec-ch-ua-platform: \"Linux\"",
			"Upgrade-Insecure-Requests: 1", "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36",
			"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8", "Sec-Fetch-Site: same-origin",
			"Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "Accept-Encoding: gzip, deflate, br, zstd", "Accept-Language: en-GB,en;q=0.9",
			"Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; consent=yes")},
		{"post", crlf("POST /api HTTP/1.1", "Host: www.example.com", "Content-Type: application/json", "Content-Length: 1024") + strings.Repeat("x", 1024)},
	} {
		b.Run(c.name, func(b *testing.B) {
			h := newHTTP(b, output.HTTPConfig{URL: "http://staging:8080/v2"})
			m := rawRequest(c.raw)
			var dst []byte
			b.SetBytes(int64(len(c.raw)))
			b.ReportAllocs()
			for b.Loop() {
				var r kagami.Reason
				if dst, r = h.AppendRequest(dst[:0], m); r != kagami.Delivered {
					b.Fatal(r)
				}
			}
		})
	}
}
