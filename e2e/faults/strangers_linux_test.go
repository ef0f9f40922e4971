package faults

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"kagami"
	"kagami/internal/stream"
	"kagami/internal/testbed"
)

// strangers are addresses on the cable to the replayer that are nobody's.
const strangers = 20

func strangerIP(i int) string { return fmt.Sprintf("10.77.1.%d", 60+i%strangers) }

// A stranger connects to the replayer from an address of its own.
type stranger struct {
	t       *testing.T
	ns      testbed.Netns
	refused atomic.Int64 // connections that the replayer has closed
}

func (s *stranger) dial(i int) net.Conn {
	var conn net.Conn
	s.ns.Do(s.t, func() error {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(strangerIP(i))}, Timeout: testbed.Patience}
		c, err := d.Dial("tcp", address(port))
		if err == nil {
			c.SetDeadline(time.Now().Add(testbed.Patience))
			conn = c
		}
		return nil
	})
	return conn
}

// say sends b, and reads until the replayer closes the connection.
func (s *stranger) say(conn net.Conn, b []byte) {
	defer conn.Close()
	conn.Write(b) // it may be closed already
	buf := make([]byte, 4096)
	for {
		if _, err := conn.Read(buf); err != nil {
			if ne, ok := err.(net.Error); ok && ne.Timeout() {
				s.t.Errorf("a stranger's connection was left open")
			}
			s.refused.Add(1)
			return
		}
	}
}

// hugeBatch is a batch's head that announces 4 GiB, and what else a stranger has to say.
func hugeBatch() []byte {
	b := append([]byte("KGMB"), 1, 0, 0, 0)
	b = binary.BigEndian.AppendUint64(b, 1)
	b = binary.BigEndian.AppendUint32(b, 1<<31)
	b = binary.BigEndian.AppendUint32(b, 0xffffffff)
	b = binary.BigEndian.AppendUint32(b, 0xffffffff)
	b = binary.BigEndian.AppendUint32(b, 0)
	return append(b, make([]byte, 1<<20)...)
}

// A port scanner, random bytes, lengths of 4 GiB, slow-loris, and listeners
// without or with wrong credentials: nothing of theirs is delivered, the replayer's
// memory grows by what a handful of handshakes take and by nothing when all comes again, and the real listener does
// not notice.
func TestRootStrangers(t *testing.T) {
	t.Parallel()
	c := newChain(t, answer)
	h, production, staging := c.hosts, c.production, c.staging[0]
	for i := range strangers {
		testbed.IP(t, "-n", h.Production, "addr", "add", strangerIP(i)+"/24", "dev", "eth1")
	}
	// An eager collector, so that what is measured is what the replayer holds: else it is garbage that waits for the first
	// collection, which comes when the heap has grown to 20 MiB.
	c.replayerEnv = []string{"GOGC=20"}
	c.start()
	load := c.startLoad(500, nil)
	staging.WaitForRequests(1000)
	memory := func() int { return testbed.Memory(t, c.replayer.Cmd.Process.Pid, "VmHWM") }

	s := &stranger{t: t, ns: testbed.Netns(h.Production)}
	wrong := s.startWrong(c)
	before := memory()
	s.attack()
	first := memory()
	s.attack()
	second := memory()
	for _, l := range wrong {
		l.Cmd.Process.Signal(syscall.SIGTERM)
		l.Wait()
		if o := output(t, l.Statement(), 0); o.Out != 0 || o.In == 0 || o.Dropped[kagami.Unauthorized] == 0 {
			t.Errorf("a listener without credentials: %+v", o)
		}
	}

	c.endLoad(load)
	listened, replayed := c.listener.Stop(), c.replayer.Stop()
	captured := int64(len(production.Requests()))
	if o := output(t, listened, 0); o.In != captured || o.Out != captured {
		t.Errorf("served %d, the listener: in %d, out %d, dropped %v", captured, o.In, o.Out, o.Dropped)
	}
	if strings.Contains(c.listener.Stderr(), "no stream to the replayer") {
		t.Errorf("the real listener was cut off:\n%s", c.listener.Stderr())
	}
	if ids := staging.IDs(); int64(len(ids)) != captured || len(staging.Requests()) != len(ids) {
		t.Errorf("served %d, staging got %d requests, %d different ones", captured, len(staging.Requests()), len(ids))
	}
	links, _ := replayed.Stage("stream", "", kagami.Connections)
	if links.Out != 1 {
		t.Errorf("%d connections streamed, want that of the listener: %+v", links.Out, links)
	}
	const once, onceMore = 6 << 20, 1 << 20 // 64 handshakes with the buffers of TLS; and nothing, but for the kernel's rounding
	if first-before > once || second-first > onceMore {
		t.Errorf("the replayer's memory grew by %d KiB in one attack, and by %d in a second one", (first-before)>>10, (second-first)>>10)
	}
	t.Logf("the replayer's memory: %d KiB before, %d more in one attack, %d more in a second one; connections %d in, dropped %v; %d closed by it",
		before>>10, (first-before)>>10, (second-first)>>10, links.In, links.Dropped, s.refused.Load())
}

