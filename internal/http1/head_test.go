package http1_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"kagami/internal/http1"
)

func TestParseHead(t *testing.T) {
	for _, c := range []struct {
		name, raw string
		response  bool
		want      http1.Head // Method, Target and Reason apart
	}{
		{
			name: "request", raw: "GET / HTTP/1.1\r\nHost: h\r\n\r\nbody",
			want: http1.Head{Major: 1, Minor: 1, Len: 27, ContentLength: -1},
		}, {
			name: "empty lines first", raw: "\r\n\r\nGET / HTTP/1.0\r\n\r\n",
			want: http1.Head{Major: 1, Minor: 0, Len: 22, Skipped: 4, ContentLength: -1},
		}, {
			name: "options of the connection", raw: "GET / HTTP/1.1\r\nconnection: x, Close ,KEEP-Alive\r\n\r\n",
			want: http1.Head{Major: 1, Minor: 1, Len: 52, ContentLength: -1, Close: true, KeepAlive: true},
		}, {
			name: "upgrade", raw: "GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\r\n",
			want: http1.Head{Major: 1, Minor: 1, Len: 71, ContentLength: -1, KeepAlive: true, Upgrade: true},
		}, {
			name: "upgrade that the connection does not list", raw: "GET / HTTP/1.1\r\nUpgrade: h2c\r\n\r\n",
			want: http1.Head{Major: 1, Minor: 1, Len: 32, ContentLength: -1},
		}, {
			name: "connection lists an upgrade that is not there", raw: "GET / HTTP/1.1\r\nConnection: upgrade\r\n\r\n",
			want: http1.Head{Major: 1, Minor: 1, Len: 39, ContentLength: -1},
		}, {
			name: "expect", raw: "PUT / HTTP/1.1\r\nExpect: 100-Continue\r\nContent-Length: 3\r\n\r\n",
			want: http1.Head{Major: 1, Minor: 1, Len: 59, ContentLength: 3, Expect100: true},
		}, {
			name: "chunked", raw: "PUT / HTTP/1.1\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n",
			want: http1.Head{Major: 1, Minor: 1, Len: 52, ContentLength: -1, Chunked: true, HasTE: true},
		}, {
			name: "chunked and a length", raw: "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
			want: http1.Head{Major: 1, Minor: 1, Len: 65, ContentLength: 3, Chunked: true, HasTE: true, Ambiguous: true},
		}, {
			name: "names of the same length that mean nothing here", raw: "PUT / HTTP/1.1\r\nCookie: 100-continue\r\nContent-Langth: 3\r\n" +
				"Refresh: websocket\r\nContention: close\r\nTransfer_Encoding: chunked\r\n\r\n",
			want: http1.Head{Major: 1, Minor: 1, Len: 126, ContentLength: -1},
		}, {
			name: "lengths that agree", raw: "PUT / HTTP/1.1\r\nContent-Length: 3, 3\r\nContent-Length: 3\r\n\r\n",
			want: http1.Head{Major: 1, Minor: 1, Len: 59, ContentLength: 3, Ambiguous: true},
		}, {
			name: "lengths that differ", raw: "PUT / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
			want: http1.Head{Major: 1, Minor: 1, Len: 56, ContentLength: 3, BadLength: true, Ambiguous: true},
		}, {
			name: "a length that is none", raw: "PUT / HTTP/1.1\r\nContent-Length: -3\r\n\r\n",
			want: http1.Head{Major: 1, Minor: 1, Len: 38, ContentLength: -1, BadLength: true, Ambiguous: true},
		}, {
			name: "a list of lengths", raw: "PUT / HTTP/1.1\r\nContent-Length: 3, 4\r\n\r\n",
			want: http1.Head{Major: 1, Minor: 1, Len: 40, ContentLength: 3, BadLength: true, Ambiguous: true},
		}, {
			name: "response", raw: "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n", response: true,
			want: http1.Head{Response: true, Major: 1, Minor: 0, Status: 200, Len: 38, ContentLength: 3},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, err := http1.ParseHead([]byte(c.raw), c.response)
			if err != nil {
				t.Fatal(err)
			}
			h.Method, h.Target, h.Reason = nil, nil, nil
			if got, want := describe(h), describe(c.want); got != want {
				t.Errorf("\n got %s\nwant %s", got, want)
			}
			for i := range h.Len {
				if _, err := http1.ParseHead([]byte(c.raw[:i]), c.response); err != io.ErrUnexpectedEOF {
					t.Fatalf("cut at %d: %v", i, err)
				}
			}
		})
	}
}

