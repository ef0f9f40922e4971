package capture

import (
	"fmt"
	"strings"
	"testing"

	"kagami"
)

// Of answers only the first bytes of each segment are looked at: heads come all the same,
// each paired with its request, and what follows a body that is cut short is found.
func TestResponseHeads(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"
	long := head + text(5000)
	chunked := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1388\r\n" + text(5000) + "\r\n0\r\n\r\n"
	many := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("64\r\n"+text(100)+"\r\n", 50) + "0\r\n\r\n"
	closing := "HTTP/1.0 200 OK\r\n\r\n" + text(5000)
	for _, c := range []struct {
		name    string
		answers []string
		sizes   []int // of the segments of each answer
		whole   []bool
	}{
		{"bodies of known length", []string{long, ok("2"), long}, []int{1448}, []bool{false, true, false}},
		{"large packets", []string{long, long, ok("3")}, []int{65000}, []bool{false, false, true}},
		{"one chunk", []string{chunked, ok("2"), chunked}, []int{1448}, []bool{false, true, false}},
		{"many chunks in a packet", []string{many, many, ok("3")}, []int{65000}, []bool{false, false, true}},
		{"many chunks in many packets", []string{many, ok("2"), many}, []int{1448}, []bool{false, true, false}},
		{"until close", []string{ok("1"), closing}, []int{1448}, []bool{true, false}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newTrace(t).conn(aClient, aServer)
			w.open()
			var requests []string
			for i, a := range c.answers {
				requests = append(requests, get(fmt.Sprint("/", i)))
				w.send(requests[i]).answer(cut(a, c.sizes[0])...)
			}
			w.hangUp()
			tr := w.tr.run(Config{Ports: []uint16{80}, Responses: true, ResponseHead: 300})
			tr.wants(requests...)
			if len(tr.responses) != len(c.answers) {
				t.Fatalf("%d answers, want %d", len(tr.responses), len(c.answers))
			}
			for i, m := range tr.responses {
				if m.Exchange != tr.requests[i].Exchange {
					t.Errorf("answer %d is paired with another request", i)
				}
				if whole := string(m.Raw) == c.answers[i] && m.Flags&kagami.Truncated == 0; whole != c.whole[i] {
					t.Errorf("answer %d whole: %v", i, whole)
				}
				if !strings.HasPrefix(c.answers[i], string(m.Raw)) || !strings.Contains(string(m.Raw), "\r\n\r\n") {
					t.Errorf("answer %d: %q", i, m.Raw)
				}
			}
		})
	}
}
