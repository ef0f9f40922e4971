package output_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"kagami"
	"kagami/output"
)

// An answer says which connection it came on, a new one as well as one that was used before.
func TestHTTPAnswerNamesItsConnection(t *testing.T) {
	s, conns := countingServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/last" {
			w.Header().Set("Connection", "close")
		}
		io.WriteString(w, r.RemoteAddr)
	})
	answers := &recordingOutput{}
	h := newHTTP(t, output.HTTPConfig{URL: s.URL, Connections: 1, Answers: answers, AnswerSize: 1000})
	seen := watch(t)
	var b kagami.Batch // all at once, so that the second connection takes the first one's place
	for _, path := range []string{"/", "/last", "/", "/"} {
		b.Messages = append(b.Messages, rawRequest(crlf("GET "+path+" HTTP/1.1", "Host: a")))
	}
	b.Settle = seen.settle
	if err := h.Write(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	seen.await(4)
	got := answers.all()
	if len(got) != 4 || conns.Load() != 2 {
		t.Fatalf("%d answers on %d connections, want 4 on 2", len(got), conns.Load())
	}
	for i, m := range got {
		if body := string(m.Raw[strings.Index(string(m.Raw), "\r\n\r\n")+4:]); m.Client.String() != body {
			t.Errorf("answer %d: came to %v, and the server had sent it to %s", i, m.Client, body)
		}
	}
}
