package http1

import "bytes"

// Path returns the path of a request target (RFC 9112 §3.2) as it was sent:
// that of the origin-form, and of the absolute-form, where an empty one is
// "/"; the whole of the authority-form and of "*".
func Path(target []byte) []byte {
	if i := bytes.IndexAny(target, "?#"); i >= 0 {
		target = target[:i]
	}
	if len(target) == 0 || target[0] == '/' {
		return target
	}
	i := bytes.Index(target, []byte("://"))
	if i < 0 {
		return target
	}
	target = target[i+3:]
	if i = bytes.IndexByte(target, '/'); i < 0 {
		return []byte("/")
	}
	return target[i:]
}

// Query returns what stands between the first "?" of a request target and its
// end, or a "#".
func Query(target []byte) []byte {
	start, end := query(target)
	return target[start:end]
}

// query returns where the query of a target begins and ends. Without one, both
// are where the path ends.
func query(target []byte) (start, end int) {
	end = len(target)
	if i := bytes.IndexByte(target, '#'); i >= 0 {
		end = i
	}
	if i := bytes.IndexByte(target[:end], '?'); i >= 0 {
		return i + 1, end
	}
	return end, end
}

// Param returns the value of the first parameter of that name in the query of
// a request target, as it was sent: not decoded. Names are compared decoded. A
// parameter without "=" has an empty value.
func Param(target []byte, name string) (value []byte, ok bool) {
	q := Query(target)
	for more := len(q) > 0; more; {
		var param []byte
		param, q, more = bytes.Cut(q, []byte{'&'})
		key, value, _ := bytes.Cut(param, []byte{'='})
		if sameParam(key, name) {
			return value, true
		}
	}
	return nil, false
}

// sameParam reports whether key, as sent, decodes to name.
func sameParam(key []byte, name string) bool {
	for len(key) > 0 {
		c, n := decoded(key)
		if len(name) == 0 || name[0] != c {
			return false
		}
		key, name = key[n:], name[1:]
	}
	return name == ""
}

// decoded returns the first character of b, which is not empty, and how many
// bytes it takes: three where it is percent-encoded (RFC 3986 §2.1), "+" is a space.
func decoded(b []byte) (c byte, n int) {
	switch {
	case b[0] == '+':
		return ' ', 1
	case b[0] == '%' && len(b) > 2:
		hi, ok1 := hexDigit(b[1])
		lo, ok2 := hexDigit(b[2])
		if ok1 && ok2 {
			return byte(hi<<4 | lo), 3
		}
	}
	return b[0], 1
}

// SetParam returns a copy of a request target in which the first parameter of
// that name has the value, and further ones of that name are gone. Without
// one, it becomes the last of the query. The value is taken as it is to be
// sent; only bytes that can't be part of one (controls, space, "&", "#",
// quotes and brackets, what is not ASCII) are percent-encoded.
func SetParam(target []byte, name, value string) []byte {
	start, end := query(target)
	out := make([]byte, 0, len(target)+len(name)+len(value)+2)
	out = append(out, target[:start]...)
	q, found := target[start:end], false
	for first, more := true, len(q) > 0; more; {
		var param []byte
		param, q, more = bytes.Cut(q, []byte{'&'})
		key, _, _ := bytes.Cut(param, []byte{'='})
		same := sameParam(key, name)
		if same && found {
			continue
		}
		if !first {
			out = append(out, '&')
		}
		first = false
		if !same {
			out = append(out, param...)
			continue
		}
		found = true
		out = appendParam(append(append(out, key...), '='), value, false)
	}
	if !found {
		out = addParam(out, start, name, value)
	}
	return append(out, target[end:]...)
}

// addParam appends a parameter to a target whose query begins at start.
func addParam(out []byte, start int, name, value string) []byte {
	switch {
	case len(out) > start:
		out = append(out, '&')
	case start == 0 || out[start-1] != '?':
		out = append(out, '?')
	}
	return appendParam(append(appendParam(out, name, true), '='), value, false)
}

// appendParam appends s to out, percent-encoding what can't be part of a
// parameter; of a name, "%", "=" and "+" too.
func appendParam(out []byte, s string, name bool) []byte {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if paramByte(c) && !(name && (c == '%' || c == '=' || c == '+')) {
			out = append(out, c)
		} else {
			out = appendEncoded(out, c)
		}
	}
	return out
}

// appendEncoded appends a byte, percent-encoded.
func appendEncoded(out []byte, c byte) []byte {
	const digits = "0123456789ABCDEF"
	return append(out, '%', digits[c>>4], digits[c&15])
}

func paramByte(c byte) bool {
	switch c {
	case '&', '#', '"', '<', '>', '[', ']', '\\', '^', '`', '{', '|', '}':
		return false
	}
	return c > ' ' && c < 0x7f
}
