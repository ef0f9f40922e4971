package filter_test

import (
	"bytes"
	"encoding/base64"
	"net/netip"
	"strings"
	"testing"

	"kagami"
	"kagami/filter"
)

// request returns a request; \n in the text stands for CR LF.
func request(text string) *kagami.Message {
	client, server := netip.MustParseAddrPort("203.0.113.7:40000"), netip.MustParseAddrPort("10.0.0.2:80")
	return &kagami.Message{
		Kind: kagami.Request, Proto: kagami.HTTP1,
		Client: client, Server: server,
		Raw:      []byte(strings.ReplaceAll(text, "\n", "\r\n")),
		Exchange: &kagami.Exchange{ID: kagami.MakeID(client, server, 1, 0, 1_700_000_000)},
	}
}

func chain(t testing.TB, cfg filter.Config) filter.Chain {
	t.Helper()
	c, err := filter.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func list(s ...string) []string { return s }

func basic(credentials string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(credentials))
}

const (
	get  = "GET /api/users?id=7&q=a%20b HTTP/1.1\nHost: example.com\nUser-Agent: Mozilla/5.0\nX-Empty:\n\n"
	post = "POST /form HTTP/1.1\nHost: example.com\nContent-Length: 3\n\na=b"
)

func TestKeep(t *testing.T) {
	tests := []struct {
		name string
		cfg  filter.Config
		raw  string
		keep bool
	}{
		{"nothing asked", filter.Config{}, get, true},

		{"allowed method", filter.Config{AllowMethod: list("GET")}, get, true},
		{"one of the allowed methods", filter.Config{AllowMethod: list("POST", "GET")}, get, true},
		{"not an allowed method", filter.Config{AllowMethod: list("POST", "PUT")}, get, false},
		{"a method that begins like an allowed one", filter.Config{AllowMethod: list("GE")}, get, false},
		{"a method of one's own", filter.Config{AllowMethod: list("purge")}, "purge / HTTP/1.1\n\n", true},
		{"disallowed method", filter.Config{DisallowMethod: list("PUT", "POST")}, post, false},
		{"not a disallowed method", filter.Config{DisallowMethod: list("PUT", "POST")}, get, true},
		{"no method at all is not an allowed one", filter.Config{AllowMethod: list("GET")}, "\x16\x03\x01", false},

		{"safe GET", filter.Config{SafeMethods: true}, get, true},
		{"a WebSocket is not safe", filter.Config{SafeMethods: true}, "GET / HTTP/1.1\nHost: a\nConnection: upgrade\nUpgrade: websocket\n\n", false},
		{"another upgrade is", filter.Config{SafeMethods: true}, "GET / HTTP/1.1\nHost: a\nConnection: upgrade\nUpgrade: h2c\n\n", true},
		{"safe HEAD", filter.Config{SafeMethods: true}, "HEAD / HTTP/1.1\n\n", true},
		{"safe OPTIONS", filter.Config{SafeMethods: true}, "OPTIONS * HTTP/1.1\n\n", true},
		{"POST is not safe", filter.Config{SafeMethods: true}, post, false},
		{"TRACE is not kept as safe", filter.Config{SafeMethods: true}, "TRACE / HTTP/1.1\n\n", false},
		{"nor is what has no method", filter.Config{SafeMethods: true}, "\x16\x03\x01", false},

		{"allowed URL", filter.Config{AllowURL: list("^/api/")}, get, true},
		{"one of the allowed URLs", filter.Config{AllowURL: list("^/form$", "^/api/")}, get, true},
		{"not an allowed URL", filter.Config{AllowURL: list("^/form$")}, get, false},
		{"an allowed query", filter.Config{AllowURL: list(`\?id=7`)}, get, true},
		{"the host is not in the URL", filter.Config{AllowURL: list(`example\.com`)}, get, false},
		{"but in one of absolute form", filter.Config{AllowURL: list(`example\.com`)}, "GET http://example.com/ HTTP/1.1\n\n", true},
		{"no URL at all is not an allowed one", filter.Config{AllowURL: list(".*")}, "\x16\x03\x01", false},
		{"disallowed URL", filter.Config{DisallowURL: list("^/none", "users")}, get, false},
		{"not a disallowed URL", filter.Config{DisallowURL: list("^/none")}, get, true},
		{"allowed and disallowed URL", filter.Config{AllowURL: list("^/api"), DisallowURL: list("users")}, get, false},

		{"allowed header", filter.Config{AllowHeader: list("User-Agent: ^Mozilla")}, get, true},
		{"header in another case, no space", filter.Config{AllowHeader: list("USER-agent:^Mozilla")}, get, true},
		{"name with spaces around", filter.Config{AllowHeader: list(" User-Agent : ^Mozilla")}, get, true},
		{"all headers have to be allowed", filter.Config{AllowHeader: list("User-Agent: ^Mozilla", "Host: staging")}, get, false},
		{"all headers are allowed", filter.Config{AllowHeader: list("User-Agent: ^Mozilla", "Host: example")}, get, true},
		{"a missing header is not allowed", filter.Config{AllowHeader: list("X-None: .*")}, get, false},
		{"any value", filter.Config{AllowHeader: list("Host:")}, get, true},
		{"an empty value", filter.Config{AllowHeader: list("X-Empty: ^$")}, get, true},
		{"colons in the pattern", filter.Config{AllowHeader: list("Host: ^[^:]+(:80)?$")}, get, true},
		{"the second of two headers", filter.Config{AllowHeader: list("X-A: two")}, "GET / HTTP/1.1\nX-A: one\nX-A: two\n\n", true},
		{"a header is not in the body", filter.Config{AllowHeader: list("X-A: .")}, "POST / HTTP/1.1\nContent-Length: 6\n\nX-A: 1", false},
		{"disallowed header", filter.Config{DisallowHeader: list("user-agent: Mozilla")}, get, false},
		{"not a disallowed value", filter.Config{DisallowHeader: list("User-Agent: curl")}, get, true},
		{"a missing header is not disallowed", filter.Config{DisallowHeader: list("X-None: .*")}, get, true},
		{"one of the disallowed", filter.Config{DisallowHeader: list("X-None: .", "Host: example")}, get, false},
		{"disallowed, the second of two", filter.Config{DisallowHeader: list("X-A: two")}, "GET / HTTP/1.1\nX-A: one\nX-A: two\n\n", false},

		{"credentials that match", filter.Config{BasicAuthFilter: list("^alice:")}, "GET / HTTP/1.1\nAuthorization: " + basic("alice:secret") + "\n\n", true},
		{"credentials that do not", filter.Config{BasicAuthFilter: list("^alice:")}, "GET / HTTP/1.1\nAuthorization: " + basic("bob:alice:") + "\n\n", false},
		{"credentials that match one of two", filter.Config{BasicAuthFilter: list("^alice:", ":x$")}, "GET / HTTP/1.1\nAuthorization: " + basic("alice:secret") + "\n\n", false},
		{"scheme in lower case, no padding", filter.Config{BasicAuthFilter: list("^a:b$")}, "GET / HTTP/1.1\nauthorization: basic   YTpi\n\n", true},
		{"missing padding", filter.Config{BasicAuthFilter: list("^al:b$")}, "GET / HTTP/1.1\nauthorization: Basic YWw6Yg\n\n", true},
		{"credentials that are not base64", filter.Config{BasicAuthFilter: list(".*")}, "GET / HTTP/1.1\nAuthorization: Basic !!!\n\n", false},
		{"no credentials", filter.Config{BasicAuthFilter: list("^alice:")}, get, true},
		{"another scheme", filter.Config{BasicAuthFilter: list("^alice:")}, "GET / HTTP/1.1\nAuthorization: Bearer abc\n\n", true},
		{"a scheme that begins with basic", filter.Config{BasicAuthFilter: list("^alice:")}, "GET / HTTP/1.1\nAuthorization: Basically abc\n\n", true},
		{"a scheme alone", filter.Config{BasicAuthFilter: list("^alice:")}, "GET / HTTP/1.1\nAuthorization: Basic\n\n", true},

		{"rules see what was captured, not what is set", filter.Config{SetHeader: list("X-A: 1"), AllowHeader: list("X-A: 1")}, get, false},
		{"a rule sees the client's address", filter.Config{RealIPHeader: "X-Real-IP", AllowHeader: list(`x-real-ip: ^203\.0\.113\.7$`)}, get, true},
		{"not what the client claims", filter.Config{RealIPHeader: "X-Real-IP", AllowHeader: list(`X-Real-IP: ^10\.`)}, "GET / HTTP/1.1\nX-Real-IP: 10.0.0.1\n\n", false},
		{"other headers as they are", filter.Config{RealIPHeader: "X-Real-IP", AllowHeader: list("Host: example")}, get, true},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			m := request(tc.raw)
			before := bytes.Clone(m.Raw)
			got, r := chain(t, tc.cfg).Apply(m)
			switch {
			case !bytes.Equal(m.Raw, before):
				t.Errorf("the original became %q", m.Raw)
			case !tc.keep && (r != kagami.Filtered || got != nil):
				t.Errorf("%v, %v: want it filtered", got, r)
			case tc.keep && (r != kagami.Delivered || got == nil):
				t.Errorf("%v, %v: want it kept", got, r)
			case tc.keep && tc.cfg.RealIPHeader == "" && got != m:
				t.Error("kept as another message")
			}
		})
	}
}

