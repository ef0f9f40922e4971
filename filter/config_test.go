package filter_test

import (
	"strings"
	"testing"

	"kagami"
	"kagami/filter"
)

func TestErrorsSayWhatToWrite(t *testing.T) {
	tests := []struct {
		name string
		cfg  filter.Config
		want string
	}{
		{"method in lower case", filter.Config{AllowMethod: list("GET", "post")}, `--http-allow-method "post": methods mind letter case: write POST`},
		{"methods in one", filter.Config{AllowMethod: list("GET,POST")}, `--http-allow-method "GET,POST": not a method: want one as in GET; repeat the flag for several`},
		{"no method", filter.Config{DisallowMethod: list("")}, `--http-disallow-method "": not a method`},

		{"pattern that is not closed", filter.Config{AllowURL: list("/api", "/(a")}, `--http-allow-url "/(a": missing closing ) at "/(a"; write \ before a character that is meant as it is`},
		{"shell pattern", filter.Config{DisallowURL: list("*.png")}, `--http-disallow-url "*.png": missing argument to repetition operator at "*"; write .* for anything, or \ before`},
		{"look-ahead", filter.Config{AllowURL: list("^/(?!admin)")}, `invalid or unsupported Perl syntax at "(?!"; there is no look-ahead`},
		{"no pattern", filter.Config{DisallowURL: list("")}, `--http-disallow-url "": the regular expression is empty: write .* for anything`},

		{"header without a colon", filter.Config{AllowHeader: list("Host")}, `--http-allow-header "Host": want NAME: REGEXP`},
		{"header without a name", filter.Config{AllowHeader: list(": a")}, `--http-allow-header ": a": "" is not a header's name: want NAME: REGEXP`},
		{"header with a strange name", filter.Config{DisallowHeader: list("a b: c")}, `--http-disallow-header "a b: c": "a b" is not a header's name`},
		{"header with a bad pattern", filter.Config{DisallowHeader: list("A: [")}, `--http-disallow-header "A: [": missing closing ] at "["`},
		{"credentials with a bad pattern", filter.Config{BasicAuthFilter: list("a)")}, `--http-basic-auth-filter "a)": unexpected ) at "a)"`},

		{"limiter without a percent sign", filter.Config{HeaderLimiter: list("X: 25")}, `--http-header-limiter "X: 25": want a percentage from 0% to 100%, as in NAME: 25%`},
		{"limiter over 100", filter.Config{HeaderLimiter: list("X: 101%")}, `want a percentage from 0% to 100%`},
		{"limiter of nothing", filter.Config{ParamLimiter: list("x: 1/0")}, `--http-param-limiter "x: 1/0": want a percentage`},
		{"limiter of no number", filter.Config{ParamLimiter: list("x: NaN%")}, `--http-param-limiter "x: NaN%": want a percentage`},
		{"limiter below 0", filter.Config{ParamLimiter: list("x: -1%")}, `want a percentage`},
		{"limiter without a name", filter.Config{ParamLimiter: list("25%")}, `--http-param-limiter "25%": want NAME: PERCENT, as in user_id: 25%`},
		{"header limiter without a name", filter.Config{HeaderLimiter: list("25%")}, `--http-header-limiter "25%": want NAME: PERCENT`},

		{"set header without a colon", filter.Config{SetHeader: list("Host")}, `--http-set-header "Host": want NAME: VALUE`},
		{"set the length", filter.Config{SetHeader: list("content-length: 0")}, `--http-set-header "content-length: 0": content-length says where the request ends`},
		{"rewrite the transfer coding", filter.Config{RewriteHeader: list("Transfer-Encoding: chunked,gzip")}, `--http-rewrite-header "Transfer-Encoding: chunked,gzip": Transfer-Encoding says where the request ends`},
		{"set a second line", filter.Config{SetHeader: list("A: b\r\nC: d")}, `--http-set-header "A: b\r\nC: d": a line break or NUL`},
		{"set parameter without a value", filter.Config{SetParam: list("a")}, `--http-set-param "a": want NAME=VALUE, as in api_key=test`},
		{"set parameter without a name", filter.Config{SetParam: list("=a")}, `--http-set-param "=a": want NAME=VALUE`},
		{"real IP in two words", filter.Config{RealIPHeader: "X Real"}, `--input-raw-realip-header "X Real": not a header's name: want one as in X-Real-IP`},

		{"rewrite without a replacement", filter.Config{RewriteURL: list("/a")}, `--http-rewrite-url "/a": want REGEXP:REPLACEMENT, as in /v1/(.*):/v2/$1`},
		{"rewrite nothing", filter.Config{RewriteURL: list(":/a:/b")}, `--http-rewrite-url ":/a:/b": the regular expression is empty`},
		{"rewrite with a bad pattern", filter.Config{RewriteURL: list("/(a:/b")}, `--http-rewrite-url "/(a:/b": missing closing ) at "/(a"`},
		{"rewrite to two words", filter.Config{RewriteURL: list("/a:/b c")}, `--http-rewrite-url "/a:/b c": a URL has no spaces: write %20 in the replacement`},
		{"rewrite to two lines", filter.Config{RewriteURL: list("/a:/b\n")}, `a line break or NUL`},
		{"a group that is not there", filter.Config{RewriteURL: list("/(a):/$2")}, `there is no group "2" to take the place of $2; write $$ for a dollar sign`},
		{"a group that runs on", filter.Config{RewriteURL: list("/(a):/$1x")}, `there is no group "1x": write ${1}x, or $$ for a dollar sign`},
		{"a name that is no group", filter.Config{RewriteURL: list("/a:/a?$top=1")}, `there is no group "top"`},
		{"a name in another script", filter.Config{RewriteURL: list("/a:/$é")}, `there is no group "é"`},
		{"a name in braces", filter.Config{RewriteURL: list("/a:/${top}x")}, `there is no group "top"`},
		{"a group of a great number", filter.Config{RewriteURL: list("/(a):/$99999999999999999999")}, `there is no group "99999999999999999999"`},
		{"rewrite header without a colon", filter.Config{RewriteHeader: list("a,b")}, `--http-rewrite-header "a,b": want NAME: REGEXP,REPLACEMENT`},
		{"rewrite header without a comma", filter.Config{RewriteHeader: list("Host: a")}, `--http-rewrite-header "Host: a": want NAME: REGEXP,REPLACEMENT, as in Host`},
		{"rewrite header with a bad pattern", filter.Config{RewriteHeader: list("Host: a(,b")}, `--http-rewrite-header "Host: a(,b": missing closing ) at "a("`},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			c, err := filter.New(tc.cfg)
			if err == nil {
				t.Fatalf("a chain of %d filters", len(c))
			}
			if c != nil {
				t.Error("a chain beside the error")
			}
			if !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s\nwant %s", err, tc.want)
			}
		})
	}
}

// What looks like a group and is none is taken as it is.
func TestDollarsThatAreNoGroups(t *testing.T) {
	c := chain(t, filter.Config{RewriteURL: list("^/a:/$0/$$1/$/${0}/${a-b}${/$")})
	got, r := c.Apply(request("GET /a HTTP/1.1\n\n"))
	if want := "GET //a/$1/$//a/${a-b}${/$ HTTP/1.1\r\n\r\n"; r != kagami.Delivered || string(got.Raw) != want {
		t.Errorf("%q, %v, want %q", got.Raw, r, want)
	}
}
