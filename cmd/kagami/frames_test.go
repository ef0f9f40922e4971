package main

import (
	"fmt"
	"testing"

	"kagami"
	"kagami/filter"
)

// A client's frames have the fate of the request for their WebSocket, whatever the filter looks at;
// one whose request was not seen stands for itself.
func TestFramesFollowTheirRequest(t *testing.T) {
	half, err := kagami.ShareOf(50)
	if err != nil {
		t.Fatal(err)
	}
	sample, err := filter.NewSample(filter.SampleConfig{Share: half, By: "cookie:user"})
	if err != nil {
		t.Fatal(err)
	}
	f, err := filter.New(filter.Config{AllowURL: []string{"^/chat"}, Sample: sample})
	if err != nil {
		t.Fatal(err)
	}
	frame := func(x *kagami.Exchange) *kagami.Message {
		return &kagami.Message{Kind: kagami.Request, Proto: kagami.WebSocket, Raw: []byte{0x81, 0x80, 1, 2, 3, 4}, Exchange: x}
	}
	kept := 0
	for i := range 200 {
		path := []string{"/chat", "/other"}[i%2]
		m := &kagami.Message{Kind: kagami.Request, Proto: kagami.HTTP1, Exchange: &kagami.Exchange{Method: "GET"},
			Raw: fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: a\r\nCookie: user=%d\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", path, i)}
		_, r := judge(f, m, 3)
		fm := frame(m.Exchange)
		for range 3 {
			got, fr := judge(f, fm, 3)
			switch {
			case r == kagami.Delivered && (fr != kagami.Delivered || got != fm):
				t.Fatalf("request %d passes, and its frame is %v", i, fr)
			case r != kagami.Delivered && (fr != kagami.RequestDropped || got != nil):
				t.Fatalf("request %d is %v, and its frame %v", i, r, fr)
			}
		}
		if r == kagami.Delivered {
			kept++
			m.Exchange.Decide(3, kagami.Dropped) // it failed there, or a frame did
			if _, fr := judge(f, fm, 3); fr != kagami.RequestDropped {
				t.Errorf("a frame behind a failure is %v", fr)
			}
		}
	}
	if kept < 30 || kept > 70 {
		t.Errorf("%d of 200 requests pass, want about 50", kept)
	}
	if _, r := judge(f, frame(&kagami.Exchange{}), 3); r != kagami.Filtered {
		t.Errorf("a frame whose request was not seen, at a filter for paths: %v", r)
	}
	if _, r := judge(nil, frame(&kagami.Exchange{}), 3); r != kagami.Delivered {
		t.Errorf("and without a filter: %v", r)
	}
}
