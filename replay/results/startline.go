package results

import "bytes"

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
