package http1

import "bytes"

// SetHeader returns a copy of a raw message in which the first header field of
// that name has the value, its name and the whitespace around the value being
// left as they are, and further ones of that name are gone. Without one, it
// becomes the last field. Where the end of the head is missing from raw, that
// is behind its last whole line; without a whole line raw stays as it is.
//
// The name must be a token. CR, LF and NUL in the value become spaces (RFC 9110
// §5.5), so that no value can end the field.
func SetHeader(raw []byte, name, value string) []byte {
	out := make([]byte, 0, len(raw)+len(name)+len(value)+len(": \r\n"))
	l := lines{raw: raw}
	kept, found := 0, false // raw[:kept] is in out or was left out
	for l.next() {
		if !l.named(name) {
			continue
		}
		if found {
			out = append(out, raw[kept:l.start]...)
			kept = l.end
			continue
		}
		found = true
		_, start, stop := l.field()
		if start == stop {
			start, stop = l.emptyValue()
		}
		out = append(out, raw[kept:start]...)
		if raw[start-1] == ':' && start == stop && value != "" {
			out = append(out, ' ')
		}
		out = appendValue(out, value)
		kept = stop
	}
	if !found {
		return l.insert(out, name, value)
	}
	return append(out, raw[kept:]...)
}

// insert appends raw to out with a field behind the others, after next
// returned false.
func (l *lines) insert(out []byte, name, value string) []byte {
	if l.first == 0 {
		return append(out, l.raw...)
	}
	at := l.start
	if l.start == l.end { // no blank line
		at = bytes.LastIndexByte(l.raw, '\n') + 1
	}
	out = append(append(append(out, l.raw[:at]...), name...), ": "...)
	out = appendValue(out, value)
	if l.crlf {
		out = append(out, '\r')
	}
	return append(append(out, '\n'), l.raw[at:]...)
}

// emptyValue returns where a value of the current field can be inserted, which
// has none: behind the colon and the whitespace on its line.
func (l *lines) emptyValue() (start, stop int) {
	start = l.start + bytes.IndexByte(l.raw[l.start:l.end], ':') + 1
	start += span(l.raw[start:l.end], blank)
	return start, start
}

func appendValue(out []byte, value string) []byte {
	for i := 0; i < len(value); i++ {
		switch c := value[i]; c {
		case '\r', '\n', 0:
			out = append(out, ' ')
		default:
			out = append(out, c)
		}
	}
	return out
}

// DelHeader returns a copy of a raw message without the header fields of that
// name; raw itself if there are none.
func DelHeader(raw []byte, name string) []byte {
	var out []byte
	l := lines{raw: raw}
	kept := 0
	for l.next() {
		if !l.named(name) {
			continue
		}
		if out == nil {
			out = make([]byte, 0, len(raw))
		}
		out = append(out, raw[kept:l.start]...)
		kept = l.end
	}
	if out == nil {
		return raw
	}
	return append(out, raw[kept:]...)
}

// SetMethod returns a copy of a raw request with another method; raw itself if
// it has no valid start line, or method is not a token of 1 to 64 bytes.
func SetMethod(raw []byte, method string) []byte {
	m := []byte(method)
	if n := len(m); n == 0 || n > maxMethod || span(m, token) < n {
		return raw
	}
	return replace(raw, Method(raw), m)
}

// SetTarget returns a copy of a raw request with another request target; raw
// itself if it has no valid start line. Control characters in the target, but
// HTAB, are percent-encoded, so that no target can end the line; the rest is
// sent as given.
func SetTarget(raw, target []byte) []byte {
	if find(target, control) >= 0 {
		safe := make([]byte, 0, len(target)+8)
		for _, c := range target {
			if class[c] == control {
				safe = appendEncoded(safe, c)
			} else {
				safe = append(safe, c)
			}
		}
		target = safe
	}
	return replace(raw, Target(raw), target)
}

// replace returns a copy of raw in which old, a part of its memory, is replaced.
func replace(raw, old, by []byte) []byte {
	if old == nil {
		return raw
	}
	// What old aliases ends as far from the end of the memory as it itself does.
	start := cap(raw) - cap(old)
	out := make([]byte, 0, len(raw)-len(old)+len(by))
	out = append(append(out, raw[:start]...), by...)
	return append(out, raw[start+len(old):]...)
}