func TestChain(t *testing.T) {
	var asked []string
	say := func(name string, r kagami.Reason) filter.Filter {
		return filter.FilterFunc(func(m *kagami.Message) (*kagami.Message, kagami.Reason) {
			asked = append(asked, name)
			return m, r
		})
	}
	m := request(get)
	inner := filter.Chain{say("b", kagami.Delivered), say("c", kagami.SampledOut), say("d", kagami.Delivered)}
	got, r := filter.Chain{say("a", kagami.Delivered), inner, say("e", kagami.Delivered)}.Apply(m)
	if got != nil || r != kagami.SampledOut || strings.Join(asked, "") != "abc" {
		t.Errorf("%v, %v; asked %v", got, r, asked)
	}
	for _, kind := range []kagami.Kind{kagami.Response, kagami.Replayed} {
		asked = nil
		answer := &kagami.Message{Kind: kind, Raw: []byte("HTTP/1.1 200 OK\r\n\r\n"), Exchange: &kagami.Exchange{}}
		if got, r := inner.Apply(answer); got != answer || r != kagami.Delivered || asked != nil {
			t.Errorf("%v: %v, %v; asked %v", kind, got, r, asked)
		}
	}
	if got, r := filter.Chain(nil).Apply(m); got != m || r != kagami.Delivered {
		t.Errorf("no filters: %v, %v", got, r)
	}
}

