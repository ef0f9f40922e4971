package http2_test

import (
	"strings"
	"testing"
	"time"

	"kagami/internal/http2"
)

var both = http2.Config{Responses: true}

func TestMessages(t *testing.T) {
	head := []string{":method", "GET", ":scheme", "http", ":path", "/", ":authority", "a"}
	for _, c := range []struct {
		name  string
		trace func(w *wire)
		want  []string
	}{
		{"a request and its answer", func(w *wire) { w.get(1, "/x").ok(1, "hello") },
			[]string{"1 " + reqGET("/x"), "1 " + resOK("hello")}},
		{"with a body", func(w *wire) { w.post(1, "/x", "body").ok(1, "") },
			[]string{"1 " + reqPOST("/x", "body"), "1 " + resOK("")}},
		{"one after the other, by references", func(w *wire) {
			for id := uint32(1); id < 9; id += 2 {
				w.get(id, "/again").ok(id, "same")
			}
		}, []string{"1 " + reqGET("/again"), "1 " + resOK("same"), "3 " + reqGET("/again"), "3 " + resOK("same"),
			"5 " + reqGET("/again"), "5 " + resOK("same"), "7 " + reqGET("/again"), "7 " + resOK("same")}},
		{"streams side by side", func(w *wire) {
			w.client().headers(0, 1, ":method", "PUT", ":scheme", "http", ":path", "/1", ":authority", "a")
			w.headers(0, 3, ":method", "PUT", ":scheme", "http", ":path", "/3", ":authority", "a")
			w.frame(tData, 0, 1, "one ").frame(tData, 0, 3, "three ").frame(tData, endStream, 1, "1").frame(tData, endStream, 3, "3")
		}, []string{"1 PUT /1 HTTP/1.1\r\nHost: a\r\ncontent-length: 5\r\n\r\none 1", "3 PUT /3 HTTP/1.1\r\nHost: a\r\ncontent-length: 7\r\n\r\nthree 3"}},
		{"other frames between", func(w *wire) {
			w.client().frame(tPing, 0, 0, "12345678").frame(tPriority, 0, 1, "12345").frame(tWindow, 0, 0, "1234").frame(0xee, 0xff, 7, "unknown")
			w.post(1, "/x", "b").frame(tWindow, 0, 1, "1234").frame(tSettings, 1, 0, "")
		}, []string{"1 " + reqPOST("/x", "b")}},
		{"CONTINUATION", func(w *wire) {
			b := w.client().encode(append(head, "x-long", strings.Repeat("v", 100))...)
			w.frame(tHeaders, endStream, 1, b[:5]).frame(tContinuation, 0, 1, "").frame(tContinuation, 0, 1, b[5:50]).frame(tContinuation, endHeaders, 1, b[50:])
		}, []string{"1 GET / HTTP/1.1\r\nHost: a\r\nx-long: " + strings.Repeat("v", 100) + "\r\n\r\n"}},
		{"padding and priority", func(w *wire) {
			b := w.client().encode(":method", "POST", ":scheme", "http", ":path", "/", ":authority", "a")
			w.frame(tHeaders, endHeaders|padded|priority, 1, "\x04"+"\x80\x00\x00\x00\x10"+b+"\x00\x00\x00\x00")
			w.frame(tData, padded, 1, "\x03abc\x00\x00\x00").frame(tData, padded|endStream, 1, "\x00def")
		}, []string{"1 " + reqPOST("/", "abcdef")}},
		{"all padding", func(w *wire) {
			w.client().headers(0, 1, ":method", "POST", ":scheme", "http", ":path", "/", ":authority", "a")
			w.frame(tData, padded|endStream, 1, "\x03\x00\x00\x00")
		}, []string{"1 " + reqPOST("/", "")}},
		{"cookie crumbs", func(w *wire) {
			w.client().headers(endStream, 1, append(head, "cookie", "a=1", "cookie", "b=2", "x", "y", "content-length", "0", "cookie", "c=3", "cookie", "d=4")...)
		}, []string{"1 GET / HTTP/1.1\r\nHost: a\r\ncookie: a=1; b=2; c=3; d=4\r\nx: y\r\ncontent-length: 0\r\n\r\n"}},
		{"crumbs before a Content-Length that has to change", func(w *wire) {
			w.client().headers(0, 1, append(head, "cookie", "a=1", "x", "y", "content-length", "9", "cookie", "c=3")...).frame(tData, endStream, 1, "body")
		}, []string{"1 ambiguous GET / HTTP/1.1\r\nHost: a\r\ncookie: a=1; c=3\r\nx: y\r\ncontent-length: 4\r\n\r\nbody"}},
		{"Content-Length stays in its place", func(w *wire) {
			w.client().headers(0, 1, append(head, "content-length", "4", "x", "y")...).frame(tData, 0, 1, "bo").frame(tData, 0, 1, "dy").frame(tData, endStream, 1, "")
		}, []string{"1 GET / HTTP/1.1\r\nHost: a\r\ncontent-length: 4\r\nx: y\r\n\r\nbody"}},
		{"trailers of a request", func(w *wire) {
			w.client().headers(0, 1, ":method", "POST", ":scheme", "http", ":path", "/", ":authority", "a", "te", "trailers", "content-length", "4", "x", "y")
			w.frame(tData, 0, 1, "body").headers(endStream, 1, "x-sum", "1")
		}, []string{"1 POST / HTTP/1.1\r\nHost: a\r\nte: trailers\r\ntransfer-encoding: chunked\r\nx: y\r\n\r\n4\r\nbody\r\n0\r\nx-sum: 1\r\n\r\n"}},
		{"gRPC", func(w *wire) {
			w.client().headers(0, 1, ":method", "POST", ":scheme", "http", ":path", "/s/M", ":authority", "a", "content-type", "application/grpc").frame(tData, endStream, 1, "\x00\x00\x00\x00\x02hi")
			w.server().headers(0, 1, ":status", "200", "content-type", "application/grpc").frame(tData, 0, 1, "\x00\x00\x00\x00\x03you").headers(endStream, 1, "grpc-status", "0", "grpc-message", "")
		}, []string{"1 POST /s/M HTTP/1.1\r\nHost: a\r\ncontent-type: application/grpc\r\ncontent-length: 7\r\n\r\n\x00\x00\x00\x00\x02hi",
			"1 HTTP/1.1 200 \r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n8\r\n\x00\x00\x00\x00\x03you\r\n0\r\ngrpc-status: 0\r\ngrpc-message: \r\n\r\n"}},
		{"gRPC that fails at once", func(w *wire) {
			w.post(1, "/s/M", "").server().headers(endStream, 1, ":status", "200", "grpc-status", "12")
		}, []string{"1 " + reqPOST("/s/M", ""), "1 HTTP/1.1 200 \r\ngrpc-status: 12\r\ncontent-length: 0\r\n\r\n"}},
		{"trailers without a body", func(w *wire) {
			w.get(1, "/").server().headers(0, 1, ":status", "200").headers(endStream, 1, "grpc-status", "5")
		}, []string{"1 " + reqGET("/"), "1 HTTP/1.1 200 \r\ntransfer-encoding: chunked\r\n\r\n0\r\ngrpc-status: 5\r\n\r\n"}},
		{"interim answers are none", func(w *wire) {
			w.post(1, "/", "x").server().headers(0, 1, ":status", "100").headers(0, 1, ":status", "103", "link", "</a>").ok(1, "y")
		}, []string{"1 " + reqPOST("/", "x"), "1 " + resOK("y")}},
		{"answers without a body", func(w *wire) {
			w.client().headers(endStream, 1, ":method", "HEAD", ":scheme", "http", ":path", "/", ":authority", "a")
			w.server().headers(0, 1, ":status", "200", "content-length", "99999999").frame(tData, endStream, 1, "")
			w.get(3, "/").server().headers(endStream, 3, ":status", "304", "content-length", "5")
			w.get(5, "/").server().headers(endStream, 5, ":status", "204")
		}, []string{"1 HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", "1 HTTP/1.1 200 \r\ncontent-length: 99999999\r\n\r\n",
			"3 " + reqGET("/"), "3 HTTP/1.1 304 \r\ncontent-length: 5\r\n\r\n", "5 " + reqGET("/"), "5 HTTP/1.1 204 \r\n\r\n"}},
		{"an answer before the end of its request", func(w *wire) {
			w.client().headers(0, 1, ":method", "POST", ":scheme", "http", ":path", "/", ":authority", "a").frame(tData, 0, 1, "a")
			w.ok(1, "early").client().frame(tData, endStream, 1, "b")
		}, []string{"1 " + reqPOST("/", "ab"), "1 " + resOK("early")}},
		{"an answer seen before its request", func(w *wire) { w.ok(1, "early").get(1, "/") },
			[]string{"1 " + reqGET("/"), "1 " + resOK("early")}},
		{"an answer to nobody", func(w *wire) { w.get(3, "/").ok(1, "?").ok(3, "!") },
			[]string{"3 " + reqGET("/"), "1 response no request", "3 " + resOK("!")}},
		{"an answer on a stream that the server did not promise", func(w *wire) { w.ok(8, "?").get(3, "/") },
			[]string{"8 response no request", "3 " + reqGET("/")}},
		{"an answer whose request never comes", func(w *wire) { w.ok(1, "?") }, []string{"1 response no request"}},
		{"requests that should have a body", func(w *wire) {
			for i, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
				w.client().headers(endStream, uint32(2*i+1), ":method", method, ":scheme", "http", ":path", "/", ":authority", "a")
			}
		}, []string{"1 POST / HTTP/1.1\r\nHost: a\r\ncontent-length: 0\r\n\r\n", "3 PUT / HTTP/1.1\r\nHost: a\r\ncontent-length: 0\r\n\r\n",
			"5 PATCH / HTTP/1.1\r\nHost: a\r\ncontent-length: 0\r\n\r\n", "7 DELETE / HTTP/1.1\r\nHost: a\r\n\r\n"}},
		{"a body where there can be none", func(w *wire) {
			w.client().headers(endStream, 1, ":method", "HEAD", ":scheme", "http", ":path", "/", ":authority", "a").ok(1, "body")
			w.get(3, "/").server().headers(0, 3, ":status", "304").headers(endStream, 3, "x", "y")
		}, []string{"1 HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", "1 ambiguous HTTP/1.1 200 \r\n\r\n", "3 " + reqGET("/"), "3 ambiguous HTTP/1.1 304 \r\n\r\n"}},
		{"a promise", func(w *wire) {
			w.get(1, "/").server()
			w.frame(tPush, endHeaders, 1, "\x00\x00\x00\x02"+w.encode(":method", "GET", ":scheme", "http", ":path", "/pushed", ":authority", "a"))
			w.ok(1, "x").ok(2, "p").get(3, "/3").ok(3, "y")
		}, []string{"1 " + reqGET("/"), "2 pushed " + reqGET("/pushed"), "1 " + resOK("x"), "2 " + resOK("p"), "3 " + reqGET("/3"), "3 " + resOK("y")}},
		{"CONNECT", func(w *wire) {
			w.client().headers(0, 1, ":method", "CONNECT", ":authority", "b:443").frame(tData, 0, 1, "tunnel")
			w.server().headers(0, 1, ":status", "200").frame(tData, endStream, 1, "tunnel").client().frame(tData, endStream, 1, "").get(3, "/")
		}, []string{"1 CONNECT b:443 HTTP/1.1\r\nHost: b:443\r\n\r\n", "1 HTTP/1.1 200 \r\n\r\n", "3 " + reqGET("/")}},
		{"extended CONNECT", func(w *wire) {
			w.client().headers(0, 1, ":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":path", "/chat", ":authority", "a", "sec-websocket-version", "13")
		}, []string{"1 CONNECT /chat HTTP/1.1\r\nHost: a\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\r\n"}},
		{"OPTIONS *", func(w *wire) {
			w.client().headers(endStream, 1, ":method", "OPTIONS", ":scheme", "http", ":path", "*", ":authority", "a")
		}, []string{"1 OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"}},
		{"host and no :authority", func(w *wire) {
			w.client().headers(endStream, 1, ":method", "GET", ":scheme", "http", ":path", "/", "x", "y", "host", "b")
		}, []string{"1 GET / HTTP/1.1\r\nx: y\r\nhost: b\r\n\r\n"}},
		{"host and the same :authority", func(w *wire) { w.client().headers(endStream, 1, append(head, "host", "A")...) },
			[]string{"1 " + reqGET("/")}},
		{"DATA behind the end is nobody's", func(w *wire) { w.get(1, "/").frame(tData, endStream, 1, "?").frame(tData, 0, 77, "?") },
			[]string{"1 " + reqGET("/")}},
		{"GOAWAY leaves what was begun before", func(w *wire) {
			w.client().headers(0, 1, head...).headers(0, 3, head...)
			w.server().frame(tGoAway, 0, 0, "\x00\x00\x00\x01\x00\x00\x00\x00why").client().frame(tData, endStream, 3, "x").frame(tData, endStream, 1, "x")
		}, []string{"3 request unfinished", "1 GET / HTTP/1.1\r\nHost: a\r\ncontent-length: 1\r\n\r\nx"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := begun()
			c.trace(w)
			w.wants(t, both, c.want...)
		})
	}
}

