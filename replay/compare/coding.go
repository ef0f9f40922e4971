package compare

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"sync"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

// maxCodings is how many content codings are removed from one body.
const maxCodings = 3

// zstdWindow is what RFC 9659 §3 lets a zstd content coding's window be, in bytes.
const zstdWindow = 8 << 20

var (
	errCoding = errors.New("unknown content coding")
	errLarge  = errors.New("too large")
)

// sameBody reports whether two bodies are the same before their codings are
// removed.
func (a *answer) sameBody(b *answer) bool {
	return slices.Equal(a.coded, b.coded) && bytes.Equal(a.body, b.body)
}

// decode removes the content codings and reads the body as JSON if it is that.
// A body that is larger than limit bytes without them is a defect.
func (a *answer) decode(limit int) {
	if a.defect != "" {
		return
	}
	a.plain = a.body
	if len(a.coded) > maxCodings {
		a.defect = contentCoding
		return
	}
	for _, name := range slices.Backward(a.coded) {
		plain, err := decompress(name, a.plain, limit)
		if err != nil {
			a.plain, a.defect = nil, contentCoding
			if errors.Is(err, errLarge) {
				a.defect = tooLarge
			}
			return
		}
		a.plain = plain
	}
	if !a.wantJSON && !looksJSON(a.plain) {
		return
	}
	if len(a.plain) > limit {
		a.tooDeep = true
		return
	}
	var err error
	if a.tree, err = parseTree(a.plain); errors.Is(err, errBounds) {
		a.tooDeep = true
	}
}

// looksJSON reports whether a body of another media type may be JSON.
func looksJSON(b []byte) bool {
	b = bytes.TrimLeft(b, " \t\r\n")
	return len(b) > 0 && (b[0] == '{' || b[0] == '[')
}

var (
	gzips = sync.Pool{New: func() any { return new(gzip.Reader) }}
	zstds = sync.Pool{New: func() any {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(zstdWindow))
		if err != nil {
			return nil
		}
		return d
	}}
)

// decompress removes one content coding (RFC 9110 §8.4.1, RFC 7932, RFC 8878).
func decompress(name string, b []byte, limit int) ([]byte, error) {
	if len(b) == 0 {
		return b, nil // an empty body is often sent without the coding it names
	}
	in := bytes.NewReader(b)
	switch name {
	case "gzip":
		z := gzips.Get().(*gzip.Reader)
		defer gzips.Put(z)
		if err := z.Reset(in); err != nil {
			return nil, err
		}
		return readUpTo(z, len(b), limit)
	case "deflate":
		// zlib's format; some send the bare stream (RFC 9110 §8.4.1.2).
		if len(b) >= 2 && b[0]&0x0f == 8 && (int(b[0])<<8|int(b[1]))%31 == 0 {
			z, err := zlib.NewReader(in)
			if err != nil {
				return nil, err
			}
			return readUpTo(z, len(b), limit)
		}
		return readUpTo(flate.NewReader(in), len(b), limit)
	case "br":
		return readUpTo(brotli.NewReader(in), len(b), limit)
	case "zstd":
		z, ok := zstds.Get().(*zstd.Decoder)
		if !ok {
			return nil, errCoding
		}
		defer zstds.Put(z)
		if err := z.Reset(in); err != nil {
			return nil, err
		}
		return readUpTo(z, len(b), limit)
	}
	return nil, errCoding
}

// readUpTo reads all of r, which is size bytes compressed, but no more than limit
// bytes.
func readUpTo(r io.Reader, size, limit int) ([]byte, error) {
	var out bytes.Buffer
	out.Grow(min(4*size, limit) + bytes.MinRead)
	n, err := out.ReadFrom(io.LimitReader(r, int64(limit)+1))
	if err != nil {
		return nil, err
	}
	if n > int64(limit) {
		return nil, errLarge
	}
	return out.Bytes(), nil
}
