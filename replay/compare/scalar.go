package compare

import (
	"bytes"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// unescape returns what a valid JSON text says (RFC 8259 §7), given without its
// quotes. Half a surrogate pair becomes three bytes that are no UTF-8, so that
// it is the same as itself alone.
func unescape(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] != '\\' {
			out = append(out, b[i])
			continue
		}
		i++
		switch c := b[i]; c {
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r := unit(b[i+1:])
			i += 4
			if utf16.IsSurrogate(r) {
				low := rune(-1)
				if bytes.HasPrefix(b[i+1:], []byte(`\u`)) {
					low = unit(b[i+3:])
				}
				if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
					r = pair
					i += 6
				} else {
					out = append(out, 0xe0|byte(r>>12), 0x80|byte(r>>6)&0x3f, 0x80|byte(r)&0x3f)
					continue
				}
			}
			out = utf8.AppendRune(out, r)
		default:
			out = append(out, c)
		}
	}
	return out
}

// unit reads the four digits of a \u escape.
func unit(b []byte) rune {
	n, err := strconv.ParseUint(string(b[:4]), 16, 16)
	if err != nil {
		return -1
	}
	return rune(n)
}

// canonical appends the one way to write a JSON number's value: a sign, digits
// without zeros at either end, and a power of ten. It is exact at any length:
// 1, 1.0 and 10e-1 are the same, and 9007199254740993 is not 9007199254740992.
func canonical(b, num []byte) []byte {
	mantissa, exp := num, []byte(nil)
	if i := bytes.IndexAny(num, "eE"); i >= 0 {
		mantissa, exp = num[:i], num[i+1:]
	}
	negative := mantissa[0] == '-'
	if negative {
		mantissa = mantissa[1:]
	}
	whole, fraction, _ := bytes.Cut(mantissa, []byte("."))
	var room [64]byte
	digits := append(append(room[:0], whole...), fraction...)
	trimmed := bytes.TrimRight(digits, "0")
	power := int64(len(digits)-len(trimmed)) - int64(len(fraction))
	trimmed = bytes.TrimLeft(trimmed, "0")
	if len(trimmed) == 0 {
		return append(b, '0') // −0 is 0
	}
	if negative {
		b = append(b, '-')
	}
	b = append(append(b, trimmed...), 'e')
	e, err := strconv.ParseInt(string(exp), 10, 62)
	if err != nil && len(exp) > 0 {
		// An exponent beyond 2⁶¹ stays as it was written.
		return strconv.AppendInt(append(append(b, exp...), '+'), power, 10)
	}
	return strconv.AppendInt(b, e+power, 10)
}

// sameNumber reports whether two JSON numbers have the same value.
func sameNumber(a, b []byte) bool {
	return bytes.Equal(a, b) || bytes.Equal(canonical(nil, a), canonical(nil, b))
}

// maxExcerpt is how much of a value a difference shows, in bytes.
const maxExcerpt = 100

// excerpt is the start of a value, fit for a report.
func excerpt(b []byte) string {
	if len(b) <= maxExcerpt {
		return string(bytes.ToValidUTF8(b, []byte("\uFFFD")))
	}
	return string(bytes.ToValidUTF8(b[:maxExcerpt], []byte("\uFFFD"))) + "…"
}
