package compare_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"

	"kagami"
)

// A generator makes exchanges of a service that does not exist: what production
// answers, what an unchanged copy does and what staging does, which is altered
// now and then. It knows what it altered. Each answer is made anew, with what
// differs by nature: times, ids, the order of an object's members, chunks.
type generator struct {
	*rand.Rand
	share float64 // of answers that are altered
	based bool    // the unchanged copy is asked, too
	n     int
	codes map[string]encoder
}

// An encoder is kept for its buffers.
type encoder interface {
	io.WriteCloser
	Reset(io.Writer)
}

// A generated exchange, and what is to be found: the kinds and paths of
// differences ("" is none), or why it cannot be compared.
type generated struct {
	request, production, staging, baseline *kagami.Message
	alteration, want                       string
}

func newGenerator(seed uint64, share float64, based bool) *generator {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		panic(err)
	}
	fast, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
	if err != nil {
		panic(err)
	}
	return &generator{Rand: rand.New(rand.NewPCG(seed, 1)), share: share, based: based, codes: map[string]encoder{
		"gzip": fast, "deflate": zlib.NewWriter(nil), "br": brotli.NewWriterLevel(nil, 1), "zstd": z,
	}}
}

// A member of an object, whose order is drawn each time it is written.
type member struct {
	key string
	val any
}

// noisy is a value that is another each time it is written.
type noisy string

// A resource is what an answer says, before it is written.
type resource struct {
	status  int
	headers []member // values are strings or noisy
	coding  string   // the Content-Encoding
	doc     any      // JSON; nil for text
	text    string
	nobody  bool // HEAD, 204, 304
	cut     float64
	flags   kagami.Flags
}

func (g *generator) word() string {
	b := make([]byte, 3+g.IntN(8))
	for i := range b {
		b[i] = byte('a' + g.IntN(26))
	}
	return string(b)
}

// next makes the next exchange.
func (g *generator) next() generated {
	g.n++
	ex := exchange(g.n, "GET")
	target, r := g.endpoint()
	if target == "/ping" {
		ex.Method = "HEAD"
	}
	begin := time.Unix(1_700_000_000, 0).Add(time.Duration(g.n) * time.Millisecond)
	out := generated{request: message(kagami.Request, ex, ex.Method+" "+target+" HTTP/1.1\r\nHost: a\r\n\r\n")}
	out.request.Start = begin
	out.production = g.answer(kagami.Response, ex, r)
	if g.based {
		out.baseline = g.answer(kagami.Replayed, ex, r)
	}
	if g.Float64() < g.share {
		out.alteration, out.want = g.alter(&r)
	}
	out.staging = g.answer(kagami.Replayed, ex, r)
	for _, m := range []*kagami.Message{out.production, out.staging} {
		m.Start, m.End = begin.Add(time.Millisecond), begin.Add(2*time.Millisecond)
	}
	return out
}

// endpoint draws a request and what it is answered.
func (g *generator) endpoint() (target string, r resource) {
	r = resource{status: 200, headers: []member{
		{"Date", noisy("date")}, {"X-Request-Id", noisy("id")}, {"Set-Cookie", noisy("id")},
		{"Cache-Control", "max-age=" + strconv.Itoa(g.IntN(100))}, {"Server", "nginx"}, {"Vary", "Accept"}, {"X-Node", noisy("id")},
	}}
	r.coding = []string{"gzip", "gzip", "deflate", "br", "zstd", 15: ""}[g.IntN(16)]
	switch g.IntN(10) {
	case 0, 1:
		r.doc = g.item(g.IntN(1000))
		return fmt.Sprintf("/items/%d?x=%d", g.IntN(1e6), g.n), r
	case 2, 3:
		items := []any{}
		for i := range g.IntN(3) + 3 {
			items = append(items, g.item(i))
		}
		r.doc = []member{{"items", items}, {"total", g.IntN(1000)}, {"served_at", noisy("time")}, {"page", []member{{"next", g.word()}, {"size", 20}}}}
		return "/items?page=" + strconv.Itoa(g.IntN(50)), r
	case 4:
		var users []member
		for range g.IntN(6) + 2 {
			users = append(users, member{strconv.Itoa(g.n*100 + len(users)), []member{{"name", g.word()}, {"seen", noisy("time")}, {"score", 0.5 + float64(g.IntN(9))}}})
		}
		r.doc = []member{{"users", users}, {"trace", noisy("id")}}
		return "/users", r
	case 5, 6:
		var b strings.Builder
		for range 30 {
			b.WriteString(g.word() + " ")
		}
		r.text = b.String()
		return "/pages/" + "about", r
	}
	r.nobody, r.coding = true, ""
	if g.IntN(2) == 0 {
		return "/ping", r
	}
	r.status = []int{204, 304}[g.IntN(2)]
	return "/none", r
}

