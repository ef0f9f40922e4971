package compare

import (
	"bytes"
	"strconv"
	"strings"

	"kagami"
)

// What keeps an answer from being compared. In a verdict the side comes before
// it, as in "staging-truncated".
const (
	notHTTP       = "not-http"       // it does not begin as an answer does, or its framing is broken
	truncated     = "truncated"      // fewer bytes of it were kept than were sent
	incomplete    = "incomplete"     // its end was never seen
	tooLarge      = "too-large"      // its body is larger or deeper than Config.MaxBody and the like allow
	contentCoding = "content-coding" // its content coding is unknown, or the content is not what it says
)

// maxFields is how many header fields of an answer are looked at.
const maxFields = 1000

// An answer is a response taken apart. It aliases the message's bytes.
type answer struct {
	status int
	fields []field
	// body is the content as it was coded, without the transfer coding.
	body []byte
	// coded is the content codings of body, in the order they were applied.
	coded []string
	// defect says why the body cannot be compared; without a status nothing
	// can.
	defect string

	plain    []byte // body without its content coding, once decode was called
	wantJSON bool   // the media type says JSON
	tree     *tree  // plain as JSON, if it is that
	tooDeep  bool   // plain is JSON of more nodes or depth than a tree takes
}

// A field is a line of a head.
type field struct{ name, value []byte }

// readAnswer takes a response to a request with that method apart. The fields are put
// into room, as far as that has any.
func readAnswer(m *kagami.Message, room []field) *answer {
	a := &answer{fields: room[:0]}
	rest := a.head(m.Raw)
	// Interim responses may stand before the final one (RFC 9110 §15.2).
	for a.status >= 100 && a.status < 200 && a.status != 101 && bytes.HasPrefix(rest, []byte("HTTP/")) {
		*a = answer{fields: room[:0]}
		rest = a.head(rest)
	}
	switch {
	case m.Flags&kagami.Truncated != 0:
		a.defect = truncated
	case m.Flags&kagami.Incomplete != 0:
		a.defect = incomplete
	}
	if a.status == 0 {
		if a.defect == "" {
			a.defect = notHTTP
		}
		return a
	}
	if m.Exchange.Method == "HEAD" || a.status < 200 || a.status == 204 || a.status == 304 ||
		m.Exchange.Method == "CONNECT" && a.status < 300 {
		return a // RFC 9112 §6.3: it has no body
	}
	a.frame(rest)
	return a
}

// head reads a status line and the fields after it and returns the rest. The
// status stays 0 where there is no whole head.
func (a *answer) head(raw []byte) (rest []byte) {
	line, rest, ok := cutLine(raw)
	version, after, spaced := bytes.Cut(line, []byte(" "))
	if !ok || !spaced || !bytes.HasPrefix(version, []byte("HTTP/")) || len(after) < 3 || len(after) > 3 && after[3] != ' ' {
		return nil
	}
	status, err := strconv.Atoi(string(after[:3]))
	if err != nil || status < 100 {
		return nil
	}
	for {
		if line, rest, ok = cutLine(rest); !ok {
			clear(a.fields)
			a.fields = a.fields[:0]
			return nil
		}
		if len(line) == 0 {
			a.status = status
			return rest
		}
		a.addLine(line)
	}
}

// addLine adds a line of the head: a field, or more of the one before
// (obs-fold, RFC 9112 §5.2).
func (a *answer) addLine(line []byte) {
	if n := len(a.fields); n > 0 && (line[0] == ' ' || line[0] == '\t') {
		f := &a.fields[n-1]
		f.value = append(append(bytes.Clone(f.value), ' '), bytes.TrimSpace(line)...)
		return
	}
	name, value, ok := bytes.Cut(line, []byte(":"))
	if ok && len(a.fields) < maxFields {
		a.fields = append(a.fields, field{bytes.TrimSpace(name), bytes.TrimSpace(value)})
	}
}