// describe writes a head out, so that two can be compared.
func describe(h http1.Head) string { return fmt.Sprintf("%+v", h) }

func TestParseHeadIsNotHTTP(t *testing.T) {
	for _, raw := range []string{"\x16\x03\x01", "GET /\r\n", "GET / HTTP/2.0\r\n\r\n", "\r\rGET", " GET / HTTP/1.1\r\n\r\n"} {
		if _, err := http1.ParseHead([]byte(raw), false); !errors.Is(err, http1.ErrNotHTTP) {
			t.Errorf("%q: %v", raw, err)
		}
	}
}

func TestNoBody(t *testing.T) {
	for _, c := range []struct {
		status int
		method string
		want   bool
	}{
		{100, "GET", true}, {101, "", true}, {199, "POST", true},
		{200, "GET", false}, {200, "", false}, {200, "HEAD", true}, {200, "head", false}, {500, "HEAD", true},
		{204, "GET", true}, {205, "GET", false}, {304, "", true}, {303, "", false},
		{200, "CONNECT", true}, {299, "CONNECT", true}, {300, "CONNECT", false}, {407, "CONNECT", false},
	} {
		h := http1.Head{Response: true, Status: c.status}
		if got := h.NoBody(c.method); got != c.want {
			t.Errorf("%d to %q: %v", c.status, c.method, got)
		}
	}
	if (&http1.Head{}).NoBody("HEAD") {
		t.Error("a HEAD request may have a body")
	}
}

func TestLooksLike(t *testing.T) {
	const no, maybe, yes = http1.No, http1.Maybe, http1.Yes
	for _, c := range []struct {
		in                string
		request, response http1.Verdict
	}{
		{"", maybe, maybe},
		{"\r", maybe, maybe},
		{"\r\n\r\n", maybe, maybe},
		{"\r\r", no, no},
		{"G", maybe, no},
		{"\r\nGET", maybe, no},
		{"GET ", maybe, no},
		{"GET /a b\tc\xff", maybe, no},
		{"GET / HTTP/1.1\r", maybe, no},
		{"GET / HTTP/1.1\r\n", yes, no},
		{"GET / HTTP/1.1\n\x00\x01", yes, no},
		{"\nGET / HTTP/1.0\n", yes, no},
		{"BREW /pot HTTP/1.1\r\nx", yes, no},
		{"GET /\r\n", no, no},
		{"GET / HTTP/1.1x\r\n", no, no},
		{"GET / HTTP/1.1\r\r\n", no, no},
		{"GET / HTTP/1.\r\n", no, no},
		{"GET / HTTP/2.0\r\n", no, no},
		{"GET /\x00", no, no},
		{"GET /\r ", no, no},
		{" GET", no, no},
		{"GET\t/", no, no},
		{"\x16\x03\x01\x00", no, no},
		{"SSH-2.0-OpenSSH_9.6\r\n", no, no},
		{strings.Repeat("A", 64), maybe, no},
		{strings.Repeat("A", 64) + " ", maybe, no},
		{strings.Repeat("A", 65), no, no},
		{"H", maybe, maybe},
		{"HTTP", maybe, maybe},
		{"HTTP/", no, maybe},
		{"HTTP/1.1 20", no, maybe},
		{"HTTP/1.1 200", no, maybe},
		{"HTTP/1.1 200\r", no, maybe},
		{"HTTP/1.1 200\rx", no, no},
		{"HTTP/1.1 200\n", no, yes},
		{"HTTP/1.1 200 \r\n", no, yes},
		{"HTTP/1.0 499 whatever\r\n", no, yes},
		{"HTTP/1.1  200", no, no},
		{"HTTP/1.d", no, no},
		{"HTTP/1.1 D", no, no},
		{"HTTP/1.1 2d", no, no},
		{"HTTP/1.1 2x", no, no},
		{"HTTP/1.1 099", no, no},
		{"HTTP/2 200 \r\n", no, no},
		{"ICY 200 OK\r\n", no, no},
	} {
		if got := http1.LooksLikeRequest([]byte(c.in)); got != c.request {
			t.Errorf("request %q: %v, want %v", c.in, got, c.request)
		}
		if got := http1.LooksLikeResponse([]byte(c.in)); got != c.response {
			t.Errorf("response %q: %v, want %v", c.in, got, c.response)
		}
	}
}
