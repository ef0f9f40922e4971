package output_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"kagami"
	"kagami/output"
)

// frames speaks HTTP/2 by hand on a connection whose preface was read.
type frames struct {
	*http2.Framer
	conn net.Conn
}

// serveFrames starts a server that calls serve for each request's head, and
// leaves everything else to chance.
func serveFrames(t testing.TB, serve func(n int64, f *frames, id uint32)) *rawServer {
	t.Helper()
	return serveRaw(t, func(n int64, c net.Conn, r *bufio.Reader) {
		if _, err := io.CopyN(io.Discard, r, int64(len(http2.ClientPreface))); err != nil {
			return
		}
		f := &frames{http2.NewFramer(c, r), c}
		f.WriteSettings()
		for {
			frame, err := f.ReadFrame()
			if err != nil {
				return
			}
			switch frame := frame.(type) {
			case *http2.SettingsFrame:
				if !frame.IsAck() {
					f.WriteSettingsAck()
				}
			case *http2.PingFrame:
				if !frame.IsAck() {
					f.WritePing(true, frame.Data)
				}
			case *http2.HeadersFrame:
				serve(n, f, frame.StreamID)
			}
		}
	})
}

// head writes the head of an answer.
func (f *frames) head(id uint32, end bool, fields ...string) {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for i := 0; i < len(fields); i += 2 {
		e.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: b.Bytes(), EndHeaders: true, EndStream: end})
}

// ok writes a whole answer.
func (f *frames) ok(id uint32) { f.head(id, true, ":status", "200") }

// What servers do wrong in HTTP/2, and what becomes of a request then.
func TestHTTP2MisbehavingServers(t *testing.T) {
	for _, c := range []struct {
		name  string
		serve func(n int64, f *frames, id uint32)
		want  kagami.Reason
	}{
		{"is silent", func(int64, *frames, uint32) {}, kagami.Timeout},
		{"closes", func(_ int64, f *frames, _ uint32) { f.conn.Close() }, kagami.SendError},
		{"resets the connection", func(_ int64, f *frames, _ uint32) { reset(f.conn) }, kagami.SendError},
		{"resets the stream", func(_ int64, f *frames, id uint32) { f.WriteRSTStream(id, http2.ErrCodeInternal) }, kagami.SendError},
		{"refuses the stream, always", func(_ int64, f *frames, id uint32) { f.WriteRSTStream(id, http2.ErrCodeRefusedStream) }, kagami.SendError},
		{"sends garbage", func(_ int64, f *frames, _ uint32) { io.WriteString(f.conn, strings.Repeat("garbage ", 100)) }, kagami.SendError},
		{"sends a broken head", func(_ int64, f *frames, id uint32) {
			f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: []byte{0xff, 0xff, 0xff, 0xff, 0xff}, EndHeaders: true})
		}, kagami.SendError},
		{"has no status", func(_ int64, f *frames, id uint32) { f.head(id, true, "x", "y") }, kagami.SendError},
		{"has a head without end", func(_ int64, f *frames, id uint32) {
			f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: nil})
			for f.WriteContinuation(id, false, bytes.Repeat([]byte("\x00\x01x\x7f\x00"+strings.Repeat("y", 127)), 100)) == nil {
			}
		}, kagami.SendError},
		{"has interim answers without end", func(_ int64, f *frames, id uint32) {
			for range 1000 {
				f.head(id, false, ":status", "103", "link", strings.Repeat("x", 10_000))
			}
		}, kagami.SendError},
		{"has a body without end", func(_ int64, f *frames, id uint32) {
			f.head(id, false, ":status", "200")
			for f.WriteData(id, false, []byte("x")) == nil {
			}
		}, kagami.Timeout},
		{"does not heed the window", func(_ int64, f *frames, id uint32) {
			f.head(id, false, ":status", "200")
			for range 100_000 {
				if f.WriteData(id, false, make([]byte, 16<<10)) != nil {
					return
				}
			}
		}, kagami.SendError},
		{"stops in the body", func(_ int64, f *frames, id uint32) {
			f.head(id, false, ":status", "200", "content-length", "10")
			f.WriteData(id, false, []byte("abc"))
		}, kagami.Timeout},
		{"says less than it announced", func(_ int64, f *frames, id uint32) {
			f.head(id, false, ":status", "200", "content-length", "10")
			f.WriteData(id, true, []byte("abc"))
		}, kagami.SendError},
		{"says more than it announced", func(_ int64, f *frames, id uint32) {
			f.head(id, false, ":status", "200", "content-length", "2")
			f.WriteData(id, true, []byte("abc"))
		}, kagami.SendError},
		{"answers what nobody asked", func(_ int64, f *frames, id uint32) { f.ok(id + 2) }, kagami.Timeout},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := serveFrames(t, c.serve)
			timeout := time.Minute // a busy machine with the race detector takes seconds
			if c.want == kagami.Timeout {
				timeout = 300 * time.Millisecond
			}
			answers := &recordingOutput{}
			h := newHTTP(t, output.HTTPConfig{URL: s.url(), Timeout: timeout, Answers: answers})
			for range 2 {
				seen := watch(t)
				write(t, h, seen, http2Request(crlf("POST / HTTP/1.1", "Host: a", "content-length: 1")+"x"))
				seen.await(1)
				seen.want(c.want)
			}
			if st := h.Stats(); st.Down || h.InFlight() != 0 || len(answers.all()) != 0 {
				t.Errorf("down %t, %d in flight, %d answers handed on", st.Down, h.InFlight(), len(answers.all()))
			}
		})
	}
}

