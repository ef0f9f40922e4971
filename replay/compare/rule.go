package compare

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// IgnoredHeaders returns the names of the headers that are not compared unless
// Config.Headers names them: those that say when, by which host or for which
// request an answer was made, those that an application sets anew each time,
// and those that belong to one connection or follow from the body. A name that
// ends in * stands for all that begin so.
func IgnoredHeaders() []string { return slices.Clone(ignoredHeaders) }

var ignoredHeaders = []string{
	// When, and for how long. ETag and Last-Modified are made of a file's date
	// as often as of its content.
	"Date", "Age", "Expires", "Last-Modified", "ETag",
	// By whom.
	"Server", "Via", "X-Served-By", "X-Backend-Server", "X-Cache", "X-Timer",
	"Cf-Ray", "X-Amz-Cf-Id", "X-Amz-Cf-Pop", "Alt-Svc",
	// For which request, and how long it took.
	"X-Request-Id", "X-Correlation-Id", "X-Trace-Id", "Request-Id", "X-B3-*",
	"Traceparent", "Tracestate", "X-Amzn-Requestid", "X-Amzn-Trace-Id",
	"X-Amz-Request-Id", "X-Amz-Id-2", "X-Cloud-Trace-Context",
	"X-Runtime", "X-Response-Time", "Server-Timing",
	// Made anew each time.
	"Set-Cookie",
	// Of the connection or the framing (RFC 9110 §7.6.1, RFC 9112 §6); the
	// bodies themselves are compared.
	"Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding",
	"Trailer", "Content-Length",
}

// A Rule says what is no difference.
type Rule struct {
	path    []step         // a JSON path, where path is not nil
	header  string         // a header's name in lower case, * at its end
	pattern *regexp.Regexp // what does not count in values and texts
}

// A step is one part of a JSON path.
type step struct {
	deep  bool // at any depth
	any   bool // any name, any index
	name  string
	index int // where name is empty and named false
	named bool
}

// maxSteps is how many parts a JSON path may have.
const maxSteps = 64

// ParseRule reads a rule:
//
//   - "$.items[*].id", a JSON path (RFC 9535, of which it takes names, indexes,
//     wildcards and descendants: $.a, $['a'], $[0], $.*, $[*], $..a). What is at
//     the path and beneath is not compared.
//   - "header:X-Served-By", the name of a header, or with * at its end of
//     several.
//   - "pattern:REGEXP" (https://pkg.go.dev/regexp/syntax). What matches in a
//     header's value, a JSON string or number, or a body that is not JSON, is
//     taken for the same as any other match.
func ParseRule(s string) (Rule, error) {
	if name, ok := strings.CutPrefix(s, "header:"); ok {
		if base := strings.TrimSuffix(name, "*"); base != "" && !isHeaderName(base) || name == "" {
			return Rule{}, fmt.Errorf("ignore rule %.100q: want the name of a header, as in header:X-Served-By", s)
		}
		return Rule{header: strings.ToLower(name)}, nil
	}
	if expr, ok := strings.CutPrefix(s, "pattern:"); ok {
		re, err := regexp.Compile(expr)
		if err != nil {
			return Rule{}, fmt.Errorf("ignore rule %.100q: %w", s, err)
		}
		if expr == "" {
			return Rule{}, fmt.Errorf("ignore rule %q: want a regular expression, as in pattern:[0-9]{10}", s)
		}
		return Rule{pattern: re}, nil
	}
	if !strings.HasPrefix(s, "$") {
		return Rule{}, fmt.Errorf("ignore rule %.100q: want a JSON path that begins with $, header:NAME or pattern:REGEXP", s)
	}
	path, err := parsePath(s[1:])
	if err != nil {
		return Rule{}, fmt.Errorf("ignore rule %.100q: %w", s, err)
	}
	return Rule{path: path}, nil
}

// parsePath reads what follows the $ of a JSON path.
func parsePath(s string) ([]step, error) {
	path := []step{}
	for s != "" {
		var st step
		var err error
		if s, err = st.parse(s); err != nil {
			return nil, err
		}
		if path = append(path, st); len(path) > maxSteps {
			return nil, fmt.Errorf("more than %d parts", maxSteps)
		}
	}
	return path, nil
}

