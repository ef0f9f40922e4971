package http1

import (
	"bytes"
	"math"
)

// A fieldReader goes through the field lines of a head.
type fieldReader struct {
	h        *Head
	crs      int  // lines that ended in CRLF
	upgrade  bool // there is an Upgrade field
	upgrades bool // Connection lists upgrade
}

// parseFields reads the field lines of b from pos on, the start of the line
// after the start line. It returns where the head ends and how many of these
// lines ended in CRLF; ok is false if the end is not in b.
func (h *Head) parseFields(b []byte, pos int) (end, crs int, ok bool) {
	r := fieldReader{h: h}
	for pos < len(b) {
		if c := b[pos]; c == '\n' || c == '\r' && pos+1 < len(b) && b[pos+1] == '\n' {
			if c == '\r' {
				pos++
				r.crs++
			} else {
				h.Ambiguous = true
			}
			h.Upgrade = r.upgrade && r.upgrades
			return pos + 1, r.crs, true
		}
		colon := pos
		for colon < len(b) && class[b[colon]] == token {
			colon++
		}
		lf := r.lineEnd(b, colon)
		if lf < 0 {
			return 0, 0, false
		}
		name, value := b[pos:colon], b[colon:lf]
		pos = lf + 1
		if pos < len(b) && class[b[pos]] == blank {
			if lf = r.foldEnd(b, pos); lf < 0 {
				return 0, 0, false
			}
			value, pos = b[colon:lf], lf+1
		}
		if value, ok = r.afterColon(name, value); ok {
			r.field(name, value)
		}
	}
	return 0, 0, false
}

// lineEnd returns the index of the LF that ends the line which has b[from] in
// it, or -1.
func (r *fieldReader) lineEnd(b []byte, from int) int {
	n := bytes.IndexByte(b[from:], '\n')
	if n < 0 {
		return -1
	}
	n += from
	if b[n-1] == '\r' {
		r.crs++
	} else {
		r.h.Ambiguous = true
	}
	return n
}

// foldEnd returns the index of the LF that ends an obs-fold which begins at
// pos (RFC 9112 §5.2), or -1.
func (r *fieldReader) foldEnd(b []byte, pos int) int {
	r.h.Ambiguous = true
	for {
		lf := r.lineEnd(b, pos)
		if lf < 0 || lf+1 == len(b) {
			return -1
		}
		if pos = lf + 1; class[b[pos]] != blank {
			return lf
		}
	}
}

// afterColon returns what follows the colon of a line, given what follows its
// name. Without a name or a colon, or with whitespace between them (RFC 9112
// §5.1), the line is ambiguous.
func (r *fieldReader) afterColon(name, b []byte) ([]byte, bool) {
	if len(name) > 0 && len(b) > 0 && b[0] == ':' {
		return b[1:], true
	}
	r.h.Ambiguous = true
	b = b[span(b, blank):]
	if len(name) > 0 && len(b) > 0 && b[0] == ':' {
		return b[1:], true
	}
	return nil, false
}

// field takes note of a field if it matters for framing.
func (r *fieldReader) field(name, value []byte) {
	switch len(name) {
	case len("expect"):
		if name[0]|0x20 == 'e' && equalFold(name, "expect") && equalFold(trim(value), "100-continue") {
			r.h.Expect100 = true
		}
	case len("upgrade"):
		if name[0]|0x20 == 'u' && equalFold(name, "upgrade") {
			r.upgrade = true
		}
	case len("connection"):
		if name[0]|0x20 == 'c' && equalFold(name, "connection") {
			r.connection(value)
		}
	case len("content-length"):
		if name[0]|0x20 == 'c' && equalFold(name, "content-length") {
			r.contentLength(value)
		}
	case len("transfer-encoding"):
		if name[0]|0x20 == 't' && equalFold(name, "transfer-encoding") {
			r.h.transferEncoding(value)
		}
	}
}

// connection reads a Connection field (RFC 9110 §7.6.1).
func (r *fieldReader) connection(value []byte) {
	for more := true; more; {
		var option []byte
		option, value, more = nextItem(value)
		switch {
		case equalFold(option, "close"):
			r.h.Close = true
		case equalFold(option, "keep-alive"):
			r.h.KeepAlive = true
		case equalFold(option, "upgrade"):
			r.upgrades = true
		}
	}
}

// contentLength reads a Content-Length field (RFC 9110 §8.6). The first number
// of the first field that begins with one counts; another is ambiguous, even if it is the same.
func (r *fieldReader) contentLength(value []byte) {
	for first, more := true, true; more; first = false {
		var item []byte
		item, value, more = nextItem(value)
		n, ok := parseLength(item)
		switch {
		case !ok || r.h.ContentLength >= 0 && n != r.h.ContentLength:
			r.h.BadLength, r.h.Ambiguous = true, true
		case r.h.ContentLength >= 0:
			r.h.Ambiguous = true
		case first:
			r.h.ContentLength = n
		}
	}
}

// parseLength reads a decimal number without a sign.
func parseLength(b []byte) (n int64, ok bool) {
	for _, c := range b {
		d := int64(c) - '0'
		if d < 0 || d > 9 || n > (math.MaxInt64-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	return n, len(b) > 0
}

// transferEncoding reads a Transfer-Encoding field (RFC 9112 §6.1). Codings
// nobody knows, empty ones, a second field and chunked anywhere but once at the
// end are ambiguous.
func (h *Head) transferEncoding(value []byte) {
	if h.HasTE || h.Chunked {
		h.Ambiguous = true
	}
	h.HasTE = true
	for more := true; more; {
		var coding []byte
		coding, value, more = nextItem(value)
		if h.Chunked {
			h.Ambiguous = true
		}
		h.Chunked, h.identity = false, false
		switch {
		case equalFold(coding, "chunked"):
			h.Chunked = true
		case equalFold(coding, "identity"):
			h.identity = true
		case !knownCoding(coding):
			h.Ambiguous = true
		}
	}
}

func knownCoding(coding []byte) bool {
	for _, known := range [...]string{"gzip", "deflate", "compress", "x-gzip", "x-compress"} {
		if equalFold(coding, known) {
			return true
		}
	}
	return false
}
