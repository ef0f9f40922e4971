package results

import (
	"strconv"
	"time"
	"unicode/utf8"
)

// appendRow appends r as a line of JSON. It is what encoding/json makes of a row,
// in a third of the time: the goroutine that reads staging's answers calls it.
func appendRow(b []byte, r *Result) []byte {
	b = append(b, `{"id":"`...)
	b = r.ID.AppendHex(b)
	b = append(b, '"')
	b = appendTime(b, "time", r.Time)
	b = appendTime(b, "sent_time", r.Sent)
	b = appendText(b, "method", cut(r.Method, maxText))
	b = appendText(b, "path", cut(r.Path, maxText))
	b = appendText(b, "endpoint", cut(r.Endpoint, maxText))
	b = appendText(b, "target", cut(r.Target, maxText))
	b = appendText(b, "outcome", outcomeName(r.Outcome))
	production, staging := r.ProductionStatus != 0, r.StagingStatus != 0
	b = appendInt(b, "production_status", int64(r.ProductionStatus), production)
	b = appendInt(b, "staging_status", int64(r.StagingStatus), staging)
	b = appendMillis(b, "production_latency_ms", r.ProductionLatency, production)
	b = appendMillis(b, "staging_latency_ms", r.StagingLatency, staging)
	b = appendMillis(b, "schedule_lag_ms", r.ScheduleLag, r.Scheduled)
	b = appendInt(b, "production_bytes", r.ProductionBytes, production)
	b = appendInt(b, "staging_bytes", r.StagingBytes, staging)
	if r.Compared {
		b = appendDifferences(b, r)
	}
	return append(b, '}', '\n')
}

func appendDifferences(b []byte, r *Result) []byte {
	b = appendName(b, "different")
	b = strconv.AppendBool(b, r.Different)
	b = appendInt(b, "difference_count", int64(max(r.DifferenceCount, len(r.Differences))), true)
	if len(r.Differences) == 0 {
		return b
	}
	b = appendName(b, "differences")
	b = append(b, '[')
	for i, d := range r.Differences[:min(len(r.Differences), maxDifferences)] {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"part":`...)
		b = appendString(b, cut(d.Part, maxValue))
		b = appendText(b, "kind", cut(d.Kind, maxValue))
		b = appendText(b, "path", cut(d.Path, maxValue))
		b = appendText(b, "production", cut(d.Production, maxValue))
		b = appendText(b, "staging", cut(d.Staging, maxValue))
		b = append(b, '}')
	}
	return append(b, ']')
}

// appendName appends the name of a field behind others.
func appendName(b []byte, name string) []byte {
	b = append(b, ',', '"')
	b = append(b, name...)
	return append(b, '"', ':')
}

// appendTime appends a time as RFC 3339 in UTC to the microsecond, which is as much
// as BigQuery takes.
func appendTime(b []byte, name string, t time.Time) []byte {
	if t.IsZero() {
		return b
	}
	b = append(appendName(b, name), '"')
	b = t.UTC().AppendFormat(b, time.RFC3339) // this format is a fast one
	b[len(b)-1] = '.'                         // in place of the Z
	micros := t.Nanosecond() / 1000
	for unit := 100_000; unit > 0; unit /= 10 {
		b = append(b, '0'+byte(micros/unit%10))
	}
	return append(b, 'Z', '"')
}

func appendText(b []byte, name, s string) []byte {
	if s == "" {
		return b
	}
	return appendString(appendName(b, name), s)
}

func appendInt(b []byte, name string, v int64, known bool) []byte {
	if !known {
		return b
	}
	return strconv.AppendInt(appendName(b, name), v, 10)
}

func appendMillis(b []byte, name string, d time.Duration, known bool) []byte {
	if !known {
		return b
	}
	return strconv.AppendFloat(appendName(b, name), millis(d), 'f', -1, 64)
}

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string (RFC 8259 §7). Bytes that are no UTF-8
// become U+FFFD. U+2028 and U+2029 are escaped, for JavaScript takes them for line ends.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	from := 0 // what is before is appended
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= ' ' && c != '"' && c != '\\' && c != 0x7f {
				i++
				continue
			}
			b = append(b, s[from:i]...)
			b = appendEscape(b, c)
			i++
			from = i
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r != '\u2028' && r != '\u2029' && (r != utf8.RuneError || n > 1) {
			i += n
			continue
		}
		b = append(b, s[from:i]...)
		if n == 1 {
			b = append(b, `\ufffd`...)
		} else {
			b = append(b, `\u202`...)
			b = append(b, hexDigits[r&0xf])
		}
		i += n
		from = i
	}
	b = append(b, s[from:]...)
	return append(b, '"')
}

func appendEscape(b []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(b, '\\', c)
	case '\n':
		return append(b, '\\', 'n')
	case '\r':
		return append(b, '\\', 'r')
	case '\t':
		return append(b, '\\', 't')
	}
	return append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
}
