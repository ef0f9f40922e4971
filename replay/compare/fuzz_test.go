package compare_test

import (
	"testing"

	"kagami"
	"kagami/replay/compare"
)

// FuzzCompare compares any two answers: that ends, an answer is the same as
// itself, and whether two are the same does not depend on which is which.
func FuzzCompare(f *testing.F) {
	head := ok + "Content-Type: application/json\r\nX-A: b\r\n\r\n"
	for _, s := range [][2]string{
		{head + `{"a":[1,2,{"id":3}],"t":"x"}`, head + `{"t":"y","a":[2,1,{"id":4}]}`},
		{head + `[1,2,3,4]`, head + `[0,1,2.0,4,5]`},
		{head + `[{"a":1,"b":2},{"a":2}]`, head + `[{"a":3},{"a":1,"b":3},{"a":2}]`},
		{head + `["\ud83d\ude00",1e5,-0]`, head + `["😀",100000,0]`},
		{ok + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", ok + "Content-Length: 3\r\n\r\nabd"},
		{ok + "Content-Encoding: gzip\r\n\r\n" + encode(f, "gzip", `{"a":1}`), ok + "Content-Encoding: br\r\n\r\n" + encode(f, "br", `{"a":1}`)},
		{ok + "Content-Encoding: zstd\r\n\r\n" + encode(f, "zstd", "hello"), ok + "Content-Encoding: deflate\r\n\r\n" + encode(f, "deflate", "hello")},
		{"HTTP/1.1 100 Continue\r\n\r\n" + ok + "\r\n", "HTTP/1.1 503 No\r\n\r\n"},
		{"nonsense", ""},
	} {
		f.Add([]byte(s[0]), []byte(s[1]), false)
		f.Add([]byte(s[1]), []byte(s[0]), true)
	}
	f.Fuzz(func(t *testing.T, a, b []byte, rules bool) {
		cfg := compare.Config{MaxBody: 1 << 16}
		if rules {
			cfg.Ignore = []string{"$..id", "$.*.t", "pattern:[0-9]+", "header:x-*"}
		}
		compared := func(x, y []byte) compare.Verdict {
			ex := exchange(1, "GET")
			p, s := message(kagami.Response, ex, string(x)), message(kagami.Replayed, ex, string(y))
			return verdict(t, cfg, p, s)
		}
		for _, x := range [][]byte{a, b} {
			if v := compared(x, x); v.Outcome == compare.Different || len(v.Differences) > 0 {
				t.Fatalf("%q differs from itself: %+v", x, v)
			}
		}
		v, w := compared(a, b), compared(b, a)
		if v.Outcome != w.Outcome {
			t.Fatalf("%q and %q: %+v, the other way round %+v", a, b, v, w)
		}
		if len(v.Differences) > 100 {
			t.Fatalf("%d differences", len(v.Differences))
		}
		for _, d := range v.Differences {
			if len(d.Path)+len(d.At)+len(d.Production)+len(d.Staging) > 4096 {
				t.Fatalf("a difference of much text: %+v", d)
			}
		}
	})
}
