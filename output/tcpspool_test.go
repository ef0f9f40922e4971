package output_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kagami"
	"kagami/internal/stream"
	"kagami/output"
)

// spooling makes an output that has a spool.
func spooling(dir string, change func(*output.TCPConfig)) func(*output.TCPConfig) {
	return func(c *output.TCPConfig) {
		c.Spool = &output.TCPSpool{Dir: dir, Name: "tcp://replayer"}
		if change != nil {
			change(c)
		}
	}
}

// expectSpool compares the spool's line of the ledger.
func expectSpool(t *testing.T, out *output.TCP, in, delivered, left int64, dropped map[kagami.Reason]int64) {
	t.Helper()
	_, stage := out.Stages()
	st := stage.Statement()
	if st.Missing() != 0 || st.In != in || st.Out != delivered || st.InFlight != left || len(st.Dropped) != len(dropped) {
		t.Errorf("spool: %+v, want %d in, %d out, %d left, dropped %v", st, in, delivered, left, dropped)
	}
	for r, n := range dropped {
		if st.Dropped[r] != n {
			t.Errorf("spool: dropped %v, want %v", st.Dropped, dropped)
		}
	}
}

// What no replayer took stays on disk, and the next process sends it with the numbers it had.
func TestTCPSpoolOverRestarts(t *testing.T) {
	tcpTest(t, func(t *testing.T, r *tcpReplayer, fates *tcpFates) {
		dir := filepath.Join(t.TempDir(), "spool")
		r.down = errors.New("no route to host")
		out := r.output(spooling(dir, func(c *output.TCPConfig) { c.ID = "edge" }))
		tcpWrite(t, out, t.Context(), fates.batch(0, "01", "02"))
		fates.expect("01 delivered, 02 delivered")
		tcpWrite(t, out, t.Context(), fates.batch(0, "03"))
		begun := time.Now()
		if err := out.Close(); err != nil {
			t.Error(err)
		}
		if d := time.Since(begun); d > time.Second {
			t.Errorf("waited for %v for a replayer that is away", d)
		}
		expectSpool(t, out, 3, 0, 3, nil)

		r.down = nil
		out = r.output(spooling(dir, func(c *output.TCPConfig) { c.ID = "another name"; c.Rand = func() uint64 { return 8 } }))
		if f := out.Found(); f.Messages != 3 {
			t.Errorf("found %+v", f)
		}
		l := r.accept(stream.Answer{})
		if want := (stream.Hello{Version: 1, Listener: "edge", Epoch: 7, Next: 1<<32 + 4}); l.hello != want {
			t.Errorf("hello %+v, want %+v", l.hello, want)
		}
		l.expectBatch(1, 2, "01 02")
		l.expectBatch(3, 3, "03")
		tcpWrite(t, out, t.Context(), fates.batch(0, "04"))
		l.expectBatch(1<<32+4, 1<<32+4, "04")
		l.ack(2)
		synctest.Wait()
		expectSpool(t, out, 4, 2, 2, nil)

		// The connection breaks; the replayer has all, and has settled one more.
		l.conn.Close()
		l = r.accept(stream.Answer{Received: 1<<32 + 4, Acknowledged: 3})
		tcpWrite(t, out, t.Context(), fates.batch(0, "05"))
		l.expectBatch(1<<32+5, 1<<32+5, "05")
		closed := tcpClose(out)
		synctest.Wait()
		select {
		case err := <-closed:
			t.Fatalf("closed while the replayer has something to acknowledge: %v", err)
		default:
		}
		l.ack(1<<32 + 5)
		l.end()
		if err := <-closed; err != nil {
			t.Error(err)
		}
		expectSpool(t, out, 5, 5, 0, nil)
	})
}

// At the end there is as much time as the context has, and then the rest stays.
func TestTCPSpoolClosesInTime(t *testing.T) {
	tcpTest(t, func(t *testing.T, r *tcpReplayer, fates *tcpFates) {
		out := r.output(spooling(t.TempDir(), nil))
		l := r.accept(stream.Answer{})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		tcpWrite(t, out, ctx, fates.batch(0, "01"))
		l.expectBatch(1, 1, "01")
		begun := time.Now()
		closed := tcpClose(out)
		l.end()
		if err := <-closed; err != nil {
			t.Error(err)
		}
		if d := time.Since(begun); d < 5*time.Second || d > 7*time.Second {
			t.Errorf("closed after %v", d)
		}
		expectSpool(t, out, 1, 0, 1, nil)
	})
}

// Over its size what comes is dropped, or waits; it never waits for the replayer otherwise.
func TestTCPSpoolFull(t *testing.T) {
	for _, onFull := range []output.OnFull{output.DropWhenFull, output.WaitWhenFull} {
		t.Run(onFull.String(), func(t *testing.T) {
			tcpTest(t, func(t *testing.T, r *tcpReplayer, fates *tcpFates) {
				out := r.output(spooling(t.TempDir(), func(c *output.TCPConfig) {
					c.BatchSize, c.Spool.MaxBytes, c.Spool.OnFull = 1000, 3500, onFull
				}))
				l := r.accept(stream.Answer{})
				ctx, cancel := context.WithCancel(t.Context())
				wrote := make(chan error, 1)
				go func() { wrote <- out.Write(ctx, fates.batch(900, "01", "02", "03", "04", "05")) }()
				l.expectBatch(1, 1, "01")
				synctest.Wait()
				if onFull == output.DropWhenFull {
					<-wrote
					fates.expect("01 delivered, 02 delivered, 03 delivered, 04 spool-full, 05 spool-full")
				} else {
					fates.expect("01 delivered, 02 delivered, 03 delivered")
					expectInFlight(t, out, 2)
					l.ack(1)
					l.batch()
					l.batch()
					l.expectBatch(4, 4, "04")
					cancel()
					<-wrote
					fates.expect("01 delivered, 02 delivered, 03 delivered, 04 delivered, 05 drain-timeout")
				}
				cancel()
				closed := tcpClose(out)
				_ = l.conn.Close()
				<-closed
			})
		})
	}
}

