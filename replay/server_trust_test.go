package replay_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kagami"
	"kagami/internal/stream"
	"kagami/internal/trust"
	"kagami/replay"
)

// A guarded is a server with credentials on loopback, and its listener.
type guarded struct {
	t      *testing.T
	server *replay.Server
	dir    *trust.Dir
	join   trust.Join
	taken  atomic.Int64 // messages that were emitted
	epoch  atomic.Uint64

	mu   sync.Mutex
	said []string
}

func startGuarded(t *testing.T, change func(*replay.ServerConfig)) *guarded {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("elsewhere loopback has one address")
	}
	g := &guarded{t: t}
	var err error
	if g.dir, err = trust.OpenDir(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	path, err := g.dir.Add("edge", "127.0.0.1:1", filepath.Join(t.TempDir(), "edge.join"))
	if err != nil {
		t.Fatal(err)
	}
	if g.join, err = trust.ReadJoin(path); err != nil {
		t.Fatal(err)
	}
	known, err := g.dir.Server()
	if err != nil {
		t.Fatal(err)
	}
	cfg := replay.ServerConfig{Address: "127.0.0.1:0", Trust: known, Notify: func(err error) {
		g.mu.Lock()
		g.said = append(g.said, err.Error())
		g.mu.Unlock()
	}}
	if change != nil {
		change(&cfg)
	}
	if g.server, err = replay.NewServer(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		ended <- g.server.Run(ctx, func(_ context.Context, b kagami.Batch) error {
			g.taken.Add(int64(len(b.Messages)))
			b.DoneAll(kagami.Delivered)
			return nil
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		g.server.Close()
		if s := g.server.Stages()[0].Statement(); s.Missing() != 0 || s.InFlight != 0 {
			t.Errorf("connections do not balance: %+v", s)
		}
	})
	return g
}

// dialFrom connects from a loopback address.
func (g *guarded) dialFrom(from string) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 5 * time.Second}
	return d.Dial("tcp", g.server.Addr().String())
}

// A guest is a listener that was let in.
type guest struct {
	conn  *trust.Conn
	r     *bufio.Reader
	next  uint64
	acked uint64
}

func (g *guarded) enter(from string) (*guest, error) {
	conn, err := g.dialFrom(from)
	if err != nil {
		return nil, err
	}
	client, err := trust.JoinClient(func() (trust.Join, error) { return g.join, nil })
	if err != nil {
		return nil, err
	}
	secured, token, err := client.Handshake(g.t.Context(), conn, "")
	if err != nil {
		conn.Close()
		return nil, err
	}
	p := &guest{conn: secured, r: bufio.NewReader(secured), next: 1}
	if _, err := secured.Write(stream.AppendHello(nil, stream.Hello{Listener: "edge", Epoch: g.epoch.Add(1), Next: 1, Token: token})); err != nil {
		return nil, err
	}
	a, err := stream.ReadAnswer(p.r)
	if err == nil && a.Refused != nil {
		err = a.Refused
	}
	return p, err
}

// send sends a message and waits for its acknowledgement.
func (p *guest) send() error {
	if _, err := p.conn.Write(wireBatch(p.next, "01")); err != nil {
		return err
	}
	for p.acked < p.next {
		f, err := stream.ReadFrame(p.r, stream.Limits{})
		if err != nil {
			return err
		}
		p.acked = f.Acknowledged
	}
	p.next++
	return nil
}

