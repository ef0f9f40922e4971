package http2_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"kagami/internal/http1"
	"kagami/internal/http2"
)

// join returns all that each end of w sends.
func (w *wire) join() (client, server []byte) {
	for _, s := range w.steps {
		if s.client {
			client = append(client, s.bytes...)
		} else {
			server = append(server, s.bytes...)
		}
	}
	return client, server
}

// FuzzConn feeds any bytes as two directions. Whatever they are, nothing panics,
// what is held stays bounded, each message that begins ends once, and is one
// message of HTTP/1.1 when it is rendered; and cutting the bytes elsewhere
// changes nothing.
func FuzzConn(f *testing.F) {
	add := func(w *wire, mode uint8) {
		client, server := w.join()
		f.Add([]byte(strings.TrimPrefix(string(client), http2.Preface)), server, mode, uint64(1))
	}
	w := begun().post(1, "/", "body").ok(1, "x").get(3, "/3")
	w.server().headers(0, 3, ":status", "200").frame(tData, 0, 3, "y").headers(endStream, 3, "grpc-status", "0")
	w.client().frame(tReset, 0, 5, "1234").frame(tGoAway, 0, 0, "\x00\x00\x00\x01abcd").frame(tPing, 0, 0, "12345678")
	add(w, 0)
	add(w, 2)
	add(w, 4)
	w = newWire().plainGET(1, "/1").plainGET(3, "/2").get(5, "/3").ok(1, "x").ok(3, "y").ok(5, "z")
	add(w, 1)
	add(w, 7)
	w = begun().client()
	b := w.encode(":method", "GET", ":scheme", "http", ":path", "/", ":authority", "a", "cookie", "a", "x", "y", "cookie", "b", "content-length", "1")
	w.frame(tHeaders, padded|priority, 1, "\x01"+"12345"+b[:9]+"x").frame(tContinuation, 0, 1, b[9:12]).frame(tContinuation, endHeaders, 1, b[12:])
	w.server().frame(tPush, endHeaders|padded, 1, "\x00\x00\x00\x00\x02"+w.encode(":method", "GET", ":scheme", "http", ":path", "/p")).ok(2, "p")
	add(w, 0)
	f.Fuzz(func(t *testing.T, client, server []byte, mode uint8, seed uint64) {
		cfg := http2.Config{Responses: true, MidStream: mode&1 != 0, AllowIncomplete: mode&2 != 0, MaxMessage: 5000, MaxStreams: 20}
		if !cfg.MidStream {
			client = append([]byte(http2.Preface), client...)
		}
		w := interleave(client, server, mode&4 != 0, seed)
		once, err := w.play(t, cfg, whole)
		again, err2 := w.play(t, cfg, random(seed))
		if err != err2 || !slices.Equal(once.lines, again.lines) {
			t.Fatalf("whole: %v %q\nin pieces: %v %q", err, once.lines, err2, again.lines)
		}
		for i := range once.all {
			oneMessage(t, &once.all[i])
		}
	})
}

// interleave lets both ends speak by turns. Where bytes are to be lost, some are.
func interleave(client, server []byte, lossy bool, seed uint64) *wire {
	w := newWire()
	r := rand.New(rand.NewPCG(seed, 4))
	for len(client)+len(server) > 0 {
		for _, side := range []*[]byte{&client, &server} {
			n := min(len(*side), 1+r.IntN(200))
			if n == 0 {
				continue
			}
			w.from = 0
			if side == &server {
				w.from = 1
			}
			switch {
			case lossy && r.IntN(6) == 0:
				w.steps = append(w.steps, step{client: w.from == 0, lost: int64(n), cut: r.IntN(2) == 0})
			case lossy && r.IntN(20) == 0:
				w.wait(3 * time.Second)
				fallthrough
			default:
				w.raw((*side)[:n])
			}
			*side = (*side)[n:]
		}
	}
	return w
}

// oneMessage fails the test unless m is rendered as exactly one message.
func oneMessage(t *testing.T, m *http2.Message) {
	if m.Err != nil {
		return
	}
	fr := http1.Framer{Response: m.Response}
	if m.Response {
		fr.Expect(m.Method)
	}
	n, done, err := fr.Feed(m.Raw)
	if err != nil || n != len(m.Raw) || done == (m.Truncated || m.Incomplete) && !(done && m.Truncated) {
		t.Fatalf("%s: read %d of %d bytes, done %v, %v, truncated %v, incomplete %v: %q", name(m), n, len(m.Raw), done, err, m.Truncated, m.Incomplete, m.Raw)
	}
	if h := fr.Head(); h != nil && h.Ambiguous && !m.Ambiguous {
		t.Fatalf("%s: rendered ambiguous: %q", name(m), m.Raw)
	}
}
