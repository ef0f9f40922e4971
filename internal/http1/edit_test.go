package http1_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"kagami/internal/http1"
)

// odd is a request that no one would write, and that edits must not tidy up.
const odd = "\r\nPOST  /a?x=1 HTTP/1.1\r\n" +
	"hOST:h\r\n" +
	"X-Twice:  one \t\r\n" +
	"nothing\r\n" +
	"Folded: a\r\n\tb\r\n" +
	"Spaced : s\n" +
	"x-twice: two\r\n" +
	"Empty:\r\n" +
	"Content-Length: 4\r\n" +
	"\r\n" +
	"\r\n:x"

func TestSplitHead(t *testing.T) {
	for _, c := range []struct{ raw, head string }{
		{odd, strings.TrimSuffix(odd, "\r\n:x")},
		{"GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\n\r\n"},
		{"GET / HTTP/1.1\n\nbody\r\n\r\n", "GET / HTTP/1.1\n\n"},
		{"GET / HTTP/1.1\r\nA: b", "GET / HTTP/1.1\r\nA: b"},
		{"GET / HTTP/1.1\r\nA: b\r\n\r", "GET / HTTP/1.1\r\nA: b\r\n\r"},
		{"\r\n\r\n", "\r\n\r\n"},
		{"", ""},
	} {
		head, body := http1.SplitHead([]byte(c.raw))
		if string(head) != c.head || string(head)+string(body) != c.raw {
			t.Errorf("%q: %q, %q", c.raw, head, body)
		}
	}
}

func TestEachHeader(t *testing.T) {
	type field struct{ name, value, line string }
	var got []field
	http1.EachHeader([]byte(odd), func(name, value, line []byte) bool {
		got = append(got, field{string(name), string(value), string(line)})
		if (name == nil) != (string(line) == "nothing\r\n") {
			t.Errorf("name %q of %q", name, line)
		}
		return string(name) != "Empty"
	})
	want := []field{
		{"hOST", "h", "hOST:h\r\n"},
		{"X-Twice", "one", "X-Twice:  one \t\r\n"},
		{"", "nothing", "nothing\r\n"},
		{"Folded", "a\r\n\tb", "Folded: a\r\n\tb\r\n"},
		{"Spaced", "s", "Spaced : s\n"},
		{"x-twice", "two", "x-twice: two\r\n"},
		{"Empty", "", "Empty:\r\n"},
	}
	if len(got) != len(want) {
		t.Fatalf("%d fields: %q", len(got), got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got %q, want %q", got[i], want[i])
		}
	}
}

func TestEachHeaderOfALineThatFoldsNothing(t *testing.T) {
	raw := []byte("GET / HTTP/1.1\r\n A: b\r\n\tC: d\r\nE: f\r\n\r\n")
	var got []string
	http1.EachHeader(raw, func(name, value, line []byte) bool {
		got = append(got, fmt.Sprintf("%q %q %q %v", name, value, line, name == nil))
		return true
	})
	want := []string{`"" "A: b\r\n\tC: d" " A: b\r\n\tC: d\r\n" true`, `"E" "f" "E: f\r\n" false`}
	if !slices.Equal(got, want) {
		t.Errorf("\n got %v\nwant %v", got, want)
	}
}

func TestHeader(t *testing.T) {
	for _, c := range []struct {
		name, want string
		ok         bool
	}{
		{"Host", "h", true},
		{"x-TWICE", "one", true},
		{"folded", "a\r\n\tb", true},
		{"Spaced", "s", true},
		{"Empty", "", true},
		{"nothing", "", false},
		{"Content-Lengt", "", false},
		{"", "", false},
		{"\r\n", "", false},
	} {
		if got, ok := http1.Header([]byte(odd), c.name); string(got) != c.want || ok != c.ok {
			t.Errorf("%q: %q, %v", c.name, got, ok)
		}
	}
}