// A request that was not processed is sent again, once; one that may have been, if it is idempotent.
func TestHTTP2RepeatsRequests(t *testing.T) {
	for _, c := range []struct {
		name   string
		method string
		second func(f *frames, id uint32) // what becomes of the second request on the first connection
		want   kagami.Reason
	}{
		{"POST that is refused", "POST", func(f *frames, id uint32) { f.WriteRSTStream(id, http2.ErrCodeRefusedStream) }, kagami.Delivered},
		{"POST behind a goodbye", "POST", func(f *frames, id uint32) { f.WriteGoAway(id-2, http2.ErrCodeNo, nil) }, kagami.Delivered},
		{"GET on a connection that closes", "GET", func(f *frames, _ uint32) { f.conn.Close() }, kagami.Delivered},
		{"POST on a connection that closes", "POST", func(f *frames, _ uint32) { f.conn.Close() }, kagami.SendError},
		{"GET whose answer breaks off", "GET", func(f *frames, id uint32) {
			f.head(id, false, ":status", "200")
			f.WriteData(id, false, []byte("x"))
			f.conn.Close()
		}, kagami.SendError},
	} {
		t.Run(c.name, func(t *testing.T) {
			var heads atomic.Int64
			s := serveFrames(t, func(_ int64, f *frames, id uint32) {
				if heads.Add(1) == 2 {
					c.second(f, id)
					return
				}
				f.ok(id)
			})
			h := newHTTP(t, output.HTTPConfig{URL: s.url()})
			for _, want := range []kagami.Reason{kagami.Delivered, c.want} {
				seen := watch(t)
				write(t, h, seen, http2Request(crlf(c.method+" / HTTP/1.1", "Host: a")))
				seen.await(1)
				seen.want(want)
			}
			if st, retries := h.Stats(), c.want == kagami.Delivered; (st.Retries == 1) != retries || (heads.Load() == 3) != retries {
				t.Errorf("%d retries, %d requests arrived", st.Retries, heads.Load())
			}
		})
	}
}

