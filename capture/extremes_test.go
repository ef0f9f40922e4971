package capture

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"kagami"
)

// headOf is a request whose head has n bytes.
func headOf(path string, n int) string {
	const rest = "GET %s HTTP/1.1\r\nHost: a\r\nX: %s\r\n\r\n"
	return fmt.Sprintf(rest, path, strings.Repeat("x", n-len(fmt.Sprintf(rest, path, ""))))
}

func TestLargeHead(t *testing.T) {
	const most = 1 << 20
	w := newTrace(t).dial(aClient, aServer)
	w.send(cut(headOf("/1", most), 1448)...)
	w.send(get("/2"))
	w.send(cut(headOf("/3", 500_000), 50_000)...)
	tr := w.tr.run(port80)
	tr.wants(headOf("/1", most), get("/2"), headOf("/3", 500_000))
	tr.dropped("")
}

// A message that is too large is counted, whether its length is declared or not, and
// what comes after it on the connection is captured.
func TestTooLargeWithAnswers(t *testing.T) {
	cfg := withAnswers
	cfg.MaxMessage = 10_000
	large := text(20_000)
	w := newTrace(t).dial(aClient, aServer)
	w.send(get("/1")).answer(cut(ok(large), 1448)...)
	w.send(cut(post("/2", large), 1448)...).answer(ok("2"))
	w.send(get("/3")).answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4e20\r\n", large, "\r\n0\r\n\r\n")
	w.send(get("/4")).answer(ok("4"))
	tr := w.tr.run(cfg)
	if p := tr.pairs(); p != "/1 /3 /4=4" {
		t.Errorf("got %q", p)
	}
	tr.dropped("too-large 3, request-dropped 1")
}

func TestPairsOfOddAnswers(t *testing.T) {
	const interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
	for _, c := range []struct {
		name  string
		trace func(w *wire)
		want  string
	}{
		{"several interim answers in one segment", func(w *wire) {
			w.send(post("/1", "x")).answer(interim + ok("1")).send(get("/2")).answer(ok("2"))
		}, "/1=1 /2=2"},
		{"interim answers to pipelined requests", func(w *wire) {
			w.send(get("/1") + get("/2")).answer(interim + ok("1") + interim + ok("2"))
		}, "/1=1 /2=2"},
		{"interim answers byte by byte", func(w *wire) {
			w.send(get("/1"), get("/2")).answer(cut(interim+ok("1")+interim+ok("2"), 1)...)
		}, "/1=1 /2=2"},
		{"304 with Content-Length", func(w *wire) {
			w.send(get("/1")).answer("HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n").send(get("/2")).answer(ok("2"))
		}, "/1= /2=2"},
		{"204 with Transfer-Encoding", func(w *wire) {
			w.send(get("/1")).answer("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n").send(get("/2")).answer(ok("2"))
		}, "/1= /2=2"},
		{"pipelined, all answers in one segment", func(w *wire) {
			w.send(get("/1") + get("/2") + get("/3")).answer(ok("1") + "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n" + ok("3"))
		}, "/1=1 /2= /3=3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newTrace(t).dial(aClient, aServer)
			c.trace(w)
			tr := w.tr.run(withAnswers)
			if p := tr.pairs(); p != c.want {
				t.Errorf("got %q, want %q", p, c.want)
			}
			tr.dropped("")
		})
	}
}

// What RFC 9112 §6.3 allows to be read in one way only for safety is flagged, and the
// next request is found.
func TestAmbiguousLengths(t *testing.T) {
	const chunked = "4\r\nbody\r\n0\r\n\r\n"
	for _, c := range []struct {
		name, head, body string
		clear            bool
	}{
		{"length", "Content-Length: 4", "body", true},
		{"chunked", "Transfer-Encoding: chunked", chunked, true},
		{"length and chunked", "Content-Length: 4\r\nTransfer-Encoding: chunked", chunked, false},
		{"chunked and length", "Transfer-Encoding: chunked\r\nContent-Length: 4", chunked, false},
		{"length twice", "Content-Length: 4\r\nContent-Length: 4", "body", false},
		{"length twice in one field", "Content-Length: 4, 4", "body", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			raw := "POST /1 HTTP/1.1\r\nHost: a\r\n" + c.head + "\r\n\r\n" + c.body
			w := newTrace(t).dial(aClient, aServer)
			w.send(raw + get("/2"))
			tr := w.tr.run(port80)
			tr.wants(raw, get("/2"))
			tr.dropped("")
			i := slices.IndexFunc(tr.requests, func(m *kagami.Message) bool { return string(m.Raw) == raw })
			if i < 0 {
				t.Fatal("not captured")
			}
			if f := tr.requests[i].Flags; (f&kagami.Ambiguous == 0) != c.clear {
				t.Errorf("flags %b", f)
			}
		})
	}
}
