package output

import (
	"bytes"

	"kagami"
	"kagami/internal/http1"
)

// httpRender writes requests as they go to a target. It changes a request's
// target and the fields that belong to the connection it came on, and leaves
// every other byte alone.
type httpRender struct {
	host   []byte // the value of Host; nil leaves it alone
	base   []byte // the path before every path; no slash at its end
	auth   []byte // the value of Authorization; nil leaves it alone
	replay []byte // the name of the field that holds the exchange's id; nil adds none
	alone  bool   // requests with ambiguous framing are sent, each alone on a connection

	framer http1.Framer // of chunked bodies
	listed [][]byte     // values of Connection that list more than close and keep-alive
}

func newHTTPRender(cfg *HTTPConfig, t *httpTarget) httpRender {
	r := httpRender{base: []byte(t.base), alone: cfg.Ambiguous == AmbiguousAlone}
	if !cfg.OriginalHost {
		r.host = []byte(t.host)
	}
	if t.auth != "" {
		r.auth = []byte(t.auth)
	}
	if !cfg.NoReplayHeader {
		r.replay = []byte(cfg.ReplayHeader)
	}
	return r
}

// httpRequest is a request that was looked at and can be sent.
type httpRequest struct {
	m      *kagami.Message
	raw    []byte // m.Raw, or what a redirect made of it
	head   http1.Head
	body   []byte
	alone  bool // its framing is ambiguous: nothing may follow it on its connection
	joined bool // the base path is in its target already
	opens  bool // it asks for a WebSocket, and goes out as such
}

// parse looks at a message. The reason is Delivered if it can be sent.
func (r *httpRender) parse(q *httpRequest, m *kagami.Message, raw []byte) kagami.Reason {
	h, err := http1.ParseHead(raw, false)
	if err != nil || string(h.Method) == "CONNECT" {
		return kagami.NotReplayable
	}
	*q = httpRequest{m: m, raw: raw, head: h, body: raw[h.Len:]}
	reason := kagami.Delivered
	switch {
	case h.Ambiguous || m.Flags&kagami.Ambiguous != 0:
		reason = kagami.AmbiguousFraming
	case h.Chunked:
		reason = r.checkChunked(q)
	default:
		reason = checkLength(q)
	}
	if reason == kagami.AmbiguousFraming && r.alone {
		q.alone, reason = true, kagami.Delivered
	}
	return reason
}

// checkLength compares the body with Content-Length. A body that is cut short
// would make the target take the next request for the rest of it; one that is
// longer would be a request of its own. Empty lines behind it are left off
// (RFC 9112 §2.2).
func checkLength(q *httpRequest) kagami.Reason {
	n := max(q.head.ContentLength, 0)
	if int64(len(q.body)) < n {
		return kagami.NotReplayable
	}
	if len(bytes.Trim(q.body[n:], "\r\n")) > 0 {
		return kagami.AmbiguousFraming
	}
	q.body = q.body[:n]
	return kagami.Delivered
}

// checkChunked is checkLength for a chunked body.
func (r *httpRender) checkChunked(q *httpRequest) kagami.Reason {
	r.framer.Reset()
	n, done, err := r.framer.Feed(q.raw)
	switch {
	case err != nil, done && r.framer.Head().Ambiguous, done && len(bytes.Trim(q.raw[n:], "\r\n")) > 0:
		return kagami.AmbiguousFraming
	case !done:
		return kagami.NotReplayable
	}
	q.body = q.raw[q.head.Len:n]
	return kagami.Delivered
}

// appendHead appends the head of a request to dst.
func (r *httpRender) appendHead(dst []byte, q *httpRequest) []byte {
	r.listed = r.listed[:0]
	start := len(dst)
	dst = r.appendOnce(dst, q)
	if len(r.listed) > 0 {
		dst = r.appendOnce(dst[:start], q) // now it knows what Connection lists
	}
	return dst
}