// A target of HTTP/2 that is down is probed as one of HTTP/1.1 is, and told of once.
func TestHTTP2TargetIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeTarget{}
		f.setDial(refuseAll)
		var told []string
		h, err := output.NewHTTP(output.HTTPConfig{URL: "http://192.0.2.1", Version: output.HTTPTwo, DialContext: f.DialContext,
			Notify: func(err error) { told = append(told, fmt.Sprint(err)) }})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		seen := watch(t)
		write(t, h, seen, requests(50)...)
		seen.await(50)
		if d := time.Since(start); d != 5*time.Second || seen.count(kagami.SendError) != 50 {
			t.Errorf("%d of 50 settled as send-error after %v, want all after 5 s", seen.count(kagami.SendError), d)
		}
		time.Sleep(time.Minute)
		at, _, most := f.take()
		if len(at) < 32 || len(at) > 50 || most != 1 {
			t.Errorf("%d attempts in 65 s, %d at once, want one at a time, 2 s apart or a little less", len(at), most)
		}
		if len(told) != 1 || !strings.Contains(told[0], "refused") || h.Up() {
			t.Errorf("told %q, up %t", told, h.Up())
		}
		if start = time.Now(); h.Close() != nil || time.Since(start) != 0 || h.InFlight() != 0 {
			t.Errorf("Close took %v, %d in flight", time.Since(start), h.InFlight())
		}
	})
}

func TestHTTP2CancelSettlesAll(t *testing.T) {
	heads := make(chan struct{}, 10)
	s := serveFrames(t, func(int64, *frames, uint32) { heads <- struct{}{} })
	h := newHTTP(t, output.HTTPConfig{URL: s.url(), Connections: 2, Timeout: time.Hour})
	var ms []*kagami.Message
	for range 5 {
		ms = append(ms, http2Request(crlf("GET / HTTP/1.1", "Host: a")))
	}
	ctx, cancel := context.WithCancel(t.Context())
	seen := watch(t)
	written := make(chan error)
	go func() { written <- h.Write(ctx, kagami.Batch{Messages: ms, Settle: seen.settle}) }()
	<-heads
	<-heads
	cancel()
	defer cancel()
	if err := <-written; err != nil {
		t.Error(err)
	}
	seen.await(5)
	if d, s := seen.count(kagami.InDoubt), seen.count(kagami.DrainTimeout); d != 2 || s != 3 {
		t.Errorf("%d in doubt, %d not sent, want 2 and 3: %v", d, s, seen.by)
	}
	if ms[4].Exchange.Fate(0) != kagami.Dropped || h.InFlight() != 0 {
		t.Errorf("fate %v, %d in flight", ms[4].Exchange.Fate(0), h.InFlight())
	}
}

// nginx says goodbye on each connection after so many requests: none is lost by it.
func TestHTTP2Nginx(t *testing.T) {
	nginx, err := exec.LookPath("nginx")
	if err != nil {
		t.Skip("no nginx")
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	dir := t.TempDir()
	conf := fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log %[1]s/error.log;
events {}
http {
	access_log %[1]s/access.log;
	client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
	keepalive_requests 50;
	server { listen %[2]s http2; location / { return 200 "hello"; } }
}`, dir, address)
	path := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(nginx, "-p", dir, "-c", path)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	h := newHTTP(t, output.HTTPConfig{URL: "http://" + address, Connections: 16})
	const n = 2000
	var ms []*kagami.Message
	for i := range n {
		m := http2Request(crlf(fmt.Sprintf("%s /%d HTTP/1.1", []string{"GET", "POST"}[i%2], i), "Host: a", "content-length: 0"))
		ms = append(ms, m)
	}
	seen := watch(t)
	write(t, h, seen, ms...) // and wait for nginx to come up
	seen.await(n)
	seen.want(make([]kagami.Reason, n)...)
	// nginx logs a request when its answer has gone out: the last ones may come late.
	got := 0
	for deadline := time.Now().Add(10 * time.Second); got < n && time.Now().Before(deadline); {
		log, err := os.ReadFile(filepath.Join(dir, "access.log"))
		if err != nil {
			t.Fatal(err)
		}
		got = bytes.Count(log, []byte(` HTTP/2.0" 200 `))
	}
	if got != n {
		t.Errorf("nginx answered %d requests, want each once", got)
	}
	if st := h.Stats(); st.Connected < n/50 {
		t.Errorf("%d connections, want one for each 50 requests: the test tests nothing", st.Connected)
	}
}
