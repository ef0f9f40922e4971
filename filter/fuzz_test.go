package filter_test

import (
	"bytes"
	"net/netip"
	"testing"

	"kagami"
	"kagami/filter"
	"kagami/internal/http1"
)

// everyKind are chains that together have every kind of filter. The first ones
// keep everything, so that the edits are reached.
func everyKind(t testing.TB) []filter.Chain {
	edits := filter.Config{
		RealIPHeader:  "X-Real-IP",
		SetHeader:     list("X-A: 1", "Host: staging", "Cookie: none"),
		SetParam:      list("id=1", "a b=c&d"),
		RewriteURL:    list("^/none:/x", "/(.*)/(.*):/$2/$1", "a+:", "^:/b"),
		RewriteHeader: list("X-B: (.*)b,$1", "x-c: .,", "Accept: .*,a"),
	}
	keep := filter.Config{
		AllowMethod:     list("GET", "POST"),
		DisallowMethod:  list("PUT"),
		AllowURL:        list("a", "^/"),
		DisallowURL:     list("no"),
		AllowHeader:     list("Host: .*"),
		DisallowHeader:  list("X-No: a+"),
		BasicAuthFilter: list("^a"),
		HeaderLimiter:   list("X-B: 50.5%"),
		ParamLimiter:    list("id: 50.5%"),
	}
	all := keep
	all.RealIPHeader, all.SetHeader, all.SetParam, all.RewriteURL, all.RewriteHeader =
		edits.RealIPHeader, edits.SetHeader, edits.SetParam, edits.RewriteURL, edits.RewriteHeader
	all.Sample = filter.Chain{newSample(t, "99%", "header:X-B"), newSample(t, "99%", "cookie:id"), newSample(t, "99%", "param:id")}
	chains := []filter.Chain{chain(t, edits), chain(t, keep), chain(t, all), {filter.SafeMethods()}}
	for _, cfg := range []filter.Config{
		{AllowMethod: keep.AllowMethod}, {DisallowMethod: keep.DisallowMethod}, {AllowURL: keep.AllowURL}, {DisallowURL: keep.DisallowURL},
		{AllowHeader: keep.AllowHeader}, {DisallowHeader: keep.DisallowHeader}, {BasicAuthFilter: keep.BasicAuthFilter},
		{HeaderLimiter: keep.HeaderLimiter}, {ParamLimiter: keep.ParamLimiter},
		{SetHeader: edits.SetHeader}, {SetParam: edits.SetParam}, {RewriteURL: edits.RewriteURL}, {RewriteHeader: edits.RewriteHeader},
		{Sample: all.Sample},
	} {
		chains = append(chains, chain(t, cfg))
	}
	return chains
}

// FuzzFilter: whatever bytes a message has, no filter panics, changes the
// message it was given or its body, or says two things.
func FuzzFilter(f *testing.F) {
	for _, seed := range []string{
		get, post, "", "\n", "GET", "GET / HTTP/1.1", "GET / HTTP/1.1\n\n", "GET * HTTP/1.1\nX-B: abb\nX-B:\nx-c\n\nbody",
		"GET  /a/b?id=1&id=2#x HTTP/1.1\nCookie: id=1;;=;id\nAuthorization: Basic YTpi\n fold\n\n",
		"\n\nPOST http://h?id HTTP/1.0\nHost: a\nHost: b\nX-No : aaa\n", "CONNECT h:1 HTTP/1.1\nAccept:\n\n", "\x16\x03\x01\x00",
	} {
		f.Add(request(seed).Raw)
		f.Add([]byte(seed))
	}
	chains := everyKind(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		for i, c := range chains {
			// The bytes that follow in memory belong to somebody else.
			room := append(bytes.Clone(raw), "somebody else's"...)
			m := &kagami.Message{
				Kind: kagami.Request, Proto: kagami.HTTP1, Raw: room[:len(raw)],
				Client: netip.MustParseAddrPort("10.0.0.1:1"), Exchange: &kagami.Exchange{},
			}
			was := *m
			got, r := c.Apply(m)
			if string(room) != string(raw)+"somebody else's" || len(m.Raw) != len(was.Raw) || m.Client != was.Client || m.Kind != was.Kind || m.Hop != was.Hop {
				t.Fatalf("chain %d changed the original: %q", i, room)
			}
			if (got == nil) != (r != kagami.Delivered) {
				t.Fatalf("chain %d: %v, %v", i, got, r)
			}
			if got == nil {
				continue
			}
			if _, body := http1.SplitHead(raw); !bytes.HasSuffix(got.Raw, body) {
				t.Fatalf("chain %d changed the body: %q to %q", i, raw, got.Raw)
			}
			if got != m && bytes.Equal(got.Raw, raw) {
				t.Fatalf("chain %d made another message of the same bytes %q", i, raw)
			}
			again, r2 := c.Apply(m)
			if r2 != r || !bytes.Equal(again.Raw, got.Raw) {
				t.Fatalf("chain %d says %v, then %v", i, r, r2)
			}
		}
	})
}

// FuzzNew: no rule makes New panic, and one that it takes can be applied.
func FuzzNew(f *testing.F) {
	for _, seed := range []string{"", "GET", "Host: a", "a=b", "/a:/b$1", "X: (a),$1", "X: 25%", "x:1/3", "/(:", "$", "${", "a:${a}$$", ":", ",", "\r\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, rule string) {
		rules := list(rule)
		for i, cfg := range []filter.Config{
			{AllowMethod: rules}, {AllowURL: rules}, {AllowHeader: rules}, {BasicAuthFilter: rules}, {HeaderLimiter: rules}, {ParamLimiter: rules},
			{SetHeader: rules}, {SetParam: rules}, {RewriteURL: rules}, {RewriteHeader: rules}, {RealIPHeader: rule},
		} {
			cfg.SetsHost()
			c, err := filter.New(cfg)
			if err != nil {
				continue
			}
			m := request("GET /a?b=c HTTP/1.1\nHost: a\nX: 1\n\nbody")
			got, r := c.Apply(m)
			if r != kagami.Delivered {
				continue
			}
			// What was a whole request is one still, with the same fields but for one more.
			before, _ := http1.ParseHead(m.Raw, false)
			after, err := http1.ParseHead(got.Raw, false)
			if err != nil || after.Ambiguous || string(after.Method) != string(before.Method) || len(got.Raw)-after.Len != len("body") {
				t.Fatalf("config %d, %q made %q of the request: %v", i, rule, got.Raw, err)
			}
		}
		if f, err := filter.NewSample(filter.SampleConfig{By: rule}); err == nil {
			if _, r := f.Apply(request(get)); r != kagami.SampledOut {
				t.Fatalf("by %q: %v of an empty share", rule, r)
			}
		}
	})
}
