package http2_test

import (
	"fmt"
	"strings"
	"testing"

	"kagami/internal/http2"
)

var middle = http2.Config{Responses: true, MidStream: true}

// literal encodes fields without the table: as literals that are not indexed, with
// the names and values of the static table where it has them.
func (w *wire) literal(fields ...string) string {
	var b strings.Builder
	for i := 0; i+1 < len(fields); i += 2 {
		fmt.Fprintf(&b, "\x10%c%s%c%s", len(fields[i]), fields[i], len(fields[i+1]), fields[i+1])
	}
	return b.String()
}

func (w *wire) plainGET(stream uint32, path string) *wire {
	return w.client().frame(tHeaders, endHeaders|endStream, stream, w.literal(":method", "GET", ":scheme", "http", ":path", path, ":authority", "a"))
}

func TestJoinedMidStream(t *testing.T) {
	for _, c := range []struct {
		name  string
		trace func(w *wire)
		want  []string
	}{
		{"at a frame", func(w *wire) { w.plainGET(101, "/1").plainGET(103, "/2").plainGET(105, "/3").plainGET(107, "/4") },
			[]string{"101 " + reqGET("/1"), "103 " + reqGET("/2"), "105 " + reqGET("/3"), "107 " + reqGET("/4")}},
		{"in a frame", func(w *wire) {
			w.client().raw([]byte("the end of some frame\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
			w.plainGET(101, "/1").plainGET(103, "/2").plainGET(105, "/3")
		}, []string{"101 " + reqGET("/1"), "103 " + reqGET("/2"), "105 " + reqGET("/3")}},
		{"in a header block", func(w *wire) {
			w.client().frame(tContinuation, endHeaders, 99, "\x82").plainGET(101, "/1").plainGET(103, "/2").plainGET(105, "/3")
		}, []string{"101 " + reqGET("/1"), "103 " + reqGET("/2"), "105 " + reqGET("/3")}},
		{"in a large body", func(w *wire) {
			w.client().raw([]byte(strings.Repeat("body\x00\x00\x08\x06\x00", 9000)))
			w.frame(tData, 0, 99, strings.Repeat("x", 16384)).frame(tData, endStream, 99, "y").plainGET(101, "/1")
		}, []string{"101 " + reqGET("/1")}},
		{"what refers back is undecodable", func(w *wire) {
			w.client().encode("x", "y")
			w.client().encode(":authority", "a") // before the capture
			w.plainGET(1, "/1").get(3, "/2").plainGET(5, "/3").get(7, "/2")
		}, []string{"1 " + reqGET("/1"), "3 request undecodable", "5 " + reqGET("/3"), "7 request undecodable"}},
		{"what refers to what was seen is not", func(w *wire) {
			w.client().encode("x", "y")
			w.get(1, "/same").get(3, "/same").get(5, "/same").get(7, "/same")
		}, []string{"1 " + reqGET("/same"), "3 " + reqGET("/same"), "5 " + reqGET("/same"), "7 " + reqGET("/same")}},
		{"an undecodable block still changes the table", func(w *wire) {
			w.client().encode("old", "x")
			w.headers(endStream, 1, ":method", "GET", ":scheme", "http", "old", "x", ":path", "/p", ":authority", "a", "new", "z")
			w.headers(endStream, 3, ":method", "GET", ":scheme", "http", ":path", "/p", ":authority", "a", "new", "z").get(5, "/p")
		}, []string{"1 request undecodable", "3 GET /p HTTP/1.1\r\nHost: a\r\nnew: z\r\n\r\n", "5 " + reqGET("/p")}},
		{"a table that was emptied is known", func(w *wire) {
			w.client().encode("old", "x")
			w.enc[0].SetMaxDynamicTableSize(0)
			w.enc[0].SetMaxDynamicTableSize(4096)
			for id := uint32(1); id < 9; id += 2 {
				w.headers(endStream, id, ":method", "GET", ":scheme", "http", ":path", "/p", ":authority", "a", "old", "x")
			}
		}, []string{"1 GET /p HTTP/1.1\r\nHost: a\r\nold: x\r\n\r\n", "3 GET /p HTTP/1.1\r\nHost: a\r\nold: x\r\n\r\n",
			"5 GET /p HTTP/1.1\r\nHost: a\r\nold: x\r\n\r\n", "7 GET /p HTTP/1.1\r\nHost: a\r\nold: x\r\n\r\n"}},
		{"trailers of a request that began before", func(w *wire) {
			w.client().frame(tData, 0, 99, "rest").frame(tHeaders, endStream|endHeaders, 99, w.literal("x-sum", "1")).plainGET(101, "/1")
		}, []string{"101 " + reqGET("/1")}},
		{"the end of an answer", func(w *wire) {
			w.server().frame(tData, 0, 99, "rest").frame(tHeaders, endStream|endHeaders, 99, w.literal("grpc-status", "0")).frame(tPing, 0, 0, "12345678")
			w.plainGET(101, "/1").plainGET(103, "/2").plainGET(105, "/3").ok(101, "x")
		}, []string{"101 " + reqGET("/1"), "103 " + reqGET("/2"), "105 " + reqGET("/3"), "101 " + resOK("x")}},
		{"a chain whose first link is none", func(w *wire) {
			w.client().frame(tData, padded, 1, "\x05").frame(tPing, 0, 0, "12345678").frame(tData, padded, 1, "\x05")
			w.plainGET(101, "/1").plainGET(103, "/2").plainGET(105, "/3")
		}, []string{"101 " + reqGET("/1"), "103 " + reqGET("/2"), "105 " + reqGET("/3")}},
		{"two frames, and the end", func(w *wire) { w.client().raw([]byte("?")).plainGET(1, "/1").plainGET(3, "/2").eof() },
			[]string{"1 " + reqGET("/1"), "3 " + reqGET("/2")}},
		{"one frame, and the end", func(w *wire) { w.client().raw([]byte("?")).plainGET(1, "/1").eof() }, nil},
		{"nothing of the kind", func(w *wire) { w.client().raw([]byte(strings.Repeat("GET / HTTP/1.1\r\n\r\n", 10000))) }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWire()
			c.trace(w)
			w.wants(t, middle, c.want...)
		})
	}
}

// Behind a block that was not decoded, references to what was before it would be
// to something else.
func TestBlocksNotDecoded(t *testing.T) {
	for name, block := range map[string]string{
		"broken":    "\x82\x86\x84\x40\x01a\x01b\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
		"too large": "\x82\x86\x84\x40\x01a\x01b" + strings.Repeat("\x82", 1<<20),
	} {
		w := begun()
		w.server().frame(tSettings, 0, 0, "\x00\x05\x00\x20\x00\x00")
		w.get(1, "/1").frame(tHeaders, endHeaders|endStream, 3, block).get(5, "/1").plainGET(7, "/7")
		reason := "3 request undecodable"
		if name == "too large" {
			reason = "3 request too large"
		}
		w.wants(t, both, "1 "+reqGET("/1"), reason, "5 request undecodable", "7 "+reqGET("/7"))
	}
}

func TestAligned(t *testing.T) {
	w := newWire().plainGET(1, "/1") // one frame is enough where it is known to be one
	r := &recorder{t: t}
	c := http2.New(middle, r)
	c.Aligned(true)
	c.Feed(true, w.steps[0].bytes, http2.Mark{})
	same(t, "aligned", r.lines, []string{"1 " + reqGET("/1")})
}

func TestLooksLikeFrames(t *testing.T) {
	frames := func(f func(w *wire)) (b []byte) {
		w := newWire().client()
		f(w)
		for _, s := range w.steps {
			b = append(b, s.bytes...)
		}
		return b
	}
	get := frames(func(w *wire) { w.get(1, "/") })
	for _, c := range []struct {
		name string
		b    []byte
		want bool
	}{
		{"a request", get, true},
		{"cut short", get[:len(get)-1], false},
		{"and a byte", append(get[:len(get):len(get)], 'x'), false},
		{"a ping", frames(func(w *wire) { w.frame(tPing, 0, 0, "12345678") }), false},
		{"two pings", frames(func(w *wire) { w.frame(tPing, 0, 0, "12345678").frame(tPing, 0, 0, "12345678") }), true},
		{"a header block of nothing", frames(func(w *wire) { w.frame(tHeaders, endHeaders, 1, "") }), false},
		{"no header block", frames(func(w *wire) { w.frame(tHeaders, endHeaders, 1, "\x00\x00\x00") }), false},
		{"nor that", frames(func(w *wire) { w.frame(tHeaders, endHeaders, 1, "\x80\x82") }), false},
		{"trailers that refer back", frames(func(w *wire) { w.frame(tHeaders, endHeaders|endStream, 1, "\xc0") }), true},
		{"with padding and priority", frames(func(w *wire) { w.frame(tHeaders, endHeaders|padded|priority, 1, "\x02"+"12345"+"\x82\x86"+"\x00\x00") }), true},
		{"with padding that is too long", frames(func(w *wire) { w.frame(tHeaders, endHeaders|padded, 1, "\x02\x82") }), false},
		{"half a header block", frames(func(w *wire) { w.frame(tHeaders, 0, 1, "x") }), false},
		{"three, and more", frames(func(w *wire) { w.get(1, "/").get(3, "/").get(5, "/").raw([]byte("\x00\x00")) }), true},
		{"two, and more", frames(func(w *wire) { w.get(1, "/").get(3, "/").raw([]byte("\x00\x00")) }), false},
		{"blocks that interrupt each other", frames(func(w *wire) { w.frame(tHeaders, 0, 1, "x").frame(tHeaders, 0, 3, "x") }), false},
		{"a block in parts", frames(func(w *wire) { w.frame(tHeaders, 0, 1, "x").frame(tContinuation, 4, 1, "x") }), true},
		{"a continuation of nothing", frames(func(w *wire) { w.frame(tContinuation, 4, 1, "x") }), false},
		{"a client with an even stream", frames(func(w *wire) { w.frame(tHeaders, 5, 2, "x") }), false},
		{"a frame that must be on a stream", frames(func(w *wire) { w.frame(tData, 0, 0, "x") }), false},
		{"a frame that must not", frames(func(w *wire) { w.frame(tPing, 0, 1, "12345678") }), false},
		{"a promise of the client", frames(func(w *wire) { w.frame(tPush, 4, 1, "\x00\x00\x00\x02x") }), false},
		{"an unknown type", frames(func(w *wire) { w.frame(0x20, 0, 1, "x") }), false},
		{"an unknown flag", frames(func(w *wire) { w.frame(tData, 0x40, 1, "x") }), false},
		{"the reserved bit", frames(func(w *wire) { w.frame(tData, 0, 1<<31|1, "x") }), false},
		{"a reset of 5 bytes", frames(func(w *wire) { w.frame(tReset, 0, 1, "12345") }), false},
		{"settings of 5 bytes", frames(func(w *wire) { w.frame(tSettings, 0, 0, "12345") }), false},
		{"HTTP/1.1", []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), false},
		{"zeros", make([]byte, 100), false},
		{"nothing", nil, false},
	} {
		if got := http2.LooksLikeFrames(c.b, true); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestLost(t *testing.T) {
	put := func(w *wire, id uint32) *wire {
		return w.client().headers(0, id, ":method", "PUT", ":scheme", "http", ":path", fmt.Sprint("/", id), ":authority", "a")
	}
	// part sends a DATA frame of which only the first bytes came.
	part := func(w *wire, flags uint8, id uint32, n int, came string) *wire {
		w.frame(tData, flags, id, strings.Repeat("x", n))
		last := &w.steps[len(w.steps)-1].bytes
		*last = append((*last)[:9], came...)
		return w
	}
	for _, c := range []struct {
		name  string
		trace func(w *wire)
		want  []string
	}{
		{"within a body: nobody else minds", func(w *wire) {
			put(w, 1)
			put(w, 3)
			part(w, endStream, 1, 10, "ab").lost(5).raw([]byte("cde")).frame(tData, endStream, 3, "y").get(5, "/5")
		}, []string{"1 request lost", "3 PUT /3 HTTP/1.1\r\nHost: a\r\ncontent-length: 1\r\n\r\ny", "5 " + reqGET("/5")}},
		{"up to the end of a frame", func(w *wire) {
			put(w, 1)
			part(w, endStream, 1, 10, "ab").lost(8).get(3, "/3")
		}, []string{"1 request lost", "3 " + reqGET("/3")}},
		{"nobody knows how much", func(w *wire) {
			put(w, 1)
			part(w, 0, 1, 10000, "ab").lost(-1)
			w.plainGET(3, "/3").plainGET(5, "/5").plainGET(7, "/7")
		}, []string{"1 request lost", "3 " + reqGET("/3"), "5 " + reqGET("/5"), "7 " + reqGET("/7")}},
		{"within padding", func(w *wire) {
			put(w, 1).frame(tData, endStream|padded, 1, "\x05y")
			last := &w.steps[len(w.steps)-1].bytes
			(*last)[2] = 7 // pad length, y, padding
			w.lost(3).raw([]byte("\x00\x00")).get(3, "/3")
		}, []string{"1 PUT /1 HTTP/1.1\r\nHost: a\r\ncontent-length: 1\r\n\r\ny", "3 " + reqGET("/3")}},
		{"within a frame that does not matter", func(w *wire) {
			w.client().frame(tPing, 0, 0, "12345678")
			last := &w.steps[len(w.steps)-1].bytes
			*last = (*last)[:12]
			w.lost(5).get(1, "/1")
		}, []string{"1 " + reqGET("/1")}},
		{"a reset whose reason is lost", func(w *wire) {
			put(w, 1).frame(tReset, 0, 1, "1234")
			last := &w.steps[len(w.steps)-1].bytes
			*last = (*last)[:10]
			w.lost(3).get(3, "/3")
		}, []string{"1 request unfinished", "3 " + reqGET("/3")}},
		{"the body of an answer", func(w *wire) {
			w.get(1, "/1").server().headers(0, 1, ":status", "200")
			part(w, endStream, 1, 10, "ab").lost(8).get(3, "/3").ok(3, "x")
		}, []string{"1 " + reqGET("/1"), "1 response lost", "3 " + reqGET("/3"), "3 " + resOK("x")}},
		{"the capture cut the body of an answer", func(w *wire) {
			w.get(1, "/1").server().headers(0, 1, ":status", "200")
			part(w, 0, 1, 10, "ab").cut(8).frame(tData, endStream, 1, "not kept").get(3, "/3")
		}, []string{"1 " + reqGET("/1"), "1 truncated HTTP/1.1 200 \r\ncontent-length: 18\r\n\r\nab", "3 " + reqGET("/3")}},
		{"the capture cut the body of a request", func(w *wire) {
			put(w, 1)
			part(w, endStream, 1, 10, "ab").cut(8).get(3, "/3")
		}, []string{"1 request lost", "3 " + reqGET("/3")}},
		{"a header block: those behind it may refer to it", func(w *wire) {
			w.get(1, "/1")
			put(w, 3)
			w.encode("never", "seen")
			w.lost(100)
			w.plainGET(7, "/7").plainGET(9, "/9").plainGET(11, "/11").get(13, "/1").plainGET(15, "/15")
		}, []string{"1 " + reqGET("/1"), "3 request lost", "7 " + reqGET("/7"), "9 " + reqGET("/9"), "11 " + reqGET("/11"),
			"13 request undecodable", "15 " + reqGET("/15")}},
		{"in a header block", func(w *wire) {
			w.get(1, "/1").frame(tHeaders, endStream|endHeaders, 3, "xxxxxxxxxx")
			last := &w.steps[len(w.steps)-1].bytes
			*last = (*last)[:15]
			w.lost(4).plainGET(5, "/5").plainGET(7, "/7").plainGET(9, "/9")
		}, []string{"1 " + reqGET("/1"), "3 request lost", "5 " + reqGET("/5"), "7 " + reqGET("/7"), "9 " + reqGET("/9")}},
		{"one direction's loss is not the other's", func(w *wire) {
			put(w, 1).get(3, "/3").server().headers(0, 3, ":status", "200").lost(1000)
			w.client().frame(tData, endStream, 1, "x").server().frame(tPing, 0, 0, "12345678").frame(tPing, 0, 0, "12345678").frame(tPing, 0, 0, "12345678")
			w.frame(tHeaders, endHeaders|endStream, 1, w.literal(":status", "204"))
		}, []string{"3 " + reqGET("/3"), "3 response lost", "1 PUT /1 HTTP/1.1\r\nHost: a\r\ncontent-length: 1\r\n\r\nx", "1 HTTP/1.1 204 \r\n\r\n"}},
		{"bytes that are no frames", func(w *wire) {
			put(w, 1).raw([]byte(strings.Repeat("\xff", 1000))).plainGET(3, "/3").plainGET(5, "/5").plainGET(7, "/7")
		}, []string{"1 request lost", "3 " + reqGET("/3"), "5 " + reqGET("/5"), "7 " + reqGET("/7")}},
		{"a block that another frame interrupts", func(w *wire) {
			w.client().frame(tHeaders, endStream, 1, "\x82").frame(tPing, 0, 0, "12345678").plainGET(3, "/3").plainGET(5, "/5").plainGET(7, "/7")
		}, []string{"1 request lost", "3 " + reqGET("/3"), "5 " + reqGET("/5"), "7 " + reqGET("/7")}},
		{"a block that is none", func(w *wire) {
			w.client().frame(tHeaders, endStream|endHeaders, 1, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff").plainGET(3, "/3")
		}, []string{"1 request undecodable", "3 " + reqGET("/3")}},
		{"padding longer than its frame", func(w *wire) {
			w.client().frame(tData, padded, 1, "\x05xx").plainGET(3, "/3").plainGET(5, "/5").plainGET(7, "/7")
		}, []string{"3 " + reqGET("/3"), "5 " + reqGET("/5"), "7 " + reqGET("/7")}},
		{"a frame larger than the server allows", func(w *wire) {
			w.client().frame(tData, 0, 1, strings.Repeat("x", 20000)).plainGET(3, "/3").plainGET(5, "/5").plainGET(7, "/7")
		}, []string{"3 " + reqGET("/3"), "5 " + reqGET("/5"), "7 " + reqGET("/7")}},
		{"a frame as large as the server allows", func(w *wire) {
			w.server().frame(tSettings, 0, 0, "\x00\x03\x00\x00\x00\x64\x00\x05\x00\x00\x80\x00")
			put(w, 1).frame(tData, endStream, 1, strings.Repeat("\x00", 20000)).get(3, "/3")
		}, []string{"1 PUT /1 HTTP/1.1\r\nHost: a\r\ncontent-length: 20000\r\n\r\n" + strings.Repeat("\x00", 20000), "3 " + reqGET("/3")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := begun()
			c.trace(w)
			w.wants(t, both, c.want...)
		})
	}
	t.Run("settings", func(t *testing.T) {
		// A server that allows large frames, which is seen in part or not at all.
		const settings = "\x00\x05\x00\x10\x00\x00"
		for _, came := range []int{0, 3, 9, 12} {
			w := newWire().client().raw([]byte(http2.Preface)).frame(tSettings, 0, 0, "").server().frame(tSettings, 0, 0, "").frame(tSettings, 0, 0, settings)
			last := &w.steps[len(w.steps)-1].bytes
			*last = (*last)[:came]
			w.lost(int64(15 - came))
			put(w, 1).frame(tData, endStream, 1, strings.Repeat("x", 20000))
			w.wants(t, both, "1 PUT /1 HTTP/1.1\r\nHost: a\r\ncontent-length: 20000\r\n\r\n"+strings.Repeat("x", 20000))
		}
	})
	t.Run("the preface", func(t *testing.T) {
		w := newWire().client().lost(33).plainGET(1, "/1").plainGET(3, "/3").plainGET(5, "/5")
		w.wants(t, both, "1 "+reqGET("/1"), "3 "+reqGET("/3"), "5 "+reqGET("/5"))
	})
}