// What can't be rendered is dropped, what can but is wrong is flagged; nothing
// becomes another field, or another message.
func TestMalformed(t *testing.T) {
	const malformed = "1 request malformed"
	req := func(extra ...string) []string {
		return append([]string{":method", "GET", ":scheme", "http", ":path", "/", ":authority", "a"}, extra...)
	}
	flagged := func(fields string) string { return "1 ambiguous GET / HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n" }
	for _, c := range []struct {
		name   string
		fields []string
		want   string
	}{
		{"LF in a value", req("x", "y\nevil: 1"), malformed},
		{"CR in a value", req("x", "y\revil: 1"), malformed},
		{"NUL in a value", req("x", "y\x00"), malformed},
		{"CRLF in a cookie", req("cookie", "a", "cookie", "b\r\n\r\nGET /evil HTTP/1.1"), malformed},
		{"LF in a name", req("x: 1\nevil", "y"), malformed},
		{"colon in a name", req("x:y", "z"), malformed},
		{"space in a name", req("x ", "z"), malformed},
		{"no name", req("", "z"), malformed},
		{"space in the path", []string{":method", "GET", ":scheme", "http", ":path", "/ HTTP/1.1\r\nx: y", ":authority", "a"}, malformed},
		{"only a space", []string{":method", "GET", ":scheme", "http", ":path", "/a b", ":authority", "a"}, malformed},
		{"LF in the authority", []string{":method", "GET", ":scheme", "http", ":path", "/", ":authority", "a\nx: y"}, malformed},
		{"space in the method", []string{":method", "GET /evil", ":scheme", "http", ":path", "/", ":authority", "a"}, malformed},
		{"CONNECT with a Content-Length", []string{":method", "CONNECT", ":authority", "a:1", "content-length", "5"},
			"1 ambiguous CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"},
		{"no method", []string{":scheme", "http", ":path", "/", ":authority", "a"}, malformed},
		{"no path", []string{":method", "GET", ":scheme", "http", ":authority", "a"}, malformed},
		{"empty path", []string{":method", "GET", ":scheme", "http", ":path", "", ":authority", "a"}, malformed},
		{"CONNECT with a path", []string{":method", "CONNECT", ":path", "/", ":authority", "a:1"}, malformed},
		{"two methods", []string{":method", "GET", ":method", "POST", ":scheme", "http", ":path", "/", ":authority", "a"}, malformed},
		{"a status", req(":status", "200"), malformed},
		{"an unknown pseudo-header field", req(":x", "y"), malformed},
		{"a pseudo-header field behind others", []string{":method", "GET", ":scheme", "http", ":path", "/", "x", "y", ":authority", "a"}, malformed},
		{"no scheme", []string{":method", "GET", ":path", "/", ":authority", "a"}, flagged("")},
		{"a path without a slash", []string{":method", "GET", ":scheme", "http", ":path", "x", ":authority", "a"},
			"1 ambiguous GET x HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"upper case in a name", req("X-Y", "z"), flagged("X-Y: z\r\n")},
		{"a control character in a value", req("x", "y\x01"), flagged("x: y\x01\r\n")},
		{"whitespace around a value", req("x", "\t y "), "1 GET / HTTP/1.1\r\nHost: a\r\nx: y\r\n\r\n"},
		{"Transfer-Encoding", req("transfer-encoding", "chunked"), flagged("")},
		{"Connection", req("connection", "x", "keep-alive", "5", "proxy-connection", "y", "upgrade", "h2c"), flagged("")},
		{"TE of something else", req("te", "gzip"), flagged("")},
		{"another host", req("host", "b"), flagged("")},
		{"two Content-Lengths", req("content-length", "0", "content-length", "5"), flagged("content-length: 0\r\n")},
		{"no number as Content-Length", req("content-length", "-1"), flagged("")},
		{"a list as Content-Length", req("content-length", "0, 0"), flagged("")},
		{"a Content-Length and no body", req("content-length", "5"), flagged("content-length: 0\r\n")},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := begun()
			w.client().headers(endStream, 1, c.fields...)
			w.get(3, "/next")
			w.wants(t, both, c.want, "3 "+reqGET("/next"))
		})
	}
}

