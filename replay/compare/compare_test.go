package compare_test

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"kagami"
	"kagami/replay/compare"
)

// exchange returns a new exchange with the n-th id.
func exchange(n int, method string) *kagami.Exchange {
	id, err := kagami.IDFromBytes(binary.BigEndian.AppendUint64(nil, uint64(n)+1))
	if err != nil {
		panic(err)
	}
	return &kagami.Exchange{ID: id, Method: method}
}

func message(k kagami.Kind, ex *kagami.Exchange, raw string) *kagami.Message {
	return &kagami.Message{Kind: k, Proto: kagami.HTTP1, Raw: []byte(raw), Exchange: ex}
}

func write(t testing.TB, out interface {
	Write(context.Context, kagami.Batch) error
}, ms ...*kagami.Message) {
	t.Helper()
	if err := out.Write(context.Background(), kagami.Batch{Messages: ms}); err != nil {
		t.Fatal(err)
	}
}

// verdict compares two answers to one request.
func verdict(t testing.TB, cfg compare.Config, p, s *kagami.Message) compare.Verdict {
	t.Helper()
	var got []compare.Verdict
	cfg.Each = func(v compare.Verdict) { got = append(got, v) }
	c, err := compare.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	write(t, c, p, s)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 {
		t.Fatalf("%d verdicts", len(got))
	}
	return got[0]
}

// brief is a verdict in one line.
func brief(v compare.Verdict) string {
	if v.Outcome == compare.NotCompared {
		return v.Reason
	}
	var all []string
	for _, d := range v.Differences {
		s := string(d.Kind) + " " + d.At
		if d.Kind == compare.Status {
			s = string(d.Kind) + " " + d.Path
		}
		if d.Count > 1 {
			s += fmt.Sprintf(" ×%d", d.Count)
		}
		all = append(all, s)
	}
	return strings.Join(all, "; ")
}

const ok = "HTTP/1.1 200 OK\r\n"

