package filter_test

import (
	"testing"

	"kagami"
	"kagami/filter"
)

const browser = "GET /api/users?id=7&session=4711 HTTP/1.1\nHost: www.example.com\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\n" +
	"Accept: text/html,application/xhtml+xml\nAccept-Language: en\nAccept-Encoding: gzip, deflate, br\nCookie: theme=dark; session=4711\n" +
	"X-Forwarded-For: 203.0.113.9\nConnection: keep-alive\n\n"

func benchmark(b *testing.B, f filter.Filter) {
	b.Helper()
	m := request(browser)
	b.ReportAllocs()
	b.SetBytes(int64(len(m.Raw)))
	for b.Loop() {
		if _, r := f.Apply(m); r != kagami.Delivered {
			b.Fatal(r)
		}
	}
}

func BenchmarkKeep(b *testing.B) {
	benchmark(b, chain(b, filter.Config{
		AllowMethod: list("GET", "HEAD"),
		AllowURL:    list("^/api/"),
		AllowHeader: list("User-Agent: Mozilla"),
		DisallowURL: list(`\.png$`),
	}))
}

func BenchmarkKeepMethod(b *testing.B) {
	benchmark(b, chain(b, filter.Config{AllowMethod: list("GET", "HEAD")}))
}

func BenchmarkLimiters(b *testing.B) {
	benchmark(b, chain(b, filter.Config{HeaderLimiter: list("X-Forwarded-For: 99.9%"), ParamLimiter: list("id: 99.9%")}))
}

func BenchmarkSample(b *testing.B) {
	for _, by := range []string{"request", "connection", "client", "header:X-Forwarded-For", "cookie:session", "param:session"} {
		b.Run(by, func(b *testing.B) { benchmark(b, newSample(b, "99.9999%", by)) })
	}
}

func BenchmarkSetHeader(b *testing.B) {
	benchmark(b, chain(b, filter.Config{SetHeader: list("X-Mirror: 1")}))
}

func BenchmarkRewriteURL(b *testing.B) {
	benchmark(b, chain(b, filter.Config{RewriteURL: list("^/api/(.*):/v2/$1")}))
}

func BenchmarkEditWithoutChange(b *testing.B) {
	benchmark(b, chain(b, filter.Config{RewriteURL: list("^/none:/x"), RewriteHeader: list("X-None: a,b")}))
}
