package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/url"
	"runtime/debug"
	"strings"
	"time"
	"unicode/utf8"

	"kagami"
	"kagami/internal/http1"
)

// harWaiting is how many requests may wait for their response before the oldest
// is written without one.
const harWaiting = 10000

// A harWriter writes exchanges as an HTTP Archive, version 1.2
// (http://www.softwareishard.com/blog/har-12-spec/). A request is written when
// its response has come, or without one at the end.
type harWriter struct {
	w       io.Writer
	entries int
	waiting map[kagami.ID]*kagami.Message
	order   []kagami.ID
}

func newHARWriter(w io.Writer) *harWriter {
	return &harWriter{w: w, waiting: map[kagami.ID]*kagami.Message{}}
}

func (h *harWriter) write(m *kagami.Message) error {
	id := m.Exchange.ID
	if m.Kind == kagami.Request {
		h.waiting[id] = m
		h.order = append(h.order, id)
		if len(h.order) > harWaiting {
			return h.unanswered(1)
		}
		return nil
	}
	request, ok := h.waiting[id]
	if !ok {
		return nil // an entry needs a request
	}
	delete(h.waiting, id)
	return h.entry(request, m)
}

// unanswered writes the oldest n requests, if they still wait.
func (h *harWriter) unanswered(n int) error {
	for _, id := range h.order[:n] {
		if request, ok := h.waiting[id]; ok {
			delete(h.waiting, id)
			if err := h.entry(request, nil); err != nil {
				return err
			}
		}
	}
	h.order = h.order[n:]
	return nil
}

func (h *harWriter) close() error {
	if err := h.unanswered(len(h.order)); err != nil {
		return err
	}
	if h.entries == 0 {
		if err := h.begin(); err != nil {
			return err
		}
	}
	_, err := io.WriteString(h.w, "\n]}}\n")
	return err
}

func (h *harWriter) begin() error {
	info, _ := debug.ReadBuildInfo()
	_, err := fmt.Fprintf(h.w, `{"log":{"version":"1.2","creator":{"name":"kagami","version":%q},"entries":[`, versionText(version, info))
	return err
}

func (h *harWriter) entry(request, response *kagami.Message) error {
	b, err := plainJSON(newHAREntry(request, response))
	if err != nil {
		return err
	}
	separator := ",\n"
	if h.entries == 0 {
		if err := h.begin(); err != nil {
			return err
		}
		separator = "\n"
	}
	h.entries++
	_, err = h.w.Write(append([]byte(separator), bytes.TrimSpace(b)...))
	return err
}

type harPair struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type harBody struct {
	Size     int    `json:"size"`
	MimeType string `json:"mimeType"`
	Text     string `json:"text,omitempty"`
	Encoding string `json:"encoding,omitempty"`
}

type harRequest struct {
	Method      string    `json:"method"`
	URL         string    `json:"url"`
	HTTPVersion string    `json:"httpVersion"`
	Cookies     []harPair `json:"cookies"`
	Headers     []harPair `json:"headers"`
	QueryString []harPair `json:"queryString"`
	PostData    *harBody  `json:"postData,omitempty"`
	HeadersSize int       `json:"headersSize"`
	BodySize    int       `json:"bodySize"`
}

type harResponse struct {
	Status      int       `json:"status"`
	StatusText  string    `json:"statusText"`
	HTTPVersion string    `json:"httpVersion"`
	Cookies     []harPair `json:"cookies"`
	Headers     []harPair `json:"headers"`
	Content     harBody   `json:"content"`
	RedirectURL string    `json:"redirectURL"`
	HeadersSize int       `json:"headersSize"`
	BodySize    int       `json:"bodySize"`
}

type harTimings struct {
	Send    float64 `json:"send"`
	Wait    float64 `json:"wait"`
	Receive float64 `json:"receive"`
}

