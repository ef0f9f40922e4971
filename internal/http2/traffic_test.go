package http2_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"kagami/internal/http2"
)

// A tap notes what a client's connections carry, in the order it is seen there.
type tap struct {
	mu    sync.Mutex
	conns [][]step
}

type tappedConn struct {
	net.Conn
	tap *tap
	n   int
}

func (t *tap) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.conns = append(t.conns, nil)
	return &tappedConn{c, t, len(t.conns) - 1}, nil
}

func (c *tappedConn) note(client bool, b []byte) {
	c.tap.conns[c.n] = append(c.tap.conns[c.n], step{client: client, bytes: bytes.Clone(b)})
}

func (c *tappedConn) Write(b []byte) (int, error) {
	c.tap.mu.Lock()
	c.note(true, b) // before the server can answer
	c.tap.mu.Unlock()
	return c.Conn.Write(b)
}

func (c *tappedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.tap.mu.Lock()
	c.note(false, b[:n])
	c.tap.mu.Unlock()
	return n, err
}

// describe writes down what matters of a message as net/http gives it to either end.
func describe(start string, header http.Header, body io.Reader, trailer *http.Header) string {
	b, err := io.ReadAll(body)
	if err != nil {
		return err.Error()
	}
	var s strings.Builder
	fmt.Fprintln(&s, start)
	for part, h := range map[string]http.Header{"1 ": header, "2 trailer ": *trailer} {
		for _, name := range slices.Sorted(maps.Keys(h)) {
			switch name {
			case "Content-Length", "Transfer-Encoding", "Trailer", "Te":
			case "Cookie":
				fmt.Fprintln(&s, part, name, strings.Join(h[name], "; "))
			default:
				if values := h[name]; len(values) > 0 { // a trailer may be announced and not come
					fmt.Fprintf(&s, "%s %s %q\n", part, name, values)
				}
			}
		}
	}
	lines := strings.Split(s.String(), "\n")
	slices.Sort(lines[1:])
	return strings.Join(lines, "\n") + fmt.Sprintf("\n%d bytes %q", len(b), b)
}

// A traffic is messages by the id in their header, as the server and the client had them.
type traffic struct {
	mu                sync.Mutex
	requests, answers map[string]string
}

func (tr *traffic) handler(w http.ResponseWriter, r *http.Request) {
	id := r.Header.Get("X-Id")
	seen := describe(r.Method+" "+r.RequestURI+" "+r.Host, r.Header, r.Body, &r.Trailer)
	tr.mu.Lock()
	tr.requests[id] = seen
	tr.mu.Unlock()
	w.Header().Set("X-Id", id)
	var n int
	fmt.Sscan(id, &n)
	switch n % 6 {
	case 0:
		w.WriteHeader(http.StatusNoContent)
	case 1:
		fmt.Fprint(w, "hello ", id)
	case 2: // as gRPC does
		w.Header().Set("Trailer", "Grpc-Status")
		w.Write(bytes.Repeat([]byte{0, 1, 2}, n*100))
		w.Header().Set("Grpc-Status", "0")
		w.Header().Set(http.TrailerPrefix+"Grpc-Message", "fine "+id)
	case 3:
		w.WriteHeader(http.StatusEarlyHints)
		for range 5 {
			w.Write(bytes.Repeat([]byte("x"), 5000))
			w.(http.Flusher).Flush()
		}
	case 4:
		w.Header().Set("X-Large", strings.Repeat("large ", 5000)+".")
		http.NotFound(w, r)
	case 5:
		w.Header().Set("Content-Length", "10")
		if r.Method != "HEAD" {
			w.Write([]byte("0123456789"))
		}
	}
}

// request returns one of many kinds of requests.
func request(url string, n int) *http.Request {
	id := fmt.Sprint(n)
	r, _ := http.NewRequest("GET", url+"/path/"+id+"?q="+strings.Repeat("y", n), nil)
	switch n % 8 {
	case 1:
		r, _ = http.NewRequest("POST", url+"/post", strings.NewReader(strings.Repeat("body "+id, n*50)))
	case 2: // of unknown length
		r, _ = http.NewRequest("PUT", url+"/put", io.MultiReader(strings.NewReader("un"), strings.NewReader("known")))
	case 3: // as gRPC does
		r, _ = http.NewRequest("POST", url+"/s/M", io.MultiReader(bytes.NewReader([]byte{0, 0, 0, 0, 2, 'h', 'i'})))
		r.Trailer = http.Header{"X-Sum": {id}}
		r.Header.Set("Te", "trailers")
		r.Header.Set("Content-Type", "application/grpc")
	case 4:
		r, _ = http.NewRequest("HEAD", url+"/head", nil)
	case 5:
		r.Header.Set("X-Large", strings.Repeat("0123456789 ", 3000)+".")
	case 6:
		r, _ = http.NewRequest("DELETE", url+"/x%20y", nil)
		r.Host = "another.example"
	case 7:
		r, _ = http.NewRequest("POST", url+"/", bytes.NewReader(make([]byte, 100_000)))
	}
	r.Header.Set("X-Id", id)
	r.Header.Set("Cookie", "a=1; b="+id+"; c="+strings.Repeat("z", n%40))
	r.Header.Set("User-Agent", "test")
	return r
}

