package http2

// What a byte may be part of; the values of class.
const (
	token     = 1 << iota // a tchar (RFC 9110 §5.6.2)
	upper                 // an upper-case letter
	lineBreak             // CR, LF or NUL (RFC 9113 §8.2.1)
	control               // another control character, but not HTAB
	blank                 // SP or HTAB
)

// class says for each byte what it may be part of.
var class = func() (t [256]uint8) {
	for c := range t {
		switch {
		case c == '\r' || c == '\n' || c == 0:
			t[c] = lineBreak
		case c == ' ' || c == '\t':
			t[c] = blank
		case c < ' ' || c == 0x7f:
			t[c] = control
		case c >= 'A' && c <= 'Z':
			t[c] = token | upper
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z':
			t[c] = token
		}
	}
	for _, c := range "!#$%&'*+-.^_`|~" {
		t[c] = token
	}
	return t
}()

// classes returns the classes of all bytes of b, together.
func classes(b []byte) (t uint8) {
	for _, c := range b {
		t |= class[c]
	}
	return t
}

// isToken reports whether b is a token (RFC 9110 §5.6.2).
func isToken(b []byte) bool {
	for _, c := range b {
		if class[c]&token == 0 {
			return false
		}
	}
	return len(b) > 0
}

// visible reports whether b has no whitespace and no control characters: it
// stays one word in a start line.
func visible(b []byte) bool { return classes(b)&(lineBreak|control|blank) == 0 }