type harEntry struct {
	Started  time.Time   `json:"startedDateTime"`
	Time     float64     `json:"time"`
	Request  harRequest  `json:"request"`
	Response harResponse `json:"response"`
	Cache    struct{}    `json:"cache"`
	Timings  harTimings  `json:"timings"`
	Comment  string      `json:"comment"` // the exchange's id
}

func newHAREntry(request, response *kagami.Message) harEntry {
	e := harEntry{Started: request.Start.UTC(), Request: newHARRequest(request), Comment: request.Exchange.ID.String()}
	e.Response = harResponse{Cookies: []harPair{}, Headers: []harPair{}, HeadersSize: -1, BodySize: -1}
	e.Timings.Send = milliseconds(request.End.Sub(request.Start))
	if response != nil {
		e.Response = newHARResponse(response)
		e.Timings.Wait = milliseconds(max(0, response.Start.Sub(request.End)))
		e.Timings.Receive = milliseconds(response.End.Sub(response.Start))
	}
	e.Time = e.Timings.Send + e.Timings.Wait + e.Timings.Receive
	return e
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }

func newHARRequest(m *kagami.Message) harRequest {
	head, err := http1.ParseHead(m.Raw, false)
	if err != nil {
		return harRequest{Cookies: []harPair{}, Headers: []harPair{}, QueryString: []harPair{}, HeadersSize: -1, BodySize: -1}
	}
	r := harRequest{
		Method: latin1(head.Method), URL: requestURL(m, latin1(head.Target)),
		HTTPVersion: fmt.Sprintf("HTTP/%d.%d", head.Major, head.Minor),
		Cookies:     []harPair{}, Headers: harHeaders(m.Raw), QueryString: []harPair{}, HeadersSize: head.Len,
	}
	r.BodySize = len(m.Raw) - head.Len
	if body := newHARBody(m.Raw); body.Size > 0 {
		r.PostData = &body
	}
	if query, err := url.ParseQuery(latin1(http1.Query(head.Target))); err == nil {
		for name, values := range query {
			for _, v := range values {
				r.QueryString = append(r.QueryString, harPair{name, v})
			}
		}
	}
	return r
}

// requestURL makes the absolute URL that an entry wants.
func requestURL(m *kagami.Message, target string) string {
	if strings.Contains(target, "://") {
		return target
	}
	host, ok := http1.Header(m.Raw, "Host")
	if !ok {
		host = []byte(m.Server.String())
	}
	return "http://" + latin1(host) + target
}

func newHARResponse(m *kagami.Message) harResponse {
	head, err := http1.ParseHead(m.Raw, true)
	if err != nil {
		return harResponse{Cookies: []harPair{}, Headers: []harPair{}, HeadersSize: -1, BodySize: -1}
	}
	location, _ := http1.Header(m.Raw, "Location")
	return harResponse{
		Status: head.Status, StatusText: latin1(head.Reason),
		HTTPVersion: fmt.Sprintf("HTTP/%d.%d", head.Major, head.Minor),
		Cookies:     []harPair{}, Headers: harHeaders(m.Raw), Content: newHARBody(m.Raw), RedirectURL: latin1(location),
		HeadersSize: head.Len, BodySize: len(m.Raw) - head.Len,
	}
}

func harHeaders(raw []byte) []harPair {
	pairs := []harPair{}
	http1.EachHeader(raw, func(name, value, _ []byte) bool {
		pairs = append(pairs, harPair{latin1(name), latin1(value)})
		return true
	})
	return pairs
}

// newHARBody takes the body as text where it is UTF-8, else in base64.
func newHARBody(raw []byte) harBody {
	mime, _ := http1.Header(raw, "Content-Type")
	body, err := http1.Body(raw)
	if err != nil {
		_, body = http1.SplitHead(raw)
	}
	h := harBody{Size: len(body), MimeType: latin1(mime)}
	if utf8.Valid(body) {
		h.Text = string(body)
	} else {
		h.Text, h.Encoding = base64.StdEncoding.EncodeToString(body), "base64"
	}
	return h
}
