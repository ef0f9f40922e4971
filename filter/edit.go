package filter

import (
	"bytes"
	"regexp"
	"strings"

	"kagami"
	"kagami/internal/http1"
)

// An edit returns the head of m as it is to be, which is head itself where
// there is nothing to change. It never writes into head.
type edit func(head []byte, m *kagami.Message) []byte

// edits change the head of a request, one after the other.
type edits []edit

var _ Filter = edits(nil)

// Apply implements Filter.
func (es edits) Apply(m *kagami.Message) (*kagami.Message, kagami.Reason) {
	if m.Proto == kagami.WebSocket || m.Proto == kagami.Binary {
		return m, kagami.Delivered // it has no head
	}
	// The edits work on the head alone, so that a large body is copied once.
	head, body := http1.SplitHead(m.Raw)
	edited := head
	for _, e := range es {
		edited = e(edited, m)
	}
	if bytes.Equal(edited, head) {
		return m, kagami.Delivered
	}
	c := *m
	c.Raw = append(append(make([]byte, 0, len(edited)+len(body)), edited...), body...)
	return &c, kagami.Delivered
}

// parseEdits reads the edits, in the order in which they are made.
func parseEdits(cfg Config) (edits, error) {
	var es edits
	if cfg.RealIPHeader != "" {
		e, err := setRealIP(cfg.RealIPHeader)
		if err != nil {
			return nil, flagError("input-raw-realip-header", err)
		}
		es = append(es, e)
	}
	for _, p := range []struct {
		flag  string
		given []string
		parse func(given []string) ([]edit, error)
	}{
		{"http-set-header", cfg.SetHeader, setHeader},
		{"http-set-param", cfg.SetParam, setParam},
		{"http-rewrite-url", cfg.RewriteURL, rewriteURL},
		{"http-rewrite-header", cfg.RewriteHeader, rewriteHeader},
	} {
		if len(p.given) == 0 {
			continue
		}
		e, err := p.parse(p.given)
		if err != nil {
			return nil, flagError(p.flag, err)
		}
		es = append(es, e...)
	}
	return es, nil
}

func setRealIP(name string) (edit, error) {
	if err := checkSettable(name, name); err != nil {
		return nil, err
	}
	return func(head []byte, m *kagami.Message) []byte {
		if ip := realIP(m); ip != "" {
			return http1.SetHeader(head, name, ip)
		}
		return head
	}, nil
}

func setHeader(given []string) ([]edit, error) {
	es := make([]edit, 0, len(given))
	for _, g := range given {
		name, value, err := nameAnd(g, "VALUE")
		if err != nil {
			return nil, err
		}
		if err := checkSettable(g, name); err != nil {
			return nil, err
		}
		es = append(es, func(head []byte, _ *kagami.Message) []byte {
			return http1.SetHeader(head, name, value)
		})
	}
	return es, nil
}

func setParam(given []string) ([]edit, error) {
	es := make([]edit, 0, len(given))
	for _, g := range given {
		name, value, ok := strings.Cut(g, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if !ok || name == "" {
			return nil, wrong(g, "want NAME=VALUE, as in api_key=test")
		}
		es = append(es, func(head []byte, _ *kagami.Message) []byte {
			target := http1.Target(head)
			if !hasQuery(http1.Method(head), target) {
				return head
			}
			return http1.SetTarget(head, http1.SetParam(target, name, value))
		})
	}
	return es, nil
}

// hasQuery reports whether a target can have a query: the authority-form and
// the asterisk-form can't (RFC 9112 §3.2).
func hasQuery(method, target []byte) bool {
	return len(target) > 0 && string(target) != "*" && string(method) != "CONNECT"
}

// A rewriting replaces what matches a regular expression.
type rewriting struct {
	re *regexp.Regexp
	by []byte
}

func rewriteURL(given []string) ([]edit, error) {
	rs := make([]rewriting, 0, len(given))
	for _, g := range given {
		r, err := parseRewriting(g, g, ":", "want REGEXP:REPLACEMENT, as in /v1/(.*):/v2/$1")
		if err != nil {
			return nil, err
		}
		if strings.ContainsAny(string(r.by), " \t") {
			return nil, wrong(g, "a URL has no spaces: write %20 in the replacement")
		}
		rs = append(rs, r)
	}
	return []edit{func(head []byte, _ *kagami.Message) []byte {
		target := http1.Target(head)
		if target == nil {
			return head
		}
		for _, r := range rs {
			if r.re.Match(target) {
				return http1.SetTarget(head, rooted(r.re.ReplaceAll(target, r.by)))
			}
		}
		return head
	}}, nil
}

// rooted gives a target the path that it must have (RFC 9112 §3.2.1).
func rooted(target []byte) []byte {
	if len(target) == 0 || target[0] == '?' {
		return append([]byte{'/'}, target...)
	}
	return target
}

func rewriteHeader(given []string) ([]edit, error) {
	es := make([]edit, 0, len(given))
	for _, g := range given {
		name, rest, err := nameAnd(g, "REGEXP,REPLACEMENT")
		if err != nil {
			return nil, err
		}
		if err := checkSettable(g, name); err != nil {
			return nil, err
		}
		r, err := parseRewriting(g, rest, ",", "want NAME: REGEXP,REPLACEMENT, as in Host: (.*).example.com,$1.test")
		if err != nil {
			return nil, err
		}
		es = append(es, func(head []byte, _ *kagami.Message) []byte { return r.header(head, name) })
	}
	return es, nil
}

// header rewrites every header of that name, each for itself. An empty value
// stays empty.
func (r rewriting) header(head []byte, name string) []byte {
	var out []byte
	done := 0 // head[:done] is in out
	http1.EachHeader(head, func(n, value, _ []byte) bool {
		if len(value) == 0 || !http1.SameName(n, name) || !r.re.Match(value) {
			return true
		}
		by := unfold(r.re.ReplaceAll(value, r.by))
		start := cap(head) - cap(value) // value is a part of head
		out = append(out, head[done:start]...)
		out = append(out, by...)
		done = start + len(value)
		return true
	})
	if done == 0 {
		return head
	}
	return append(out, head[done:]...)
}

// unfold puts spaces where a folded value breaks its line (RFC 9112 §5.2): what
// follows the break may no longer begin with a space, and would be a field.
func unfold(value []byte) []byte {
	for i, c := range value {
		if c == '\r' || c == '\n' {
			value[i] = ' '
		}
	}
	return value
}