func TestSetHeader(t *testing.T) {
	for _, c := range []struct{ what, raw, name, value, old, by string }{
		{"keeps the name and what surrounds the value", odd, "HOST", "example.com", "hOST:h\r\n", "hOST:example.com\r\n"},
		{"replaces a fold", odd, "Folded", "x", "a\r\n\tb", "x"},
		{"keeps whitespace before the colon, and a bare LF", odd, "spaced", "", "Spaced : s\n", "Spaced : \n"},
		{"fills an empty one", odd, "empty", "full", "Empty:\r\n", "Empty: full\r\n"},
		{"fills an empty one behind a space", "G / HTTP/1.1\r\nA: \r\n\r\n", "a", "b", "A: \r\n", "A: b\r\n"},
		{"fills an empty one that is folded", "G / HTTP/1.1\r\nA:\r\n \r\n\r\n", "a", "b", "A:\r\n \r\n", "A: b\r\n \r\n"},
		{"inserts as the last field", odd, "New", "n", "Length: 4\r\n", "Length: 4\r\nNew: n\r\n"},
		{"inserts the only field", "G / HTTP/1.1\r\n\r\nA: b\r\n\r\n", "A", "c", "1\r\n\r\n", "1\r\nA: c\r\n\r\n"},
		{"inserts with the line ends that are there", "G / HTTP/1.1\nA: b\n\nx", "B", "c", "A: b\n", "A: b\nB: c\n"},
		{"does not let a value end the field", odd, "New", "a\r\nB: c\x00", "Length: 4\r\n", "Length: 4\r\nNew: a  B: c \r\n"},
		{"inserts where the head is cut", "G / HTTP/1.1\r\nA: b", "B", "c", "A: b", "B: c\r\nA: b"},
		{"replaces where the head is cut", "G / HTTP/1.1\r\nA: b", "A", "c", "b", "c"},
		{"knows no place in half a start line", "\r\nG / HT", "A", "c", "", ""},
		{"knows no place in nothing", "", "A", "c", "", ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			raw := []byte(c.raw)
			got := http1.SetHeader(raw, c.name, c.value)
			if want := strings.Replace(c.raw, c.old, c.by, 1); string(got) != want {
				t.Errorf("\n got %q\nwant %q", got, want)
			}
			if string(raw) != c.raw {
				t.Error("raw was changed")
			}
		})
	}
	t.Run("removes further ones", func(t *testing.T) {
		want := strings.Replace(strings.Replace(odd, "one", "1", 1), "x-twice: two\r\n", "", 1)
		if got := http1.SetHeader([]byte(odd), "X-Twice", "1"); string(got) != want {
			t.Errorf("\n got %q\nwant %q", got, want)
		}
	})
}

func TestDelHeader(t *testing.T) {
	want := strings.Replace(strings.Replace(odd, "X-Twice:  one \t\r\n", "", 1), "x-twice: two\r\n", "", 1)
	if got := http1.DelHeader([]byte(odd), "x-twice"); string(got) != want {
		t.Errorf("\n got %q\nwant %q", got, want)
	}
	want = strings.Replace(odd, "Folded: a\r\n\tb\r\n", "", 1)
	if got := http1.DelHeader([]byte(odd), "Folded"); string(got) != want {
		t.Errorf("\n got %q\nwant %q", got, want)
	}
	raw := []byte(odd)
	if got := http1.DelHeader(raw, "Missing"); &got[0] != &raw[0] || string(raw) != odd {
		t.Error("without that field, raw itself is not returned")
	}
}

func TestStartLineEdits(t *testing.T) {
	raw := []byte(odd)
	if m, g := http1.Method(raw), http1.Target(raw); string(m) != "POST" || string(g) != "/a?x=1" {
		t.Fatalf("%q %q", m, g)
	}
	for _, c := range []struct{ what, got, old, by string }{
		{"method", string(http1.SetMethod(raw, "PUT")), "POST", "PUT"},
		{"a method that is no token", string(http1.SetMethod(raw, "A B")), "", ""},
		{"an empty method", string(http1.SetMethod(raw, "")), "", ""},
		{"target", string(http1.SetTarget(raw, []byte("/longer/b c"))), "/a?x=1", "/longer/b c"},
		{"a target that would end the line", string(http1.SetTarget(raw, []byte("/\r\n\t\x7f"))), "/a?x=1", "/%0D%0A\t%7F"},
	} {
		if want := strings.Replace(odd, c.old, c.by, 1); c.got != want {
			t.Errorf("%s:\n got %q\nwant %q", c.what, c.got, want)
		}
	}
	if string(raw) != odd {
		t.Error("raw was changed")
	}
	for _, none := range []string{"", "GET / HTTP/1.1", "GET /\r\n", "HTTP/1.1 200 OK\r\n\r\n"} {
		raw := []byte(none)
		if http1.Method(raw) != nil || http1.Target(raw) != nil {
			t.Errorf("%q has a method or a target", none)
		}
		if !bytes.Equal(http1.SetTarget(raw, []byte("/")), raw) || !bytes.Equal(http1.SetMethod(raw, "PUT"), raw) {
			t.Errorf("%q was edited", none)
		}
	}
	if got := http1.SetTarget([]byte("GET   HTTP/1.1\r\n\r\n"), []byte("/x")); string(got) != "GET  /x HTTP/1.1\r\n\r\n" {
		t.Errorf("an empty target: %q", got)
	}
}
