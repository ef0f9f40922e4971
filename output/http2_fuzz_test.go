package output

import (
	"bytes"
	"net/http"
	"testing"

	"kagami"
	"kagami/internal/http1"
)

// What can be sent as HTTP/1.1 in chunks has the same body in HTTP/2, and any
// bytes are taken apart without harm.
func FuzzHTTP2Request(f *testing.F) {
	f.Add([]byte("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=\"\n\"\r\nabc\r\n0\r\nx: y\r\n\r\n"))
	f.Add([]byte("GET //x HTTP/1.0\r\nConnection: a\r\n a\r\n\r\n"))
	f.Add([]byte("OPTIONS * HTTP/1.1\r\nTE: trailers\r\n\r\n"))
	target, err := parseHTTPTarget("http://staging/base")
	if err != nil {
		f.Fatal(err)
	}
	h := &HTTP{target: target}
	h.render = newHTTPRender(&HTTPConfig{}, target)
	s := &http2Sender{h: h}
	f.Fuzz(func(t *testing.T, raw []byte) {
		m := &kagami.Message{Kind: kagami.Request, Proto: kagami.HTTP2, Raw: raw, Exchange: &kagami.Exchange{}}
		x := &http2Exchange{s: s, render: h.render}
		if x.render.parse(&x.q, m, raw) != kagami.Delivered {
			return
		}
		req, ok := x.request(t.Context())
		if !ok {
			return // HTTP/2 has no such fields, or no such target
		}
		if req.Body == nil || req.Body == http.NoBody {
			return
		}
		var got bytes.Buffer
		if _, err := got.ReadFrom(req.Body); err != nil {
			t.Fatal(err)
		}
		if want, err := http1.Body(raw); err != nil || !bytes.Equal(got.Bytes(), want) {
			t.Errorf("body %q, want %q (%v)", &got, want, err)
		}
	})
}

// An answer whose bytes are kept whole is a message that ends where it says.
func FuzzHTTP2Answer(f *testing.F) {
	f.Add("GET", 200, "Content-Type", "a/b", "Grpc-Status", "0", []byte("hello"))
	f.Add("HEAD", 304, "Content-Length", "5", "", "", []byte(nil))
	f.Fuzz(func(t *testing.T, method string, status int, name, value, trailer, tvalue string, body []byte) {
		if status < 200 || status > 999 || method == "CONNECT" || !token(name) || name == "Content-Length" || name == "Transfer-Encoding" || !text(value) || !text(tvalue) {
			return // net/http lets no such thing through
		}
		resp := &http.Response{StatusCode: status, Header: http.Header{name: {value}}, Trailer: http.Header{}}
		if token(trailer) {
			resp.Trailer[trailer] = []string{tvalue}
		}
		if method == "HEAD" || status == 204 || status == 304 {
			body = nil
		}
		raw, full := renderAnswer(resp, method, body, int64(len(body)), 1<<20)
		framer := http1.Framer{Response: true}
		framer.Expect(method)
		if n, done, err := framer.Feed(raw); err != nil || !done || n != len(raw) || full != int64(n) {
			t.Errorf("%d of %d bytes, done %t: %v: %q", n, full, done, err, raw)
		}
		if short, again := renderAnswer(resp, method, body, int64(len(body)), 10); len(short) > 10 || again != full {
			t.Errorf("%d bytes kept of 10, %d in full, want %d", len(short), again, full)
		}
	})
}

func token(s string) bool {
	for _, r := range s {
		if !isToken(r) {
			return false
		}
	}
	return s != ""
}

func text(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
