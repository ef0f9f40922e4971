package http1

// What a byte may be part of; the values of class.
const (
	token   = 1 << iota // a tchar (RFC 9110 §5.6.2)
	control             // a control character but HTAB
	blank               // SP or HTAB
)

// class says for each byte what it may be part of.
var class = func() (t [256]uint8) {
	for c := range t {
		switch {
		case c == '\t' || c == ' ':
			t[c] = blank
		case c < ' ' || c == 0x7f:
			t[c] = control
		case c >= '0' && c <= '9', c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z':
			t[c] = token
		}
	}
	for _, c := range "!#$%&'*+-.^_`|~" {
		t[c] = token
	}
	return t
}()

// span is how many bytes at the start of b are of the class.
func span(b []byte, cl uint8) int {
	for i, c := range b {
		if class[c]&cl == 0 {
			return i
		}
	}
	return len(b)
}

// find is the index of the first byte in b that is of one of the classes, or -1.
func find(b []byte, cl uint8) int {
	for i, c := range b {
		if class[c]&cl != 0 {
			return i
		}
	}
	return -1
}

// trim cuts optional whitespace off both ends (RFC 9110 §5.6.3), and the line
// ends of an obs-fold.
func trim(b []byte) []byte {
	for len(b) > 0 && white(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && white(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

func white(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// equalFold reports whether b is s in any letter case of ASCII; s has none but
// tchars, and its letters are lower case.
func equalFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i, c := range b {
		if c != s[i] && (c|0x20 != s[i] || c < 'A' || c > 'Z') {
			return false
		}
	}
	return true
}

// nextItem returns the first element of a comma-separated list, trimmed, and
// what follows its comma; more is false at the last one.
func nextItem(list []byte) (item, rest []byte, more bool) {
	for i, c := range list {
		if c == ',' {
			return trim(list[:i]), list[i+1:], true
		}
	}
	return trim(list), nil, false
}
