package filter_test

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"kagami"
	"kagami/filter"
)

func TestEdit(t *testing.T) {
	const two = "GET /a HTTP/1.1\nCookie: id=1; x=1\nhost: example.com\nCookie: id=2\n\n"
	tests := []struct {
		name string
		cfg  filter.Config
		raw  string
		want string // "" is: the same message
	}{
		{"nothing", filter.Config{}, get, ""},

		{"set a header that is there", filter.Config{SetHeader: list("Host: staging.test")}, two,
			"GET /a HTTP/1.1\nCookie: id=1; x=1\nhost: staging.test\nCookie: id=2\n\n"},
		{"set a header that is not", filter.Config{SetHeader: list("X-Test:1")}, post,
			"POST /form HTTP/1.1\nHost: example.com\nContent-Length: 3\nX-Test: 1\n\na=b"},
		{"set one that is there twice", filter.Config{SetHeader: list("cookie: none")}, two,
			"GET /a HTTP/1.1\nCookie: none\nhost: example.com\n\n"},
		{"set it to what it is", filter.Config{SetHeader: list("Host: example.com")}, get, ""},
		{"set two", filter.Config{SetHeader: list("X-A: 1", "X-B: a:b,c")}, "GET / HTTP/1.1\n\n",
			"GET / HTTP/1.1\nX-A: 1\nX-B: a:b,c\n\n"},
		{"the later one wins", filter.Config{SetHeader: list("X-A: 1", "X-A: 2")}, "GET / HTTP/1.1\n\n",
			"GET / HTTP/1.1\nX-A: 2\n\n"},

		{"set a parameter that is there", filter.Config{SetParam: list("id=8")}, "GET /?id=7&q=a%20b HTTP/1.1\n\n",
			"GET /?id=8&q=a%20b HTTP/1.1\n\n"},
		{"set one that is not", filter.Config{SetParam: list("key=x%20y")}, "GET /?id=7 HTTP/1.1\n\n",
			"GET /?id=7&key=x%20y HTTP/1.1\n\n"},
		{"set the only one", filter.Config{SetParam: list("key=a=b")}, "GET / HTTP/1.1\n\n", "GET /?key=a=b HTTP/1.1\n\n"},
		{"set it to what it is", filter.Config{SetParam: list("id=7")}, get, ""},
		{"no parameters of *", filter.Config{SetParam: list("id=7")}, "OPTIONS * HTTP/1.1\n\n", ""},
		{"nor of a host", filter.Config{SetParam: list("id=7")}, "CONNECT example.com:443 HTTP/1.1\n\n", ""},
		{"nor of what is no request", filter.Config{SetParam: list("id=7")}, "nonsense\n\n", ""},

		{"rewrite a URL", filter.Config{RewriteURL: list("/v1/user/([^/]+)/ping:/v2/$1/pong?x=${1}y")}, "GET /v1/user/joe/ping HTTP/1.1\n\n",
			"GET /v2/joe/pong?x=joey HTTP/1.1\n\n"},
		{"the first rule that matches is the only one", filter.Config{RewriteURL: list("/none:/x", "/a:/b", "/b:/c")}, "GET /a HTTP/1.1\n\n",
			"GET /b HTTP/1.1\n\n"},
		{"every match of it", filter.Config{RewriteURL: list("a:b")}, "GET /a/a?a HTTP/1.1\n\n", "GET /b/b?b HTTP/1.1\n\n"},
		{"no rule matches", filter.Config{RewriteURL: list("/none:/x")}, get, ""},
		{"colons in the replacement", filter.Config{RewriteURL: list("^/a:/b:c")}, "GET /a HTTP/1.1\n\n", "GET /b:c HTTP/1.1\n\n"},
		{"a colon in the regular expression", filter.Config{RewriteURL: list("^/(?:a|b):/x")}, "GET /b/c HTTP/1.1\n\n", "GET /x/c HTTP/1.1\n\n"},
		{"a dollar sign", filter.Config{RewriteURL: list("^/a:/a?$$top=1")}, "GET /a HTTP/1.1\n\n", "GET /a?$top=1 HTTP/1.1\n\n"},
		{"a named group", filter.Config{RewriteURL: list(`^/(?P<who>\w+)$:/u?name=$who`)}, "GET /joe HTTP/1.1\n\n", "GET /u?name=joe HTTP/1.1\n\n"},
		{"nothing left", filter.Config{RewriteURL: list("^/a:")}, "GET /a HTTP/1.1\n\n", "GET / HTTP/1.1\n\n"},
		{"a query left", filter.Config{RewriteURL: list("^/a:")}, "GET /a?x=1 HTTP/1.1\n\n", "GET /?x=1 HTTP/1.1\n\n"},

		{"rewrite a header", filter.Config{RewriteHeader: list(`Host: (.*)\.com,$1.test`)}, two,
			"GET /a HTTP/1.1\nCookie: id=1; x=1\nhost: example.test\nCookie: id=2\n\n"},
		{"rewrite each of that name", filter.Config{RewriteHeader: list(`cookie: id=(\d),id=9$1`)}, two,
			"GET /a HTTP/1.1\nCookie: id=91; x=1\nhost: example.com\nCookie: id=92\n\n"},
		{"a missing header does not stop the rest", filter.Config{RewriteHeader: list("X-None: a,b", "Host: example,staging")}, "GET / HTTP/1.1\nHost: example.com\n\n",
			"GET / HTTP/1.1\nHost: staging.com\n\n"},
		{"rewrite what was rewritten", filter.Config{RewriteHeader: list("Host: ^a$,b", "Host: ^b$,c")}, "GET / HTTP/1.1\nHost: a\n\n",
			"GET / HTTP/1.1\nHost: c\n\n"},
		{"a value that does not match", filter.Config{RewriteHeader: list("Host: staging,x")}, get, ""},
		{"commas in the replacement", filter.Config{RewriteHeader: list("Accept: .+,a,b")}, "GET / HTTP/1.1\nAccept: x\n\n", "GET / HTTP/1.1\nAccept: a,b\n\n"},
		{"a comma in the regular expression", filter.Config{RewriteHeader: list("Accept: [,;] *,|")}, "GET / HTTP/1.1\nAccept: x, y; z\n\n", "GET / HTTP/1.1\nAccept: x|y|z\n\n"},
		{"an empty value stays empty", filter.Config{RewriteHeader: list("X-Empty: .*,x")}, get, ""},
		{"spaces around a value stay", filter.Config{RewriteHeader: list("A: .+,x")}, "GET / HTTP/1.1\nA:  b  \n\n", "GET / HTTP/1.1\nA:  x  \n\n"},
		{"a folded value can't become two fields", filter.Config{RewriteHeader: list("A: b +,c")}, "GET / HTTP/1.1\nA: x\n b X-Evil: 1\n\n", "GET / HTTP/1.1\nA: x   cX-Evil: 1\n\n"},
		{"even without its spaces", filter.Config{RewriteHeader: list("A: [ ],")}, "GET / HTTP/1.1\nA: x\n X-Evil: 1\n\n", "GET / HTTP/1.1\nA: x  X-Evil:1\n\n"},
		{"what was set is rewritten", filter.Config{SetHeader: list("X-A: 1"), RewriteHeader: list("X-A: 1,2")}, "GET / HTTP/1.1\n\n", "GET / HTTP/1.1\nX-A: 2\n\n"},
		{"what was set is rewritten, in a URL", filter.Config{SetParam: list("a=1"), RewriteURL: list("a=1:b=2")}, "GET / HTTP/1.1\n\n", "GET /?b=2 HTTP/1.1\n\n"},

		{"real IP", filter.Config{RealIPHeader: "X-Real-IP"}, "GET / HTTP/1.1\nHost: a\n\n", "GET / HTTP/1.1\nHost: a\nX-Real-IP: 203.0.113.7\n\n"},
		{"real IP instead of a claimed one", filter.Config{RealIPHeader: "X-Real-IP"}, "GET / HTTP/1.1\nx-real-ip: 10.0.0.1\nX-Real-IP: 10.0.0.2\n\n", "GET / HTTP/1.1\nx-real-ip: 203.0.113.7\n\n"},
		{"set header after real IP", filter.Config{RealIPHeader: "X-A", SetHeader: list("X-A: 1")}, "GET / HTTP/1.1\n\n", "GET / HTTP/1.1\nX-A: 1\n\n"},

		{"nothing but what was asked", filter.Config{SetParam: list("p=1")}, "\nget   /x\tHTTP/1.1\n\n", ""},
		{"all else as it was", filter.Config{SetHeader: list("B: 2")}, "GET /%7e HTTP/1.0\na:1\nB : 1\n fold\nC:\t3\n\nbody\n\nB: 1\n",
			"GET /%7e HTTP/1.0\na:1\nB : 2\nC:\t3\n\nbody\n\nB: 1\n"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			m := request(tc.raw)
			before, was := bytes.Clone(m.Raw), *m
			got, r := chain(t, tc.cfg).Apply(m)
			if r != kagami.Delivered {
				t.Fatal(r)
			}
			if !bytes.Equal(m.Raw, before) {
				t.Errorf("the original became %q", m.Raw)
			}
			if tc.want == "" {
				if got != m {
					t.Errorf("another message: %q", got.Raw)
				}
				return
			}
			if want := strings.ReplaceAll(tc.want, "\n", "\r\n"); string(got.Raw) != want {
				t.Errorf("%q\nwant %q", got.Raw, want)
			}
			if got == m || got.Exchange != m.Exchange || got.Client != was.Client || got.Kind != was.Kind || got.Proto != was.Proto {
				t.Errorf("edited to %+v", got)
			}
			if len(got.Raw) > 0 && &got.Raw[len(got.Raw)-1] == &m.Raw[len(m.Raw)-1] {
				t.Error("the edited message shares its bytes with the original")
			}
		})
	}
}

