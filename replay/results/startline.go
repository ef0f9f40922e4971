package results

import (
	"bytes"
	"strings"
)

// statusOf is the status of an answer that begins with raw, 0 if that is none
// (RFC 9112 §4).
func statusOf(raw []byte) int {
	if !bytes.HasPrefix(raw, []byte("HTTP/")) {
		return 0
	}
	i := bytes.IndexByte(raw[:min(len(raw), 16)], ' ')
	if i < 0 || len(raw) < i+4 {
		return 0
	}
	status := 0
	for _, c := range raw[i+1 : i+4] {
		if c < '0' || c > '9' {
			return 0
		}
		status = 10*status + int(c-'0')
	}
	return status
}

// requestOf is the method and the path of a request that begins with raw: the
// target without query, scheme and authority (RFC 9112 §3). Both are cut at maxText.
func requestOf(raw []byte) (method []byte, path string) {
	line, _, _ := bytes.Cut(raw[:min(len(raw), 2*maxText)], []byte("\n"))
	line, _, _ = bytes.Cut(line, []byte("\r"))
	m, rest, _ := bytes.Cut(line, []byte(" "))
	target, _, _ := bytes.Cut(rest, []byte(" "))
	if i := bytes.IndexAny(target, "?#"); i >= 0 {
		target = target[:i]
	}
	if i := bytes.Index(target, []byte("://")); i > 0 && target[0] != '/' {
		if target = target[i+3:]; bytes.IndexByte(target, '/') >= 0 {
			target = target[bytes.IndexByte(target, '/'):]
		} else {
			target = []byte("/")
		}
	}
	return m[:min(len(m), maxText)], cut(string(target), maxText)
}

// maxSegments is how many parts of a path an endpoint has at most.
const maxSegments = 16

// Endpoint is the template of a path: each part of it that looks like the name
// of one thing, a number or a long hexadecimal or random word, becomes {id}. What is
// deeper than 16 parts becomes "…".
func Endpoint(path string) string {
	if path == "" || path == "/" {
		return path
	}
	var b strings.Builder
	b.Grow(len(path))
	for n := 0; ; n++ {
		part, rest, more := strings.Cut(path, "/")
		switch {
		case n > maxSegments:
			b.WriteString("…")
			return b.String()
		case isName(part):
			b.WriteString("{id}")
		default:
			b.WriteString(part)
		}
		if !more {
			return b.String()
		}
		b.WriteByte('/')
		path = rest
	}
}

// isName reports whether a part of a path looks like the name of one thing: a
// number; eight or more hexadecimal digits, one of them a figure, with hyphens
// as in a UUID; or sixteen or more letters and figures, four of them figures.
func isName(s string) bool {
	figures, hex := 0, true
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= '0' && c <= '9':
			figures++
		case c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F' || c == '-':
		case c >= 'g' && c <= 'z' || c >= 'G' && c <= 'Z' || c == '_' || c == '=' || c == '%':
			hex = false
		default:
			return false
		}
	}
	return figures > 0 && (figures == len(s) || hex && len(s) >= 8 || figures >= 4 && len(s) >= 16)
}
