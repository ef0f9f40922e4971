package http1

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
)

// ErrBodyTooLarge means that a body is larger, once decoded, than was allowed.
var ErrBodyTooLarge = errors.New("decoded body too large")

// maxCodings is how many content codings DecodeBody removes, one from the
// other: archives exist that hold themselves.
const maxCodings = 4

// Body returns the entity of a raw message: what follows its head, without
// chunk framing and trailers, as long as Content-Length says. It may alias raw.
// Where bytes are missing it returns those that are there, and
// io.ErrUnexpectedEOF; but a response without any may be one to HEAD, and has
// no body. Broken chunks are ErrChunk, and a head that can't be parsed is what
// ParseHead says.
func Body(raw []byte) ([]byte, error) {
	h, err := ParseHead(raw, IsResponse(raw))
	if err != nil {
		return nil, err
	}
	body := raw[h.Len:]
	switch {
	case h.NoBody(""), h.Response && len(body) == 0:
		return nil, nil
	case h.Chunked:
		body, _, err := Dechunk(body)
		return body, err
	case h.Response && h.HasTE && !h.identity, h.ContentLength < 0:
		return body, nil
	case h.ContentLength > int64(len(body)):
		return body, io.ErrUnexpectedEOF
	}
	return body[:h.ContentLength], nil
}

// Dechunk removes the framing of a chunked body (RFC 9112 §7.1). trailer is its trailer section,
// the blank line behind it included; what follows is ignored. With an error, ErrChunk or
// io.ErrUnexpectedEOF, body is what there is.
func Dechunk(b []byte) (body, trailer []byte, err error) {
	body = make([]byte, 0, len(b))
	var c chunks
	for c.at != afterChunk {
		if c.at == inTrailer && trailer == nil {
			trailer = b
		}
		if len(b) == 0 {
			return body, nil, io.ErrUnexpectedEOF
		}
		n, data, err := c.step(b)
		if err != nil {
			return body, nil, err
		}
		if data {
			body = append(body, b[:n]...)
		}
		b = b[n:]
	}
	return body, trailer[:len(trailer)-len(b)], nil
}

// DecodeBody is Body with the content codings gzip and deflate removed too (RFC
// 9110 §8.4.1). It returns at most limit bytes; if there are more, these and
// ErrBodyTooLarge. With an error it returns what it could decode; nothing of
// a coding that it does not know.
func DecodeBody(raw []byte, limit int64) ([]byte, error) {
	body, err := Body(raw)
	if err != nil || len(body) == 0 {
		return body, err
	}
	codings := contentEncoding(raw)
	if bytes.Count(codings, []byte{','}) >= maxCodings {
		return nil, fmt.Errorf("more than %d content codings: %w", maxCodings, errors.ErrUnsupported)
	}
	for len(codings) > 0 {
		last := bytes.LastIndexByte(codings, ',')
		coding := string(bytes.ToLower(trim(codings[last+1:])))
		codings = codings[:max(last, 0)]
		if body, err = decode(body, coding, limit); err != nil {
			return body, fmt.Errorf("content-encoding %q: %w", coding, err)
		}
	}
	if int64(len(body)) > limit {
		return body[:limit], ErrBodyTooLarge
	}
	return body, nil
}

// contentEncoding is the list of content codings, in the order they were
// applied; nil if there is nothing to remove.
func contentEncoding(raw []byte) (list []byte) {
	EachHeader(raw, func(name, value, _ []byte) bool {
		if equalFold(name, "content-encoding") {
			if list != nil {
				list = append(list, ',')
			}
			list = append(list, value...)
		}
		return true
	})
	return list
}

// decode removes one content coding.
func decode(b []byte, coding string, limit int64) ([]byte, error) {
	var r io.Reader
	var err error
	switch coding {
	case "", "identity":
		return b, nil
	case "gzip", "x-gzip":
		r, err = gzip.NewReader(bytes.NewReader(b))
	case "deflate":
		// Some senders leave out the zlib wrapping that deflate stands for.
		if r, err = zlib.NewReader(bytes.NewReader(b)); err != nil {
			r, err = flate.NewReader(bytes.NewReader(b)), nil
		}
	default:
		return nil, errors.ErrUnsupported
	}
	if err != nil {
		return nil, err
	}
	out, err := io.ReadAll(io.LimitReader(r, limit+1))
	if int64(len(out)) > limit {
		return out[:limit], ErrBodyTooLarge
	}
	return out, err
}
