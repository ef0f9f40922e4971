package http1_test

import (
	"testing"

	"kagami/internal/http1"
)

func TestPathAndQuery(t *testing.T) {
	for _, c := range []struct{ target, path, query string }{
		{"/a/b?c=d", "/a/b", "c=d"},
		{"/", "/", ""},
		{"", "", ""},
		{"/a?", "/a", ""},
		{"/a?b?c#d?e", "/a", "b?c"},
		{"/a#b?c", "/a", ""},
		{"http://h:80/p?q", "/p", "q"},
		{"http://h", "/", ""},
		{"http://h?q=/x", "/", "q=/x"},
		{"*", "*", ""},
		{"h:443", "h:443", ""},
		{"/a?u=http://h/p", "/a", "u=http://h/p"},
		{"//h/p", "//h/p", ""},
	} {
		if p, q := http1.Path([]byte(c.target)), http1.Query([]byte(c.target)); string(p) != c.path || string(q) != c.query {
			t.Errorf("%q: path %q, query %q", c.target, p, q)
		}
	}
}

func TestParam(t *testing.T) {
	const target = "/p?a=1&b&=e&%63+d=%20x&a=2&c=a=b&%zz=0#a=9&f=1"
	for _, c := range []struct {
		name, want string
		ok         bool
	}{
		{"a", "1", true},
		{"b", "", true},
		{"", "e", true},
		{"c d", "%20x", true},
		{"c", "a=b", true},
		{"%zz", "0", true},
		{"f", "", false},
		{"p", "", false},
		{"aa", "", false},
	} {
		if got, ok := http1.Param([]byte(target), c.name); string(got) != c.want || ok != c.ok {
			t.Errorf("%q: %q, %v", c.name, got, ok)
		}
	}
	if _, ok := http1.Param([]byte("/?"), ""); ok {
		t.Error("an empty query has a parameter")
	}
}

func TestSetParam(t *testing.T) {
	for _, c := range []struct{ target, name, value, want string }{
		{"/p?a=1&b=2", "a", "x", "/p?a=x&b=2"},
		{"/p?a=1&b=2", "b", "x", "/p?a=1&b=x"},
		{"/p?a=1&b=2&a=3&a", "a", "x", "/p?a=x&b=2"},
		{"/p?%61=1&&c", "a", "x", "/p?%61=x&&c"},
		{"/p?a", "a", "x", "/p?a=x"},
		{"/p?&a&", "a", "x", "/p?&a=x&"},
		{"/p", "a", "x", "/p?a=x"},
		{"/p?", "a", "x", "/p?a=x"},
		{"/p?b", "a", "x", "/p?b&a=x"},
		{"/p#f?a=1", "a", "x", "/p?a=x#f?a=1"},
		{"/p?b#f", "a", "x", "/p?b&a=x#f"},
		{"", "a", "x", "?a=x"},
		{"/p", "a b=c%", "1%2B+2&3 é\r\n", "/p?a%20b%3Dc%25=1%2B+2%263%20%C3%A9%0D%0A"},
	} {
		target := []byte(c.target)
		if got := http1.SetParam(target, c.name, c.value); string(got) != c.want {
			t.Errorf("%q, %q, %q: %q, want %q", c.target, c.name, c.value, got, c.want)
		}
		if string(target) != c.target {
			t.Errorf("%q became %q", c.target, target)
		}
	}
}