// strangers are what a port on a network hears.
func (g *guarded) strangers() map[string]func(net.Conn) {
	client := func(c net.Conn, protocols ...string) (*tls.Conn, error) {
		s := tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: protocols})
		return s, s.Handshake()
	}
	hello := func(token string) []byte {
		return stream.AppendHello(nil, stream.Hello{Listener: "edge", Epoch: 5, Next: 1, Insecure: true, Token: token})
	}
	huge := wireBatch(1, "66")
	binary.BigEndian.PutUint32(huge[20:], 0xffffffff)
	binary.BigEndian.PutUint32(huge[24:], 0xffffffff)
	return map[string]func(net.Conn){
		"port scanner":       func(net.Conn) {},
		"browser":            func(c net.Conn) { io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n") },
		"GoReplay":           func(c net.Conn) { io.WriteString(c, "1 a20000d3b5a6 1700000000000000000 0\n") },
		"random bytes":       func(c net.Conn) { io.CopyN(c, rand.Reader, 64<<10) },
		"in clear":           func(c net.Conn) { c.Write(append(hello(""), wireBatch(1, "66")...)) },
		"the token in clear": func(c net.Conn) { c.Write(append(hello(g.join.Token.Text()), wireBatch(1, "66")...)) },
		"random bytes as TLS": func(c net.Conn) {
			c.Write([]byte{0x16, 3, 1, 0xff, 0xff})
			io.CopyN(c, rand.Reader, 64<<10)
		},
		"a huge client hello": func(c net.Conn) { // 16 MiB of a handshake message, in records of 16 KiB
			record := append([]byte{0x16, 3, 1, 0x40, 0}, make([]byte, 0x4000)...)
			copy(record[5:], []byte{1, 0xff, 0xff, 0xff})
			for range 64 {
				if _, err := c.Write(record); err != nil {
					return
				}
			}
		},
		"TLS of a browser": func(c net.Conn) {
			if s, err := client(c, "h2", "http/1.1"); err == nil {
				io.WriteString(s, "GET / HTTP/1.1\r\n\r\n")
			}
		},
		"TLS without a token": func(c net.Conn) {
			if s, err := client(c, trust.ALPN); err == nil {
				s.Write(append(hello(""), wireBatch(1, "66")...))
			}
		},
		"a token that was guessed": func(c net.Conn) {
			guess, _ := trust.NewToken("edge")
			if s, err := client(c, trust.ALPN); err == nil {
				s.Write(append(hello(guess.Text()), wireBatch(1, "66")...))
			}
		},
		"random bytes in TLS": func(c net.Conn) {
			if s, err := client(c, trust.ALPN); err == nil {
				io.CopyN(s, rand.Reader, 64<<10)
			}
		},
		"a batch of 4 GiB in TLS": func(c net.Conn) {
			if s, err := client(c, trust.ALPN); err == nil {
				s.Write(huge)
				io.CopyN(s, rand.Reader, 1<<20)
			}
		},
	}
}

// Whoever comes: nothing is delivered, memory stays flat, and the listener that
// belongs there does not notice.
func TestServerAmongStrangers(t *testing.T) {
	g := startGuarded(t, nil)
	listener, err := g.enter("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.conn.Close()
	if err := listener.send(); err != nil {
		t.Fatal(err)
	}
	before := heap()
	// Slow ones take all there is for handshakes, and go on.
	for i := range 100 {
		c, err := g.dialFrom(fmt.Sprintf("127.0.1.%d", 1+i%20))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.Write([]byte("KGM1\x01")[:i%5])
	}
	n := int64(1)
	from := 0
	for name, act := range g.strangers() {
		for range 12 { // more than an address may fail
			c, err := g.dialFrom(fmt.Sprintf("127.0.2.%d", from+1))
			if err != nil {
				t.Fatal(err)
			}
			_ = c.SetDeadline(time.Now().Add(5 * time.Second))
			act(c)
			c.Close()
			begun := time.Now()
			if err := listener.send(); err != nil {
				t.Fatalf("%s disturbed the listener: %v", name, err)
			}
			if d := time.Since(begun); d > 2*time.Second {
				t.Errorf("%s: the listener waited for %v", name, d)
			}
			n++
		}
		from++
	}
	grown := heap() - before
	if t.Logf("the heap has grown by %d bytes", grown); grown > 16<<20 {
		t.Error("which is too much")
	}
	// A new listener comes in past all of them.
	other, err := g.enter("127.0.0.3")
	if err != nil {
		t.Fatalf("a second listener: %v", err)
	}
	other.conn.Close()
	if got := g.taken.Load(); got != n {
		t.Errorf("%d messages, of %d that the listener sent", got, n)
	}
	g.settled()
	stats, stage := g.server.Stats(), g.server.Stages()[0].Statement()
	if stats.Accepted != 2 || stats.Unauthorized < int64(len(g.strangers())) || stage.Dropped[kagami.RateLimited] == 0 {
		t.Errorf("%+v %+v", stats, stage)
	}
	g.onceEach(t)
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// settled waits until no handshake is under way.
func (g *guarded) settled() {
	g.t.Helper()
	for end := time.Now().Add(20 * time.Second); g.server.Stages()[0].Statement().InFlight > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			g.t.Fatal("handshakes do not end")
		}
	}
}

