package http2

import "strconv"

// render makes p.Raw, which is the head, a blank line and the body so far, a
// message whose framing says where it ends.
func (p *part) render(method string) {
	noBody := p.Response && bodiless(p.Status, method) || p.Response && method == "CONNECT" && p.Status < 300
	switch {
	case noBody || method == "CONNECT" && !p.Response:
		p.Ambiguous = p.Ambiguous || p.body > 0 || len(p.trailers) > 0
		p.Raw = p.Raw[:p.headLen+2]
		p.Incomplete = false // there is no more that could have come
	case len(p.trailers) > 0:
		p.chunked()
	case p.Incomplete && p.declared <= p.body:
		p.chunked()
	case p.Incomplete, p.declared == p.body, p.declared < 0 && !p.needsLength():
		// it says so itself, or has nothing to say
	default:
		p.Ambiguous = p.Ambiguous || p.declared >= 0 // RFC 9113 §8.1.1
		p.withLength()
	}
}

// bodiless reports whether a response ends with its head (RFC 9112 §6.3). A
// Content-Length it may have says something else.
func bodiless(status int, method string) bool {
	return method == "HEAD" || status == 204 || status == 304
}

// needsLength reports whether a message without a Content-Length gets one. A
// request without a body has none (RFC 9110 §8.6), unless one is expected of
// its method.
func (p *part) needsLength() bool {
	return p.Response || p.hasData || p.Method == "POST" || p.Method == "PUT" || p.Method == "PATCH"
}

// replaceLength returns the head with a line in the place of Content-Length, or
// as the last, and room for so many bytes more.
func (p *part) replaceLength(line string, more int) []byte {
	from, to := p.length[0], p.length[1]
	if to == 0 {
		from, to = p.headLen, p.headLen
	}
	raw := make([]byte, 0, p.headLen-(to-from)+len(line)+2+more)
	raw = append(append(raw, p.Raw[:from]...), line...)
	return append(raw, p.Raw[to:p.headLen+2]...)
}

// withLength renders the message with its exact Content-Length.
func (p *part) withLength() {
	body := p.Raw[p.headLen+2:]
	var b [64]byte
	line := append(b[:0], "content-length: "...)
	line = append(strconv.AppendInt(line, p.body, 10), "\r\n"...)
	p.Raw = append(p.replaceLength(string(line), len(body)), body...)
}

// chunked renders the message as one chunk (RFC 9112 §7.1), and the trailers
// behind it. Of a message that is not whole, the end is left off.
func (p *part) chunked() {
	body := p.Raw[p.headLen+2:]
	raw := p.replaceLength("transfer-encoding: chunked\r\n", len(body)+len(p.trailers)+32)
	if p.body > 0 {
		raw = append(strconv.AppendInt(raw, p.body, 16), "\r\n"...)
		raw = append(raw, body...)
	}
	if !p.Truncated {
		if p.body > 0 {
			raw = append(raw, "\r\n"...)
		}
		if !p.Incomplete {
			raw = append(append(append(raw, "0\r\n"...), p.trailers...), "\r\n"...)
		}
	}
	p.Raw = raw
}