func TestMalformedTrailers(t *testing.T) {
	for _, c := range []struct {
		name   string
		flags  uint8
		fields []string
		want   string
	}{
		{"not at the end", 0, []string{"x", "y"}, "malformed"},
		{"another status", endStream, []string{":status", "200"}, "malformed"},
		{"LF in a value", endStream, []string{"x", "y\nz"}, "malformed"},
		{"framing in them", endStream, []string{"content-length", "5", "host", "b", "transfer-encoding", "x", "x", "y"},
			"ambiguous HTTP/1.1 200 \r\ntransfer-encoding: chunked\r\n\r\n1\r\nb\r\n0\r\nx: y\r\n\r\n"},
		{"none", endStream, nil, resOK("b")},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := begun().get(1, "/")
			w.server().headers(0, 1, ":status", "200").frame(tData, 0, 1, "b").headers(c.flags, 1, c.fields...)
			want := c.want
			if want == "malformed" {
				want = "response malformed"
			}
			w.wants(t, both, "1 "+reqGET("/"), "1 "+want)
		})
	}
}

func TestUnfinished(t *testing.T) {
	post := func(w *wire) *wire {
		return w.client().headers(0, 1, ":method", "POST", ":scheme", "http", ":path", "/", ":authority", "a").frame(tData, 0, 1, "half")
	}
	some := both
	some.AllowIncomplete = true
	partial := "1 incomplete POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n"
	for _, c := range []struct {
		name  string
		trace func(w *wire)
		want  string
		some  string
	}{
		{"reset by the client", func(w *wire) { post(w).frame(tReset, 0, 1, "\x00\x00\x00\x08") }, "1 request unfinished", partial},
		{"reset by the server", func(w *wire) { post(w).server().frame(tReset, 0, 1, "\x00\x00\x00\x08") }, "1 request unfinished", partial},
		{"the connection ends", func(w *wire) { post(w).eof() }, "1 request unfinished", partial},
		{"the capture ends", func(w *wire) { post(w) }, "1 request unfinished", partial},
		{"it takes too long", func(w *wire) { post(w).wait(3*time.Second).frame(tData, endStream, 1, "late") }, "1 request unfinished", partial},
		{"a header block without end", func(w *wire) { w.client().frame(tHeaders, 0, 1, "\x82").eof() }, "1 request unfinished", "1 request unfinished"},
		{"a header block that takes too long", func(w *wire) {
			b := w.client().encode(":method", "GET", ":scheme", "http", ":path", "/", ":authority", "a")
			w.frame(tHeaders, 0, 1, b[:2]).wait(3*time.Second).frame(tContinuation, endHeaders, 1, b[2:])
		}, "1 request unfinished", "1 request unfinished"},
		{"shorter than it says", func(w *wire) {
			w.client().headers(0, 1, ":method", "POST", ":scheme", "http", ":path", "/", ":authority", "a", "content-length", "9").frame(tData, 0, 1, "half").eof()
		}, "1 request unfinished", "1 incomplete POST / HTTP/1.1\r\nHost: a\r\ncontent-length: 9\r\n\r\nhalf"},
		{"an answer that ends with its head", func(w *wire) {
			w.get(1, "/").server().headers(0, 1, ":status", "204").eof()
		}, "1 response unfinished", "1 HTTP/1.1 204 \r\n\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := begun()
			c.trace(w)
			if strings.Contains(c.want, "response") {
				w.wants(t, both, "1 "+reqGET("/"), c.want)
				w.wants(t, some, "1 "+reqGET("/"), c.some)
				return
			}
			w.wants(t, both, c.want)
			w.wants(t, some, c.some)
		})
	}
	t.Run("alive", func(t *testing.T) {
		w := post(begun())
		for range 5 {
			w.wait(1900*time.Millisecond).frame(tData, 0, 1, ".")
		}
		w.frame(tData, endStream, 1, "")
		w.wants(t, both, "1 "+reqPOST("/", "half....."))
	})
	t.Run("the answer to a request that was reset", func(t *testing.T) {
		w := post(begun()).ok(1, "no").client().frame(tReset, 0, 1, "\x00\x00\x00\x00")
		w.wants(t, both, "1 request unfinished", "1 "+resOK("no"))
	})
}