func encode(t testing.TB, coding, body string) string {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	var err error
	switch coding {
	case "gzip":
		w = gzip.NewWriter(&b)
	case "deflate":
		w = zlib.NewWriter(&b)
	case "bare deflate":
		w, err = flate.NewWriter(&b, 6)
	case "br":
		w = brotli.NewWriter(&b)
	case "zstd":
		w, err = zstd.NewWriter(&b)
	}
	if err == nil {
		_, err = io.WriteString(w, body)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestJSONBodies(t *testing.T) {
	tests := []struct{ name, production, staging, want string }{
		{"the same", `{"a":1}`, `{"a":1}`, ""},
		{"members in another order", `{"a":1,"b":{"c":[],"d":null}}`, ` {"b" : {"d":null,"c":[ ]},"a":1}`, ""},
		{"a value", `{"a":{"b":1}}`, `{"a":{"b":2}}`, "value $.a.b"},
		{"a boolean", `[true]`, `[false]`, "value $[0]"},
		{"a type", `{"a":1}`, `{"a":"1"}`, "type $.a"},
		{"null is not nothing", `{"a":null}`, `{}`, "missing $.a"},
		{"null is not false", `[null,1]`, `[false,1]`, "type $[0]"},
		{"empty object and array", `[{},1]`, `[[],1]`, "type $[0]"},
		{"missing and added", `{"a":1,"b":2}`, `{"b":2,"c":3}`, "missing $.a; added $.c"},
		{"numbers by value", `[1,1.0,1e2,-0,0.10]`, `[1.0,1,100,0,1e-1]`, ""},
		{"large integers", `[9007199254740993]`, `[9007199254740992]`, "value $[0]"},
		{"large exponents", `[1e400]`, `[1e401]`, "value $[0]"},
		{"exponents beyond reason", `[1e99999999999999999999,0]`, `[2e99999999999999999999,0]`, "value $[0]"},
		{"escapes", `["\u0041\n\ud83d\ude00\/"]`, `["A\u000a😀/"]`, ""},
		{"half a pair", `["\ud83d"]`, `["\ufffd"]`, "value $[0]"},
		{"escaped names", `{"\u0061":1}`, `{"a":1}`, ""},
		{"odd names", `{"a b":1,"it's":2}`, `{"a b":2,"it's":3}`, `value $['a b']; value $['it\'s']`},
		{"put in at the front", `[1,2,3,4]`, `[0,1,2,3,4]`, "added $[0]"},
		{"put in and taken out", `[{"n":1},{"n":2},{"n":3},{"n":4}]`, `[{"n":1},{"n":3},{"n":4},{"n":5}]`, "missing $[1]; added $[3]"},
		{"changed beside one put in", `[{"id":1,"v":"x"},{"id":2,"v":"y"}]`, `[{"id":9,"v":"q"},{"id":1,"v":"x"},{"id":2,"v":"z"}]`, "added $[0]; value $[1].v"},
		{"every element changed and one put in", `[{"id":1,"t":1},{"id":2,"t":2}]`, `[{"id":0,"t":7},{"id":1,"t":8},{"id":2,"t":9}]`, "added $[0]; value $[0].t ×2"},
		{"order", `{"a":[1,2,3]}`, `{"a":[3,1,2]}`, "order $.a"},
		{"order of objects", `[{"a":1},{"b":1.0}]`, `[{"b":1},{"a":1}]`, "order $"},
		{"elements that differ alike are one", `[{"a":1},{"a":1}]`, `[{"a":2},{"a":2}]`, "value $[0].a ×2"},
		{"a name twice is bytes", `{"a":1,"a":1}`, `{"a":1}`, "body byte 6"},
		{"not JSON is bytes", `{"a":1}`, `{"a":1`, "body byte 6"},
		{"a bare value", `"a"`, `1`, "type $"},
		{"surely not JSON", `[1,2,]`, `[1, 2,]`, "body byte 3"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ex := exchange(1, "GET")
			head := ok + "Content-Type: application/problem+json; charset=utf-8\r\n\r\n"
			v := verdict(t, compare.Config{}, message(kagami.Response, ex, head+tt.production), message(kagami.Replayed, ex, head+tt.staging))
			if got := brief(v); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
			if (v.Outcome == compare.Same) != (tt.want == "") {
				t.Errorf("outcome %q", v.Outcome)
			}
		})
	}
}

func TestAnswers(t *testing.T) {
	chunked := "Transfer-Encoding: chunked\r\n\r\n"
	tests := []struct{ name, method, production, staging, want string }{
		{"status", "GET", ok + "\r\nx", "HTTP/1.1 201 Created\r\n\r\nx", "status 200 → 201"},
		{"an error has nothing in common", "GET", ok + "X-A: 1\r\n\r\nx", "HTTP/1.1 503 No\r\n\r\ny", "status 200 → 503"},
		{"headers", "GET", ok + "X-A: 1\r\nX-B: 1\r\nVary: a\r\nVary: b\r\n\r\n", ok + "vary: a, b\r\nx-b: 2\r\nX-C: 3\r\n\r\n", "header-missing x-a; header x-b; header-added x-c"},
		{"headers that differ by nature", "GET", ok + "Date: x\r\nX-B3-TraceId: 1\r\nServer: a\r\n\r\n", ok + "Set-Cookie: a=1\r\n\r\n", ""},
		{"bytes", "GET", ok + "\r\nhello world", ok + "\r\nhello wurld", "body byte 7"},
		{"chunks are no difference", "GET", ok + "Content-Length: 5\r\n\r\nhello", ok + chunked + "2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n", ""},
		{"trailers", "GET", ok + chunked + "1\r\nx\r\n0\r\nT: 1\r\nU: 1\r\nDate: 1\r\n\r\n", ok + "U: 1\r\n" + chunked + "1\r\nx\r\n0\r\nT: 2\r\nDate: 2\r\n\r\n", "header t"},
		{"a trailer of several chunks", "GET", ok + chunked + "1\r\nx\r\n1\r\ny\r\n0\r\nT: 1\r\n\r\n", ok + chunked + "2\r\nxy\r\n0\r\n\r\n", "header-missing t"},
		{"the status of gRPC", "POST", ok + chunked + "1\r\nx\r\n0\r\ngrpc-status: 0\r\n\r\n", ok + chunked + "1\r\nx\r\n0\r\ngrpc-status: 13\r\n\r\n", "header grpc-status"},
		{"one chunk", "GET", ok + chunked + "5\r\nhello\r\n0\r\n\r\n", ok + chunked + "5\r\nhullo\r\n0\r\n\r\n", "body byte 1"},
		{"HEAD has no body", "HEAD", ok + "Content-Length: 5\r\n\r\n", ok + "Content-Length: 7\r\n\r\n", ""},
		{"204 has none", "GET", "HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n", ""},
		{"304 has none", "GET", "HTTP/1.1 304 Not Modified\r\n\r\n", "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", ""},
		{"interim answers before", "GET", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + ok + "\r\na", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + ok + "\r\na", ""},
		{"switching protocols", "GET", "HTTP/1.1 101 S\r\nUpgrade: a\r\n\r\nxx", "HTTP/1.1 101 S\r\nUpgrade: a\r\n\r\nyy", ""},
		{"what follows the body", "GET", ok + "Content-Length: 1\r\n\r\na", ok + "Content-Length: 1\r\n\r\nabc", ""},
		{"folded header", "GET", ok + "X-A: 1\r\n 2\r\n\r\n", ok + "X-A: 1 2\r\n\r\n", ""},
		{"shorter than it says", "GET", ok + "Content-Length: 5\r\n\r\nabcde", ok + "Content-Length: 5\r\n\r\nabc", "staging-incomplete"},
		{"a chunk is not there", "GET", ok + chunked + "5\r\nhel", ok + chunked + "5\r\nhello\r\n0\r\n\r\n", "production-incomplete"},
		{"a chunk that is none", "GET", ok + chunked + "5\r\nhello\r\n0\r\n\r\n", ok + chunked + "zz\r\nhello\r\n", "staging-not-http"},
		{"no HTTP", "GET", "hello", ok + "\r\n", "production-not-http"},
		{"half a head", "GET", ok + "\r\n", ok + "X-A: ", "staging-not-http"},
		{"a status differs, and the body is cut", "GET", ok + "\r\nx", "HTTP/1.1 202 A\r\nContent-Length: 9\r\n\r\n", "status 200 → 202"},
		{"unknown coding", "GET", ok + "Content-Encoding: pied-piper\r\n\r\nx", ok + "Content-Encoding: pied-piper\r\n\r\ny", "production-content-coding"},
		{"unknown coding of the same", "GET", ok + "Content-Encoding: pied-piper\r\n\r\nx", ok + "Content-Encoding: pied-piper\r\n\r\nx", ""},
		{"broken coding", "GET", ok + "Content-Encoding: gzip\r\n\r\n" + encode(t, "gzip", "x"), ok + "Content-Encoding: gzip\r\n\r\nx", "staging-content-coding"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ex := exchange(1, tt.method)
			v := verdict(t, compare.Config{}, message(kagami.Response, ex, tt.production), message(kagami.Replayed, ex, tt.staging))
			if got := brief(v); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func TestFlagsAreNamed(t *testing.T) {
	for flag, want := range map[kagami.Flags]string{kagami.Truncated: "staging-truncated", kagami.Incomplete: "staging-incomplete"} {
		ex := exchange(1, "GET")
		p, s := message(kagami.Response, ex, ok+"\r\nhello"), message(kagami.Replayed, ex, ok+"\r\nhel")
		s.Flags = flag
		if got := verdict(t, compare.Config{}, p, s); got.Reason != want || got.Outcome != compare.NotCompared {
			t.Errorf("%q, %q", got.Outcome, got.Reason)
		}
		p.Flags = flag
		want = strings.Replace(want, "staging", "production", 1)
		if got := verdict(t, compare.Config{}, p, s); got.Reason != want {
			t.Errorf("%q, want %q", got.Reason, want)
		}
	}
}

func TestContentCodings(t *testing.T) {
	was, is := `{"a":"`+strings.Repeat("x", 3000)+`","b":1}`, `{"a":"`+strings.Repeat("x", 3000)+`","b":2}`
	for _, coding := range []string{"gzip", "deflate", "bare deflate", "br", "zstd"} {
		_, name, ok2 := strings.Cut(coding, " ")
		if !ok2 {
			name = coding
		}
		head := ok + "Content-Encoding: " + name + "\r\n\r\n"
		ex := exchange(1, "GET")
		p := message(kagami.Response, ex, head+encode(t, coding, was))
		if got := brief(verdict(t, compare.Config{}, p, message(kagami.Replayed, ex, head+encode(t, coding, is)))); got != "value $.b" {
			t.Errorf("%s: %q", coding, got)
		}
		plain := message(kagami.Replayed, ex, ok+"\r\n"+was)
		if got := brief(verdict(t, compare.Config{}, p, plain)); got != "header-missing content-encoding" {
			t.Errorf("%s against none: %q", coding, got)
		}
		bomb := message(kagami.Replayed, ex, head+encode(t, coding, strings.Repeat("0", 1<<20)))
		if got := brief(verdict(t, compare.Config{MaxBody: 1 << 16}, p, bomb)); got != "staging-too-large" {
			t.Errorf("%s: a body that is too large: %q", coding, got)
		}
	}
	twice := ok + "Content-Encoding: gzip, br\r\n\r\n"
	ex := exchange(1, "GET")
	p := message(kagami.Response, ex, twice+encode(t, "br", encode(t, "gzip", was)))
	s := message(kagami.Replayed, ex, twice+encode(t, "br", encode(t, "gzip", is)))
	if got := brief(verdict(t, compare.Config{}, p, s)); got != "value $.b" {
		t.Errorf("coded twice: %q", got)
	}
}

func TestTooDeep(t *testing.T) {
	ex := exchange(1, "GET")
	deep := ok + "\r\n" + strings.Repeat("[", 500) + "1" + strings.Repeat("]", 500)
	wide := ok + "\r\n[" + strings.Repeat("1,", 300_000) + "1]"
	for want, raws := range map[string][2]string{
		"":                     {deep, deep},
		"staging-too-large":    {ok + "\r\n[1]", deep},
		"production-too-large": {wide, ok + "\r\n[1]"},
	} {
		if got := brief(verdict(t, compare.Config{}, message(kagami.Response, ex, raws[0]), message(kagami.Replayed, ex, raws[1]))); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestIgnore(t *testing.T) {
	body := func(s string) string { return ok + "X-Build: " + s + "\r\nX-Other: o\r\n\r\n" }
	tests := []struct{ name, rule, production, staging, want string }{
		{"a path", "$.a", `{"a":1,"b":1}`, `{"a":2,"b":2}`, "value $.b"},
		{"what is beneath it", "$.a", `{"a":{"c":1}}`, `{"a":{}}`, ""},
		{"missing too", "$.a", `{"a":1}`, `{}`, ""},
		{"in brackets", `$['a b']["c"]`, `{"a b":{"c":1,"d":1}}`, `{"a b":{"c":2,"d":2}}`, "value $['a b'].d"},
		{"elements", "$.items[*].id", `{"items":[{"id":1,"n":1},{"id":2,"n":2}]}`, `{"items":[{"id":3,"n":1},{"id":4,"n":3}]}`, "value $.items[1].n"},
		{"elements are told apart without it", "$.items[*].id", `{"items":[{"id":1,"n":1},{"id":2,"n":2}]}`, `{"items":[{"id":3,"n":0},{"id":3,"n":1},{"id":4,"n":2}]}`, "added $.items[0]"},
		{"an index", "$[1]", `[1,1,1]`, `[2,2,2]`, "value $[0] ×2"},
		{"all members", "$.a.*", `{"a":{"b":1},"c":1}`, `{"a":{"b":2},"c":2}`, "value $.c"},
		{"at any depth", "$..id", `{"id":1,"a":[{"id":1,"b":{"id":1,"c":1}}]}`, `{"id":2,"a":[{"id":2,"b":{"id":2,"c":2}}]}`, "value $.a[0].b.c"},
		{"beneath any depth", "$..a.b", `{"a":{"a":{"b":1,"c":1}}}`, `{"a":{"a":{"b":2,"c":2}}}`, "value $.a.a.c"},
		{"all", "$", `{"a":1}`, `nonsense`, ""},
		{"a header", "header:x-other", `1`, `1`, ""},
		{"headers", "header:X-*", `1`, `1`, ""},
		{"a pattern in a text", "pattern:[0-9]{4}-[0-9]{2}", `{"a":"at 2024-01","b":"x"}`, `{"a":"at 2025-02","b":"y"}`, "value $.b"},
		{"a pattern in a number", "pattern:^17[0-9]{8}$", `[1700000000,1]`, `[1700000001,2]`, "value $[1]"},
		{"a pattern in bytes", "pattern:t=[0-9]+", `<a t=1>`, `<a t=22>`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ex := exchange(1, "GET")
			p, s := body("1")+tt.production, body("1")+tt.staging
			if strings.HasPrefix(tt.rule, "header:") {
				s = strings.Replace(s, "X-Other: o", "X-Other: p", 1)
			}
			v := verdict(t, compare.Config{Ignore: []string{tt.rule}}, message(kagami.Response, ex, p), message(kagami.Replayed, ex, s))
			if got := brief(v); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func TestChosenHeaders(t *testing.T) {
	ex := exchange(1, "GET")
	p := message(kagami.Response, ex, ok+"ETag: 1\r\nX-A: 1\r\n\r\n")
	s := message(kagami.Replayed, ex, ok+"ETag: 2\r\nX-A: 2\r\n\r\n")
	if got := brief(verdict(t, compare.Config{Headers: []string{"etag"}}, p, s)); got != "header etag" {
		t.Errorf("%q", got)
	}
}

func TestConfigErrors(t *testing.T) {
	tests := []struct {
		cfg  compare.Config
		want string
	}{
		{compare.Config{Timeout: -1}, "timeout"},
		{compare.Config{MaxBytes: -1}, "room for -1 bytes"},
		{compare.Config{MaxBody: 2 << 30}, "1 GiB"},
		{compare.Config{Headers: []string{"a b"}}, "not the name of a header"},
		{compare.Config{Ignore: []string{"id"}}, "begins with $"},
		{compare.Config{Ignore: []string{""}}, "begins with $"},
		{compare.Config{Ignore: []string{"$id"}}, "want .name"},
		{compare.Config{Ignore: []string{"$."}}, "a dot without a name"},
		{compare.Config{Ignore: []string{"$..[*]x"}}, "want .name"},
		{compare.Config{Ignore: []string{"$[x]"}}, "index from 0"},
		{compare.Config{Ignore: []string{"$[0"}}, "closing ]"},
		{compare.Config{Ignore: []string{"$['a]"}}, "closing ']"},
		{compare.Config{Ignore: []string{"$" + strings.Repeat(".a", 65)}}, "more than 64"},
		{compare.Config{Ignore: []string{"header:"}}, "name of a header"},
		{compare.Config{Ignore: []string{"pattern:("}}, "missing closing"},
		{compare.Config{Ignore: []string{"pattern:"}}, "regular expression"},
	}
	for _, tt := range tests {
		c, err := compare.New(tt.cfg)
		if err == nil {
			t.Errorf("%+v is taken", tt.cfg)
			_ = c.Close()
		} else if !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q does not say %q", err, tt.want)
		}
	}
}

func TestEndpoint(t *testing.T) {
	tests := map[[2]string]string{
		{"GET", "/"}:                     "GET /",
		{"GET", "/users/42?x=1"}:         "GET /users/{id}",
		{"POST", "http://h:80/users/42"}: "POST /users/{id}",
		{"GET", "http://h"}:              "GET /",
		{"GET", "/r?u=http://x/y"}:       "GET /r",
		{"GET", "/v1/550e8400-e29b-41d4-a716-446655440000/parts"}: "GET /v1/{id}/parts",
		{"GET", "/day/2024-01-31/at/2024-01-31T10:00:00Z"}:        "GET /day/{id}/at/{id}",
		{"GET", "/c/deadbeef01"}:                                  "GET /c/{id}",
		{"GET", "/c/cafe"}:                                        "GET /c/cafe",
		{"GET", "/img/1234.png"}:                                  "GET /img/{id}.png",
		{"GET", "/k/01ARZ3NDEKTSV4RRFFQ69G5FAV"}:                  "GET /k/{id}",
		{"GET", "/internationalisation-of-2"}:                     "GET /internationalisation-of-2",
		{"OPTIONS", "*"}:                                          "OPTIONS *",
		{"", ""}:                                                  "? ?",
		{"GET", "/\x01\xff"}:                                      "GET /\uFFFD\uFFFD",
	}
	for in, want := range tests {
		if got := compare.Endpoint(in[0], in[1]); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	if n := len(compare.Endpoint("GET", strings.Repeat("/abc", 1000))); n > 300 {
		t.Errorf("an endpoint of %d bytes", n)
	}
}

func TestDifferencesAreBounded(t *testing.T) {
	var p, s strings.Builder
	for i := range 500 {
		fmt.Fprintf(&p, `,"p%c%c":1`, 'a'+i/26, 'a'+i%26)
		fmt.Fprintf(&s, `,"p%c%c":"%0200d"`, 'a'+i/26, 'a'+i%26, i)
	}
	ex := exchange(1, "GET")
	v := verdict(t, compare.Config{}, message(kagami.Response, ex, ok+"\r\n{\"a\":1"+p.String()+"}"), message(kagami.Replayed, ex, ok+"\r\n{\"a\":1"+s.String()+"}"))
	if len(v.Differences) != 100 || !v.Cut {
		t.Errorf("%d differences, cut %v", len(v.Differences), v.Cut)
	}
	want := compare.Difference{Kind: compare.Type, Path: "$.paa", At: "$.paa", Production: "1", Staging: `"` + strings.Repeat("0", 99) + "…", Count: 1}
	if diff := cmp.Diff(want, v.Differences[0]); diff != "" {
		t.Error(diff)
	}
}
