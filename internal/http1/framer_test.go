package http1_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"kagami/internal/http1"
)

// A step is one message on the wire and what the Framer makes of it: a
// summary, or how it ends otherwise.
type step struct {
	raw     string
	want    string
	answers string // the method of the request, of a response
}

// A trace is one direction of a connection.
type trace struct {
	name     string
	response bool
	maxHead  int
	eof      bool // the sender closes at the end
	steps    []step
}

var traces = []trace{
	// Requests.
	{name: "GET", steps: []step{
		{raw: "GET /a?b=c HTTP/1.1\r\nHost: h\r\n\r\n", want: "GET /a?b=c"},
	}},
	{name: "no header fields at all", steps: []step{
		{raw: "GET / HTTP/1.0\r\n\r\n", want: "GET /"},
	}},
	{name: "pipelined requests in one segment", steps: []step{
		{raw: "GET /1 HTTP/1.1\r\n\r\n", want: "GET /1"},
		{raw: "POST /2 HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", want: "POST /2 body=3"},
		{raw: "GET /3 HTTP/1.1\r\n\r\n", want: "GET /3"},
	}},
	{name: "a body that reads like a request", steps: []step{
		{raw: "POST / HTTP/1.1\r\ncontent-LENGTH:18\r\n\r\nGET / HTTP/1.1\r\n\r\n", want: "POST / body=18"},
		{raw: "GET /real HTTP/1.1\r\n\r\n", want: "GET /real"},
	}},
	{name: "Content-Length 0, and a long one with leading zeros", steps: []step{
		{raw: "PUT /0 HTTP/1.1\r\nContent-Length: 0\r\n\r\n", want: "PUT /0"},
		{raw: "PUT /5 HTTP/1.1\r\nContent-Length: 0000000000000000000000005 \r\n\r\nabcde", want: "PUT /5 body=5"},
	}},
	{name: "any token is a method", steps: []step{
		{raw: "PROPFIND /dav HTTP/1.1\r\n\r\n", want: "PROPFIND /dav"},
		{raw: "QUERY /q HTTP/1.1\r\nContent-Length: 1\r\n\r\n?", want: "QUERY /q body=1"},
		{raw: "get / HTTP/1.1\r\n\r\n", want: "get /"},
		{raw: "M-SEARCH * HTTP/1.1\r\n\r\n", want: "M-SEARCH *"},
		{raw: "!#$%&'*+-.^_`|~9 / HTTP/1.1\r\n\r\n", want: "!#$%&'*+-.^_`|~9 /"},
		{raw: strings.Repeat("M", 64) + " / HTTP/1.1\r\n\r\n", want: strings.Repeat("M", 64) + " /"},
	}},
	{name: "all forms of a target", steps: []step{
		{raw: "GET http://h:80/p HTTP/1.1\r\n\r\n", want: "GET http://h:80/p"},
		{raw: "CONNECT h:443 HTTP/1.1\r\n\r\n", want: "CONNECT h:443"},
		{raw: "OPTIONS * HTTP/1.1\r\n\r\n", want: "OPTIONS *"},
		{raw: "GET /日本 HTTP/1.1\r\n\r\n", want: "GET /日本"},
	}},
	{name: "a later minor version", steps: []step{
		{raw: "GET / HTTP/1.2\r\n\r\n", want: "GET /"},
	}},
	{name: "empty lines before a request", steps: []step{
		{raw: "\r\nGET /1 HTTP/1.1\r\n\r\n", want: "GET /1 skipped=2"},
		{raw: "\r\n\r\nGET /2 HTTP/1.1\r\n\r\n", want: "GET /2 skipped=4"},
		{raw: "\nGET /3 HTTP/1.1\r\n\r\n", want: "GET /3 skipped=1 ambiguous"},
	}},
	{name: "nothing but empty lines is no message", steps: []step{
		{raw: "GET / HTTP/1.1\r\n\r\n", want: "GET /"},
		{raw: "\r\n\r\n\r", want: ""},
	}},

	// Chunked bodies.
	{name: "chunked", steps: []step{
		{raw: "POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA\r\n0123456789\r\n0\r\n\r\n", want: "POST /c body=15"},
		{raw: "GET /d HTTP/1.1\r\n\r\n", want: "GET /d"},
	}},
	{name: "chunked in any letter case, behind another coding", steps: []step{
		{raw: "POST / HTTP/1.1\r\ntransfer-encoding: Chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", want: "POST / body=1"},
		{raw: "POST / HTTP/1.1\r\nTRANSFER-ENCODING:\tgzip , CHUNKED\t\r\n\r\n1\r\nx\r\n0\r\n\r\n", want: "POST / body=1"},
	}},
	{name: "chunk extensions and trailers", steps: []step{
		{raw: "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b;c=\"d;e\"\r\nhi\r\n0;last\r\nDigest: x\r\nFoo: bar\r\n\r\n", want: "POST / body=2"},
		{raw: "GET / HTTP/1.1\r\n\r\n", want: "GET /"},
	}},
	{name: "an empty chunked body", steps: []step{
		{raw: "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n000\r\n\r\n", want: "POST /"},
	}},
	{name: "the largest chunk size there is", steps: []step{
		{raw: "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0007fffffffffffffff\r\n123", want: "unfinished body=3 remaining=9223372036854775804"},
	}},
	{name: "a chunk size that overflows", steps: []step{
		{raw: "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n8000000000000000\r\n", want: "malformed chunked body"},
	}},
	{name: "no chunk size", steps: []step{
		{raw: "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n;x\r\n", want: "malformed chunked body"},
	}},
	{name: "a negative chunk size", steps: []step{
		{raw: "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", want: "malformed chunked body"},
	}},
	{name: "a chunk size with a prefix", steps: []step{
		{raw: "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\nA\r\n", want: "malformed chunked body"},
	}},
	{name: "a chunk size in two parts", steps: []step{
		{raw: "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1 1\r\n", want: "malformed chunked body"},
	}},
	{name: "more data than the chunk size says", steps: []step{
		{raw: "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n", want: "malformed chunked body"},
	}},
	{name: "a CR behind the chunk size and no LF", steps: []step{
		{raw: "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\rab\r\n0\r\n\r\n", want: "malformed chunked body"},
	}},
	{name: "a CR behind the data and no LF", steps: []step{
		{raw: "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r0\r\n\r\n", want: "malformed chunked body"},
	}},
	{name: "chunk framing that can be read in two ways", steps: []step{
		{raw: "POST /lf HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\nhi\r\n0\r\n\r\n", want: "POST /lf body=2 ambiguous"},
		{raw: "POST /data-lf HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\n0\r\n\r\n", want: "POST /data-lf body=2 ambiguous"},
		{raw: "POST /ext-lf HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2;x\nhi\r\n0\r\n\r\n", want: "POST /ext-lf body=2 ambiguous"},
		{raw: "POST /ext-empty HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2;\nhi\r\n0\r\n\r\n", want: "POST /ext-empty body=2 ambiguous"},
		{raw: "POST /ext-cr HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2;\rx\r\nhi\r\n0\r\n\r\n", want: "POST /ext-cr body=2 ambiguous"},
		{raw: "POST /blank HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2 \t;x\r\nhi\r\n0\r\n\r\n", want: "POST /blank body=2 ambiguous"},
		{raw: "POST /trailer HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\n\r\n", want: "POST /trailer ambiguous"},
		{raw: "POST /trailer-cr HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\rA: b\r\n\r\n", want: "POST /trailer-cr ambiguous"},
		{raw: "POST /trailer-crs HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\r\n\r\n", want: "POST /trailer-crs ambiguous"},
		{raw: "POST /end HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\n", want: "POST /end ambiguous"},
		{raw: "GET /clean HTTP/1.1\r\n\r\n", want: "GET /clean"},
	}},

	// Requests that recipients may read in two ways.
	{name: "bare LF", steps: []step{
		{raw: "GET /1 HTTP/1.1\nHost: h\n\n", want: "GET /1 ambiguous"},
		{raw: "GET /2 HTTP/1.1\r\nHost: h\n\r\n", want: "GET /2 ambiguous"},
		{raw: "GET /3 HTTP/1.1\r\nHost: h\r\n\n", want: "GET /3 ambiguous"},
		{raw: "POST /4 HTTP/1.1\nContent-Length: 2\n\nhi", want: "POST /4 body=2 ambiguous"},
	}},
	{name: "bare CR and NUL", steps: []step{
		{raw: "GET /1 HTTP/1.1\r\nA: b\rc\r\n\r\n", want: "GET /1 ambiguous"},
		{raw: "GET /2 HTTP/1.1\r\nA: b\r\r\n\r\n", want: "GET /2 ambiguous"},
		{raw: "GET /3 HTTP/1.1\r\n\rA: b\r\n\r\n", want: "GET /3 ambiguous"},
		{raw: "GET /4 HTTP/1.1\r\n\r\r\n\r\n", want: "GET /4 ambiguous"},
		{raw: "GET /5 HTTP/1.1\r\nA: b\x00\r\n\r\n", want: "GET /5 ambiguous"},
	}},
	{name: "obs-fold", steps: []step{
		{raw: "GET /1 HTTP/1.1\r\nA: b\r\n c\r\n\r\n", want: "GET /1 ambiguous"},
		{raw: "POST /2 HTTP/1.1\r\nContent-Length:\r\n\t2\r\n\r\nhi", want: "POST /2 body=2 ambiguous"},
		{raw: "POST /3 HTTP/1.1\r\nA: b\r\n Content-Length: 2\r\n \r\n\r\n", want: "POST /3 ambiguous"},
		{raw: "POST /4 HTTP/1.1\r\n A: b\r\n Content-Length: 2\r\n\r\n", want: "POST /4 ambiguous"},
		{raw: "POST /5 HTTP/1.1\r\nTransfer-Encoding:\r\n gzip,\r\n chunked\r\n\r\n0\r\n\r\n", want: "POST /5 ambiguous"},
	}},
	{name: "odd field names", steps: []step{
		{raw: "POST /1 HTTP/1.1\r\nContent-Length : 2\r\n\r\nhi", want: "POST /1 body=2 ambiguous"},
		{raw: "POST /2 HTTP/1.1\r\nContent Length: 2\r\n\r\n", want: "POST /2 ambiguous"},
		{raw: "POST /3 HTTP/1.1\r\nnothing\r\n\r\n", want: "POST /3 ambiguous"},
		{raw: "POST /4 HTTP/1.1\r\n: empty\r\n\r\n", want: "POST /4 ambiguous"},
		{raw: "POST /5 HTTP/1.1\r\nTransfer-Encoding\x0b: chunked\r\n\r\n", want: "POST /5 ambiguous"},
		{raw: "POST /6 HTTP/1.1\r\nlf\nCR\r\n\r\n", want: "POST /6 ambiguous"},
	}},
	{name: "whitespace in the start line", steps: []step{
		{raw: "GET /a b HTTP/1.1\r\n\r\n", want: "GET /a b ambiguous"},
		{raw: "GET  /1  HTTP/1.1\r\n\r\n", want: "GET /1 ambiguous"},
		{raw: "GET /2 HTTP/1.1 \r\n\r\n", want: "GET /2 ambiguous"},
		{raw: "GET /3\t HTTP/1.1\t\r\n\r\n", want: "GET /3 ambiguous"},
		{raw: "GET  HTTP/1.1\r\n\r\n", want: "GET  ambiguous"},
		{raw: "GET /4 HTTP/1.0 HTTP/1.1\r\n\r\n", want: "GET /4 HTTP/1.0 ambiguous"},
	}},
	{name: "Content-Length and Transfer-Encoding", steps: []step{
		{raw: "POST /1 HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", want: "POST /1 body=1 ambiguous"},
		{raw: "POST /2 HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: x\r\n\r\n1\r\nx\r\n0\r\n\r\n", want: "POST /2 body=1 ambiguous"},
	}},
	{name: "Content-Length more than once", steps: []step{
		{raw: "POST /same HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi", want: "POST /same body=2 ambiguous"},
		{raw: "POST /list HTTP/1.1\r\nContent-Length: 2, 2\r\n\r\nhi", want: "POST /list body=2 ambiguous"},
		{raw: "POST /first HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi", want: "POST /first body=2 ambiguous"},
		{raw: "POST /list-first HTTP/1.1\r\nContent-Length: 2,3\r\n\r\nhi", want: "POST /list-first body=2 ambiguous"},
		{raw: "POST /valid HTTP/1.1\r\nContent-Length: x\r\nContent-Length: 2\r\n\r\nhi", want: "POST /valid body=2 ambiguous"},
	}},
	{name: "a Content-Length that is no number", steps: []step{
		{raw: "POST /1 HTTP/1.1\r\nContent-Length: -1\r\n\r\n", want: "POST /1 ambiguous"},
		{raw: "POST /2 HTTP/1.1\r\nContent-Length: +5\r\n\r\n", want: "POST /2 ambiguous"},
		{raw: "POST /3 HTTP/1.1\r\nContent-Length: 0x5\r\n\r\n", want: "POST /3 ambiguous"},
		{raw: "POST /4 HTTP/1.1\r\nContent-Length:\r\n\r\n", want: "POST /4 ambiguous"},
		{raw: "POST /5 HTTP/1.1\r\nContent-Length: 9223372036854775808\r\n\r\n", want: "POST /5 ambiguous"},
		{raw: "POST /6 HTTP/1.1\r\nContent-Length: 1 2\r\n\r\n", want: "POST /6 ambiguous"},
	}},
	{name: "the largest Content-Length there is", steps: []step{
		{raw: "POST / HTTP/1.1\r\nContent-Length: 9223372036854775807\r\n\r\n12", want: "unfinished body=2 remaining=9223372036854775805"},
	}},
	{name: "a last coding that is not chunked", steps: []step{
		{raw: "POST /1 HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", want: "POST /1 ambiguous"},
		{raw: "POST /2 HTTP/1.1\r\nTransfer-Encoding: chunked, gzip\r\nContent-Length: 2\r\n\r\nhi", want: "POST /2 body=2 ambiguous"},
		{raw: "POST /3 HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n", want: "POST /3 ambiguous"},
		{raw: "POST /4 HTTP/1.1\r\nTransfer-Encoding:\r\n\r\n", want: "POST /4 ambiguous"},
		{raw: "POST /5 HTTP/1.1\r\nTransfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nhi", want: "POST /5 body=2 ambiguous"},
		{raw: "POST /6 HTTP/1.1\r\nTransfer-Encoding: \x0bchunked\r\n\r\n", want: "POST /6 ambiguous"},
	}},
	{name: "transfer codings that can be read in two ways", steps: []step{
		{raw: "POST /1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", want: "POST /1 ambiguous"},
		{raw: "POST /2 HTTP/1.1\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", want: "POST /2 ambiguous"},
		{raw: "POST /3 HTTP/1.1\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", want: "POST /3 ambiguous"},
		{raw: "POST /4 HTTP/1.1\r\nTransfer-Encoding: cow, chunked\r\n\r\n0\r\n\r\n", want: "POST /4 ambiguous"},
		{raw: "POST /5 HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", want: "POST /5 ambiguous"},
	}},

	// What is not HTTP/1.x.
	{name: "HTTP/2 preface", steps: []step{{raw: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", want: "not an HTTP/1.x message"}}},
	{name: "HTTP/0.9", steps: []step{{raw: "GET /\r\n", want: "not an HTTP/1.x message"}}},
	{name: "a version with two digits", steps: []step{{raw: "GET / HTTP/1.10\r\n\r\n", want: "not an HTTP/1.x message"}}},
	{name: "a version in lower case", steps: []step{{raw: "GET / http/1.1\r\n\r\n", want: "not an HTTP/1.x message"}}},
	{name: "no target and no room for one", steps: []step{{raw: "GET HTTP/1.1\r\n\r\n", want: "not an HTTP/1.x message"}}},
	{name: "TLS", steps: []step{{raw: "\x16\x03\x01\x02", want: "not an HTTP/1.x message"}}},
	{name: "a response among requests", steps: []step{{raw: "HTTP/1.1 200 OK\r\n\r\n", want: "not an HTTP/1.x message"}}},
	{name: "a method of 65 bytes", steps: []step{{raw: strings.Repeat("M", 65), want: "not an HTTP/1.x message"}}},
	{name: "a control character in the target", steps: []step{{raw: "GET /" + strings.Repeat("x", 100) + "\x01", want: "not an HTTP/1.x message"}}},
	{name: "a CR in the target", steps: []step{{raw: "GET /" + strings.Repeat("x", 100) + "\r /", want: "not an HTTP/1.x message"}}},
	{name: "a CR before the start line", steps: []step{{raw: "\rGET / HTTP/1.1\r\n\r\n", want: "not an HTTP/1.x message"}}},
	{name: "rubbish behind a request", steps: []step{
		{raw: "GET / HTTP/1.1\r\n\r\n", want: "GET /"},
		{raw: "{}", want: "not an HTTP/1.x message"},
	}},

	// Limits.
	{name: "a head of MaxHead but for its last byte", maxHead: 27, steps: []step{
		{raw: "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r", want: "unfinished head"},
	}},
	{name: "a head of MaxHead", maxHead: 27, steps: []step{
		{raw: "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", want: "GET / skipped=2"},
		{raw: "GET / HTTP/1.1\r\nHost: h\r\n\r\n", want: "GET /"},
		{raw: "GET /x HTTP/1.1\r\nHost: h\r\n\r\n", want: "message head too large"},
	}},
	{name: "a start line of MaxHead", maxHead: 20, steps: []step{
		{raw: "GET /" + strings.Repeat("x", 15), want: "message head too large"},
	}},

	// Unfinished.
	{name: "half a head", steps: []step{{raw: "GET / HTTP/1.1\r\nHo", want: "unfinished head"}}},
	{name: "half a body", eof: true, steps: []step{{raw: "PUT / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc", want: "unfinished body=3 remaining=6"}}},
	{name: "half a chunk", eof: true, steps: []step{{raw: "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc", want: "unfinished body=3 remaining=2"}}},
	{name: "a chunked body without its last CRLF", eof: true, steps: []step{{raw: "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n", want: "unfinished body=1 remaining=-1"}}},

	// Responses.
	{name: "a response", response: true, steps: []step{
		{raw: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", want: "200 OK body=2", answers: "GET"},
		{raw: "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", want: "404 Not Found body=2", answers: "GET"},
	}},
	{name: "status lines", response: true, steps: []step{
		{raw: "HTTP/1.1 499 \r\nContent-Length: 0\r\n\r\n", want: "499 "},
		{raw: "HTTP/1.1 299\r\nContent-Length: 0\r\n\r\n", want: "299 "},
		{raw: "HTTP/1.1 999 Request denied\r\nContent-Length: 1\r\n\r\nx", want: "999 Request denied body=1"},
		{raw: "HTTP/1.1 200 caf\xe9 \t\r\nContent-Length: 0\r\n\r\n", want: "200 caf\xe9 \t"},
		{raw: "\r\nHTTP/1.0 200 OK\nContent-Length: 0\n\n", want: "200 OK skipped=2 ambiguous"},
	}},
	{name: "interim responses", response: true, steps: []step{
		{raw: "HTTP/1.1 100 \r\n\r\n", want: "100 ", answers: "HEAD"},
		{raw: "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 9\r\n\r\n", want: "103 Early Hints"},
		{raw: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", want: "200 OK"}, // still answers HEAD
		{raw: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", want: "200 OK body=5"},
	}},
	{name: "responses without a body", response: true, steps: []step{
		{raw: "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", want: "200 OK", answers: "HEAD"},
		{raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", want: "200 OK", answers: "HEAD"},
		{raw: "HTTP/1.1 200 OK\r\n\r\n", want: "200 OK", answers: "HEAD"},
		{raw: "HTTP/1.1 204 No Content\r\n\r\n", want: "204 No Content", answers: "GET"},
		{raw: "HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n", want: "304 Not Modified", answers: "GET"},
		{raw: "HTTP/1.1 407 No\r\nContent-Length: 1\r\n\r\nx", want: "407 No body=1", answers: "CONNECT"},
		{raw: "HTTP/1.1 200 Connected\r\nContent-Length: 7\r\n\r\n", want: "200 Connected", answers: "CONNECT"},
	}},
	{name: "101", response: true, steps: []step{
		{raw: "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", want: "101 Switching Protocols", answers: "GET"},
	}},
	{name: "until close", response: true, eof: true, steps: []step{
		{raw: "HTTP/1.0 200 OK\r\n\r\nHTTP/1.0 200 OK\r\n\r\n", want: "200 OK body=19"},
	}},
	{name: "until close, and empty", response: true, eof: true, steps: []step{
		{raw: "HTTP/1.1 200 OK\r\n\r\n", want: "200 OK"},
	}},
	{name: "until close, for the last coding is not chunked", response: true, eof: true, steps: []step{
		{raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc", want: "200 OK body=3"},
	}},
	{name: "until close, whatever the length", response: true, eof: true, steps: []step{
		{raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nContent-Length: 1\r\n\r\nabc", want: "200 OK body=3 ambiguous"},
	}},
	{name: "until close, for the length is no number", response: true, eof: true, steps: []step{
		{raw: "HTTP/1.1 200 OK\r\nContent-Length: all\r\n\r\nabc", want: "200 OK body=3 ambiguous"},
	}},
	{name: "until close, and not closed", response: true, steps: []step{
		{raw: "HTTP/1.0 200 OK\r\n\r\nabc", want: "unfinished body=3 remaining=-1"},
	}},
	{name: "the identity coding is none", response: true, steps: []step{
		{raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nhi", want: "200 OK body=2 ambiguous"},
		{raw: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", want: "200 OK"},
	}},
	{name: "closed between responses", response: true, eof: true, steps: []step{
		{raw: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", want: "200 OK"},
	}},
	{name: "a request among responses", response: true, steps: []step{{raw: "G", want: "not an HTTP/1.x message"}}},
	{name: "a status of two digits", response: true, steps: []step{{raw: "HTTP/1.1 20 ", want: "not an HTTP/1.x message"}}},
	{name: "a status of four digits", response: true, steps: []step{{raw: "HTTP/1.1 2000", want: "not an HTTP/1.x message"}}},
	{name: "a status below 100", response: true, steps: []step{{raw: "HTTP/1.1 0", want: "not an HTTP/1.x message"}}},
	{name: "HTTP/2 in text", response: true, steps: []step{{raw: "HTTP/2", want: "not an HTTP/1.x message"}}},
	{name: "a status line that ends early", response: true, steps: []step{{raw: "HTTP/1.1\r\n", want: "not an HTTP/1.x message"}}},
	{name: "no space behind the status", response: true, steps: []step{{raw: "HTTP/1.1 200\r\r\n", want: "not an HTTP/1.x message"}}},
	{name: "a control character in the reason", response: true, steps: []step{{raw: "HTTP/1.1 200 O\x01K", want: "not an HTTP/1.x message"}}},
}

// summary says what a message is that was framed to its end.
func summary(f *http1.Framer) string {
	h := f.Head()
	s := fmt.Sprintf("%s %s", h.Method, h.Target)
	if h.Response {
		s = fmt.Sprintf("%d %s", h.Status, h.Reason)
	}
	if f.BodyLen() > 0 {
		s += fmt.Sprintf(" body=%d", f.BodyLen())
	}
	if h.Skipped > 0 {
		s += fmt.Sprintf(" skipped=%d", h.Skipped)
	}
	if h.Ambiguous {
		s += " ambiguous"
	}
	return s
}

// rest says how a connection ends that does not end with a message.
func rest(f *http1.Framer) string {
	switch {
	case !f.Begun():
		return ""
	case !f.HeadDone():
		return "unfinished head"
	}
	return fmt.Sprintf("unfinished body=%d remaining=%d", f.BodyLen(), f.Remaining())
}

// An event is a message or an end and how many bytes were consumed by then.
type event struct {
	what string
	at   int
}

func (e event) String() string { return fmt.Sprintf("%q at %d", e.what, e.at) }

// play feeds the pieces to a Framer and writes down what happens. An error ends
// it; where that is found does not matter.
func play(t testing.TB, tr trace, pieces ...string) (events []event) {
	f := &http1.Framer{Response: tr.response, MaxHead: tr.maxHead}
	expect := func() {
		if i := len(events); i < len(tr.steps) && tr.steps[i].answers != "" {
			f.Expect(tr.steps[i].answers)
		}
	}
	expect()
	at := 0
	for _, piece := range pieces {
		for p := []byte(piece); len(p) > 0; {
			n, done, err := f.Feed(p)
			if n < 0 || n > len(p) {
				t.Fatalf("Feed of %d bytes consumed %d", len(p), n)
			}
			at += n
			if err != nil {
				if done {
					t.Fatalf("done and %v", err)
				}
				if _, _, again := f.Feed(p[n:]); again != err {
					t.Fatalf("after %v Feed says %v", err, again)
				}
				return append(events, event{what: err.Error()})
			}
			if !done && n < len(p) {
				t.Fatalf("not done, but %d of %d bytes left", len(p)-n, len(p))
			}
			if done != (f.HeadDone() && !f.Begun()) {
				t.Fatalf("done %v, head done %v, begun %v", done, f.HeadDone(), f.Begun())
			}
			if done {
				events = append(events, event{summary(f), at})
				expect()
			}
			p = p[n:]
		}
	}
	if tr.eof && f.EOF() {
		return append(events, event{summary(f), at})
	}
	if f.Begun() || len(events) < len(tr.steps) {
		events = append(events, event{rest(f), at})
	}
	return events
}

func isError(what string) bool {
	for _, err := range []error{http1.ErrNotHTTP, http1.ErrHeadTooLarge, http1.ErrChunk} {
		if what == err.Error() {
			return true
		}
	}
	return false
}

func TestFramer(t *testing.T) {
	for _, tr := range traces {
		t.Run(tr.name, func(t *testing.T) {
			var all string
			var want []event
			for _, s := range tr.steps {
				all += s.raw
				e := event{s.want, len(all)}
				if isError(s.want) {
					e.at = 0
				}
				want = append(want, e)
			}
			check := func(cut string, pieces ...string) {
				t.Helper()
				if got := play(t, tr, pieces...); !slices.Equal(got, want) {
					t.Errorf("%s:\n got %v\nwant %v", cut, got, want)
				}
			}
			check("whole", all)
			bytewise := make([]string, len(all))
			for i := range len(all) {
				bytewise[i] = all[i : i+1]
			}
			check("byte by byte", bytewise...)
			for i := range len(all) {
				check(fmt.Sprintf("cut at %d", i), all[:i], all[i:])
			}
		})
	}
}

func TestFramerSkip(t *testing.T) {
	const post = "POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\n"
	const chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
	const next = "GET /next HTTP/1.1\r\n\r\n"
	for _, c := range []struct {
		name, before string
		lost         int64
		ok           bool
		after        string
		body         int64 // of the message with the gap
		atOnce       bool  // it ends with the gap
	}{
		{name: "in a body", before: post + "ab", lost: 5, ok: true, after: "xyz", body: 10},
		{name: "a whole body", before: post, lost: 10, ok: true, body: 10, atOnce: true},
		{name: "to the end of a body", before: post + "ab", lost: 8, ok: true, body: 10, atOnce: true},
		{name: "past the end of a body", before: post + "ab", lost: 9},
		{name: "in a head", before: "POST / HT", lost: 1},
		{name: "between messages", before: next, lost: 1},
		{name: "before the first byte", before: "", lost: 1},
		{name: "nothing, anywhere", before: "POST", lost: 0, ok: true, after: " / HTTP/1.1\r\n\r\n"},
		{name: "in a chunk", before: chunked + "5\r\na", lost: 3, ok: true, after: "e\r\n0\r\n\r\n", body: 5},
		{name: "to the end of a chunk", before: chunked + "5\r\na", lost: 4, ok: true, after: "\r\n0\r\n\r\n", body: 5},
		{name: "past the end of a chunk", before: chunked + "5\r\na", lost: 5},
		{name: "in a chunk size", before: chunked + "5", lost: 1},
		{name: "in the CRLF behind a chunk", before: chunked + "1\r\na", lost: 1},
		{name: "in the trailers", before: chunked + "0\r\nA: ", lost: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			var f http1.Framer
			if _, _, err := f.Feed([]byte(c.before)); err != nil {
				t.Fatal(err)
			}
			begun, remaining := f.Begun(), f.Remaining()
			if ok := f.Skip(c.lost); ok != c.ok {
				t.Fatalf("Skip(%d) = %v", c.lost, ok)
			}
			if !c.ok {
				if f.Begun() != begun || f.Remaining() != remaining {
					t.Error("a refused Skip changed the Framer")
				}
				return
			}
			if atOnce := f.Remaining() == 0; atOnce != c.atOnce {
				t.Errorf("remaining %d", f.Remaining())
			}
			n, done, err := f.Feed([]byte(c.after))
			if err != nil || !done || n != len(c.after) || f.BodyLen() != c.body {
				t.Fatalf("Feed = %d, %v, %v; body %d", n, done, err, f.BodyLen())
			}
			if n, done, err = f.Feed([]byte(next)); n != len(next) || !done || err != nil {
				t.Errorf("next message: Feed = %d, %v, %v", n, done, err)
			}
		})
	}
}

func TestFramerSkipToTheEndThenEOF(t *testing.T) {
	f := http1.Framer{Response: true}
	if _, _, err := f.Feed([]byte("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab")); err != nil {
		t.Fatal(err)
	}
	if !f.Skip(8) || f.Remaining() != 0 || !f.Begun() {
		t.Fatalf("remaining %d, begun %v", f.Remaining(), f.Begun())
	}
	if !f.EOF() || f.Begun() || f.BodyLen() != 10 {
		t.Errorf("begun %v, body %d", f.Begun(), f.BodyLen())
	}
	if f.EOF() {
		t.Error("a second EOF ends a second message")
	}
}

func TestFramerSkipUntilClose(t *testing.T) {
	f := http1.Framer{Response: true}
	if _, _, err := f.Feed([]byte("HTTP/1.0 200 OK\r\n\r\nab")); err != nil {
		t.Fatal(err)
	}
	if !f.Skip(1<<40) || f.Remaining() != -1 {
		t.Fatal("a gap in a body that ends with the connection ended the framing")
	}
	if !f.EOF() || f.BodyLen() != 2+1<<40 {
		t.Errorf("body %d", f.BodyLen())
	}
	if f.Skip(1) {
		t.Error("a gap behind the end is in a body")
	}
}

func TestFramerResetForgets(t *testing.T) {
	f := http1.Framer{Response: true}
	f.Expect("HEAD")
	if _, _, err := f.Feed([]byte("rubbish")); !errors.Is(err, http1.ErrNotHTTP) {
		t.Fatal(err)
	}
	f.Reset()
	if f.Begun() || f.HeadDone() || f.Head() != nil {
		t.Error("a message is left")
	}
	_, done, err := f.Feed([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"))
	if done || err != nil || f.Remaining() != 2 {
		t.Errorf("done %v, %v, remaining %d: HEAD was not forgotten", done, err, f.Remaining())
	}
}

func TestFramerExpectDuringABody(t *testing.T) {
	f := http1.Framer{Response: true}
	f.Expect("GET")
	if _, _, err := f.Feed([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh")); err != nil {
		t.Fatal(err)
	}
	f.Expect("HEAD") // pipelined: it is for the next head
	if n, done, err := f.Feed([]byte("iHTTP/1.1 200 OK\r\n")); n != 1 || !done || err != nil {
		t.Fatalf("Feed = %d, %v, %v", n, done, err)
	}
	if _, done, err := f.Feed([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")); !done || err != nil {
		t.Errorf("done %v, %v: HEAD was forgotten", done, err)
	}
}

func TestFramerReleasesALargeBuffer(t *testing.T) {
	var f http1.Framer
	feed := func(s string) (done bool) {
		t.Helper()
		_, done, err := f.Feed([]byte(s))
		if err != nil {
			t.Fatal(err)
		}
		return done
	}
	feed("GET / HTTP/1.1\r\n")
	feed("A: b\r\n\r\n")
	small := f.Held()
	feed("GET / HT")
	if small == 0 || f.Held() != small {
		t.Errorf("holds %d bytes, then %d: the buffer was not used again", small, f.Held())
	}
	feed("TP/1.1\r\n")
	feed("A: " + strings.Repeat("x", 100<<10))
	if !feed("\r\n\r\n") || f.Held() < 100<<10 {
		t.Fatalf("holds %d bytes", f.Held())
	}
	feed("G")
	if f.Held() > 1<<10 {
		t.Errorf("still holds %d bytes", f.Held())
	}
}

func TestHeadInOnePieceDoesNotAllocate(t *testing.T) {
	var f http1.Framer
	p := []byte("GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive\r\n\r\n")
	if n := testing.AllocsPerRun(100, func() {
		if _, done, _ := f.Feed(p); !done {
			t.Fatal("not done")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if f.Held() != 0 {
		t.Errorf("%d bytes copied", f.Held())
	}
}
