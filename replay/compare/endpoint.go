package compare

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// The bounds of an endpoint's name.
const (
	maxEndpoint = 200 // bytes
	maxMethod   = 32
)

// What an endpoint is called that has no name, or that is one too many.
const (
	unknownPath   = "?"
	otherEndpoint = "(other)"
)

// Endpoint names what a request asks for: its method and path, without the
// query, and with what looks like an id replaced by {id}. Those are numbers,
// UUIDs, dates, and longer runs of hexadecimal or of letters and digits mixed.
// The target is as the request line has it (RFC 9112 §3.2); of an empty one the
// path is a question mark.
func Endpoint(method, target string) string {
	path, _, _ := strings.Cut(target, "?")
	path, _, _ = strings.Cut(path, "#")
	if _, after, ok := strings.Cut(path, "://"); ok && !strings.HasPrefix(path, "/") {
		if i := strings.IndexByte(after, '/'); i >= 0 {
			path = after[i:]
		} else {
			path = "/"
		}
	}
	if path == "" {
		path = unknownPath
	}
	if method == "" {
		method = unknownPath
	}
	b := append([]byte(method[:min(len(method), maxMethod)]), ' ')
	first := true
	for segment := range strings.SplitSeq(path, "/") {
		if !first {
			b = append(b, '/')
		}
		first = false
		if len(b) > maxEndpoint {
			b = append(b, "…"...)
			break
		}
		name, ext := segment, ""
		if dot := strings.LastIndexByte(segment, '.'); dot > 0 && len(segment)-dot <= 5 {
			name, ext = segment[:dot], segment[dot:]
		}
		switch {
		case isID([]byte(segment)):
			b = append(b, "{id}"...)
		case ext != "" && isID([]byte(name)):
			b = append(append(b, "{id}"...), ext...)
		default:
			b = append(b, segment[:min(len(segment), maxKey)]...)
		}
	}
	return printable(b)
}

// printable is b with what cannot be shown replaced.
func printable(b []byte) string {
	if !bytes.ContainsFunc(b, func(r rune) bool { return r < ' ' || r >= 0x7f }) {
		return string(b)
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return utf8.RuneError
		}
		return r
	}, string(bytes.ToValidUTF8(b, []byte("\uFFFD"))))
}

// requestEndpoint is the endpoint of a request as it was sent.
func requestEndpoint(raw []byte) string {
	line, _, _ := cutLine(raw[:min(len(raw), 16<<10)])
	if line == nil {
		line = raw[:min(len(raw), 16<<10)]
	}
	method, rest, _ := bytes.Cut(line, []byte(" "))
	target, _, _ := bytes.Cut(rest, []byte(" "))
	return Endpoint(string(method), string(target))
}

// isID reports whether a path's segment or a member's name looks like an id:
// digits, with dashes or dots between (dates, UUIDs too); eight or more
// hexadecimal digits of which one is a digit; twenty or more letters and digits
// of which two or more are digits.
func isID(s []byte) bool {
	if len(s) == 0 || len(s) > 128 {
		return false
	}
	digits, hexes, letters, marks := 0, 0, 0, 0
	for _, c := range s {
		switch {
		case isDigit(c):
			digits++
		case isHex(c):
			hexes++
		case 'a' <= c|0x20 && c|0x20 <= 'z':
			letters++
		case c == '-' || c == '_' || c == ':' || c == '.':
			marks++
		default:
			return false
		}
	}
	switch {
	case digits == 0:
		return false
	case hexes == 0 && letters == 0:
		return isDigit(s[0])
	case letters == 0:
		return marks == 0 && len(s) >= 8 || isUUID(s)
	case letters == 1 && hexes == 0 || letters == 2 && hexes == 0:
		// 2024-01-02T03:04:05Z
		return marks >= 2 && digits >= 8 && isDigit(s[0])
	}
	return marks == 0 && len(s) >= 20 && digits >= 2
}

// isUUID reports whether hexadecimal digits and marks are a UUID (RFC 9562 §4).
func isUUID(s []byte) bool {
	return len(s) == 36 && s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-'
}
