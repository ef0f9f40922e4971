package http1_test

import (
	"fmt"
	"testing"

	"kagami/internal/http1"
)

// get is a browser's request of 400 bytes.
const get = "GET /static/css/site.min.css?v=20240131 HTTP/1.1\r\n" +
	"Host: www.example.com\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:124.0) Gecko/20100101 Firefox/124.0\r\n" +
	"Accept: text/css,*/*;q=0.1\r\n" +
	"Accept-Language: en-GB,en;q=0.5\r\n" +
	"Accept-Encoding: gzip, deflate, br\r\n" +
	"Connection: keep-alive\r\n" +
	"Referer: https://www.example.com/index.html\r\n" +
	"Cookie: session=6f2b1a9c4d8e4f0b9a7c3d5e1f2a4b6c; theme=dark; lang=en\r\n" +
	"\r\n"

// BenchmarkFeedGET is the hot path: one packet, one request.
func BenchmarkFeedGET(b *testing.B) {
	var f http1.Framer
	p := []byte(get)
	b.ReportAllocs()
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		if n, done, err := f.Feed(p); n != len(p) || !done || err != nil {
			b.Fatal(n, done, err)
		}
	}
}

// BenchmarkFeedSplitGET is a head in two packets.
func BenchmarkFeedSplitGET(b *testing.B) {
	var f http1.Framer
	p := []byte(get)
	b.ReportAllocs()
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		f.Feed(p[:200])
		if _, done, err := f.Feed(p[200:]); !done || err != nil {
			b.Fatal(done, err)
		}
	}
}

// BenchmarkFeedBody is an upload in packets of 1460 bytes; an op is a packet.
func BenchmarkFeedBody(b *testing.B) {
	for _, c := range []struct{ name, head string }{
		{"length", "PUT / HTTP/1.1\r\nContent-Length: 9223372036854775807\r\n\r\n"},
		{"chunk", "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n7fffffffffffffff\r\n"},
	} {
		b.Run(c.name, func(b *testing.B) {
			var f http1.Framer
			p := make([]byte, 1460)
			f.Feed([]byte(c.head))
			b.ReportAllocs()
			for b.Loop() {
				if n, done, err := f.Feed(p); n != len(p) || done || err != nil {
					b.Fatal(n, done, err)
				}
			}
		})
	}
}

// BenchmarkFeedSmallChunks is a chunked body of 16-byte chunks, 64 in a packet.
func BenchmarkFeedSmallChunks(b *testing.B) {
	var f http1.Framer
	var p []byte
	for range 64 {
		p = fmt.Appendf(p, "10\r\n0123456789abcdef\r\n")
	}
	f.Feed([]byte("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"))
	b.ReportAllocs()
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		if _, _, err := f.Feed(p); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFeedResponse(b *testing.B) {
	f := http1.Framer{Response: true}
	p := []byte("HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Wed, 31 Jan 2024 10:00:00 GMT\r\nContent-Type: text/css\r\n" +
		"Content-Length: 5\r\nLast-Modified: Tue, 30 Jan 2024 10:00:00 GMT\r\nConnection: keep-alive\r\n" +
		"ETag: \"65b8c9a0-5\"\r\nAccept-Ranges: bytes\r\n\r\nhello")
	b.ReportAllocs()
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		f.Expect("GET")
		if _, done, err := f.Feed(p); !done || err != nil {
			b.Fatal(done, err)
		}
	}
}

func BenchmarkLooksLikeRequest(b *testing.B) {
	p := []byte(get)
	b.ReportAllocs()
	for b.Loop() {
		if http1.LooksLikeRequest(p) != http1.Yes {
			b.Fatal("no")
		}
	}
}

func BenchmarkHeader(b *testing.B) {
	p := []byte(get)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := http1.Header(p, "Cookie"); !ok {
			b.Fatal("no")
		}
	}
}

func BenchmarkSetHeader(b *testing.B) {
	p := []byte(get)
	b.ReportAllocs()
	for b.Loop() {
		http1.SetHeader(p, "Host", "staging.example.com")
	}
}
