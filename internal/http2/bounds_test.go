package http2_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"kagami/internal/http2"
)

func TestTooLarge(t *testing.T) {
	cfg := both
	cfg.MaxMessage = 1000
	put := func(w *wire, id uint32, fields ...string) *wire {
		return w.client().headers(0, id, append([]string{":method", "PUT", ":scheme", "http", ":path", "/", ":authority", "a"}, fields...)...)
	}
	for _, c := range []struct {
		name  string
		trace func(w *wire)
		want  []string
	}{
		{"as it says itself", func(w *wire) {
			put(w, 1, "content-length", "2000").frame(tData, endStream, 1, strings.Repeat("x", 2000))
		},
			[]string{"1 request too large"}},
		{"as it turns out", func(w *wire) {
			put(w, 1)
			for range 100 {
				w.frame(tData, 0, 1, strings.Repeat("x", 20))
			}
			w.frame(tData, endStream, 1, "")
		}, []string{"1 request too large"}},
		{"in its trailers", func(w *wire) {
			put(w, 1).frame(tData, 0, 1, strings.Repeat("x", 900)).headers(endStream, 1, "x", strings.Repeat("y", 200))
		}, []string{"1 request too large"}},
		{"an answer", func(w *wire) { w.get(1, "/1").ok(1, strings.Repeat("x", 1000)) },
			[]string{"1 " + reqGET("/1"), "1 response too large"}},
		{"an answer to HEAD is not", func(w *wire) {
			w.client().headers(endStream, 1, ":method", "HEAD", ":scheme", "http", ":path", "/", ":authority", "a")
			w.server().headers(0, 1, ":status", "200", "content-length", "5000").frame(tData, endStream, 1, "")
		}, []string{"1 HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", "1 HTTP/1.1 200 \r\ncontent-length: 5000\r\n\r\n"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := begun()
			c.trace(w)
			w.get(9, "/next")
			w.wants(t, cfg, append(c.want, "9 "+reqGET("/next"))...)
		})
	}
}

func TestHeadTooLarge(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		name  string
		trace func(w *wire)
		after string // the next request refers to the table
	}{
		{"the block", func(w *wire) {
			b := w.client().encode(":method", "GET", ":scheme", "http", ":path", "/", ":authority", "a", "x", strings.Repeat("\x01", mib))
			w.frame(tHeaders, endStream, 1, b[:16384])
			for b = b[16384:]; len(b) > 16384; b = b[16384:] {
				w.frame(tContinuation, 0, 1, b[:16384])
			}
			w.frame(tContinuation, endHeaders, 1, b)
		}, "3 request undecodable"},
		{"the block, in one frame", func(w *wire) {
			w.server().frame(tSettings, 0, 0, "\x00\x05\x00\x20\x00\x00")
			w.client().headers(endStream, 1, ":method", "GET", ":scheme", "http", ":path", "/", ":authority", "a", "x", strings.Repeat("\x01", mib))
		}, "3 request undecodable"},
		{"a small block of references to a large field", func(w *wire) {
			w.client().headers(endStream, 1, append([]string{":method", "GET", ":scheme", "http", ":path", "/", ":authority", "a"},
				strings.Split(strings.Repeat("x,"+strings.Repeat("y", 3900)+",", 300), ",")...)...)
		}, "3 " + reqGET("/")},
		{"of crumbs", func(w *wire) {
			w.client().headers(endStream, 1, append([]string{":method", "GET", ":scheme", "http", ":path", "/", ":authority", "a"},
				strings.Split(strings.Repeat("cookie,"+strings.Repeat("y", 3000)+",z,,", 400), ",")...)...)
		}, "3 " + reqGET("/")},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := begun()
			c.trace(w)
			w.get(3, "/")
			for _, cut := range []func(int) int{whole, random(3)} {
				r, err := w.play(t, both, cut)
				if err != nil {
					t.Fatal(err)
				}
				same(t, "messages", r.lines, []string{"1 request too large", c.after})
			}
		})
	}
}

func TestTooManyStreams(t *testing.T) {
	cfg := both
	cfg.MaxStreams = 10
	w := begun()
	var want []string
	for id := uint32(1); id < 100; id += 2 {
		w.get(id, "/") // no answer comes
		want = append(want, fmt.Sprint(id, " ", reqGET("/")))
	}
	w.ok(99, "x").ok(1, "y")
	w.wants(t, cfg, append(want, "99 "+resOK("x"), "1 response no request")...)

	w = begun()
	want = nil
	for id := uint32(1); id < 24; id += 2 { // none of them ends
		w.client().headers(0, id, ":method", "PUT", ":scheme", "http", ":path", "/", ":authority", "a")
	}
	w.frame(tData, endStream, 23, "")
	want = append(want, "1 request no room", "3 request no room", "23 PUT / HTTP/1.1\r\nHost: a\r\ncontent-length: 0\r\n\r\n")
	for id := 5; id < 23; id += 2 {
		want = append(want, fmt.Sprint(id, " request unfinished"))
	}
	w.wants(t, cfg, want...)
}

