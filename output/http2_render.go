package output

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"

	"kagami/internal/http1"
)

// request returns the request as net/http takes it. What an output changes in
// a request is changed by the same code as for HTTP/1.1; then the head is taken
// apart. The order of fields of different names is not kept. ok is false if
// there is no such request in HTTP/2.
func (x *http2Exchange) request(ctx context.Context) (req *http.Request, ok bool) {
	h := x.s.h
	head := x.render.appendHead(nil, &x.q)
	parsed, err := http1.ParseHead(head, false)
	if err != nil {
		return nil, false
	}
	u := &url.URL{Scheme: "http", Host: h.target.host}
	if h.target.tls {
		u.Scheme = "https"
	}
	target := string(parsed.Target)
	if u.Opaque = target; target != "*" && !strings.HasPrefix(target, "/") {
		return nil, false
	}
	fields := http.Header{"User-Agent": nil} // none of net/http's own
	host, valid := u.Host, true
	http1.EachHeader(head, func(name, value, _ []byte) bool {
		key := textproto.CanonicalMIMEHeaderKey(string(name))
		switch {
		case key == "Host":
			host = string(value)
			valid = httpguts.ValidHostHeader(host)
		case keptInHTTP2(key, value):
			valid = validField(key, value)
			fields[key] = append(fields[key], string(value))
		}
		return valid
	})
	if !valid {
		return nil, false
	}
	if strings.HasPrefix(target, "//") {
		u.Opaque = "//" + host + target // net/http takes the scheme and the host off again
	}
	req = &http.Request{Method: string(parsed.Method), URL: u, Host: host, Header: fields}
	if !x.addBody(req) {
		return nil, false
	}
	return req.WithContext(ctx), true
}

// validField reports whether there is such a field in HTTP/2 (RFC 9113 §8.2.1).
func validField(key string, value []byte) bool {
	return httpguts.ValidHeaderFieldName(key) && httpguts.ValidHeaderFieldValue(string(value))
}

// keptInHTTP2 reports whether a field goes out as it is: it has nothing to do
// with the connection (RFC 9113 §8.2.2), nor with the framing, which HTTP/2
// has of its own.
func keptInHTTP2(key string, value []byte) bool {
	switch key {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Transfer-Encoding", "Upgrade", "Http2-Settings", "Content-Length", "Trailer":
		return false
	case "Te":
		return strings.EqualFold(string(value), "trailers")
	}
	return true
}

// addBody gives req its body and trailers.
func (x *http2Exchange) addBody(req *http.Request) bool {
	body, trailers := x.q.body, http.Header(nil)
	req.ContentLength = int64(len(body))
	if x.q.head.Chunked {
		var trailer []byte
		var err error
		if body, trailer, err = http1.Dechunk(body); err != nil {
			return false
		}
		trailers = trailerFields(trailer)
		req.ContentLength = -1
	}
	if len(body) == 0 && len(trailers) == 0 {
		req.Body, req.ContentLength = http.NoBody, 0
		return true
	}
	req.Body, req.Trailer = io.NopCloser(bytes.NewReader(body)), trailers
	return true
}

// trailerFields are the fields of a trailer section that may be there (RFC 9110 §6.5.1).
func trailerFields(p []byte) http.Header {
	var fields http.Header
	for line := range bytes.SplitSeq(p, []byte("\n")) {
		name, value, found := bytes.Cut(line, []byte(":"))
		key := textproto.CanonicalMIMEHeaderKey(string(name))
		value = bytes.TrimSpace(value)
		if !found || key == "Host" || key == "Te" || !keptInHTTP2(key, value) || !validField(key, value) {
			continue
		}
		if fields == nil {
			fields = http.Header{}
		}
		fields[key] = append(fields[key], string(value))
	}
	return fields
}

// renderAnswer writes an answer in HTTP/1.1 syntax, as HTTP/2 that is captured
// is written: names in small letters, a Content-Length, or one chunk with
// trailers behind it. body is the beginning of the size bytes there were. It
// returns at most room bytes, and how many there would be.
func renderAnswer(resp *http.Response, method string, body []byte, size int64, room int) (raw []byte, full int64) {
	raw = append(strconv.AppendInt([]byte("HTTP/1.1 "), int64(resp.StatusCode), 10), " \r\n"...)
	trailers := 0
	for _, values := range resp.Trailer {
		trailers += len(values)
	}
	noBody := method == "HEAD" || resp.StatusCode == 204 || resp.StatusCode == 304 || resp.StatusCode < 200
	chunked := trailers > 0 && !noBody
	fields := resp.Header
	switch {
	case noBody:
	case chunked:
		fields = fields.Clone()
		fields.Del("Content-Length")
		fields.Set("Transfer-Encoding", "chunked")
	case len(fields["Content-Length"]) == 0:
		fields = fields.Clone()
		fields.Set("Content-Length", strconv.FormatInt(size, 10))
	}
	raw = append(appendFields(raw, fields), '\r', '\n')
	if !chunked {
		full = int64(len(raw)) + size
		raw = append(raw, body...)
		return raw[:min(len(raw), room):min(len(raw), room)], full
	}
	if size > 0 {
		raw = append(strconv.AppendInt(raw, size, 16), '\r', '\n')
	}
	end := []byte("\r\n0\r\n")
	if size == 0 {
		end = end[2:]
	}
	end = append(appendFields(end, resp.Trailer), '\r', '\n')
	full = int64(len(raw)) + size + int64(len(end))
	if raw = append(raw, body...); int64(len(body)) == size {
		raw = append(raw, end...)
	}
	return raw[:min(len(raw), room):min(len(raw), room)], full
}

// appendFields appends fields, sorted by name.
func appendFields(dst []byte, fields http.Header) []byte {
	names := make([]string, 0, len(fields))
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, value := range fields[name] {
			dst = appendField(dst, []byte(strings.ToLower(name)), []byte(value))
		}
	}
	return dst
}
