package http1_test

import (
	"fmt"

	"kagami/internal/http1"
)

// Two requests arrive in three segments, cut anywhere.
func ExampleFramer() {
	segments := []string{
		"POST /cart HTTP/1.1\r\nHost: shop\r\nContent-Le",
		"ngth: 5\r\n\r\nitem",
		"1GET /cart HTTP/1.1\r\nHost: shop\r\n\r\n",
	}
	var f http1.Framer
	for _, s := range segments {
		for p := []byte(s); len(p) > 0; {
			n, done, err := f.Feed(p)
			if err != nil {
				fmt.Println(err)
				return
			}
			if done {
				fmt.Printf("%s %s, %d bytes of body\n", f.Head().Method, f.Head().Target, f.BodyLen())
			}
			p = p[n:]
		}
	}
	// Output:
	// POST /cart, 5 bytes of body
	// GET /cart, 0 bytes of body
}

func ExampleSetHeader() {
	raw := []byte("GET / HTTP/1.1\r\nhost:  prod.example.com\r\nAccept: */*\r\n\r\n")
	raw = http1.SetHeader(raw, "Host", "staging.example.com")
	raw = http1.SetHeader(raw, "X-Mirrored", "1")
	fmt.Printf("%q\n", raw)
	// Output: "GET / HTTP/1.1\r\nhost:  staging.example.com\r\nAccept: */*\r\nX-Mirrored: 1\r\n\r\n"
}

func ExampleSetParam() {
	target := http1.SetParam([]byte("/search?q=go&debug&page=2"), "page", "1")
	fmt.Printf("%s\n", target)
	// Output: /search?q=go&debug&page=1
}
