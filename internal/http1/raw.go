package http1

import "bytes"

// IsResponse reports whether a raw message begins with a status line, not a
// request line: no method has a "/" in it.
func IsResponse(raw []byte) bool {
	n, _ := leading(raw)
	return bytes.HasPrefix(raw[n:], []byte("HTTP/"))
}

// SplitHead splits a raw message behind the blank line that ends its head.
// Where there is none, all of it is head.
func SplitHead(raw []byte) (head, body []byte) {
	l := lines{raw: raw}
	for l.next() {
	}
	return raw[:l.end], raw[l.end:]
}

// EachHeader calls f for each header field of a raw message, in order, until it
// returns false. Name and value are trimmed; a value keeps what folds it (RFC
// 9112 §5.2). The line is all that the field takes, its line end and its folds
// included. What stands in the header and has no colon has a nil name.
func EachHeader(raw []byte, f func(name, value, line []byte) bool) {
	l := lines{raw: raw}
	for l.next() {
		if name, start, stop := l.field(); !f(name, raw[start:stop], raw[l.start:l.end]) {
			return
		}
	}
}

// Header returns the trimmed value of the first header field of that name, in
// any letter case.
func Header(raw []byte, name string) (value []byte, ok bool) {
	l := lines{raw: raw}
	for l.next() {
		if l.named(name) {
			_, start, stop := l.field()
			return raw[start:stop], true
		}
	}
	return nil, false
}

// Method returns the method of a raw request; nil if it has no valid start line.
func Method(raw []byte) []byte { return startLine(raw).Method }

// Target returns the request target of a raw request as it was sent; nil if it
// has no valid start line.
func Target(raw []byte) []byte { return startLine(raw).Target }

// startLine parses the start line of a raw request.
func startLine(raw []byte) Head {
	n, _ := leading(raw)
	raw = raw[n:]
	lf := bytes.IndexByte(raw, '\n')
	var h Head
	if lf < 0 || !h.parseStartLine(raw[:lf]) {
		return Head{}
	}
	return h
}

// lines goes through the field lines of a raw message.
type lines struct {
	raw        []byte
	start, end int  // of the current line, folds and line end included
	first      int  // where the first field line begins; 0 if the start line has no end
	crlf       bool // the start line ends in CRLF
}

// next moves to the next field line. It returns false at the blank line, which
// end is then behind, or at the end of raw.
func (l *lines) next() bool {
	if l.end == 0 {
		n, _ := leading(l.raw)
		l.end = l.after(n)
		if bytes.HasSuffix(l.raw[n:l.end], []byte{'\n'}) {
			l.first = l.end
		}
		l.crlf = bytes.HasSuffix(l.raw[:l.end], []byte("\r\n"))
	}
	l.start = l.end
	l.end = l.after(l.start)
	switch line := l.raw[l.start:l.end]; {
	case len(line) == 0, line[0] == '\n', len(line) == 2 && line[0] == '\r':
		return false
	}
	for l.end < len(l.raw) && class[l.raw[l.end]] == blank {
		l.end = l.after(l.end)
	}
	return true
}

// after returns where the line ends that begins at pos.
func (l *lines) after(pos int) int {
	if i := bytes.IndexByte(l.raw[pos:], '\n'); i >= 0 {
		return pos + i + 1
	}
	return len(l.raw)
}

// field returns the name of the current field, nil if there is none, and where
// in raw its trimmed value starts and stops.
func (l *lines) field() (name []byte, start, stop int) {
	line := l.raw[l.start:l.end]
	colon := bytes.IndexByte(line, ':')
	if class[line[0]] == blank {
		colon = -1
	}
	if colon >= 0 {
		name = trim(line[:colon])
	}
	for start = l.start + colon + 1; start < l.end && white(l.raw[start]); start++ {
	}
	for stop = l.end; stop > start && white(l.raw[stop-1]); stop-- {
	}
	return name, start, stop
}

// named reports whether the current field has that name.
func (l *lines) named(name string) bool {
	line := l.raw[l.start:l.end]
	if len(line) <= len(name) || !SameName(line[:len(name)], name) {
		return false
	}
	rest := line[len(name):]
	rest = rest[span(rest, blank):]
	return len(rest) > 0 && rest[0] == ':'
}