func TestShed(t *testing.T) {
	w := begun()
	for id := uint32(1); id < 6; id += 2 {
		w.client().headers(0, id, ":method", "PUT", ":scheme", "http", ":path", "/", ":authority", "a").frame(tData, 0, id, strings.Repeat("x", 10000))
	}
	w.frame(tData, 0, 1, "alive").get(7, "/7") // waits for an answer, and is not shed
	w.client().frame(tHeaders, 0, 9, strings.Repeat("x", 10000))
	r := &recorder{t: t}
	c := http2.New(both, r)
	for _, s := range w.steps {
		c.Feed(s.client, s.bytes, http2.Mark{})
	}
	size := c.Size()
	for c.Busy() {
		if !c.Shed() {
			t.Fatal("busy, and nothing to shed")
		}
		if n := c.Size(); n > size-9000 {
			t.Errorf("%d bytes held, after shedding a message of 10 kB %d", size, n)
		}
		size = c.Size()
	}
	if c.Shed() {
		t.Error("not busy, and something was shed")
	}
	same(t, "shed", r.lines, []string{"7 " + reqGET("/7"), "3 request no room", "5 request no room", "1 request no room", "9 request no room"})
	if size > 10000 {
		t.Errorf("%d bytes held where nothing is", size)
	}
	after := newWire().client().frame(tContinuation, endHeaders, 9, "x").plainGET(11, "/")
	for _, s := range after.steps {
		c.Feed(s.client, s.bytes, http2.Mark{})
	}
	same(t, "behind them", r.lines[5:], []string{"11 " + reqGET("/")})
}

// Whatever a peer sends, what is held stays bounded.
func TestFloods(t *testing.T) {
	fields := []string{":method", "PUT", ":scheme", "http", ":path", "/", ":authority", "a"}
	for _, c := range []struct {
		name string
		at   func(w *wire, i int)
		n    int
		held int64
	}{
		{"CONTINUATION", func(w *wire, i int) {
			if i == 0 {
				w.frame(tHeaders, 0, 1, "")
			}
			w.frame(tContinuation, 0, 1, strings.Repeat("x", 4000))
		}, 2000, 64 << 10},
		{"CONTINUATION of nothing", func(w *wire, i int) {
			if i == 0 {
				w.frame(tHeaders, 0, 1, "")
			}
			w.frame(tContinuation, 0, 1, "")
		}, 10000, 64 << 10},
		{"resets", func(w *wire, i int) {
			id := uint32(2*i + 1)
			w.frame(tHeaders, endHeaders, id, w.literal(fields...)).frame(tReset, 0, id, "1234")
		}, 5000, 64 << 10},
		{"streams", func(w *wire, i int) { w.frame(tHeaders, endHeaders, uint32(2*i+1), w.literal(fields...)) }, 5000, 2 << 20},
		{"DATA of nothing", func(w *wire, i int) {
			if i == 0 {
				w.frame(tHeaders, endHeaders, 1, w.literal(fields...))
			}
			w.frame(tData, 0, 1, "")
		}, 10000, 64 << 10},
		{"settings", func(w *wire, i int) { w.frame(tSettings, 0, 0, strings.Repeat("\x00\x05\x00\xff\xff\xff", 100)) }, 1000, 64 << 10},
		{"pings", func(w *wire, i int) { w.frame(tPing, 0, 0, "12345678") }, 1000, 64 << 10},
		{"table entries", func(w *wire, i int) {
			if i == 0 {
				w.frame(tHeaders, endHeaders, 1, "\x3f\xe1\xff\xff\xff\x07") // a table of 4 GB
			}
			w.frame(tHeaders, endHeaders, uint32(2*i+1), "\x40\x00\x01x"+strings.Repeat("\x40\x01y\x7f\x80\x01"+strings.Repeat("z", 255), 20))
		}, 1000, 1 << 20},
		{"no frames at all", func(w *wire, i int) { w.raw([]byte(strings.Repeat("\x00\x3f\xff\x00\x00\x00\x00\x00\x01", 500))) }, 100, 256 << 10},
		{"GOAWAY", func(w *wire, i int) { w.frame(tGoAway, 0, 0, "\x00\x00\x00\x00\x00\x00\x00\x00") }, 1000, 64 << 10},
		{"answers to nobody", func(w *wire, i int) {
			if i == 0 {
				w.frame(tHeaders, endHeaders|endStream, 99999, w.literal(fields...))
			}
			w.server().frame(tHeaders, endHeaders|endStream, uint32(2*i+1), "\x88").frame(tHeaders, endHeaders|endStream, uint32(200_000+2*i), "\x88")
		}, 2000, 64 << 10},
		{"promises", func(w *wire, i int) {
			w.server().frame(tPush, endHeaders, 1, string([]byte{0, 0, byte(i >> 7), byte(i << 1)})+w.literal(fields...))
		}, 5000, 2 << 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := begun().client()
			for i := range c.n {
				c.at(w, i)
			}
			r := &recorder{t: t}
			conn := http2.New(both, r)
			most := int64(0)
			for _, s := range w.steps {
				for p := s.bytes; len(p) > 0; p = p[min(1448, len(p)):] {
					conn.Feed(s.client, p[:min(1448, len(p))], http2.Mark{Time: time.Unix(int64(len(p)), 0)})
				}
				most = max(most, conn.Size())
			}
			limit := c.held
			if c.name == "CONTINUATION" {
				limit += 2 << 20 // a block of 1 MiB, as it grows
			}
			if most > limit {
				t.Errorf("%d bytes held, want %d at most", most, limit)
			}
			conn.Close()
			if conn.Size() > 4096 {
				t.Errorf("closed, and %d bytes held", conn.Size())
			}
			t.Logf("%d bytes at most, %d messages", most, len(r.all))
		})
	}
}