func (r *httpRender) appendOnce(dst []byte, q *httpRequest) []byte {
	raw, pos := q.raw[:q.head.Len], 0
	dst, pos = r.appendStartLine(dst, q)
	var seen [numHTTPFields]bool
	listed := len(r.listed) > 0
	kept := pos // raw[kept:pos] is neither in dst nor left out yet
	for {
		end := lineEnd(raw, pos)
		if raw[pos] == '\n' || raw[pos] == '\r' && end-pos == 2 {
			break
		}
		for raw[end] == ' ' || raw[end] == '\t' {
			end = lineEnd(raw, end)
		}
		line := raw[pos:end]
		colon := max(bytes.IndexByte(line, ':'), 0)
		name := line[:colon]
		field := r.classify(name)
		if q.opens && field == dropField && is(name[:min(len(name), len("upgrade"))], "upgrade") {
			field = keepField
		}
		if field == connectionField && !listed {
			r.noteListed(line[colon+1:])
		}
		var value []byte
		switch {
		case listed && field != hostField && r.isListed(name):
			field = dropField
		case field == hostField:
			value = r.host
		case field == authField:
			value = r.auth
		case field == connectionField && q.opens:
			value = upgradeValue
		}
		if field != keepField {
			dst = append(dst, raw[kept:pos]...)
			kept = end
			if value != nil && !seen[field] {
				dst = appendField(dst, name, value)
			} else if field == replayField && !seen[field] {
				dst = q.m.Exchange.ID.AppendHex(append(append(dst, name...), ": "...))
				dst = append(dst, '\r', '\n')
			}
			seen[field] = true
		}
		pos = end
	}
	dst = append(dst, raw[kept:pos]...)
	dst = r.appendMissing(dst, q, &seen)
	return append(dst, raw[pos:]...)
}

// upgradeValue is what Connection says of a request for a WebSocket (RFC 6455 §4.1).
var upgradeValue = []byte("Upgrade")

// appendMissing appends the fields that the request did not have.
func (r *httpRender) appendMissing(dst []byte, q *httpRequest, seen *[numHTTPFields]bool) []byte {
	if r.host != nil && !seen[hostField] {
		dst = appendField(dst, []byte("Host"), r.host)
	}
	if r.auth != nil && !seen[authField] {
		dst = appendField(dst, []byte("Authorization"), r.auth)
	}
	if q.head.Minor == 0 && !q.alone {
		// The connection is ours, not the client's: HTTP/1.0 says so to keep it.
		dst = append(dst, "Connection: keep-alive\r\n"...)
	}
	if r.replay != nil && !seen[replayField] {
		dst = q.m.Exchange.ID.AppendHex(append(append(dst, r.replay...), ": "...))
		dst = append(dst, '\r', '\n')
	}
	return dst
}

func appendField(dst, name, value []byte) []byte {
	dst = append(append(dst, name...), ": "...)
	return append(append(dst, value...), '\r', '\n')
}

// appendStartLine appends the start line. pos is where the line behind it begins.
func (r *httpRender) appendStartLine(dst []byte, q *httpRequest) (_ []byte, pos int) {
	h := &q.head
	start := h.Skipped
	pos = lineEnd(q.raw, start)
	line := q.raw[start:pos]
	n := len(h.Method) + 1
	n += bytes.Index(line[n:], h.Target) // whitespace, if it is ambiguous
	dst = append(dst, line[:n]...)
	dst = r.appendTarget(dst, q)
	return append(dst, line[n+len(h.Target):]...), pos
}

