package faults

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"kagami"
	"kagami/internal/testbed"
)

// What waits for a target that hangs is not acknowledged: the listener's window
// fills, then its queue, and what does not fit there is dropped by name.
// Production does not wait.
func TestRootTargetHangs(t *testing.T) {
	t.Parallel()
	c := newChain(t).withState()
	c.drain = "5s" // nothing can be delivered
	hang(t, testbed.Netns(c.hosts.Staging), testbed.Addr(testbed.StagingIP))
	c.targets = []string{"http://" + testbed.Addr(testbed.StagingIP)}
	c.startReplayer(port, "--output-http-timeout", "200s")
	c.startListener(address(port)).WaitFor(streaming)
	body := bytes.Repeat([]byte("x"), 64<<10)
	load := c.startLoad(400, func() io.Reader { return bytes.NewReader(body) })
	begun := time.Now()
	c.production.WaitForRequests(1500) // 94 MiB, and all windows and queues hold 45
	took := time.Since(begun)
	asked, failed := load.End()
	if failed > 0 || took > 15*time.Second {
		t.Errorf("production failed %d of %d requests in %v", failed, asked, took)
	}
	c.listener.Cmd.Process.Signal(syscall.SIGTERM)
	if code := c.listener.Wait(); code != 1 {
		t.Errorf("exit code %d of a listener that has messages in doubt, want 1", code)
	}
	listened := c.listener.Statement()
	capture, _ := listened.Stage("capture", "", kagami.Messages) // on a busy machine the kernel may lose some of so many bytes
	o := output(t, listened, 0)
	if o.In != capture.Out || o.Out != 0 || o.Dropped[kagami.QueueFull] == 0 || o.Dropped[kagami.InDoubt] == 0 || o.DroppedTotal() != o.In {
		t.Errorf("captured %d; the listener: in %d, out %d, dropped %v", capture.Out, o.In, o.Out, o.Dropped)
	}
	most := testbed.Memory(t, c.replayer.Cmd.Process.Pid, "VmHWM")
	if limit := 128 << 20; most > limit {
		t.Errorf("the replayer had %d MiB", most>>20)
	}
	replayed := c.replayer.Stop()
	stream, _ := replayed.Stage("stream", "", kagami.Messages)
	t.Logf("captured %d in %v; the listener dropped %v; the replayer took in %d, had %d MiB, and dropped %v",
		capture.Out, took, o.Dropped, stream.In, most>>20, output(t, replayed, 0).Dropped)
}

// hang takes connections and never answers.
func hang(t *testing.T, ns testbed.Netns, address string) {
	var l net.Listener
	ns.Do(t, func() (err error) {
		l, err = net.Listen("tcp", address)
		return err
	})
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { conn.Close() }) // and so it stays open until then
		}
	}()
}

// While the disk of the state is full nothing is sent and nothing acknowledged;
// when there is room again all arrives, once.
func TestRootStateDiskFull(t *testing.T) {
	t.Parallel()
	c := newChain(t, answer)
	production, staging := c.production, c.staging[0]
	disk := t.TempDir()
	testbed.Tmpfs(t, disk, 256<<10)
	c.state = filepath.Join(disk, "state")
	c.start()
	load := c.startLoad(500, nil)
	staging.WaitForRequests(200)
	ballast := filepath.Join(disk, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); err == nil {
		t.Fatal("the disk is not full")
	}
	c.replayer.WaitFor("the state cannot be written")
	staging.Settle()
	arrived := len(staging.Requests())
	production.WaitForRequests(len(production.Requests()) + 500)
	if n := len(staging.Requests()); n != arrived {
		t.Errorf("%d requests were sent while that could not be journalled", n-arrived)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	c.replayer.WaitFor("the state can be written again")
	c.endLoad(load)
	listened, replayed := c.listener.Stop(), c.replayer.Stop()
	captured := int64(len(production.Requests()))
	for _, o := range []kagami.StageStatement{output(t, listened, 0), output(t, replayed, 0)} {
		if o.In != captured || o.Out != captured {
			t.Errorf("captured %d: %+v", captured, o)
		}
	}
	if ids := staging.IDs(); int64(len(ids)) != captured || len(staging.Requests()) != len(ids) {
		t.Errorf("captured %d, staging got %d requests, %d different ones", captured, len(staging.Requests()), len(ids))
	}
}