// addTrailer adds the fields of a trailer section (RFC 9112 §7.1.2), which count as those of the
// head do: gRPC has its status in either.
func (a *answer) addTrailer(b []byte) {
	for {
		line, rest, ok := cutLine(b)
		if !ok || len(line) == 0 {
			return
		}
		a.addLine(line)
		b = rest
	}
}

// value is what the fields with a name say, joined as RFC 9110 §5.3 has it.
func (a *answer) value(name string) string {
	v := ""
	for _, f := range a.fields {
		if len(f.name) == len(name) && strings.EqualFold(string(f.name), name) {
			if v != "" {
				v += ", "
			}
			v += string(f.value)
		}
	}
	return v
}

// frame finds the body in what follows the head (RFC 9112 §6.3).
func (a *answer) frame(rest []byte) {
	a.coded = codings(a.value("Content-Encoding"))
	media, _, _ := strings.Cut(a.value("Content-Type"), ";")
	media = strings.ToLower(strings.TrimSpace(media))
	a.wantJSON = media == "application/json" || strings.HasSuffix(media, "+json") || media == "text/json"
	whole := true
	transfer := codings(a.value("Transfer-Encoding"))
	if n := len(transfer); n > 0 {
		if transfer[n-1] == "chunked" {
			transfer = transfer[:n-1]
			var trailer []byte
			var ok bool
			if rest, trailer, whole, ok = unchunk(rest); !ok && a.defect == "" {
				a.defect = notHTTP
			}
			a.addTrailer(trailer)
		}
		a.coded = append(a.coded, transfer...)
	} else if length := a.value("Content-Length"); length != "" {
		first, _, _ := strings.Cut(length, ",")
		if n, err := strconv.ParseUint(strings.TrimSpace(first), 10, 63); err == nil {
			whole = n <= uint64(len(rest))
			rest = rest[:min(n, uint64(len(rest)))]
		}
	}
	if !whole && a.defect == "" {
		a.defect = incomplete
	}
	a.body = rest
}

// codings reads a list of codings; identity is none.
func codings(list string) []string {
	var all []string
	for name := range strings.SplitSeq(list, ",") {
		name = strings.ToLower(strings.TrimSpace(name))
		if name != "" && name != "identity" {
			all = append(all, strings.TrimPrefix(name, "x-")) // RFC 9110 §8.4.1.3
		}
	}
	return all
}

// unchunk removes the chunked coding (RFC 9112 §7.1). whole is false if its end
// is not there, ok if it is broken.
func unchunk(b []byte) (body, trailer []byte, whole, ok bool) {
	for first := true; ; first = false {
		line, rest, found := cutLine(b)
		if !found {
			return body, nil, false, true
		}
		digits, _, _ := bytes.Cut(line, []byte(";"))
		n, err := strconv.ParseUint(string(bytes.TrimSpace(digits)), 16, 63)
		if err != nil {
			return body, nil, false, false
		}
		if n == 0 {
			return body, rest, true, true
		}
		if n > uint64(len(rest)) {
			return append(body, rest...), nil, false, true
		}
		chunk := rest[:n]
		after, found := cutEnd(rest[n:])
		if !found {
			return append(body, chunk...), nil, false, len(rest[n:]) < 2
		}
		if trailer, last := bytes.CutPrefix(after, []byte("0\r\n")); first && last {
			return chunk[:n:n], trailer, true, true // the usual: one chunk, no copy
		}
		body, b = append(body, chunk...), after
	}
}

// cutLine cuts a line off, without its end.
func cutLine(b []byte) (line, rest []byte, ok bool) {
	i := bytes.IndexByte(b, '\n')
	if i < 0 {
		return nil, b, false
	}
	return bytes.TrimSuffix(b[:i], []byte("\r")), b[i+1:], true
}

// cutEnd cuts the end of a line off.
func cutEnd(b []byte) (rest []byte, ok bool) {
	if rest, ok = bytes.CutPrefix(b, []byte("\r\n")); ok {
		return rest, true
	}
	return bytes.CutPrefix(b, []byte("\n"))
}