func TestNotHTTP2(t *testing.T) {
	for _, c := range []struct {
		name  string
		trace func(w *wire)
		want  bool
	}{
		{"another preface", func(w *wire) { w.client().raw([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n")) }, true},
		{"no settings", func(w *wire) { w.client().raw([]byte(http2.Preface)).frame(tHeaders, endHeaders, 1, "\x82") }, true},
		{"a server that does not know it", func(w *wire) {
			w.client().raw([]byte(http2.Preface)).frame(tSettings, 0, 0, "").server().raw([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
		}, true},
		{"it is", func(w *wire) { w.client().raw([]byte(http2.Preface)).frame(tSettings, 0, 0, "") }, false},
	} {
		w := newWire()
		c.trace(w)
		for _, cut := range []func(int) int{whole, single} {
			_, err := w.play(t, both, cut)
			if (err == http2.ErrNotHTTP2) != c.want {
				t.Errorf("%s: %v", c.name, err)
			}
		}
	}
}

func TestRequestsAlone(t *testing.T) {
	w := begun().post(1, "/1", "x").ok(1, "not looked at").get(3, "/3")
	w.wants(t, http2.Config{}, "1 "+reqPOST("/1", "x"), "3 "+reqGET("/3"))
}

func TestUpgraded(t *testing.T) {
	for _, cfg := range []http2.Config{both, {}} {
		w := begun().ok(1, "to the upgrade").get(3, "/3").ok(3, "x")
		r := &recorder{t: t}
		c := http2.New(cfg, r)
		c.Upgraded("GET", "the upgrade")
		for _, s := range w.steps {
			c.Feed(s.client, s.bytes, http2.Mark{})
		}
		c.Close()
		want := []string{"1 " + resOK("to the upgrade"), "3 " + reqGET("/3"), "3 " + resOK("x")}
		if !cfg.Responses {
			want = want[1:2]
		}
		// The test's handler was not told of the request on stream 1, so it can't number its answer.
		same(t, "upgraded", r.lines, want)
		if cfg.Responses && r.all[0].User != "the upgrade" {
			t.Errorf("user of the answer is %v", r.all[0].User)
		}
	}
}

// What the handler sets for a request is there in its answer, and marks say when
// the first and the last byte came.
func TestUserAndMarks(t *testing.T) {
	w := begun().post(1, "/1", "x").get(3, "/3").ok(3, "3").ok(1, "1")
	r := &recorder{t: t}
	c := http2.New(both, r)
	for i, s := range w.steps {
		c.Feed(s.client, s.bytes, http2.Mark{Time: time.Unix(int64(i), 0), Tag: uint32(100 + i)})
	}
	users, marks := map[uint32]any{}, [][2]uint32{{103, 104}, {105, 105}, {106, 107}, {108, 109}}
	for i, m := range r.all {
		if m.Response && users[m.Stream] != m.User {
			t.Errorf("stream %d: request is %v's, answer %v's", m.Stream, users[m.Stream], m.User)
		}
		users[m.Stream] = m.User
		if m.Start.Tag != marks[i][0] || m.End.Tag != marks[i][1] || m.End.Time.Unix() != int64(marks[i][1]-100) {
			t.Errorf("message %d from %d to %d, want %v", i, m.Start.Tag, m.End.Tag, marks[i])
		}
	}
	sent := 0
	for _, s := range w.steps[3:] {
		sent += len(s.bytes)
	}
	for _, m := range r.all {
		sent -= m.WireLen
	}
	if sent != 0 || len(r.all) != 4 {
		t.Errorf("%d bytes are in no message's WireLen; %d messages", sent, len(r.all))
	}
}