// attack is all at once that strangers do.
func (s *stranger) attack() {
	var wg sync.WaitGroup
	wg.Go(func() { // the port scanner
		for i := range 1000 {
			if conn := s.dial(i); conn != nil {
				conn.Close()
			}
		}
	})
	wg.Go(func() { // random bytes
		b := make([]byte, 64<<10)
		for i := range 200 {
			rand.Read(b)
			if conn := s.dial(i); conn != nil {
				s.say(conn, b)
			}
		}
	})
	wg.Go(func() { s.lengths() })
	wg.Go(func() { s.loris(&wg) })
	wg.Wait()
}

// lengths announces more than anybody should believe: in clear, before and
// inside TLS.
func (s *stranger) lengths() {
	hello := stream.AppendHello(nil, stream.Hello{Listener: "stranger", Epoch: 1, Next: 1, Insecure: true})
	long := append([]byte{}, hello...)
	binary.BigEndian.PutUint16(long[6:], 0xffff)
	for i := range 100 {
		for _, b := range [][]byte{append(hello, hugeBatch()...), append(long, make([]byte, 1<<16)...), {0x16, 3, 1, 0xff, 0xff, 1, 0xff, 0xff, 0xff}, hugeBatch()} {
			if conn := s.dial(i); conn != nil {
				s.say(conn, b)
			}
		}
		if conn := s.dial(i); conn != nil {
			secure := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"kagami/1"}})
			s.say(secure, append(hello, hugeBatch()...))
		}
	}
}

// loris holds connections open and says a byte now and then.
func (s *stranger) loris(wg *sync.WaitGroup) {
	hello := stream.AppendHello(nil, stream.Hello{Listener: "stranger", Epoch: 1, Next: 1})
	for i := range 100 {
		wg.Go(func() {
			conn := s.dial(i)
			if conn == nil {
				return
			}
			defer conn.Close()
			for _, b := range hello {
				if _, err := conn.Write([]byte{b}); err != nil {
					s.refused.Add(1)
					return
				}
				time.Sleep(300 * time.Millisecond) // slowness is the point
			}
			s.t.Error("a slow stranger could say all it wanted")
		})
	}
}

// startWrong starts listeners that have no credentials, or wrong ones.
func (s *stranger) startWrong(c *chain) []*testbed.Process {
	join, err := os.ReadFile(filepath.Join(c.trust, "default.join"))
	if err != nil {
		s.t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(join)) {
		if name, secret, ok := strings.Cut(line, ":"); ok && strings.HasPrefix(line, "token") {
			flip := map[bool]string{true: "B", false: "A"}[secret[0] == 'A']
			line = name + ":" + flip + secret[1:]
		}
		lines = append(lines, line)
	}
	wrong := filepath.Join(s.t.TempDir(), "wrong.join")
	if err := os.WriteFile(wrong, []byte(strings.Join(lines, "")), 0o600); err != nil {
		s.t.Fatal(err)
	}
	common := []string{"listen", "--input-raw", ":8080", "--drain-timeout", "1s", "--output-tcp", address(port)}
	noToken := testbed.StartKagami(s.t, c.hosts.Production, capturing, append(common, "--insecure")...)
	noToken.WaitFor("the replayer takes streams over TLS alone")
	badToken := testbed.StartKagami(s.t, c.hosts.Production, capturing, append(common, "--join-file", wrong)...)
	badToken.WaitFor("token")
	return []*testbed.Process{noToken, badToken}
}
