package capture

import (
	"bytes"
	"slices"

	"kagami"
	"kagami/internal/http1"
)

// doubt looks at the first bytes of a connection of which it is a guess who the
// client is, and notes when it is the other end.
func (a *assembler) doubt(c *conn, h *half, p []byte) {
	if c.flags&(connGuess|connSpoke) != connGuess || c.state != stateOpen {
		return
	}
	if a.isServer(c, h) && http1.LooksLikeRequest(p) == http1.Yes ||
		!a.isServer(c, h) && http1.LooksLikeResponse(p) == http1.Yes {
		c.state = stateNew
		a.verdict(c, h, p)
		for i := range c.half {
			if other := &c.half[i]; other.has(halfBlocked) { // it is the client's now
				other.flags &^= halfBlocked
				a.drain(c, other)
			}
		}
	}
}

// verdict says whether bytes can begin a message, in a half of a connection. Where its
// ends are not told apart yet, they are by the first message.
func (a *assembler) verdict(c *conn, h *half, p []byte) http1.Verdict {
	switch {
	case c.state == stateParted || len(p) == 0:
		return http1.No
	case h.has(halfSession):
		if a.resume(c, h, p) {
			return http1.Yes
		}
		return http1.No
	case c.has(connHTTP2) && a.rejoin(c, h, p):
		return http1.Yes
	case c.state == stateParted || c.of != nil:
		return http1.No
	case c.state == stateNew:
	default:
		return looksLike(p, a.isServer(c, h))
	}
	client := uint8(0)
	if h == &c.half[1] {
		client = 1
	}
	v := looksLike(p, false)
	switch {
	case v == http1.Yes:
	case v == http1.Maybe && http1.LooksLikeResponse(p) == http1.No:
		c.flags |= connGuess
	case http1.LooksLikeResponse(p) == http1.Yes:
		client ^= 1
		v = http1.Yes
	default:
		return http1.No
	}
	if !a.ours(c.key, client, int(h.iface)) {
		a.part(c, kagami.OtherPort)
		return http1.No
	}
	a.decide(c, client)
	if c.state == stateParted || a.isServer(c, h) && !a.cfg.Responses {
		return http1.No
	}
	return v
}

// looksLike says whether bytes at a place where nothing is known can begin an answer, or a
// request.
func looksLike(p []byte, answer bool) http1.Verdict {
	if answer {
		return http1.LooksLikeResponse(p)
	}
	v := http1.LooksLikeRequest(p)
	if v == http1.Maybe && !maybeMethod(p) {
		return http1.No
	}
	return v
}

// maybeMethod reports whether bytes without a line end begin as requests do:
// with a method in upper case. Text in a body seldom does.
func maybeMethod(p []byte) bool {
	for i, b := range p {
		if b == ' ' {
			return i > 2
		}
		if (b < 'A' || b > 'Z') && b != '-' && b != '_' {
			return false
		}
	}
	return true
}

// methods are those that clients use, most of them from IANA's registry of HTTP methods.
var methods = []string{"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY",
	"PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "ACL", "REPORT", "SEARCH", "BIND", "UNBIND", "REBIND",
	"CHECKIN", "CHECKOUT", "MERGE", "PURGE", "M-SEARCH", "NOTIFY", "SUBSCRIBE", "UNSUBSCRIBE"}

// registered reports whether first and then p begin with a method of that list, of which p has
// the end: then they are one request, though p by itself looks like one, too ("G" and
// "ET / HTTP/1.1").
func registered(first, p []byte) bool {
	const longest = 16
	first = bytes.TrimLeft(first, "\r\n") // empty lines (RFC 9112 §2.2)
	if len(first) > longest || bytes.IndexByte(first, ' ') >= 0 {
		return false
	}
	p = append(first[:len(first):len(first)], p[:min(len(p), longest)]...)
	method, _, found := bytes.Cut(p, []byte{' '})
	return found && slices.Contains(methods, string(method))
}

// stray deals with bytes that are no beginning of a message where one should be
// or might be.
func (a *assembler) stray(c *conn, h *half, p []byte) {
	if c.state == stateParted || c.of != nil || a.isServer(c, h) && (c.has(connSpoke) || !looksTLS(p)) {
		return
	}
	switch {
	case c.has(connUpgrade):
		a.part(c, kagami.Upgraded)
		return
	case c.has(connSpoke):
		return
	case c.fruitless == 0 && looksTLS(p):
		a.part(c, kagami.TLS)
		return
	}
	if c.has(connGuess) && c.quiet() {
		c.flags &^= connGuess
		c.state = stateNew
	}
	c.fruitless++
	c.fruitbytes = uint32(min(int64(c.fruitbytes)+int64(len(p)), strayBytes))
	if c.has(connSYN) && c.fruitless >= strayFromStart ||
		a.anyPort && c.fruitless >= strayJoined && c.fruitbytes >= strayBytes {
		a.part(c, kagami.NotHTTP)
	}
}

// proxySignature begins a PROXY header of version 2
// (https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt, §2.2).
const proxySignature = "\r\n\r\n\x00\r\nQUIT\n"

// proxyHeader is how many bytes at the start of a connection are what a load balancer puts
// before the client's: a PROXY header of version 1 or 2. It is 0 where there is none, or
// not all of it.
func proxyHeader(p []byte) int {
	switch {
	case bytes.HasPrefix(p, []byte("PROXY ")):
		if end := bytes.Index(p[:min(len(p), 108)], []byte("\r\n")); end > 0 {
			return end + 2
		}
	case bytes.HasPrefix(p, []byte(proxySignature)) && len(p) >= 16:
		if n := 16 + int(p[14])<<8 + int(p[15]); n <= len(p) {
			return n
		}
	}
	return 0
}

// looksTLS reports whether bytes begin with a TLS record (RFC 8446 §5.1).
func looksTLS(p []byte) bool {
	return len(p) >= 5 && p[0] >= 20 && p[0] <= 23 && p[1] == 3 && p[2] <= 4 &&
		(p[3] < 0x48 || p[3] == 0x48 && p[4] == 0)
}
