package http2_test

import (
	"encoding/binary"
	"strings"
	"testing"

	"kagami/internal/http2"
)

// A counter is a Handler that counts.
type counter struct{ whole, failed int }

func (*counter) Begin(*http2.Message) {}

func (c *counter) End(m *http2.Message) {
	if m.Err != nil {
		c.failed++
	} else {
		c.whole++
	}
}

// renumber gives the frames of a step the stream id.
func renumber(b []byte, id uint32) {
	for len(b) >= 9 {
		binary.BigEndian.PutUint32(b[5:], id)
		b = b[9+(int(b[0])<<16|int(b[1])<<8|int(b[2])):]
	}
}

// benchmark plays the steps of f again and again, each time on a new stream, so
// many messages at a time.
func benchmark(b *testing.B, messages int, f func(w *wire)) {
	w := begun()
	var c counter
	conn := http2.New(both, &c)
	for _, s := range w.steps {
		conn.Feed(s.client, s.bytes, http2.Mark{})
	}
	w.steps = nil
	f(w) // fills the tables
	for _, s := range w.steps {
		conn.Feed(s.client, s.bytes, http2.Mark{})
	}
	w.steps = nil
	f(w)
	size := 0
	for _, s := range w.steps {
		size += len(s.bytes)
	}
	b.ReportAllocs()
	b.SetBytes(int64(size))
	id := uint32(1)
	for b.Loop() {
		id += 2
		for _, s := range w.steps {
			renumber(s.bytes, id)
			conn.Feed(s.client, s.bytes, http2.Mark{})
		}
	}
	if c.failed > 0 || c.whole != messages*(b.N+1) {
		b.Errorf("%d of %d messages, %d failed", c.whole, messages*(b.N+1), c.failed)
	}
}

var browser = []string{":method", "GET", ":scheme", "http", ":path", "/static/css/site.min.css?v=20240131", ":authority", "www.example.com",
	"user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:124.0) Gecko/20100101 Firefox/124.0", "accept", "text/css,*/*;q=0.1",
	"accept-language", "en-GB,en;q=0.5", "accept-encoding", "gzip, deflate, br", "referer", "https://www.example.com/index.html",
	"cookie", "session=6f2b1a9c4d8e4f0b9a7c3d5e1f2a4b6c", "cookie", "theme=dark", "cookie", "lang=en"}

// BenchmarkGET is a browser's request whose fields are all in the table.
func BenchmarkGET(b *testing.B) {
	benchmark(b, 1, func(w *wire) {
		w.client().headers(endStream, 1, browser...)
		w.server().frame(tReset, 0, 1, "1234")
	})
}

// BenchmarkGETLiteral is the same with every field spelled out in Huffman code.
func BenchmarkGETLiteral(b *testing.B) {
	benchmark(b, 1, func(w *wire) {
		w.enc[0].SetMaxDynamicTableSize(0)
		w.client().headers(endStream, 1, browser...)
		w.server().frame(tReset, 0, 1, "1234")
	})
}

// BenchmarkUnary is a gRPC call: a request and an answer with trailers.
func BenchmarkUnary(b *testing.B) {
	benchmark(b, 2, func(w *wire) {
		w.client().headers(0, 1, ":method", "POST", ":scheme", "http", ":path", "/shop.Cart/Add", ":authority", "cart:9000",
			"content-type", "application/grpc", "te", "trailers", "user-agent", "grpc-go/1.60.1").
			frame(tData, endStream, 1, strings.Repeat("x", 100))
		w.server().headers(0, 1, ":status", "200", "content-type", "application/grpc").frame(tData, 0, 1, strings.Repeat("y", 200)).
			headers(endStream, 1, "grpc-status", "0", "grpc-message", "")
	})
}

// BenchmarkPOST is an upload of 16 KiB in one frame; it comes in segments of 1448 bytes.
func BenchmarkPOST(b *testing.B) {
	benchmark(b, 1, func(w *wire) {
		w.client().headers(0, 1, ":method", "POST", ":scheme", "http", ":path", "/upload", ":authority", "a", "content-length", "16384").
			frame(tData, endStream, 1, strings.Repeat("x", 16384))
		w.server().frame(tReset, 0, 1, "1234")
	})
}

// BenchmarkSeek looks for frames where there are none, in segments of 1448 bytes.
func BenchmarkSeek(b *testing.B) {
	for name, p := range map[string]string{"text": "no frame begins ", "zeros": "\x00", "like": "\x00\x3f\xff\x00\x00\x00\x00\x00\x01"} {
		b.Run(name, func(b *testing.B) {
			conn := http2.New(middle, &counter{})
			p := []byte(strings.Repeat(p, 1448/len(p)+1))[:1448]
			b.ReportAllocs()
			b.SetBytes(int64(len(p)))
			for b.Loop() {
				conn.Feed(true, p, http2.Mark{})
			}
		})
	}
}
