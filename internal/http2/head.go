package http2

import (
	"bytes"
	"slices"
	"strconv"

	"kagami/internal/http1"
)

// A headKind is what a header block is to be.
type headKind uint8

const (
	nothing headKind = iota // of no message that is wanted
	requestHead
	responseHead
	trailers
)

// A head is a header block as it is rendered in HTTP/1.1 syntax (RFC 9113 §8).
type head struct {
	kind    headKind
	raw     []byte // the start line, but for trailers, and the fields; no blank line
	started bool   // the start line is there, or there is none
	err     error

	method, scheme, authority, path, protocol, status []byte
	pseudo                                            bool // there was a pseudo-header field
	code                                              int  // the status

	ambiguous bool
	declared  int64  // Content-Length; -1: none
	length    [2]int // where in raw its field is
	hosts     int    // fields
	cookie    int    // the end of the cookie field in raw; 0: none
	crumbs    []byte // of cookies that are not next to the first
}

func (h *head) begin(kind headKind) {
	raw, crumbs := h.raw[:0], h.crumbs[:0]
	if cap(crumbs) > keepBuffer {
		crumbs = nil
	}
	*h = head{kind: kind, raw: raw, crumbs: crumbs, declared: -1, started: kind == trailers}
}

// held is how many bytes of memory h takes beside itself.
func (h *head) held() int { return cap(h.raw) + cap(h.crumbs) }

// noMessage reports whether a block that should be a head is none, most likely
// trailers: it was decoded and has no pseudo-header fields.
func (h *head) noMessage() bool { return !h.pseudo && h.err == ErrMalformed }

// interim reports whether h is the head of an interim response (RFC 9110 §15.2).
func (h *head) interim() bool { return h.kind == responseHead && h.code >= 100 && h.code < 200 }

// message returns the message that h begins, in a block of hf.
func (h *head) message(hf *half, at Mark) Message {
	m := Message{Status: h.code, Ambiguous: h.ambiguous, WireLen: hf.blockWire, Start: hf.blockFrom, End: at}
	if h.kind == requestHead {
		m.Method = methodName(h.method)
		m.Pushed = hf.blockAt.typ == framePush
	}
	return m
}

// field takes in a field.
func (h *head) field(f field) {
	switch {
	case h.kind == nothing:
	case f.unknown:
		h.fail(ErrUndecodable)
	case len(f.name) > 0 && f.name[0] == ':':
		h.pseudoField(f.name, f.value)
	case h.err != nil:
	default:
		if !h.started {
			h.start()
		}
		h.regularField(f.name, f.value)
	}
}

// fail notes the first thing that is wrong.
func (h *head) fail(err error) {
	if h.err == nil {
		h.err = err
	}
}

// pseudoField takes in a pseudo-header field (RFC 9113 §8.3). They come first,
// and each but once.
func (h *head) pseudoField(name, value []byte) {
	h.pseudo = true
	var p *[]byte
	switch string(name) {
	case ":method":
		p = &h.method
	case ":scheme":
		p = &h.scheme
	case ":authority":
		p = &h.authority
	case ":path":
		p = &h.path
	case ":protocol": // RFC 8441 §4
		p = &h.protocol
	case ":status":
		p = &h.status
		h.code = status(value)
	}
	if p == nil || *p != nil || h.started || (p == &h.status) != (h.kind == responseHead) {
		h.fail(ErrMalformed)
		return
	}
	*p = value
	if value == nil {
		*p = []byte{}
	}
}

// status returns the status code, or 0.
func status(b []byte) int {
	if len(b) != 3 || b[0] < '1' || b[0] > '9' || b[1] < '0' || b[1] > '9' || b[2] < '0' || b[2] > '9' {
		return 0
	}
	return int(b[0]-'0')*100 + int(b[1]-'0')*10 + int(b[2]-'0')
}

// end ends the block.
func (h *head) end() {
	if h.kind == nothing || h.err != nil {
		return
	}
	if !h.started {
		h.start()
	}
	if n := len(h.crumbs); n > 0 && h.err == nil {
		h.raw = slices.Insert(h.raw, h.cookie-2, h.crumbs...)
		if h.length[0] >= h.cookie {
			h.length[0] += n
			h.length[1] += n
		}
	}
}

// start renders the start line, and Host.
func (h *head) start() {
	h.started = true
	if h.kind == responseHead {
		if h.code == 0 {
			h.fail(ErrMalformed)
			return
		}
		h.raw = append(append(h.raw, "HTTP/1.1 "...), h.status...)
		h.raw = append(h.raw, " \r\n"...)
		return
	}
	target := h.target()
	if !isToken(h.method) || len(h.method) > maxMethod || len(target) == 0 || !visible(target) || !visible(h.authority) {
		h.fail(ErrMalformed)
		return
	}
	if !h.room(len(h.method) + len(target) + len(h.authority)) {
		return
	}
	h.raw = append(append(h.raw, h.method...), ' ')
	h.raw = append(append(h.raw, target...), " HTTP/1.1\r\n"...)
	if len(h.authority) > 0 {
		h.raw = appendLine(h.raw, "Host", h.authority)
	}
	if len(h.protocol) > 0 {
		// A client that asks for the same in HTTP/1.1 has it here.
		if !isToken(h.protocol) {
			h.fail(ErrMalformed)
			return
		}
		h.raw = appendLine(h.raw, "upgrade", h.protocol)
	}
}

