package http1

import "bytes"

// maxMethod is the longest method that is taken for one, in bytes. The longest
// registered one has 17.
const maxMethod = 64

// A Verdict says whether bytes can begin a message.
type Verdict int

// The verdicts.
const (
	No    Verdict = iota // they can't
	Maybe                // they can, as far as they go: more are needed
	Yes                  // they begin with a whole, valid start line
)

// String returns "no", "maybe" or "yes".
func (v Verdict) String() string {
	switch v {
	case No:
		return "no"
	case Maybe:
		return "maybe"
	}
	return "yes"
}

// LooksLikeRequest says whether b can begin a request: empty lines, then any
// token of up to 64 bytes as the method, and a line that ends in HTTP/1.x. No
// bytes at all are Maybe.
func LooksLikeRequest(b []byte) Verdict { return looksLike(b, false) }

// LooksLikeResponse says whether b can begin a response: empty lines, then
// "HTTP/1.x", a status of three digits, and a reason or none.
func LooksLikeResponse(b []byte) Verdict { return looksLike(b, true) }

func looksLike(b []byte, response bool) Verdict {
	n, _ := leading(b)
	b = b[n:]
	lf := bytes.IndexByte(b, '\n')
	if lf < 0 {
		if _, ok := startsLine(b, 0, response); !ok {
			return No
		}
		return Maybe
	}
	h := Head{Response: response}
	if !h.parseStartLine(b[:lf]) {
		return No
	}
	return Yes
}

// startsLine reports whether b, which has no LF, can begin a start line. The
// bytes before from are known to be good; from the returned index on they are
// to be looked at again when there are more.
func startsLine(b []byte, from int, response bool) (int, bool) {
	if len(b) == 0 || len(b) == 1 && b[0] == '\r' {
		return 0, true // or the first half of an empty line
	}
	rest := from
	if from <= maxMethod {
		n, ok := startsFixed(b, response)
		if !ok || n == len(b) {
			return 0, ok
		}
		rest = n
	}
	i := find(b[rest:], control)
	switch {
	case i < 0:
		return len(b), true
	case b[rest+i] == '\r' && rest+i == len(b)-1:
		return rest + i, true
	}
	return 0, false
}

// startsFixed checks the part of a start line that has a fixed form, the
// method or the version and the status, as far as b goes; n is its length.
func startsFixed(b []byte, response bool) (n int, ok bool) {
	if !response {
		n = span(b[:min(len(b), maxMethod+1)], token)
		return n, n <= maxMethod && (n == len(b) || n > 0 && b[n] == ' ')
	}
	const form = "HTTP/1.d Ddd" // d is a digit, D one that is not 0
	n = min(len(b), len(form))
	for i, c := range b[:n] {
		switch f := form[i]; f {
		case 'd', 'D':
			ok = c >= '0' && c <= '9' && (f == 'd' || c != '0')
		default:
			ok = c == f
		}
		if !ok {
			return 0, false
		}
	}
	if len(b) > n && b[n] != ' ' && b[n] != '\r' {
		return 0, false
	}
	return n, true
}

// parseStartLine reads a start line, given without its LF. False means that it
// is none.
func (h *Head) parseStartLine(line []byte) bool {
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	if h.Response {
		return h.parseStatusLine(line)
	}
	return h.parseRequestLine(line)
}

// parseStatusLine reads "HTTP/1.1 200 OK"; the reason may be empty, and the
// space before it missing (RFC 9112 §4).
func (h *Head) parseStatusLine(line []byte) bool {
	const least = len("HTTP/1.1 200")
	if n, ok := startsFixed(line, true); !ok || n < least {
		return false
	}
	h.Major, h.Minor = 1, int(line[7]-'0')
	h.Status = int(line[9]-'0')*100 + int(line[10]-'0')*10 + int(line[11]-'0')
	if len(line) > least {
		h.Reason = line[least+1:]
	}
	return len(line) == least || line[least] == ' ' && find(h.Reason, control) < 0
}

// parseRequestLine reads "GET /index.html HTTP/1.1" (RFC 9112 §3). The method
// ends at the first space and the version begins behind the last one; more of
// them are let pass, as lenient servers do, and make the message ambiguous.
func (h *Head) parseRequestLine(line []byte) bool {
	m := span(line[:min(len(line), maxMethod+1)], token)
	if m == 0 || m > maxMethod || m == len(line) || line[m] != ' ' {
		return false
	}
	end := len(line)
	for end > m && class[line[end-1]] == blank {
		end--
		h.Ambiguous = true
	}
	const version = " HTTP/1.1"
	v := end - len(version)
	if v <= m || string(line[v:end-1]) != version[:len(version)-1] || line[end-1] < '0' || line[end-1] > '9' {
		return false
	}
	h.Method = line[:m]
	h.Major, h.Minor = 1, int(line[end-1]-'0')
	h.Target = line[m+1 : v]
	if find(h.Target, control|blank) < 0 && len(h.Target) > 0 {
		return true
	}
	h.Ambiguous = true
	h.Target = trim(h.Target)
	return find(line[m+1:v], control) < 0
}
