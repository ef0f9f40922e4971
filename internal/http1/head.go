package http1

import (
	"bytes"
	"errors"
	"io"
)

// What makes a message unreadable. A Framer that returned one of them has lost
// its place in the stream.
var (
	// ErrNotHTTP means that the bytes do not begin an HTTP/1.x message.
	ErrNotHTTP = errors.New("not an HTTP/1.x message")
	// ErrHeadTooLarge means that the head does not end within Framer.MaxHead bytes.
	ErrHeadTooLarge = errors.New("message head too large")
	// ErrChunk means that the framing of a chunked body is broken (RFC 9112 §7.1).
	ErrChunk = errors.New("malformed chunked body")
)

// A Head is a parsed start line and what the header says about framing (RFC
// 9112 §6). Its slices alias the bytes that were parsed.
type Head struct {
	Method []byte // of a request
	Target []byte // of a request, as sent
	Reason []byte // of a response, as sent; may be empty

	Status       int // of a response, 100 to 999
	Major, Minor int // HTTP version: 1.0, 1.1

	Len     int // bytes of the head, Skipped and the blank line included
	Skipped int // empty lines before the start line, in bytes (RFC 9112 §2.2); part of Len

	// ContentLength is the first valid Content-Length; -1 means none. It does
	// not count where Chunked is set.
	ContentLength int64

	Response  bool
	Chunked   bool // the last transfer coding is chunked (RFC 9112 §7.1)
	HasTE     bool // there is a Transfer-Encoding field
	Close     bool // Connection: close
	KeepAlive bool // Connection: keep-alive
	Upgrade   bool // Connection: upgrade, and an Upgrade field
	Expect100 bool // Expect: 100-continue
	BadLength bool // a Content-Length is invalid, or two of them differ (RFC 9112 §6.3)

	// Ambiguous means that recipients may differ in where the message ends or
	// what its fields are: Content-Length and Transfer-Encoding together, either
	// one repeated or invalid, a request whose last coding is not chunked,
	// transfer codings in HTTP/1.0, bare LF, bare CR, NUL, obs-fold, a field
	// name that is no token or has whitespace behind it, whitespace in the
	// target (RFC 9112 §2.2, §3, §5, §6). A Framer may find it only in
	// the framing of a chunked body.
	Ambiguous bool

	identity bool // Transfer-Encoding: identity, which RFC 2616 had for none
}

// ParseHead parses the head at the start of b, of a response or of a request;
// what follows it does not matter. The error is ErrNotHTTP, or
// io.ErrUnexpectedEOF if b is the beginning of a head whose end is missing. It
// does not allocate.
func ParseHead(b []byte, response bool) (Head, error) {
	skipped, bare := leading(b)
	var h Head
	if err := h.parse(b[skipped:], response); err != nil {
		return Head{}, err
	}
	h.skip(skipped, bare)
	return h, nil
}

// NoBody reports whether a response ends with its head whatever its fields say:
// an answer to HEAD, 1xx, 204, 304, or 2xx to CONNECT (RFC 9112 §6.3). The
// method of the request may be "" for unknown.
func (h *Head) NoBody(requestMethod string) bool {
	if !h.Response {
		return false
	}
	switch {
	case h.Status < 200, h.Status == 204, h.Status == 304:
		return true
	case h.Status < 300 && requestMethod == "CONNECT":
		return true
	}
	return requestMethod == "HEAD"
}

// leading is how many bytes of empty lines b begins with, and whether one of
// them ended in a bare LF.
func leading(b []byte) (n int, bare bool) {
	for n < len(b) {
		switch {
		case b[n] == '\n':
			n, bare = n+1, true
		case b[n] == '\r' && n+1 < len(b) && b[n+1] == '\n':
			n += 2
		default:
			return n, bare
		}
	}
	return n, bare
}

func (h *Head) skip(n int, bare bool) {
	h.Skipped += n
	h.Len += n
	h.Ambiguous = h.Ambiguous || bare
}

// parse fills h from b, which begins with the start line.
func (h *Head) parse(b []byte, response bool) error {
	*h = Head{Response: response, ContentLength: -1}
	lf := bytes.IndexByte(b, '\n')
	if lf < 0 {
		if _, ok := startsLine(b, 0, response); !ok {
			return ErrNotHTTP
		}
		return io.ErrUnexpectedEOF
	}
	if !h.parseStartLine(b[:lf]) {
		return ErrNotHTTP
	}
	n, crs, ok := h.parseFields(b, lf+1)
	if !ok {
		return io.ErrUnexpectedEOF
	}
	h.Len = n
	if lf > 0 && b[lf-1] == '\r' {
		crs++
	} else {
		h.Ambiguous = true
	}
	// A CR that does not end a line, a NUL: seen in one sweep over the whole head.
	if bytes.Count(b[:n], []byte{'\r'}) != crs || bytes.IndexByte(b[:n], 0) >= 0 {
		h.Ambiguous = true
	}
	h.conclude()
	return nil
}

// conclude judges what the fields say together (RFC 9112 §6.3).
func (h *Head) conclude() {
	if !h.HasTE {
		return
	}
	switch {
	case h.ContentLength >= 0,
		!h.Chunked && !h.Response,
		h.identity,
		h.Minor == 0:
		h.Ambiguous = true
	}
}