// maxMethod is the longest method that is taken for one, as internal/http1 has it.
const maxMethod = 64

// target returns the request target (RFC 9112 §3.2), nil if there is none.
func (h *head) target() []byte {
	if string(h.method) == "CONNECT" && h.protocol == nil {
		if h.path != nil || h.scheme != nil { // RFC 9113 §8.5
			return nil
		}
		return h.authority
	}
	if h.scheme == nil || len(h.path) > 0 && h.path[0] != '/' && string(h.path) != "*" || h.protocol != nil && string(h.method) != "CONNECT" {
		h.ambiguous = true
	}
	return h.path
}

// room reports whether n more bytes, and a little, are within the bound.
func (h *head) room(n int) bool {
	if len(h.raw)+len(h.crumbs)+n+64 > maxHead {
		h.fail(ErrTooLarge)
		return false
	}
	return true
}

// regularField renders a field, unless it is one that has no place in a message.
func (h *head) regularField(name, value []byte) {
	if h.err != nil || !h.room(len(name)+len(value)) {
		return
	}
	if !h.sound(name, &value) {
		h.fail(ErrMalformed)
		return
	}
	switch string(name) {
	case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade":
		h.ambiguous = true // RFC 9113 §8.2.2
		return
	case "te":
		if h.kind != requestHead || string(value) != "trailers" {
			h.ambiguous = true
			return
		}
	case "content-length":
		h.contentLength(value)
		return
	case "host":
		if h.kind != responseHead && !h.host(value) {
			return
		}
	case "cookie":
		if h.kind == requestHead && h.crumb(value) {
			return
		}
	}
	h.raw = appendLine(h.raw, name, value)
	if h.kind == requestHead && string(name) == "cookie" {
		h.cookie = len(h.raw)
	}
}

// sound checks a field (RFC 9113 §8.2.1). What can't be rendered, or would be
// read as something else, is not; what is wrong and harmless makes the message ambiguous.
func (h *head) sound(name []byte, value *[]byte) bool {
	v := *value
	seen := classes(v)
	if !isToken(name) || seen&lineBreak != 0 {
		return false
	}
	if classes(name)&upper != 0 || seen&control != 0 {
		h.ambiguous = true
	}
	if len(v) > 0 && (class[v[0]]&blank != 0 || class[v[len(v)-1]]&blank != 0) {
		*value = bytes.Trim(v, " \t") // as every recipient of HTTP/1.1 would
	}
	return true
}

// contentLength notes what a Content-Length says, and renders the first.
func (h *head) contentLength(value []byte) {
	n, err := strconv.ParseUint(string(value), 10, 62)
	if err != nil || h.declared >= 0 || h.kind == trailers || string(h.method) == "CONNECT" {
		h.ambiguous = true
		return
	}
	h.declared = int64(n)
	h.length[0] = len(h.raw)
	h.raw = appendLine(h.raw, "content-length", value)
	h.length[1] = len(h.raw)
}

// host reports whether a Host field is rendered. Where there is an :authority it is Host
// already (RFC 9113 §8.3.1).
func (h *head) host(value []byte) bool {
	h.hosts++
	switch {
	case h.kind == trailers:
		h.ambiguous = true
		return false
	case len(h.authority) > 0:
		h.ambiguous = h.ambiguous || !bytes.EqualFold(value, h.authority)
		return false
	case h.hosts > 1:
		h.ambiguous = true
		return false
	}
	return true
}

// crumb joins a cookie field to the first one (RFC 9113 §8.2.3). False means that
// it is the first.
func (h *head) crumb(value []byte) bool {
	switch {
	case h.cookie == 0:
		return false
	case h.cookie == len(h.raw):
		h.raw = append(append(h.raw[:h.cookie-2], "; "...), value...)
		h.raw = append(h.raw, "\r\n"...)
		h.cookie = len(h.raw)
	default:
		h.crumbs = append(append(h.crumbs, "; "...), value...)
	}
	return true
}

func appendLine[T string | []byte](dst []byte, name T, value []byte) []byte {
	dst = append(append(dst, name...), ": "...)
	return append(append(dst, value...), "\r\n"...)
}

// methodName returns a method as a string, "" for one that can't be one.
func methodName(b []byte) string {
	if len(b) > maxMethod || !isToken(b) {
		return ""
	}
	return http1.MethodName(b)
}