func TestSafeMethods(t *testing.T) {
	f := filter.SafeMethods()
	if got, r := f.Apply(request(post)); got != nil || r != kagami.Filtered {
		t.Errorf("POST: %v, %v", got, r)
	}
	m := request(get)
	if got, r := f.Apply(m); got != m || r != kagami.Delivered {
		t.Errorf("GET: %v, %v", got, r)
	}
}

func TestNewMakesNothingOfNothing(t *testing.T) {
	if c := chain(t, filter.Config{}); len(c) != 0 {
		t.Errorf("%d filters", len(c))
	}
	if c := chain(t, filter.Config{RealIPHeader: "X-Real-IP"}); len(c) != 1 {
		t.Errorf("%d filters for one edit", len(c))
	}
}

// The rules given to New can be changed afterwards.
func TestNewKeepsNoSlice(t *testing.T) {
	methods := list("GET")
	c := chain(t, filter.Config{AllowMethod: methods})
	methods[0] = "POST"
	if _, r := c.Apply(request(get)); r != kagami.Delivered {
		t.Errorf("GET: %v", r)
	}
}

func TestOrderIsKeepSampleEdit(t *testing.T) {
	var saw []string
	cfg := filter.Config{
		SetHeader:   list("X-Set: 1"),
		AllowMethod: list("GET"),
		Sample: filter.FilterFunc(func(m *kagami.Message) (*kagami.Message, kagami.Reason) {
			saw = append(saw, string(m.Raw))
			return m, kagami.Delivered
		}),
	}
	c := chain(t, cfg)
	if _, r := c.Apply(request(post)); r != kagami.Filtered || len(saw) != 0 {
		t.Errorf("POST: %v, the sample saw %q", r, saw)
	}
	m := request(get)
	got, r := c.Apply(m)
	if r != kagami.Delivered || len(saw) != 1 || saw[0] != string(m.Raw) {
		t.Errorf("GET: %v, the sample saw %q", r, saw)
	}
	if !bytes.Contains(got.Raw, []byte("X-Set: 1\r\n")) {
		t.Errorf("not edited: %q", got.Raw)
	}
}