func TestRealIPOfEachKindOfAddress(t *testing.T) {
	tests := map[string]string{
		"192.0.2.1:1":          "192.0.2.1",
		"[::ffff:192.0.2.1]:1": "192.0.2.1",
		"[2001:db8::1]:1":      "2001:db8::1",
		"[fe80::1%eth0]:1":     "fe80::1",
	}
	c := chain(t, filter.Config{RealIPHeader: "X-Real-IP"})
	for client, want := range tests {
		m := request(get)
		m.Client = netip.MustParseAddrPort(client)
		if got, _ := c.Apply(m); !bytes.Contains(got.Raw, []byte("\r\nX-Real-IP: "+want+"\r\n")) {
			t.Errorf("%s: %q", client, got.Raw)
		}
	}
	m := request(get)
	m.Client = netip.AddrPort{}
	if got, _ := c.Apply(m); got != m {
		t.Errorf("client unknown: %q", got.Raw)
	}
}

func TestWhatIsNoHTTPIsNotEdited(t *testing.T) {
	c := chain(t, filter.Config{SetHeader: list("X-A: 1"), RewriteURL: list("/:/b"), RealIPHeader: "X-B"})
	for _, p := range []kagami.Proto{kagami.WebSocket, kagami.Binary} {
		m := request(get)
		m.Proto = p
		if got, r := c.Apply(m); got != m || r != kagami.Delivered {
			t.Errorf("%v: %q, %v", p, got.Raw, r)
		}
	}
}

// A message that was cut short can be edited too, as far as it goes.
func TestEditOfATruncatedHead(t *testing.T) {
	c := chain(t, filter.Config{SetHeader: list("X-A: 1")})
	m := request("GET / HTTP/1.1\nHost: a\nX-Lo")
	got, r := c.Apply(m)
	if want := "GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nX-Lo"; r != kagami.Delivered || string(got.Raw) != want {
		t.Errorf("%q, %v, want %q", got.Raw, r, want)
	}
}

func TestSetsHost(t *testing.T) {
	tests := []struct {
		name string
		cfg  filter.Config
		want bool
	}{
		{"nothing", filter.Config{}, false},
		{"other headers", filter.Config{SetHeader: list("X-Host: a"), RewriteHeader: list("Hosts: a,b")}, false},
		{"set", filter.Config{SetHeader: list("X-A: 1", "Host: a")}, true},
		{"set in another case", filter.Config{SetHeader: list("hOST :a")}, true},
		{"rewritten", filter.Config{RewriteHeader: list("host: a,b")}, true},
	}
	for _, tc := range tests {
		if got := tc.cfg.SetsHost(); got != tc.want {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
}