// What the replayer does not take, or cannot read, does not stand in the way of the rest.
func TestTCPSpoolGivesUp(t *testing.T) {
	tcpTest(t, func(t *testing.T, r *tcpReplayer, fates *tcpFates) {
		r.down = errors.New("no route to host")
		out := r.output(spooling(t.TempDir(), nil))
		tcpWrite(t, out, t.Context(), fates.batch(2000, "01")) // before its limits are known
		tcpWrite(t, out, t.Context(), fates.batch(0, "02"))
		tcpWrite(t, out, t.Context(), fates.batch(0, "03"))
		r.mu.Lock()
		r.down = nil
		r.mu.Unlock()
		limits := stream.Limits{Record: 1000}
		for range 3 {
			l := r.accept(stream.Answer{Limits: limits})
			l.expectBatch(2, 2, "02")
			l.send(stream.Frame{Type: stream.FrameEnd, Code: stream.CodeDamaged, Text: "damaged"})
		}
		l := r.accept(stream.Answer{Limits: limits})
		l.expectBatch(3, 3, "03")
		tcpWrite(t, out, t.Context(), fates.batch(2000, "04"))
		l.ack(3)
		closed := tcpClose(out)
		l.end()
		<-closed
		fates.expect("01 delivered, 02 delivered, 03 delivered, 04 too-large")
		expectSpool(t, out, 3, 1, 0, map[kagami.Reason]int64{kagami.TooLarge: 1, kagami.Damaged: 1})
	})
}

func TestTCPSpoolAgainstTheRules(t *testing.T) {
	tcpTest(t, func(t *testing.T, r *tcpReplayer, fates *tcpFates) {
		out := r.output(spooling(t.TempDir(), nil))
		l := r.accept(stream.Answer{})
		tcpWrite(t, out, t.Context(), fates.batch(0, "01"))
		l.expectBatch(1, 1, "01")
		l.ack(2)
		r.accept(stream.Answer{Received: 2})
		l = r.accept(stream.Answer{Received: 1})
		l.ack(1)
		closed := tcpClose(out)
		l.end()
		<-closed
		events, _ := r.seen()
		all := strings.Join(events, "\n")
		if !strings.Contains(all, "acknowledges record 2, and 1 was the last one sent") || !strings.Contains(all, "has record 2") {
			t.Errorf("told %s", all)
		}
		expectSpool(t, out, 1, 1, 0, nil)
	})
}

// Batches are compressed, sent again as they were, and not sent to a replayer that does not know that. (The decoder
// is not of one test: no bubble.)
func TestTCPCompress(t *testing.T) {
	for _, spool := range []bool{false, true} {
		r, fates := newTCPReplayer(t), &tcpFates{t: t, fate: map[string]kagami.Reason{}}
		told := make(chan error, 10)
		out := r.output(func(c *output.TCPConfig) {
			c.Compress, c.RefusedBackoff, c.MinBackoff = true, time.Millisecond, time.Millisecond
			c.Notify = func(err error) { told <- err }
			if spool {
				c.Spool = &output.TCPSpool{Dir: t.TempDir()}
			}
		})
		r.accept(stream.Answer{})
		if err := <-told; err == nil || !strings.Contains(err.Error(), "does not take compressed batches") {
			t.Errorf("told %v", err)
		}
		zstd := stream.Answer{Features: stream.FeatureZstd}
		l := r.accept(zstd)
		for _, ids := range [][]string{{"01", "02"}, {"03"}, {"04"}} {
			tcpWrite(t, out, t.Context(), fates.batch(5000, ids...))
			l.expectPacked(ids[0], len(ids)*200)
		}
		l.ack(2)
		l.conn.Close()
		zstd.Received, zstd.Acknowledged = 2, 2
		l = r.accept(zstd)
		l.expectPacked("03", 300)
		l.expectPacked("04", 300)
		tcpWrite(t, out, t.Context(), fates.batch(5000, "05"))
		l.expectPacked("05", 300)
		l.ack(5)
		closed := tcpClose(out)
		l.end()
		<-closed
		fates.expect("01 delivered, 02 delivered, 03 delivered, 04 delivered, 05 delivered")
	}
}

// expectPacked reads a compressed batch of at most so many bytes.
func (l *tcpLine) expectPacked(first string, atMost int) {
	l.t.Helper()
	f, err := stream.ReadFrame(l.r, stream.Limits{})
	if err != nil || f.Type != stream.FrameBatch || !f.Batch.Compressed || f.Batch.Length > atMost {
		l.t.Fatalf("%+v, %v", f, err)
	}
	body, err := f.Batch.ReadBody(l.r, nil)
	if err != nil {
		l.t.Fatal(err)
	}
	messages, _, err := f.Batch.Messages(body, stream.Limits{})
	if err != nil || messages[0].Exchange.ID.String() != first {
		l.t.Fatalf("%v, %v, want %s", messages, err, first)
	}
}