// parse reads one part from the start of s and returns the rest.
func (st *step) parse(s string) (rest string, err error) {
	dot := false
	if rest, ok := strings.CutPrefix(s, ".."); ok {
		st.deep, dot, s = true, !strings.HasPrefix(rest, "["), rest
	} else if rest, ok := strings.CutPrefix(s, "."); ok {
		dot, s = true, rest
	}
	if dot {
		end := strings.IndexAny(s, ".[")
		if end < 0 {
			end = len(s)
		}
		if end == 0 {
			return "", fmt.Errorf("a dot without a name: want as in $.name or $..name")
		}
		st.name, st.named = s[:end], true
		if st.name == "*" {
			*st = step{deep: st.deep, any: true}
		}
		return s[end:], nil
	}
	if !strings.HasPrefix(s, "[") {
		return "", fmt.Errorf("%.20q: want .name, ..name, ['name'], [0] or [*]", s)
	}
	return st.bracket(s[1:])
}

// bracket reads a part in brackets, of which the first is read.
func (st *step) bracket(s string) (rest string, err error) {
	if s != "" && (s[0] == '\'' || s[0] == '"') {
		name, rest, ok := strings.Cut(s[1:], s[:1]+"]")
		if !ok {
			return "", fmt.Errorf("%.20q: want a closing %s]", "["+s, s[:1])
		}
		st.name, st.named = name, true
		return rest, nil
	}
	inner, rest, ok := strings.Cut(s, "]")
	if !ok {
		return "", fmt.Errorf("%.20q: want a closing ]", "["+s)
	}
	if inner == "*" {
		st.any = true
		return rest, nil
	}
	if st.index, err = strconv.Atoi(inner); err != nil || st.index < 0 {
		return "", fmt.Errorf("[%.20s]: want ['name'], [*] or an index from 0", inner)
	}
	return rest, nil
}

// matches reports whether the step leads to a member with that key, or with a
// nil key to an element with that index.
func (st *step) matches(key []byte, index int) bool {
	if st.any {
		return true
	}
	if key == nil {
		return !st.named && st.index == index
	}
	return st.named && st.name == string(key)
}

func isHeaderName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

// rules is what a Config says about what to compare.
type rules struct {
	paths    [][]step
	patterns []*regexp.Regexp
	// only is the headers to compare; nil means all but ignored and those that
	// begin with a prefix.
	only     map[string]bool
	ignored  map[string]bool
	prefixes []string
	nobody   bool // $ is ignored: bodies are not compared at all
}

func newRules(cfg Config) (*rules, error) {
	r := &rules{ignored: map[string]bool{}}
	if len(cfg.Headers) == 0 {
		for _, name := range ignoredHeaders {
			r.ignoreHeader(strings.ToLower(name))
		}
	} else {
		r.only = map[string]bool{}
		for _, name := range cfg.Headers {
			r.only[strings.ToLower(name)] = true
		}
	}
	for _, s := range cfg.Ignore {
		rule, err := ParseRule(s)
		switch {
		case err != nil:
			return nil, fmt.Errorf("compare: %w", err)
		case rule.pattern != nil:
			r.patterns = append(r.patterns, rule.pattern)
		case rule.path == nil:
			r.ignoreHeader(rule.header)
		case len(rule.path) == 0:
			r.nobody = true
		default:
			r.paths = append(r.paths, rule.path)
		}
	}
	return r, nil
}

func (r *rules) ignoreHeader(lower string) {
	if base, ok := strings.CutSuffix(lower, "*"); ok {
		r.prefixes = append(r.prefixes, base)
	} else {
		r.ignored[lower] = true
	}
}

// header reports whether the header with that name, in lower case, is compared.
func (r *rules) header(lower string) bool {
	if r.only != nil && !r.only[lower] || r.ignored[lower] {
		return false
	}
	for _, p := range r.prefixes {
		if strings.HasPrefix(lower, p) {
			return false
		}
	}
	return true
}

// plain returns text with what the patterns match made the same.
func (r *rules) plain(text []byte) []byte {
	for _, p := range r.patterns {
		text = p.ReplaceAllLiteral(text, []byte{0})
	}
	return text
}
