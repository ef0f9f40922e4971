package output

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"kagami"
	"kagami/internal/http1"
)

// redirectHead is how much of an answer is kept to find its Location, in bytes.
const redirectHead = 64 << 10

// keepAnswer keeps bytes of an answer, as far as anyone wants them.
func (c *httpConn) keepAnswer(p []byte) {
	c.size += int64(len(p))
	if room := c.answerRoom(); room > 0 {
		c.answer = append(c.answer, p[:min(len(p), room)]...)
	}
}

// answerRoom is how many more bytes of the answer are to be kept.
func (c *httpConn) answerRoom() int {
	limit := 0
	switch {
	case c.h.cfg.Answers != nil:
		limit = c.h.cfg.AnswerSize
	case c.h.cfg.Redirects > 0:
		limit = redirectHead
	}
	return limit - len(c.answer)
}

// localAddr is our end of the connection.
func (c *httpConn) localAddr() netip.AddrPort {
	if c.h.loop != nil {
		return c.loop.localAddr()
	}
	return addrPort(c.nc.LocalAddr())
}

// handOn hands the answer to Answers.
func (c *httpConn) handOn(start time.Time) {
	j := &c.job
	m := &kagami.Message{
		Kind:     kagami.Replayed,
		Proto:    kagami.HTTP1,
		Hop:      j.m.Hop,
		WireLen:  int(c.size),
		Start:    start,
		Due:      j.m.Due,
		End:      time.Now(),
		Client:   c.localAddr(),
		Server:   c.addr,
		Raw:      bytes.Clone(c.answer),
		Exchange: j.m.Exchange,
	}
	if int64(len(c.answer)) < c.size {
		m.Flags |= kagami.Truncated
	}
	if cap(c.answer) > keepWrite {
		c.answer = nil
	}
	c.h.handOn(j.ctx, m)
}

// handOn hands an answer to Answers.
func (h *HTTP) handOn(ctx context.Context, m *kagami.Message) {
	h.answersMu.Lock()
	defer h.answersMu.Unlock()
	// Where they go is broken for good if this fails, and has said so there.
	_ = h.cfg.Answers.Write(ctx, kagami.Batch{Messages: []*kagami.Message{m}})
}

func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		ap := t.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}

// redirect makes q what an answer redirects it to (RFC 9110 §15.4), and
// reports whether there is such a thing, and it is on the target.
func (c *httpConn) redirect(q *httpRequest) bool {
	method := string(q.head.Method)
	switch c.status {
	case 301, 302:
		if method == "POST" {
			method = "GET"
		}
	case 303:
		if method != "HEAD" {
			method = "GET"
		}
	case 307, 308:
	default:
		return false
	}
	location, _ := http1.Header(c.answer, "Location")
	target, ok := c.redirectTarget(q, string(location))
	if !ok || q.alone {
		return false
	}
	raw := http1.SetTarget(q.raw, []byte(target))
	if method != string(q.head.Method) {
		raw = http1.SetMethod(raw, method)
		for _, name := range []string{"Content-Length", "Transfer-Encoding", "Trailer", "Content-Type", "Content-Encoding"} {
			raw = http1.DelHeader(raw, name)
		}
		raw, _ = http1.SplitHead(raw)
	}
	if c.render.parse(q, q.m, raw) != kagami.Delivered {
		return false
	}
	q.joined = true
	return true
}

// redirectTarget is the request target that a Location leads to from q.
func (c *httpConn) redirectTarget(q *httpRequest, location string) (target string, ok bool) {
	ref, err := url.Parse(location)
	if err != nil || location == "" {
		return "", false
	}
	from := url.URL{Scheme: "http", Host: c.h.target.host}
	if c.h.target.tls {
		from.Scheme = "https"
	}
	if c.h.cfg.OriginalHost {
		if host, ok := http1.Header(q.raw, "Host"); ok {
			from.Host = string(host)
		}
	}
	path, err := url.ParseRequestURI(string(c.render.appendTarget(nil, q)))
	if err != nil {
		return "", false
	}
	from.Path, from.RawPath = path.Path, path.RawPath
	to := from.ResolveReference(ref)
	if to.Scheme != from.Scheme || !strings.EqualFold(to.Host, from.Host) && !strings.EqualFold(to.Host, c.h.target.host) {
		return "", false // it leads elsewhere
	}
	return to.RequestURI(), true
}