// appendTarget appends the request target: the absolute-form, which is for
// proxies, as the origin-form (RFC 9112 §3.2), a path behind the base path.
func (r *httpRender) appendTarget(dst []byte, q *httpRequest) []byte {
	t := q.head.Target
	slash := false
	if i := bytes.Index(t, []byte("://")); i > 0 && t[0] != '/' {
		t = t[i+len("://"):]
		if i = bytes.IndexAny(t, "/?#"); i < 0 {
			i = len(t)
		}
		if t = t[i:]; len(t) == 0 && string(q.head.Method) == "OPTIONS" {
			return append(dst, '*') // RFC 9112 §3.2.4
		}
		slash = len(t) == 0 || t[0] != '/'
	}
	if !q.joined && (slash || len(t) > 0 && t[0] == '/') {
		dst = append(dst, r.base...)
	}
	if slash {
		dst = append(dst, '/')
	}
	return append(dst, t...)
}

// lineEnd returns where the line ends that begins at pos, behind its LF.
func lineEnd(raw []byte, pos int) int {
	if i := bytes.IndexByte(raw[pos:], '\n'); i >= 0 {
		return pos + i + 1
	}
	return len(raw)
}

// A httpField says what is done with a header field.
type httpField uint8

const (
	keepField httpField = iota
	dropField
	connectionField // dropped, and what it lists too
	hostField       // replaced by the target's
	authField       // replaced by the target's
	replayField     // replaced by the exchange's id
	numHTTPFields
)

// classify tells by a field's name what is done with it (RFC 9110 §7.6.1).
func (r *httpRender) classify(name []byte) httpField {
	if len(name) == 0 {
		return keepField
	}
	if c := name[len(name)-1]; c == ' ' || c == '\t' {
		name = bytes.TrimRight(name, " \t")
	}
	if len(name) == 0 {
		return keepField
	}
	switch name[0] | 0x20 {
	case 'h':
		if r.host != nil && is(name, "host") {
			return hostField
		}
	case 'c':
		if is(name, "connection") {
			return connectionField
		}
	case 'k':
		if is(name, "keep-alive") {
			return dropField
		}
	case 'u':
		if is(name, "upgrade") {
			return dropField
		}
	case 'e':
		if is(name, "expect") {
			return dropField
		}
	case 'p':
		if len(name) > len("proxy-") && is(name[:len("proxy-")], "proxy-") {
			return dropField
		}
	case 'a':
		if r.auth != nil && is(name, "authorization") {
			return authField
		}
	}
	if r.replay != nil && len(name) == len(r.replay) && bytes.EqualFold(name, r.replay) {
		return replayField
	}
	return keepField
}

// is reports whether name is the lower-case want, in any letter case.
func is(name []byte, want string) bool {
	if len(name) != len(want) {
		return false
	}
	for i, c := range name {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != want[i] {
			return false
		}
	}
	return true
}

// noteListed notes the value of a Connection field that lists other fields.
func (r *httpRender) noteListed(value []byte) {
	for item := range bytes.SplitSeq(value, []byte{','}) {
		if item = bytes.TrimSpace(item); len(item) > 0 && !is(item, "close") && !is(item, "keep-alive") && !is(item, "upgrade") {
			r.listed = append(r.listed, item)
		}
	}
}

// isListed reports whether a field is left out because Connection lists it.
// Those that say where the message ends stay whatever it lists, and so does Host.
func (r *httpRender) isListed(name []byte) bool {
	name = bytes.TrimRight(name, " \t")
	for _, item := range r.listed {
		if bytes.EqualFold(item, name) {
			return !is(name, "host") && !is(name, "content-length") && !is(name, "transfer-encoding") && !is(name, "trailer")
		}
	}
	return false
}

// AppendRequest appends to dst what is sent for a message, and returns dst as
// it was if it is not sent, with the reason.
func (h *HTTP) AppendRequest(dst []byte, m *kagami.Message) ([]byte, kagami.Reason) {
	r := h.render
	var q httpRequest
	reason := refuse(m)
	if reason == kagami.Delivered {
		reason = r.parse(&q, m, m.Raw)
		q.opens = h.sockets.wants(m)
	}
	if reason != kagami.Delivered {
		return dst, reason
	}
	return append(r.appendHead(dst, &q), q.body...), kagami.Delivered
}
