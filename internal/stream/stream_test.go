package stream_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"kagami"
	"kagami/internal/stream"
)

var (
	client  = netip.MustParseAddrPort("192.0.2.7:50123")
	server  = netip.MustParseAddrPort("198.51.100.1:8080")
	client6 = netip.MustParseAddrPort("[2001:db8::7]:50123")
	server6 = netip.MustParseAddrPort("[2001:db8::1]:8080")
	noon    = time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)
)

// request returns the i-th of many different requests, 328 bytes long.
func request(i int) *kagami.Message {
	head := fmt.Sprintf("GET /articles/%08d HTTP/1.1\r\nHost: www.example.com\r\n", i)
	raw := head + "User-Agent: " + strings.Repeat("x", 328-len(head)-len("User-Agent: \r\n\r\n")) + "\r\n\r\n"
	return &kagami.Message{
		Kind: kagami.Request, Proto: kagami.HTTP1,
		Start: noon.Add(time.Duration(i) * time.Millisecond), End: noon.Add(time.Duration(i)*time.Millisecond + 250*time.Microsecond),
		Client: client, Server: server,
		Raw: []byte(raw), WireLen: len(raw),
		Exchange: &kagami.Exchange{ID: kagami.MakeID(client, server, 7, uint32(i), noon.Unix()), Method: "GET"},
	}
}

// many are messages in which every field occurs with and without a value.
func many() []*kagami.Message {
	answer := request(1)
	answer.Kind, answer.Raw = kagami.Response, []byte("HTTP/1.1 204 No Content\r\n\r\n")
	answer.WireLen, answer.Flags = 4711, kagami.Truncated|kagami.MidStream
	answer.Exchange.Method = "HEAD"
	six := request(2)
	six.Client, six.Server = client6, server6
	six.End = six.Start
	other := request(3)
	other.Raw = []byte("PURGE-ALL /x HTTP/1.1\r\n\r\n")
	other.WireLen = len(other.Raw)
	other.Exchange.Method = "PURGE-ALL"
	other.Exchange.ID, _ = kagami.ParseID("0123456789abcdef01234567")
	mapped := request(4)
	mapped.Client = netip.MustParseAddrPort("[::ffff:192.0.2.7]:1")
	mapped.Flags = 0xffff
	bare := &kagami.Message{Kind: kagami.Replayed, Proto: kagami.Binary, Exchange: &kagami.Exchange{}}
	early := request(5)
	early.Start, early.End = time.Unix(0, -1).UTC(), time.Unix(0, 0).UTC()
	large := request(6)
	large.Raw = append([]byte("POST / HTTP/1.1\r\n\r\n"), bytes.Repeat([]byte{0, 1, 0xff}, 300_000)...)
	large.WireLen, large.Exchange.Method = len(large.Raw), "POST"
	return []*kagami.Message{request(0), answer, six, other, mapped, bare, early, large, request(7)}
}

// same fails the test unless got is want as a reader has it, one hop on.
func same(t *testing.T, got, want *kagami.Message) {
	t.Helper()
	w := *want
	w.Hop++
	g := *got
	if g.Exchange.ID != w.Exchange.ID || g.Exchange.Method != w.Exchange.Method {
		t.Errorf("exchange %v %q, want %v %q", g.Exchange.ID, g.Exchange.Method, w.Exchange.ID, w.Exchange.Method)
	}
	if !bytes.Equal(g.Raw, w.Raw) {
		t.Errorf("raw of %d bytes %.60q, want %d bytes %.60q", len(g.Raw), g.Raw, len(w.Raw), w.Raw)
	}
	g.Raw, w.Raw, g.Exchange, w.Exchange = nil, nil, nil, nil
	if fmt.Sprintf("%+v", g) != fmt.Sprintf("%+v", w) {
		t.Errorf("got  %+v\nwant %+v", g, w)
	}
}

// batch returns messages as one batch.
func batch(seq uint64, messages ...*kagami.Message) []byte {
	var b stream.Builder
	for _, m := range messages {
		b.Add(m)
	}
	return append([]byte(nil), b.Finish(seq)...)
}