// talk lets a real server and a real client say many things to each other.
func talk(t *testing.T, total int) (*traffic, *tap) {
	tr := &traffic{requests: map[string]string{}, answers: map[string]string{}}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(tr.handler))
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Start()
	defer srv.Close()
	var tap tap
	transport := &http.Transport{DialContext: tap.dial, Protocols: new(http.Protocols), DisableCompression: true}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	var wg sync.WaitGroup
	limit := make(chan bool, 20)
	for n := range total {
		wg.Go(func() {
			limit <- true
			defer func() { <-limit }()
			resp, err := client.Do(request(srv.URL, n))
			if err != nil {
				t.Error(err)
				return
			}
			seen := describe(fmt.Sprint(resp.StatusCode), resp.Header, resp.Body, &resp.Trailer)
			resp.Body.Close()
			tr.mu.Lock()
			tr.answers[fmt.Sprint(n)] = seen
			tr.mu.Unlock()
		})
	}
	wg.Wait()
	return tr, &tap
}

// TestTraffic decodes all of it.
func TestTraffic(t *testing.T) {
	const total = 120
	tr, tap := talk(t, total)
	tap.mu.Lock()
	defer tap.mu.Unlock()
	for seed := range uint64(6) {
		tr.decoded(t, tap, total, seed)
	}
}

// TestTrafficInPart joins the connections at any byte, and loses some on the way.
// Nothing that is decoded may differ from what was sent.
func TestTrafficInPart(t *testing.T) {
	_, tap := talk(t, 60)
	tap.mu.Lock()
	defer tap.mu.Unlock()
	right, undecodable := 0, 0
	for _, steps := range tap.conns {
		w := &wire{steps: steps}
		all, _ := w.play(t, both, whole)
		for seed := range uint64(40) {
			if len(steps) == 0 {
				break // dialled, and never used
			}
			r := rand.New(rand.NewPCG(seed, 5))
			part, cfg := &wire{}, both
			if seed%4 > 0 {
				cfg.MidStream = true
				steps := steps[r.IntN(len(steps)):]
				for i, s := range steps {
					if i < 2 { // each end somewhere in the middle
						s.bytes = s.bytes[r.IntN(len(s.bytes)+1):]
					}
					part.steps = append(part.steps, s)
				}
			} else {
				part.steps = steps
			}
			if seed%2 == 0 {
				part.steps = lossy(part.steps, r)
			}
			got, _ := part.play(t, cfg, random(seed))
			for i, line := range got.lines {
				switch {
				case got.all[i].Err == http2.ErrUndecodable:
					undecodable++
				case got.all[i].Err != nil || got.all[i].Truncated:
				case !slices.Contains(all.lines, line):
					t.Fatalf("seed %d: not sent: %.300q", seed, line)
				default:
					right++
				}
			}
		}
	}
	if right == 0 || undecodable == 0 {
		t.Errorf("%d messages decoded, %d undecodable", right, undecodable)
	}
	t.Logf("%d messages decoded, %d undecodable", right, undecodable)
}

// lossy loses a few stretches of bytes.
func lossy(steps []step, r *rand.Rand) (left []step) {
	for _, s := range steps {
		if len(s.bytes) > 20 && r.IntN(30) == 0 {
			from := r.IntN(len(s.bytes) - 1)
			to := from + 1 + r.IntN(len(s.bytes)-from-1)
			before, behind := s, s
			before.bytes, behind.bytes = s.bytes[:from], s.bytes[to:]
			left = append(left, before, step{client: s.client, lost: int64(to - from), cut: r.IntN(2) == 0}, behind)
			continue
		}
		left = append(left, s)
	}
	return left
}

// decoded fails the test unless the taps decode to what both ends had.
func (tr *traffic) decoded(t *testing.T, tap *tap, total int, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 2))
	found, answered := 0, 0
	for _, steps := range tap.conns {
		w := &wire{steps: steps}
		rec, err := w.play(t, both, func(n int) int {
			if seed == 0 {
				return n
			}
			return 1 + r.IntN(1+r.IntN(3000))
		})
		if err != nil {
			t.Error(err)
		}
		users := map[any]string{}
		for i := range rec.all {
			m := &rec.all[i]
			if m.Err != nil || m.Ambiguous {
				t.Errorf("stream %d: %v, ambiguous %v, %.200q", m.Stream, m.Err, m.Ambiguous, m.Raw)
				continue
			}
			id, got := reparse(t, m)
			want := tr.requests[id]
			if m.Response {
				want = tr.answers[id]
				answered++
				if users[m.User] != id {
					t.Errorf("the answer to %s was taken for that to %s", id, users[m.User])
				}
			} else {
				found++
				users[m.User] = id
			}
			if got != want {
				t.Errorf("%s: decoded\n%.1000s\nwant\n%.1000s", name(m), got, want)
			}
		}
	}
	if found != total || answered != total {
		t.Errorf("%d requests and %d answers of %d", found, answered, total)
	}
}

// reparse describes a message that was rendered, as net/http reads HTTP/1.1.
func reparse(t *testing.T, m *http2.Message) (id, seen string) {
	b := bufio.NewReader(bytes.NewReader(m.Raw))
	if m.Response {
		resp, err := http.ReadResponse(b, &http.Request{Method: m.Method})
		if err != nil {
			t.Fatalf("%v: %.200q", err, m.Raw)
		}
		seen = describe(fmt.Sprint(resp.StatusCode), resp.Header, resp.Body, &resp.Trailer)
		id = resp.Header.Get("X-Id")
	} else {
		req, err := http.ReadRequest(b)
		if err != nil {
			t.Fatalf("%v: %.200q", err, m.Raw)
		}
		seen = describe(req.Method+" "+req.RequestURI+" "+req.Host, req.Header, req.Body, &req.Trailer)
		id = req.Header.Get("X-Id")
	}
	if b.Buffered() > 0 {
		t.Errorf("%s: %d bytes behind its end", name(m), b.Buffered())
	}
	return id, seen
}
