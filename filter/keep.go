package filter

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"kagami/internal/http1"
)

func allowMethod(given []string) ([]rule, error) {
	is, err := methodIn(given)
	if err != nil {
		return nil, err
	}
	return []rule{is}, nil
}

func disallowMethod(given []string) ([]rule, error) {
	is, err := methodIn(given)
	if err != nil {
		return nil, err
	}
	return []rule{func(r request) bool { return !is(r) }}, nil
}

// methodIn returns a rule that holds for requests with one of the methods.
func methodIn(methods []string) (rule, error) {
	for _, m := range methods {
		if err := checkMethod(m); err != nil {
			return nil, err
		}
	}
	methods = slices.Clone(methods)
	return func(r request) bool {
		for _, m := range methods {
			if string(r.method) == m {
				return true
			}
		}
		return false
	}, nil
}

// checkMethod refuses what no request can have as its method, and what nobody
// means: methods mind letter case (RFC 9110 §9.1).
func checkMethod(m string) error {
	if !isToken(m) {
		return wrong(m, "not a method: want one as in GET; repeat the flag for several")
	}
	switch upper := strings.ToUpper(m); upper {
	case m:
	case "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE":
		return wrong(m, fmt.Sprintf("methods mind letter case: write %s", upper))
	}
	return nil
}

func allowURL(given []string) ([]rule, error) {
	res, err := compileAll(given)
	if err != nil {
		return nil, err
	}
	return []rule{func(r request) bool { return r.target != nil && anyMatches(res, r.target) }}, nil
}

func disallowURL(given []string) ([]rule, error) {
	res, err := compileAll(given)
	if err != nil {
		return nil, err
	}
	return []rule{func(r request) bool { return !anyMatches(res, r.target) }}, nil
}

func anyMatches(res []*regexp.Regexp, b []byte) bool {
	for _, re := range res {
		if re.Match(b) {
			return true
		}
	}
	return false
}

func allowHeader(given []string) ([]rule, error) {
	return headerRules(given, func(has bool) bool { return has })
}

func disallowHeader(given []string) ([]rule, error) {
	return headerRules(given, func(has bool) bool { return !has })
}

// headerRules returns a rule for each "NAME: REGEXP". keep says whether a
// request is kept that has such a header with a value that matches, or has not.
func headerRules(given []string, keep func(has bool) bool) ([]rule, error) {
	rs := make([]rule, 0, len(given))
	for _, g := range given {
		name, pattern, err := nameAnd(g, "REGEXP")
		if err != nil {
			return nil, err
		}
		if pattern == "" {
			pattern = ".*"
		}
		re, err := compile(g, pattern)
		if err != nil {
			return nil, err
		}
		rs = append(rs, func(r request) bool { return keep(r.hasHeader(name, re)) })
	}
	return rs, nil
}

// hasHeader reports whether one of the headers of that name matches.
func (r request) hasHeader(name string, re *regexp.Regexp) bool {
	if r.realIP != nil && http1.SameName([]byte(r.named), name) {
		return re.Match(r.realIP)
	}
	found := false
	http1.EachHeader(r.raw, func(n, value, _ []byte) bool {
		found = http1.SameName(n, name) && re.Match(value)
		return !found
	})
	return found
}

// header returns the value of the first header of that name.
func (r request) header(name string) (value []byte, ok bool) {
	if r.realIP != nil && http1.SameName([]byte(r.named), name) {
		return r.realIP, true
	}
	return http1.Header(r.raw, name)
}

func basicAuth(given []string) ([]rule, error) {
	res, err := compileAll(given)
	if err != nil {
		return nil, err
	}
	return []rule{func(r request) bool {
		credentials, ok := r.basicAuth()
		if !ok {
			return true
		}
		for _, re := range res {
			if credentials == nil || !re.Match(credentials) {
				return false
			}
		}
		return true
	}}, nil
}

// basicAuth returns user:password (RFC 7617 §2). They are nil where they can't
// be decoded, and ok is false where there is no basic authentication.
func (r request) basicAuth() (credentials []byte, ok bool) {
	const scheme = "basic"
	value, _ := r.header("Authorization")
	if len(value) <= len(scheme) || value[len(scheme)] != ' ' || !http1.SameName(value[:len(scheme)], scheme) {
		return nil, false
	}
	// Some clients leave the padding out.
	text := bytes.TrimRight(bytes.TrimLeft(value[len(scheme):], " "), "=")
	credentials, err := base64.RawStdEncoding.AppendDecode(make([]byte, 0, len(text)), text)
	if err != nil {
		return nil, true
	}
	return credentials, true
}
