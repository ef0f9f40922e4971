package main

import "testing"

func TestShown(t *testing.T) {
	for address, want := range map[string]string{
		"http://me:secret@staging:8080/a@b?c": "http://staging:8080/a@b?c",
		"https://me@staging":                  "https://staging",
		"http://me:se:cr@et@staging/base":     "http://staging/base",
		"nats://a:b@n1,n2/stream":             "nats://n1,n2/stream",
		"staging:8080/u@v":                    "staging:8080/u@v",
		"http://[::1]:80":                     "http://[::1]:80",
		"":                                    "",
	} {
		if got := shown(address); got != want {
			t.Errorf("%q is shown as %q, want %q", address, got, want)
		}
	}
}
