package http1_test

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"kagami/internal/http1"
)

func TestBody(t *testing.T) {
	for _, c := range []struct {
		name, raw, want string
		err             error
	}{
		{name: "none", raw: "GET / HTTP/1.1\r\n\r\n"},
		{name: "length", raw: "PUT / HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi", want: "hi"},
		{name: "more than the length", raw: "PUT / HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi, more", want: "hi"},
		{name: "less than the length", raw: "PUT / HTTP/1.1\r\nContent-Length: 9\r\n\r\nhi", want: "hi", err: io.ErrUnexpectedEOF},
		{name: "chunked", raw: "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n3;e\r\n yo\r\n0\r\nT: t\r\n\r\n", want: "hi yo"},
		{name: "chunked, cut", raw: "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n3;e\r\n y", want: "hi y", err: io.ErrUnexpectedEOF},
		{name: "chunked, broken", raw: "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\nx", want: "hi", err: http1.ErrChunk},
		{name: "until close", raw: "HTTP/1.0 200 OK\r\n\r\nhi", want: "hi"},
		{name: "empty lines first", raw: "\r\nHTTP/1.0 200 OK\r\n\r\nhi", want: "hi"},
		{name: "to HEAD", raw: "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"},
		{name: "to HEAD, chunked", raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"},
		{name: "cut response", raw: "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi", want: "hi", err: io.ErrUnexpectedEOF},
		{name: "304", raw: "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"},
		{name: "cut head", raw: "PUT / HTTP/1.1\r\nConte", err: io.ErrUnexpectedEOF},
		{name: "no HTTP", raw: "hi\r\n", err: http1.ErrNotHTTP},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := http1.Body([]byte(c.raw))
			if string(got) != c.want || err != c.err {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

// packed returns a response whose body went through the codings, in order.
func packed(t *testing.T, body, header string, codings ...func(io.Writer) io.WriteCloser) []byte {
	t.Helper()
	for _, coding := range codings {
		var b bytes.Buffer
		w := coding(&b)
		if _, err := io.WriteString(w, body); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		body = b.String()
	}
	return fmt.Appendf(nil, "HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s", header, len(body), body)
}

func TestDecodeBody(t *testing.T) {
	zip := func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }
	zl := func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) }
	raw := func(w io.Writer) io.WriteCloser {
		f, err := flate.NewWriter(w, flate.BestSpeed)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	long := strings.Repeat("hello ", 1000)
	cut := packed(t, long, "Content-Encoding: gzip\r\n", zip)
	for _, c := range []struct {
		name  string
		raw   []byte
		limit int64
		want  string
		err   error
	}{
		{"no coding", packed(t, "hi", ""), 9, "hi", nil},
		{"gzip", packed(t, long, "Content-Encoding: GZIP\r\n", zip), 6000, long, nil},
		{"gzip past the limit", packed(t, long, "Content-Encoding: x-gzip\r\n", zip), 5999, long[:5999], http1.ErrBodyTooLarge},
		{"no coding past the limit", packed(t, long, "Content-Encoding: identity\r\n"), 5, "hello", http1.ErrBodyTooLarge},
		{"deflate", packed(t, long, "Content-Encoding: deflate\r\n", zl), 1 << 20, long, nil},
		{"deflate without zlib", packed(t, long, "Content-Encoding: deflate\r\n", raw), 1 << 20, long, nil},
		{"both", packed(t, long, "Content-Encoding: deflate, gzip\r\n", zl, zip), 1 << 20, long, nil},
		{"both, in two fields", packed(t, long, "Content-Encoding: deflate\r\nContent-Encoding: gzip\r\n", zl, zip), 1 << 20, long, nil},
		{"one we don't know", packed(t, "hi", "Content-Encoding: br\r\n"), 9, "", errors.ErrUnsupported},
		{"too many", packed(t, "hi", "Content-Encoding: ,,,,\r\n"), 9, "", errors.ErrUnsupported},
		{"not what it says", packed(t, "hi", "Content-Encoding: gzip\r\n"), 9, "", io.ErrUnexpectedEOF},
		{"cut", cut[:len(cut)-4], 1 << 20, "", io.ErrUnexpectedEOF},
		{"to HEAD", []byte("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n"), 9, "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := http1.DecodeBody(c.raw, c.limit)
			if !errors.Is(err, c.err) || c.name != "cut" && string(got) != c.want {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
}

func TestDechunk(t *testing.T) {
	for _, c := range []struct {
		in, body, trailer string
		err               error
	}{
		{"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n", "abcde", "\r\n", nil},
		{"3\r\nabc\r\n0\r\nT: 1\r\nU: 2\r\n\r\nmore", "abc", "T: 1\r\nU: 2\r\n\r\n", nil},
		{"0\r\n\r\n", "", "\r\n", nil},
		{"3\r\nabc\r\n0\r\nT: 1\r\n", "abc", "", io.ErrUnexpectedEOF},
		{"5\r\nabc", "abc", "", io.ErrUnexpectedEOF},
		{"3\r\nabc\r\nzz\r\n", "abc", "", http1.ErrChunk},
	} {
		body, trailer, err := http1.Dechunk([]byte(c.in))
		if string(body) != c.body || string(trailer) != c.trailer || err != c.err {
			t.Errorf("%q: %q, %q, %v", c.in, body, trailer, err)
		}
	}
}
