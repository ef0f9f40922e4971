package filter_test

import (
	"fmt"

	"kagami"
	"kagami/filter"
)

// Of what users read, a share of the users goes on.
func Example() {
	share, err := kagami.ParseShare("50%")
	if err != nil {
		fmt.Println(err)
		return
	}
	sample, err := filter.NewSample(filter.SampleConfig{Share: share, By: "param:user"})
	if err != nil {
		fmt.Println(err)
		return
	}
	chain, err := filter.New(filter.Config{
		AllowMethod: []string{"GET"},
		AllowURL:    []string{"^/api/"},
		Sample:      sample,
		SetHeader:   []string{"X-Mirrored: yes"},
		RewriteURL:  []string{"^/api/:/v2/"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, line := range []string{
		"GET /api/cart?user=ann",
		"POST /api/cart?user=ann",
		"GET /logo.png",
		"GET /api/cart?user=bob",
		"GET /api/list?user=ann",
	} {
		request := &kagami.Message{
			Kind:     kagami.Request,
			Proto:    kagami.HTTP1,
			Raw:      []byte(line + " HTTP/1.1\r\n\r\n"),
			Exchange: &kagami.Exchange{},
		}
		kept, reason := chain.Apply(request)
		if reason != kagami.Delivered {
			fmt.Printf("%s: %v\n", line, reason)
			continue
		}
		fmt.Printf("%s: %.60q\n", line, kept.Raw)
	}
	// Output:
	// GET /api/cart?user=ann: sampled-out
	// POST /api/cart?user=ann: filtered
	// GET /logo.png: filtered
	// GET /api/cart?user=bob: "GET /v2/cart?user=bob HTTP/1.1\r\nX-Mirrored: yes\r\n\r\n"
	// GET /api/list?user=ann: sampled-out
}

// An error says what to write instead.
func ExampleNew() {
	_, err := filter.New(filter.Config{RewriteURL: []string{"/v1/(.*):/v2/$1_new"}})
	fmt.Println(err)
	// Output: --http-rewrite-url "/v1/(.*):/v2/$1_new": there is no group "1_new": write ${1}_new, or $$ for a dollar sign
}