// onceEach checks that Notify was told once of each peer.
func (g *guarded) onceEach(t *testing.T) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	told := map[string]int{}
	for _, s := range g.said {
		if i := strings.Index(s, "127.0."); i >= 0 {
			addr, _, _ := strings.Cut(s[i:], ":")
			told[addr]++
		}
	}
	for addr, n := range told {
		if n > 1 && !strings.HasPrefix(addr, "127.0.0.") {
			t.Errorf("told %d times of %s:\n%s", n, addr, strings.Join(g.said, "\n"))
		}
	}
	if len(told) < 20 {
		t.Errorf("told of %d peers:\n%s", len(told), strings.Join(g.said, "\n"))
	}
}

// A flood from ever new addresses does not fill memory, nor the log.
func TestServerManyStrangers(t *testing.T) {
	g := startGuarded(t, nil)
	before := heap()
	flood := func(from, to int) {
		for i := from; i < to; i++ {
			c, err := g.dialFrom(fmt.Sprintf("127.%d.%d.%d", 1+i/60000, i/250%250, 1+i%250))
			if err != nil {
				t.Error(err)
				return
			}
			io.WriteString(c, "GET / HTTP/1.1\r\n\r\n")
			_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
			io.Copy(io.Discard, c)
			c.Close()
		}
	}
	flood(0, 1500)
	g.mu.Lock()
	said := len(g.said)
	g.mu.Unlock()
	if said < 1000 || said > 1025 {
		t.Errorf("told of %d of 1500 addresses, want 1024 and one", said)
	}
	grown := heap() - before
	if t.Logf("the heap has grown by %d bytes", grown); grown > 8<<20 {
		t.Error("which is too much")
	}
	p, err := g.enter("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	defer p.conn.Close()
	if err := p.send(); err != nil {
		t.Error(err)
	}
}

// An address that fails again and again is not listened to, for a while.
func TestServerLimitsAttempts(t *testing.T) {
	g := startGuarded(t, nil)
	for range 30 {
		c, err := g.dialFrom("127.0.0.9")
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, "GET / HTTP/1.1\r\n\r\n")
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		io.Copy(io.Discard, c)
		c.Close()
	}
	s := g.server.Stages()[0].Statement()
	if n := s.Dropped[kagami.Unauthorized]; n < 10 || n > 13 {
		t.Errorf("%d of 30 attempts were looked at, want 10 or a few more", n)
	}
	if n := s.Dropped[kagami.RateLimited]; n < 17 {
		t.Errorf("%d of 30 were limited", n)
	}
	if _, err := g.enter("127.0.0.9"); err == nil {
		t.Error("let in from an address that is limited")
	}
	p, err := g.enter("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	p.conn.Close()
}

// A batch of 4 GiB, announced by a listener that was let in, is not waited for.
func TestServerHugeBatchOfListener(t *testing.T) {
	g := startGuarded(t, nil)
	p, err := g.enter("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	defer p.conn.Close()
	batch := alter(wireBatch(1, "01"), func(b []byte) { copy(b[20:], bytes.Repeat([]byte{0xff}, 8)) })
	before := heap()
	if err := func() error { _, err := p.conn.Write(batch); return err }(); err != nil {
		t.Fatal(err)
	}
	f, err := stream.ReadFrame(p.r, stream.Limits{})
	if err != nil || f.Type != stream.FrameEnd || f.Code != stream.CodeDamaged {
		t.Errorf("%+v, %v", f, err)
	}
	if grown := heap() - before; grown > 1<<20 {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
	if g.taken.Load() != 0 {
		t.Error("something was taken in")
	}
}

// Connections of one address are bounded, whatever they know.
func TestServerLimitsConnectionsOfAnAddress(t *testing.T) {
	g := startGuarded(t, func(c *replay.ServerConfig) { c.MaxPeer = 3 })
	for range 3 {
		p, err := g.enter("127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		defer p.conn.Close()
	}
	if _, err := g.enter("127.0.0.1"); err == nil {
		t.Error("a fourth was let in")
	}
	p, err := g.enter("127.0.0.2")
	if err != nil {
		t.Fatal(err)
	}
	p.conn.Close()
}
