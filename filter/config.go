package filter

import (
	"kagami"
	"kagami/internal/http1"
)

// A Config is a set of rules as users write them, on the command line or in a
// configuration file. The zero value keeps everything as it is.
//
// Regular expressions are Go's, match anywhere unless anchored, and mind
// letter case unless they begin with (?i). URLs are request targets as they
// were sent: the path and the query, not the host. The names of headers have
// no letter case; a rule that looks at a header's value looks at the trimmed
// value.
type Config struct {
	// SafeMethods keeps GET, HEAD and OPTIONS alone.
	SafeMethods bool
	// AllowMethod keeps requests that have one of these methods.
	AllowMethod []string
	// DisallowMethod drops requests that have one of these methods.
	DisallowMethod []string
	// AllowURL keeps requests whose URL matches one of these regular expressions.
	AllowURL []string
	// DisallowURL drops requests whose URL matches one of these.
	DisallowURL []string
	// AllowHeader keeps requests that have every one of these headers, with a
	// value that matches: "NAME: REGEXP". Of several headers of that name one
	// has to match.
	AllowHeader []string
	// DisallowHeader drops requests that have one of these headers with a value
	// that matches: "NAME: REGEXP".
	DisallowHeader []string
	// BasicAuthFilter drops requests whose basic authentication, decoded to
	// user:password, does not match every one of these regular expressions
	// (RFC 7617). Requests without any are kept.
	BasicAuthFilter []string
	// HeaderLimiter keeps a share of requests, by a hash of a header's value:
	// "NAME: 25%". Requests without the header, or with an empty one, are kept.
	HeaderLimiter []string
	// ParamLimiter keeps a share of requests, by a hash of the value that a
	// parameter of the query has: "NAME: 25%". Requests without it are kept.
	ParamLimiter []string

	// Sample stands behind the rules above and before the edits below; nil is
	// no sample. See NewSample.
	Sample Filter

	// RealIPHeader is the name of a header that is to hold the client's IP
	// address; "" is none. What the client sent under that name is gone. The
	// rules above that name this header see the client's address too.
	RealIPHeader string
	// SetHeader sets headers: "NAME: VALUE". The first one of that name is
	// replaced where it stands and further ones are removed; where there is
	// none, it becomes the last.
	SetHeader []string
	// SetParam sets parameters of the query: "NAME=VALUE", the value as it is
	// to be sent.
	SetParam []string
	// RewriteURL rewrites the URL: "REGEXP:REPLACEMENT". The first rule that
	// matches is the only one that is applied. $1 or ${1} in the replacement
	// is what the first group matched, $$ is a dollar sign.
	RewriteURL []string
	// RewriteHeader rewrites values of headers: "NAME: REGEXP,REPLACEMENT".
	// Every rule is applied, to every header of that name.
	RewriteHeader []string
}

// SetsHost reports whether the rules give requests a Host of their own, which
// an output then must not replace with its target's.
func (c Config) SetsHost() bool {
	for _, rule := range c.SetHeader {
		if name, _, ok := cutName(rule); ok && isHost(name) {
			return true
		}
	}
	for _, rule := range c.RewriteHeader {
		if name, _, ok := cutName(rule); ok && isHost(name) {
			return true
		}
	}
	return false
}

// New returns the chain that applies the rules: keep, sample, edit. It is empty
// where there is nothing to do. An error names the flag that the rule is given
// with on the command line, and says what to write instead.
func New(cfg Config) (Chain, error) {
	keep, err := parseKeep(cfg)
	if err != nil {
		return nil, err
	}
	edits, err := parseEdits(cfg)
	if err != nil {
		return nil, err
	}
	var c Chain
	switch {
	case len(keep) == 0:
	case cfg.RealIPHeader != "":
		c = append(c, behindRealIP{keep, cfg.RealIPHeader})
	default:
		c = append(c, keep)
	}
	if cfg.Sample != nil {
		c = append(c, cfg.Sample)
	}
	if len(edits) > 0 {
		c = append(c, edits)
	}
	return c, nil
}

// parseKeep reads the rules that keep, in the order in which they are asked:
// what costs least comes first.
func parseKeep(cfg Config) (rules, error) {
	var rs rules
	if cfg.SafeMethods {
		rs = append(rs, safeMethod)
	}
	for _, p := range []struct {
		flag  string
		given []string
		parse func(given []string) ([]rule, error)
	}{
		{"http-allow-method", cfg.AllowMethod, allowMethod},
		{"http-disallow-method", cfg.DisallowMethod, disallowMethod},
		{"http-allow-url", cfg.AllowURL, allowURL},
		{"http-disallow-url", cfg.DisallowURL, disallowURL},
		{"http-allow-header", cfg.AllowHeader, allowHeader},
		{"http-disallow-header", cfg.DisallowHeader, disallowHeader},
		{"http-basic-auth-filter", cfg.BasicAuthFilter, basicAuth},
		{"http-header-limiter", cfg.HeaderLimiter, headerLimiter},
		{"http-param-limiter", cfg.ParamLimiter, paramLimiter},
	} {
		if len(p.given) == 0 {
			continue
		}
		r, err := p.parse(p.given)
		if err != nil {
			return nil, flagError(p.flag, err)
		}
		rs = append(rs, r...)
	}
	return rs, nil
}

// behindRealIP asks rules as if the header that is to carry the client's
// address were there already.
type behindRealIP struct {
	rules
	header string
}

var _ Filter = behindRealIP{}

// Apply implements Filter.
func (b behindRealIP) Apply(m *kagami.Message) (*kagami.Message, kagami.Reason) {
	r := request{raw: m.Raw, named: b.header}
	if ip := realIP(m); ip != "" {
		r.realIP = []byte(ip)
	}
	return b.apply(m, r)
}

// realIP is the client's address as text; "" where it is not known.
func realIP(m *kagami.Message) string {
	if ip := m.Client.Addr(); ip.IsValid() {
		return ip.Unmap().WithZone("").String()
	}
	return ""
}

func isHost(name string) bool { return http1.SameName([]byte(name), "host") }
