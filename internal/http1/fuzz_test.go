package http1_test

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"kagami/internal/http1"
)

// FuzzFramer checks that it does not matter how a stream is cut, and that the
// functions on raw messages agree with the Framer.
func FuzzFramer(f *testing.F) {
	for _, tr := range traces {
		var all string
		for _, s := range tr.steps {
			all += s.raw
		}
		f.Add([]byte(all), []byte{7, 1, 40}, tr.response, tr.eof, uint16(tr.maxHead))
	}
	f.Fuzz(func(t *testing.T, in, cuts []byte, response, eof bool, maxHead uint16) {
		tr := trace{response: response, eof: eof, maxHead: int(maxHead)}
		whole := play(t, tr, string(in))
		if cut := play(t, tr, pieces(in, cuts)...); !slices.Equal(whole, cut) {
			t.Fatalf("\nwhole %v\n  cut %v", whole, cut)
		}
		if bytewise := play(t, tr, pieces(in, []byte{1})...); !slices.Equal(whole, bytewise) {
			t.Fatalf("\n       whole %v\nbyte by byte %v", whole, bytewise)
		}
		heads(t, in, response)
	})
}

// pieces cuts in into pieces of the given lengths, again and again.
func pieces(in, lengths []byte) (ps []string) {
	for i := 0; len(in) > 0; i++ {
		n := len(in)
		if len(lengths) > 0 {
			n = min(n, max(1, int(lengths[i%len(lengths)])))
		}
		ps = append(ps, string(in[:n]))
		in = in[n:]
	}
	return ps
}

// heads checks that ParseHead, LooksLike, SplitHead and the Framer agree about
// the first message.
func heads(t *testing.T, in []byte, response bool) {
	h, err := http1.ParseHead(in, response)
	verdict := http1.LooksLikeRequest(in)
	if response {
		verdict = http1.LooksLikeResponse(in)
	}
	if (verdict == http1.No) != (err == http1.ErrNotHTTP) {
		t.Fatalf("looks like %v, but ParseHead says %v", verdict, err)
	}
	f := http1.Framer{Response: response}
	n, _, ferr := f.Feed(in)
	if (ferr == http1.ErrNotHTTP) != (err == http1.ErrNotHTTP) {
		t.Fatalf("Feed says %v, ParseHead %v", ferr, err)
	}
	if (err == nil) != f.HeadDone() {
		t.Fatalf("ParseHead says %v, head done: %v", err, f.HeadDone())
	}
	if err != nil {
		return
	}
	if f.Head().Len != h.Len || n < h.Len || h.Skipped > h.Len {
		t.Fatalf("head of %d bytes, %d to the Framer, that consumed %d", h.Len, f.Head().Len, n)
	}
	if head, _ := http1.SplitHead(in); len(head) != h.Len {
		t.Fatalf("head of %d bytes, %d to SplitHead", h.Len, len(head))
	}
	if !response && (!bytes.Equal(h.Method, http1.Method(in)) || !bytes.Equal(h.Target, http1.Target(in))) {
		t.Fatal("ParseHead has another method or target")
	}
	if f.Begun() || f.BodyLen() == 0 {
		return
	}
	if body, err := http1.Body(in[:n]); err != nil || int64(len(body)) != f.BodyLen() {
		t.Fatalf("body of %d bytes, %d to the Framer: %v", len(body), f.BodyLen(), err)
	}
}

// FuzzAgainstNetHTTP checks that a message which Go's own server or client
// takes, and which is not Ambiguous, ends where that thinks it does.
func FuzzAgainstNetHTTP(f *testing.F) {
	for _, tr := range traces {
		for _, s := range tr.steps {
			f.Add([]byte(s.raw+"GET / HTTP/1.1\r\n\r\n"), tr.response, s.answers == "HEAD")
		}
	}
	f.Fuzz(func(t *testing.T, in []byte, response, head bool) {
		framer := http1.Framer{Response: response}
		req := &http.Request{Method: "GET"}
		if head {
			framer.Expect("HEAD")
			req.Method = "HEAD"
		}
		n, done, err := framer.Feed(in)
		if err != nil || !done || framer.Head().Ambiguous || framer.Head().Skipped > 0 {
			return
		}
		r := bytes.NewReader(in)
		br := bufio.NewReader(r)
		var body io.ReadCloser
		if response {
			resp, err := http.ReadResponse(br, req)
			if err != nil {
				return
			}
			body = resp.Body
		} else {
			req, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			body = req.Body
		}
		b, err := io.ReadAll(body)
		if err != nil {
			return
		}
		if used := len(in) - r.Len() - br.Buffered(); used != n || int64(len(b)) != framer.BodyLen() {
			t.Fatalf("%d bytes with a body of %d; net/http: %d with %d", n, framer.BodyLen(), used, len(b))
		}
	})
}

