package e2e

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"math/big"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	ws "github.com/coder/websocket"

	"kagami"
	"kagami/internal/testbed"
	"kagami/internal/websocket"
)

// proxied is what nginx does before a server of WebSockets.
const proxied = `proxy_pass http://127.0.0.1:9001; proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $http_connection;`

// A wireLog is what went one way over connections, as it was on the wire.
type wireLog struct {
	mu    sync.Mutex
	conns []*bytes.Buffer
}

func (l *wireLog) conn(c net.Conn, written bool) net.Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := &bytes.Buffer{}
	l.conns = append(l.conns, b)
	return &loggedConn{Conn: c, log: l, b: b, written: written}
}

type loggedConn struct {
	net.Conn
	log     *wireLog
	b       *bytes.Buffer
	written bool // what is written is logged, else what is read
}

func (c *loggedConn) note(p []byte) {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	c.b.Write(p)
}

func (c *loggedConn) Write(p []byte) (int, error) {
	if c.written {
		c.note(p)
	}
	return c.Conn.Write(p)
}

func (c *loggedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if !c.written {
		c.note(p[:n])
	}
	return n, err
}

// sessions returns the frames of each connection by the path that was asked for: the first byte and
// the payload as it is without its mask.
func (l *wireLog) sessions(t *testing.T) map[string][]string {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	all := map[string][]string{}
	for _, b := range l.conns {
		head, rest, ok := bytes.Cut(b.Bytes(), []byte("\r\n\r\n"))
		if !ok || bytes.HasPrefix(head, []byte("READY")) {
			continue
		}
		path := strings.Fields(string(head))[1]
		frames := []string{}
		var f websocket.Framer
		for from := 0; len(rest) > 0; {
			n, done, err := f.Feed(rest[from:])
			if err != nil || !done {
				t.Errorf("%s: %d bytes behind %d frames are none: %v", path, len(rest), len(frames), err)
				break
			}
			_, payload, err := websocket.Payload(rest[:n])
			if err != nil {
				t.Fatal(err)
			}
			frames = append(frames, fmt.Sprintf("%02x %q", rest[0], payload))
			rest = rest[n:]
		}
		if _, twice := all[path]; twice {
			t.Errorf("two connections ask for %s", path)
		}
		all[path] = frames
	}
	return all
}

// An echo is a server of WebSockets that sends back what it gets.
type echo struct {
	log  wireLog
	http *http.Server
}

// startEcho starts one on port 9001 of a namespace's loopback.
func startEcho(t *testing.T, ns string) *echo {
	t.Helper()
	e := &echo{}
	var l net.Listener
	testbed.Netns(ns).Do(t, func() (err error) {
		l, err = net.Listen("tcp", "127.0.0.1:9001")
		return err
	})
	e.http = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := ws.Accept(w, r, &ws.AcceptOptions{CompressionMode: ws.CompressionContextTakeover, CompressionThreshold: 1, InsecureSkipVerify: true})
		if err != nil {
			return // it has answered
		}
		defer c.CloseNow()
		c.SetReadLimit(-1)
		for {
			kind, p, err := c.Read(r.Context())
			if err != nil {
				return
			}
			if string(p) == "close" {
				c.Close(ws.StatusNormalClosure, "as you say")
				return
			}
			if c.Write(r.Context(), kind, p) != nil {
				return
			}
		}
	})}
	go e.http.Serve(loggedListener{l, &e.log})
	t.Cleanup(func() { e.http.Close() })
	return e
}

type loggedListener struct {
	net.Listener
	log *wireLog
}

func (l loggedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.log.conn(c, false), nil
}