func (g *generator) item(i int) any {
	return []member{
		{"id", i}, {"name", g.word()}, {"price", float64(g.IntN(1e4)) + 0.25}, {"stock", int64(9007199254740993) + int64(g.IntN(1000))},
		{"tags", []any{g.word() + "1", g.word() + "2", g.word() + "3"}}, {"active", g.IntN(2) == 0}, {"parent", nil},
		{"updated_at", noisy("time")}, {"etag", noisy("id")}, {"note", `say \"` + g.word() + `\"\n→ ok`},
	}
}

// answer writes an answer as a server might.
func (g *generator) answer(k kagami.Kind, ex *kagami.Exchange, r resource) *kagami.Message {
	var body []byte
	if r.doc != nil {
		body = g.json(nil, r.doc)
	} else {
		body = []byte(r.text)
	}
	if r.coding != "" {
		w := g.codes[r.coding]
		var b bytes.Buffer
		w.Reset(&b)
		_, _ = w.Write(body)
		_ = w.Close()
		body = b.Bytes()
	}
	raw := fmt.Appendf(nil, "HTTP/1.1 %d Whatever\r\n", r.status)
	for _, i := range g.Perm(len(r.headers)) {
		h := r.headers[i]
		v, isText := h.val.(string)
		if !isText {
			v = g.noise(h.val.(noisy))
		}
		raw = append(append(append(append(raw, h.key...), ": "...), v...), "\r\n"...)
	}
	if r.doc != nil {
		raw = append(raw, "Content-Type: application/json\r\n"...)
	}
	if r.coding != "" {
		raw = append(raw, "Content-Encoding: "+r.coding+"\r\n"...)
	}
	switch {
	case r.nobody:
		raw = append(raw, "\r\n"...)
	case g.IntN(3) == 0:
		raw = append(raw, "Transfer-Encoding: chunked\r\n\r\n"...)
		for len(body) > 0 {
			n := 1 + g.IntN(len(body))
			raw = append(append(fmt.Appendf(raw, "%x\r\n", n), body[:n]...), "\r\n"...)
			body = body[n:]
		}
		raw = append(raw, "0\r\n\r\n"...)
	default:
		raw = append(fmt.Appendf(raw, "Content-Length: %d\r\n\r\n", len(body)), body...)
	}
	m := message(k, ex, "")
	m.Raw, m.WireLen, m.Flags = raw, len(raw), r.flags
	if r.cut > 0 {
		head := bytes.Index(raw, []byte("\r\n\r\n")) + 4
		m.Raw = raw[:head+int(r.cut*float64(len(raw)-head))]
	}
	return m
}

func (g *generator) noise(n noisy) string {
	switch n {
	case "id":
		return strconv.FormatUint(g.Uint64()|1<<63, 16)
	case "date":
		return "Mon, 01 Jan 2024 00:00:" + strconv.Itoa(10+g.IntN(50)) + " GMT"
	}
	return "2024-01-01T00:00:" + strconv.FormatFloat(10+49*g.Float64(), 'f', 9, 64) + "Z"
}

// json writes a value, the members of an object in an order of its own.
func (g *generator) json(b []byte, v any) []byte {
	switch v := v.(type) {
	case []member:
		b = append(b, '{')
		for n, i := range g.Perm(len(v)) {
			if n > 0 {
				b = append(b, ',')
			}
			b = g.json(append(append(append(b, `"`...), v[i].key...), `":`...), v[i].val)
		}
		return append(b, '}')
	case []any:
		b = append(b, '[')
		for i, e := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = g.json(b, e)
		}
		return append(b, ']')
	case noisy:
		return append(append(append(b, '"'), g.noise(v)...), '"')
	case string:
		return append(append(append(b, '"'), v...), '"')
	case float64:
		return strconv.AppendFloat(b, v, 'f', -1, 64)
	case nil:
		return append(b, "null"...)
	}
	return fmt.Append(b, v)
}

// clone copies a document, so that one answer alone is altered.
func clone(v any) any {
	switch v := v.(type) {
	case []member:
		c := slices.Clone(v)
		for i := range c {
			c[i].val = clone(c[i].val)
		}
		return c
	case []any:
		c := slices.Clone(v)
		for i := range c {
			c[i] = clone(c[i])
		}
		return c
	}
	return v
}