// FuzzEdit checks that an edit changes what it was asked to, and not a byte else.
func FuzzEdit(f *testing.F) {
	f.Add([]byte(odd), "X-Twice", "new", "/t")
	f.Add([]byte("GET /p?a=1&b=2#f HTTP/1.1\r\nA: b\r\n\r\nbody"), "a", "x y", "/?a=b&a=c")
	f.Add([]byte("HTTP/1.1 200 OK\nA:\n\n"), "A", "", "")
	f.Add([]byte("GET / HTTP/1.1\r\nA: b"), "B", "c", "\r")
	f.Add([]byte("\r\r\n\n"), "A", "b", "/")
	f.Fuzz(func(t *testing.T, raw []byte, name, value, target string) {
		original := bytes.Clone(raw)
		if isToken(name) {
			checkSetHeader(t, raw, name, value)
		}
		checkSetTarget(t, raw, []byte(target))
		checkSetParam(t, []byte(target), name, value)
		if _, err := http1.DecodeBody(raw, 1<<16); err == nil {
			if _, err = http1.Body(raw); err != nil {
				t.Fatalf("Body: %v", err)
			}
		}
		if !bytes.Equal(raw, original) {
			t.Fatal("raw was changed")
		}
	})
}

func isToken(s string) bool {
	for _, c := range s {
		if c <= ' ' || c >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, c) {
			return false
		}
	}
	return s != ""
}

// others returns the lines of the header but those of that name.
func others(raw []byte, name string) (lines []string) {
	http1.EachHeader(raw, func(n, _, line []byte) bool {
		if !strings.EqualFold(string(n), name) {
			lines = append(lines, string(line))
		}
		return true
	})
	return lines
}

func checkSetHeader(t *testing.T, raw []byte, name, value string) {
	set, del := http1.SetHeader(raw, name, value), http1.DelHeader(raw, name)
	if _, ok := http1.Header(del, name); ok {
		t.Fatalf("%q is still in %q", name, del)
	}
	head, body := http1.SplitHead(raw)
	if _, b := http1.SplitHead(del); !bytes.Equal(b, body) {
		t.Fatalf("DelHeader changed the body: %q", del)
	}
	if got, want := others(del, name), others(raw, name); !slices.Equal(got, want) {
		t.Fatalf("DelHeader left %q of %q", got, want)
	}
	if len(body) == 0 && !endsInBlankLine(head) {
		return // the head is cut: what is inserted may take the rest for a fold
	}
	if strings.ReplaceAll(strings.ReplaceAll(string(raw), "\r\n", ""), "\n", "") == "" {
		if !bytes.Equal(set, raw) {
			t.Fatalf("no start line, but edited: %q", set)
		}
		return
	}
	if _, b := http1.SplitHead(set); !bytes.Equal(b, body) {
		t.Fatalf("SetHeader changed the body: %q", set)
	}
	if got, want := others(set, name), others(raw, name); !slices.Equal(got, want) {
		t.Fatalf("SetHeader left %q of %q", got, want)
	}
	want := strings.Trim(strings.NewReplacer("\r", " ", "\n", " ", "\x00", " ").Replace(value), " \t")
	if got, ok := http1.Header(set, name); !ok || string(got) != want {
		t.Fatalf("%q is %q, want %q, in %q", name, got, want, set)
	}
	if got := http1.SetHeader(set, name, value); !bytes.Equal(got, set) && want == value {
		t.Fatalf("set twice: %q, once: %q", got, set)
	}
}

func endsInBlankLine(head []byte) bool {
	return bytes.HasSuffix(head, []byte("\n\n")) || bytes.HasSuffix(head, []byte("\n\r\n"))
}

func checkSetTarget(t *testing.T, raw, target []byte) {
	old := http1.Target(raw)
	set := http1.SetTarget(raw, target)
	if old == nil {
		if !bytes.Equal(set, raw) {
			t.Fatalf("no target, but edited: %q", set)
		}
		return
	}
	// Whitespace around a target is not part of it, so that the way back needs some other byte.
	if trimmed := bytes.Trim(target, " \t"); len(trimmed) > 0 && len(trimmed) == len(target) {
		if back := http1.SetTarget(set, old); !bytes.Equal(back, raw) {
			t.Fatalf("there and back: %q", back)
		}
	}
	_, body := http1.SplitHead(raw)
	if _, b := http1.SplitHead(set); !bytes.Equal(b, body) {
		t.Fatalf("the body is %q", b)
	}
}

func checkSetParam(t *testing.T, target []byte, name, value string) {
	set := http1.SetParam(target, name, value)
	if _, ok := http1.Param(set, name); !ok {
		t.Fatalf("%q is not in %q", name, set)
	}
	if !bytes.Equal(http1.Path(set), http1.Path(target)) {
		t.Fatalf("the path became %q", http1.Path(set))
	}
	if got, _ := http1.Param(target, name); string(got) == value && value != "" &&
		bytes.Count(http1.Query(target), []byte{'&'}) == 0 && !bytes.Contains(http1.Query(set), []byte{'%'}) {
		if !bytes.Equal(set, target) {
			t.Fatalf("the value it has made %q of %q", set, target)
		}
	}
	if again := http1.SetParam(set, name, value); !bytes.Equal(again, set) {
		t.Fatalf("set twice: %q, once: %q", again, set)
	}
}