// talkSockets has clients talk to production, n of them at once. It returns the frames they sent.
func talkSockets(t *testing.T, h *testbed.Hosts, n int) map[string][]string {
	t.Helper()
	var log wireLog
	dial := func() net.Conn {
		var c net.Conn
		testbed.Netns(h.Client).Do(t, func() (err error) {
			c, err = net.DialTimeout("tcp", testbed.Addr(testbed.ProductionIP), 10*time.Second)
			return err
		})
		c.SetDeadline(time.Now().Add(testbed.Patience))
		return log.conn(c, true)
	}
	var wg sync.WaitGroup
	for i := range n {
		conn := dial()
		wg.Go(func() {
			defer conn.Close()
			var err error
			if url := fmt.Sprintf("/chat/%d", i); i%5 == 4 {
				err = talkRaw(conn, url)
			} else {
				err = talk(conn, url, i)
			}
			if err != nil {
				t.Errorf("client %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	return log.sessions(t)
}

// talk sends messages of all sizes, compressed in some clients, and reads them back.
func talk(conn net.Conn, path string, i int) error {
	ctx, random := context.Background(), rand.New(rand.NewPCG(uint64(i), 1))
	mode := []ws.CompressionMode{ws.CompressionDisabled, ws.CompressionContextTakeover, ws.CompressionNoContextTakeover}[i%3]
	dialer := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil }}}
	c, _, err := ws.Dial(ctx, "ws://production:8080"+path, &ws.DialOptions{HTTPClient: dialer, CompressionMode: mode, CompressionThreshold: 1})
	if err != nil {
		return err
	}
	defer c.CloseNow()
	c.SetReadLimit(-1)
	for j := range 30 {
		sizes := []int{0, 1, 125, 126, 1000, 65535, 65536, 200_000}
		kind, p := ws.MessageText, bytes.Repeat([]byte("kagami "), 1+sizes[random.IntN(len(sizes))]/7)
		if j%3 == 0 {
			kind, p = ws.MessageBinary, make([]byte, sizes[j%len(sizes)])
			for k := range p {
				p[k] = byte(random.Uint32())
			}
		}
		if err := c.Write(ctx, kind, p); err != nil {
			return err
		}
		if got, back, err := c.Read(ctx); err != nil || got != kind || !bytes.Equal(back, p) {
			return fmt.Errorf("message %d came back as %d bytes of %v: %w", j, len(back), got, err)
		}
	}
	if i%4 == 1 { // the server says Close
		if err := c.Write(ctx, ws.MessageText, []byte("close")); err != nil {
			return err
		}
		if _, _, err := c.Read(ctx); ws.CloseStatus(err) != ws.StatusNormalClosure {
			return err
		}
		return nil
	}
	return c.Close(ws.StatusNormalClosure, "bye")
}

// talkRaw sends fragments with control frames between them, and goes without a word.
func talkRaw(conn net.Conn, path string) error {
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: production\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", path)
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != 101 {
		return cmp.Or(err, fmt.Errorf("%v", resp))
	}
	frame := func(first byte, payload string) {
		h := websocket.Header{Fin: first&0x80 != 0, Opcode: websocket.Opcode(first & 15), Masked: true, Key: [4]byte{9, 8, 7, 6}, Length: int64(len(payload))}
		p := []byte(payload)
		websocket.Mask(h.Key, 0, p)
		conn.Write(append(h.Append(nil), p...))
	}
	frame(0x01, "one, ")
	frame(0x89, "are you there?")
	frame(0x00, strings.Repeat("two, ", 10_000))
	frame(0x8a, "nobody asked")
	frame(0x80, "three")
	want := "one, " + strings.Repeat("two, ", 10_000) + "three"
	pong := false
	for {
		var head [2]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return err
		}
		n := int(head[1])
		if n == 126 {
			var l [2]byte
			io.ReadFull(r, l[:])
			n = int(l[0])<<8 | int(l[1])
		}
		p := make([]byte, n)
		if _, err := io.ReadFull(r, p); err != nil {
			return err
		}
		if head[0] == 0x8a {
			pong = string(p) == "are you there?"
			continue
		}
		if want, ok := strings.CutPrefix(want, string(p)); !ok {
			return fmt.Errorf("%x came back: %.60q", head[0], p)
		} else if want == "" && pong {
			return nil
		}
	}
}

// expectSessions compares what a target got below a path with what the clients sent. Where the
// recording has no Close, one of our own ends it.
func expectSessions(t *testing.T, got, sent map[string][]string, base string, chosen func(path string) bool) {
	t.Helper()
	n := 0
	for path, frames := range sent {
		want := slices.Clone(frames)
		if len(want) == 0 || !strings.HasPrefix(want[len(want)-1], "88 ") {
			want = append(want, `88 "\x03\xe9"`)
		}
		g, ok := got[base+path]
		if !chosen(path) {
			if ok {
				t.Errorf("%s%s was not chosen, and came", base, path)
			}
			continue
		}
		n++
		for i := range min(len(g), len(want)) {
			if g[i] != want[i] {
				t.Errorf("%s%s: frame %d is %.60s, want %.60s", base, path, i, g[i], want[i])
				break
			}
		}
		if len(g) != len(want) {
			t.Errorf("%s%s: %d frames, want %d", base, path, len(g), len(want))
		}
	}
	for path := range got {
		if _, ok := sent[strings.TrimPrefix(path, base)]; strings.HasPrefix(path, base+"/") && !ok {
			t.Errorf("%s came, and was not sent", path)
		}
	}
	if n == 0 {
		t.Errorf("%s: none was chosen", base)
	}
}

func everyPath(string) bool { return true }

// countFrames is how many frames of clients there are.
func countFrames(sent map[string][]string) (n int) {
	for _, frames := range sent {
		n += len(frames)
	}
	return n
}

// WebSockets captured beside nginx: staging, behind nginx with TLS and without, gets exactly the
// frames that clients sent, in order. So it does from recordings, and over a stream; a
// share takes whole conversations.
func TestRootWebSocket(t *testing.T) {
	h := testbed.NewHosts(t)
	startEcho(t, h.Production)
	staging := startEcho(t, h.Staging)
	testbed.StartNginx(t, h.Production, proxied)
	cert, key := certificate(t, testbed.StagingIP)
	testbed.StartNginx(t, h.Staging, proxied+` }
		location = /no/chat/1 { return 403; }
	}
	server {
		listen 8443 ssl;
		ssl_certificate `+cert+`; ssl_certificate_key `+key+`;
		location / { `+proxied)
	plain, secure := "http://"+testbed.Addr(testbed.StagingIP), "https://"+testbed.StagingIP+":8443"
	gor, kgm := filepath.Join(t.TempDir(), "all.gor"), filepath.Join(t.TempDir(), "all.kgm")
	const clients = 20

	live := testbed.StartKagami(t, h.Production, capturing, "--input-raw", ":8080", "--input-raw-buffer-size", "256mb", "--memory-limit", "1gb", "--input-raw-track-response", "--output-http-track-response", "--queue-bytes", "1gb",
		"--queue-messages", "100000", "--output-http", plain+"/plain", "--output-http", secure+"/tls", "--output-http-ca", cert, "--output-file", gor, "--output-file", kgm)
	sent := talkSockets(t, h, clients)
	st := live.Stop()
	frames := countFrames(sent)
	got := staging.log.sessions(t)
	expectSessions(t, got, sent, "/plain", everyPath)
	expectSessions(t, got, sent, "/tls", everyPath)
	for _, name := range []string{plain + "/plain", secure + "/tls"} {
		expectOut(t, st, "output", name, clients+frames)
	}
	kinds := map[kagami.Kind]int{}
	for _, m := range messages(t, kgm) {
		if m.Proto == kagami.WebSocket {
			kinds[m.Kind]++
		}
	}
	if kinds[kagami.Request] != frames || kinds[kagami.Response] < frames/2 || kinds[kagami.Replayed] < 2*frames/3 {
		t.Errorf("recorded frames: %v, where clients sent %d", kinds, frames)
	}

	for name, path := range map[string]string{"/gor": gor, "/kgm": kgm} {
		code, _, stderr := testbed.RunKagami(t, h.Production, "replay", "--input-file", path+"|max", "--output-http", plain+name, "--drain-timeout", "30s")
		if code != 0 {
			t.Errorf("replay of %s: exit code %d: %s", path, code, stderr)
		}
		expectSessions(t, staging.log.sessions(t), sent, name, everyPath)
	}

	replayer := testbed.StartKagami(t, h.Staging, listening, "replay", "--input-tcp", testbed.StagingIP+":28020", "--insecure", "--queue-bytes", "1gb", "--queue-messages", "100000",
		"--output-http", "http://127.0.0.1:8080/half|50%", "--output-http", "http://127.0.0.1:8080/no", "--http-allow-url", "^/chat/")
	all := filepath.Join(t.TempDir(), "streamed.kgm")
	listener := testbed.StartKagami(t, h.Production, capturing, "listen", "--input-raw", ":8080", "--input-raw-buffer-size", "256mb", "--memory-limit", "1gb", "--output-tcp", testbed.StagingIP+":28020", "--insecure", "--queue-bytes", "1gb",
		"--queue-messages", "100000", "--output-file", all, "--output-http", plain+"/alone") // without production's answers
	again := talkSockets(t, h, clients)
	listener.Stop()
	st = replayer.Stop()
	half := map[string]bool{}
	share, _ := kagami.ShareOf(50)
	salt := kagami.NewSalt(0, 1, kagami.OutputSide)
	for _, m := range messages(t, all) {
		if m.Proto == kagami.HTTP1 && share.Includes(salt.ID(m.Exchange.ID)) {
			half[strings.Fields(string(m.Raw))[1]] = true
		}
	}
	got = staging.log.sessions(t)
	expectSessions(t, got, again, "/alone", everyPath)
	expectSessions(t, got, again, "/half", func(path string) bool { return half[path] })
	expectSessions(t, got, again, "/no", func(path string) bool { return path != "/chat/1" })
	expectOut(t, st, "output", "http://127.0.0.1:8080/half", len(half)+countOf(again, half))
	refused, _ := st.Stage("output", "http://127.0.0.1:8080/no", kagami.Messages)
	if n := refused.Dropped[kagami.NoWebSocket]; n != int64(len(again["/chat/1"])) || len(refused.Dropped) != 1 {
		t.Errorf("one WebSocket of %d frames is refused: dropped %v", len(again["/chat/1"]), refused.Dropped)
	}
}

// countOf is how many frames the chosen have.
func countOf(sent map[string][]string, chosen map[string]bool) (n int) {
	for path := range maps.Keys(chosen) {
		n += len(sent[path])
	}
	return n
}

// certificate makes a certificate for an address, and writes it and its key to files.
func certificate(t *testing.T, ip string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.ParseIP(ip)}, IsCA: true, BasicConstraintsValid: true}
	cert, err := x509.CreateCertificate(crand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	os.Chmod(dir, 0o755) // nginx reads them
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: cert}, keyFile: {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}
