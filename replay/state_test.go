package replay_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kagami"
	"kagami/internal/journal"
	"kagami/internal/stream"
	"kagami/replay"
)

// What was settled before a crash is not sent again; what was being sent is in
// doubt, and dropped; the rest is as new. The ledger goes on.
func TestStateGoesOnAfterACrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRun(t, t.TempDir(), nil, "a")
		p, _ := r.connect(7)
		p.write(wireBatch(1, "01", "02", "03"))
		p.write(wireBatch(4, "04", "05", "06"))
		r.expectIDs("01 02 03 04 05 06")
		r.deliver(0, 0)
		r.send(0, 1)
		r.send(0, 3)
		r.settleAt(0, 3, kagami.Timeout)
		r.settleAt(0, 4, kagami.QueueFull) // it was never begun
		dir := r.crash()

		r = startRun(t, dir, nil, "a")
		if n := r.state.InDoubt(); n != 1 {
			t.Errorf("%d in doubt, want 1", n)
		}
		p, a := r.connect(7)
		if a.Received != 0 || a.Acknowledged != 0 {
			t.Errorf("answer %+v, and no batch was settled", a)
		}
		p.write(wireBatch(1, "01", "02", "03"))
		p.write(wireBatch(4, "04", "05", "06"))
		r.expectIDs("01 02 03 04 05 06")
		r.expectRecalled(0, "01:delivered 02:in-doubt 04:timeout")
		for i, reason := range []kagami.Reason{kagami.Delivered, kagami.InDoubt} {
			r.settleAt(0, i, reason)
		}
		r.deliver(0, 2)
		p.expectAck(3)
		dir = r.crash()

		r = startRun(t, dir, nil, "a")
		expectLedger(t, r.outputs[0], 3, 2, "in-doubt 1")
		expectLedger(t, r.filter, 3, 3, "")
		p, a = r.connect(7)
		if a.Received != 3 || a.Acknowledged != 3 {
			t.Errorf("answer %+v, want 3 received and acknowledged", a)
		}
		p.write(wireBatch(4, "04", "05", "06"))
		r.expectIDs("04 05 06")
		r.expectRecalled(0, "04:timeout")
		r.settleAt(0, 0, kagami.Timeout)
		r.deliver(0, 1)
		r.deliver(0, 2)
		p.expectAck(6)
		expectLedger(t, r.outputs[0], 6, 4, "timeout 1, in-doubt 1")
		expectLedger(t, r.server.Stages()[1], 6, 6, "")
		r.close()

		r = startRun(t, dir, nil, "a")
		expectLedger(t, r.outputs[0], 6, 4, "timeout 1, in-doubt 1")
		if n := r.state.InDoubt(); n != 0 {
			t.Errorf("%d in doubt after an end in order", n)
		}
		r.close()
	})
}

// What is in doubt is sent again where that was asked for, and counted.
func TestStateSendsAgain(t *testing.T) {
	resend := func(c *replay.StateConfig) { c.Resend = true }
	synctest.Test(t, func(t *testing.T) {
		r := startRun(t, t.TempDir(), resend, "a")
		p, _ := r.connect(3)
		p.write(wireBatch(1, "01", "02"))
		r.expectIDs("01 02")
		r.send(0, 0)
		dir := r.crash()
		for again := range int64(2) { // a second crash, and a second time
			r = startRun(t, dir, resend, "a")
			p, _ = r.connect(3)
			p.write(wireBatch(1, "01", "02"))
			r.expectIDs("01 02")
			r.expectRecalled(0, "")
			r.send(0, 0)
			if n := r.outputs[0].Statement().Resent; n != again+1 {
				t.Errorf("%d sent again, want %d", n, again+1)
			}
			dir = r.crash()
		}
		r = startRun(t, dir, resend, "a")
		p, _ = r.connect(3)
		p.write(wireBatch(1, "01", "02"))
		r.expectIDs("01 02")
		r.deliver(0, 0)
		r.deliver(0, 1)
		p.expectAck(2)
		dir = r.crash()
		r = startRun(t, dir, resend, "a")
		expectLedger(t, r.outputs[0], 2, 2, "")
		if n := r.outputs[0].Statement().Resent; n != 3 {
			t.Errorf("%d sent again, want 3", n)
		}
		r.close()
	})
}

// Each output goes on where it was; one that is new gets all that is not
// acknowledged, and one that is gone is forgotten.
func TestStateOfSeveralOutputs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRun(t, t.TempDir(), nil, "a", "b", "a")
		p, _ := r.connect(4)
		p.write(wireBatch(1, "01", "02", "03"))
		r.expectIDs("01 02 03")
		r.deliver(0, 0)
		r.deliver(1, 1)
		r.send(2, 2)
		if output, known := r.state.RecallAny(r.message(0).m); known {
			t.Errorf("recalled output %d in the run itself", output)
		}
		dir := r.crash()
		r = startRun(t, dir, nil, "c", "b", "a", "a")
		p, _ = r.connect(4)
		p.write(wireBatch(1, "01", "02", "03"))
		r.expectIDs("01 02 03")
		r.expectRecalled(0, "")
		r.expectRecalled(1, "02:delivered")
		r.expectRecalled(2, "01:delivered")
		r.expectRecalled(3, "03:in-doubt")
		if output, known := r.state.RecallAny(r.message(1).m); !known || output != 1 {
			t.Errorf("recalled output %d, %v", output, known)
		}
		r.close()
	})
}

// What there was no time for at the end is as if it had not come; also what was
// about to be sent, and was not.
func TestStateOfAnEndInOrder(t *testing.T) {
	for _, resend := range []bool{false, true} {
		change := func(c *replay.StateConfig) { c.Resend = resend }
		synctest.Test(t, func(t *testing.T) {
			dir := t.TempDir()
			r := startRun(t, dir, change, "a")
			p, _ := r.connect(5)
			p.write(wireBatch(1, "01", "02", "03", "04"))
			r.expectIDs("01 02 03 04")
			r.deliver(0, 0)
			r.stop()
			synctest.Wait()
			r.send(0, 1)
			r.settleAt(0, 1, kagami.DrainTimeout)
			r.settleAt(0, 2, kagami.DrainTimeout)
			r.send(0, 3)
			r.settleAt(0, 3, kagami.InDoubt)
			r.close()
			r = startRun(t, dir, change, "a")
			p, a := r.connect(5)
			if a.Received != 0 {
				t.Errorf("answer %+v", a)
			}
			p.write(wireBatch(1, "01", "02", "03", "04"))
			r.expectIDs("01 02 03 04")
			want, doubt := "01:delivered 04:in-doubt", int64(0)
			if resend {
				want, doubt = "01:delivered", 1
			}
			r.expectRecalled(0, want)
			if n := r.state.InDoubt(); n != doubt {
				t.Errorf("%d in doubt, want %d", n, doubt)
			}
			expectLedger(t, r.outputs[0], 0, 0, "")
			r.close()
		})
	}
}

// While the journal cannot be written nothing may be sent, and nothing is
// acknowledged or taken in; then all goes on.
func TestStateOnAFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []error
		r := startRun(t, t.TempDir(), func(c *replay.StateConfig) {
			c.Notify = func(err error) { told = append(told, err) }
		}, "a")
		p, _ := r.connect(5)
		p.write(wireBatch(1, "01", "02"))
		r.expectIDs("01 02")
		r.deliver(0, 0)
		r.send(0, 1)
		r.state.BreakFile()
		os.RemoveAll(r.dir) // and there can be no other
		r.settleAt(0, 1, kagami.Delivered)
		for range 3 {
			p.expectAck(0) // a heartbeat
		}
		if r.state.Err() == nil || len(told) != 1 || told[0] == nil {
			t.Fatalf("error %v, told %v", r.state.Err(), told)
		}
		m := r.message(1).m
		if err := r.state.Sending(0, []*kagami.Message{m}); err == nil {
			t.Error("a message may be sent")
		}
		written := make(chan struct{})
		go func() { p.write(wireBatch(3, "03")); close(written) }()
		r.expectIDs("01 02")

		if err := os.Mkdir(r.dir, 0o700); err != nil {
			t.Fatal(err)
		}
		<-written
		p.expectAck(2)
		r.expectIDs("01 02 03")
		if len(told) != 2 || told[1] != nil || r.state.Err() != nil {
			t.Errorf("error %v, told %v", r.state.Err(), told)
		}
		dir := r.crash()
		r = startRun(t, dir, nil, "a")
		expectLedger(t, r.outputs[0], 2, 2, "")
		r.close()
	})
}

// Records of a kind that this version does not know are numbered too.
func TestStateAndUnknownKinds(t *testing.T) {
	batch := func() []byte {
		var b stream.Builder
		b.Add(wireMessage(9, "0f", 0))
		b.Add(wireMessage(kagami.Request, "01", 0))
		b.Add(wireMessage(kagami.Response, "77", 0))
		b.Add(wireMessage(kagami.Request, "02", 0))
		return b.Finish(1)
	}
	synctest.Test(t, func(t *testing.T) {
		r := startRun(t, t.TempDir(), nil, "a")
		p, _ := r.connect(9)
		p.write(batch())
		r.expectIDs("01 02")
		r.deliver(0, 1)
		r.state.Filtered(r.message(0).m, kagami.Filtered)
		dir := r.crash()
		r = startRun(t, dir, nil, "a")
		p, _ = r.connect(9)
		compressor, err := stream.NewCompressor()
		if err != nil {
			t.Fatal(err)
		}
		p.write(compressor.Compress(nil, batch()))
		r.expectIDs("01 02")
		r.expectRecalled(0, "02:delivered")
		r.state.Filtered(r.message(0).m, kagami.Filtered)
		r.message(0).settle(kagami.Filtered)
		r.settleAt(0, 1, kagami.Delivered)
		p.expectAck(4)
		r.close()
		r = startRun(t, dir, nil, "a")
		expectLedger(t, r.server.Stages()[1], 4, 2, "orphan-response 1, unknown-kind 1")
		expectLedger(t, r.filter, 2, 1, "filtered 1")
		expectLedger(t, r.outputs[0], 1, 1, "")
		r.close()
	})
}

// What another replayer may have delivered is dropped, or taken in.
func TestServerWhatAnotherMayHaveDelivered(t *testing.T) {
	for _, resend := range []bool{false, true} {
		startServer(t, func(c *replay.ServerConfig) { c.Resend = resend }, func(s *serverTest) {
			p, a := s.connect(1)
			if !a.Features.Has(stream.FeatureInDoubt) {
				t.Errorf("features %b", a.Features)
			}
			var b stream.Builder
			doubtful := wireMessage(kagami.Request, "01", 0)
			doubtful.Flags |= kagami.Doubtful
			b.Add(doubtful)
			b.Add(wireMessage(kagami.Request, "02", 0))
			p.write(b.Finish(1))
			if resend {
				s.expectIDs("01 02")
				s.expectStage(2, 2, "")
				s.settle(0, 1)
			} else {
				s.expectIDs("02")
				s.expectStage(2, 1, "in-doubt 1")
				s.settle(0)
			}
			p.expectAck(2)
		})
	}
}

// Wherever a crash cuts the journal, what is left is read: each entry or none
// of it, and nothing that was not written.
func TestStateOfACutJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRun(t, t.TempDir(), nil, "a")
		p, _ := r.connect(100)
		p.write(wireBatch(1, "01", "02"))
		p.write(wireBatch(3, "03", "04"))
		r.expectIDs("01 02 03 04")
		name := journalOf(t, r.dir)
		sizes := map[int64]string{size(t, name): ""}
		step := func(f func(), want string) {
			f()
			time.Sleep(2 * time.Millisecond)
			synctest.Wait()
			sizes[size(t, name)] = want
		}
		step(func() { r.send(0, 2) }, "03:in-doubt")
		step(func() { r.settleAt(0, 2, kagami.Timeout) }, "03:timeout")
		step(func() { r.send(0, 3) }, "03:timeout 04:in-doubt")
		step(func() { r.settleAt(0, 3, kagami.Delivered) }, "03:timeout 04:delivered")
		whole := size(t, name)
		dir := r.crash()
		want := ""
		for n := range whole + 1 {
			cut := filepath.Join(t.TempDir(), "cut")
			copyDir(t, dir, cut)
			if err := os.Truncate(journalOf(t, cut), n); err != nil {
				t.Fatal(err)
			}
			at, step := sizes[n]
			if len(sizes) > 0 && n < minKey(sizes) {
				continue // its beginning is not whole: see TestStateOfAJournalBegun
			}
			if step {
				want = at
			}
			r = startRun(t, cut, nil, "a")
			p, _ = r.connect(100)
			p.write(wireBatch(1, "01", "02"))
			p.write(wireBatch(3, "03", "04"))
			r.expectIDs("01 02 03 04")
			r.expectRecalled(0, want)
			r.close()
		}
	})
}

func minKey(m map[int64]string) int64 {
	least := int64(1 << 62)
	for k := range m {
		least = min(least, k)
	}
	return least
}

// journalOf is the one journal file in a directory.
func journalOf(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.journal"))
	if err != nil || len(files) != 1 {
		t.Fatalf("files %v, %v: want one", files, err)
	}
	return files[0]
}

func size(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// A journal that was being begun when the machine crashed is passed over for
// the one before it; if there is none, that is an error, for what it knew is lost.
func TestStateOfAJournalBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		r := startRun(t, dir, nil, "a")
		p, _ := r.connect(2)
		p.write(wireBatch(1, "01"))
		r.expectIDs("01")
		r.deliver(0, 0)
		p.expectAck(1)
		r.close()
		whole, err := os.ReadFile(journalOf(t, dir))
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{0, 5, 16, 40} {
			next := filepath.Join(t.TempDir(), "next")
			copyDir(t, dir, next)
			if err := os.WriteFile(filepath.Join(next, "00000009.journal"), whole[:n], 0o600); err != nil {
				t.Fatal(err)
			}
			r = startRun(t, next, nil, "a")
			expectLedger(t, r.outputs[0], 1, 1, "")
			r.close()
			journalOf(t, next)
		}
		lost := filepath.Join(t.TempDir(), "lost")
		if err := os.MkdirAll(lost, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(lost, "00000009.journal"), whole[:40], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := replay.OpenState(replay.StateConfig{Dir: lost}); err == nil || !strings.Contains(err.Error(), "move the directory away") {
			t.Errorf("error %v", err)
		}
	})
}

// A journal stays short, whatever has gone through it.
func TestStateStaysShort(t *testing.T) {
	const limit = 4 << 10
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		r := startRun(t, dir, func(c *replay.StateConfig) { c.FileSize = limit }, "a")
		p, _ := r.connect(1 << 20)
		most := int64(0)
		for i := range 1000 {
			p.write(wireBatch(uint64(i)*2+1, "01", "02"))
			synctest.Wait()
			r.deliver(0, 2*i)
			r.deliver(0, 2*i+1)
			p.expectAck(uint64(i)*2 + 2)
			most = max(most, r.state.Size())
		}
		if most > 2*limit+4096 {
			t.Errorf("the journal was %d bytes long", most)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		journalOf(t, dir)
		if n := size(t, journalOf(t, dir)); n > 2*limit+4096 {
			t.Errorf("%d bytes", n)
		}
		dir = r.crash()
		r = startRun(t, dir, nil, "a")
		expectLedger(t, r.outputs[0], 2000, 2000, "")
		_, a := r.connect(1 << 20)
		if a.Received != 2000 {
			t.Errorf("answer %+v", a)
		}
		r.close()
	})
}

// A directory is one process's.
func TestStateIsLocked(t *testing.T) {
	dir := t.TempDir()
	s, _, err := replay.OpenState(replay.StateConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := replay.OpenState(replay.StateConfig{Dir: dir}); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("error %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, _, err = replay.OpenState(replay.StateConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	file := filepath.Join(dir, "file")
	os.WriteFile(file, nil, 0o600)
	if _, _, err := replay.OpenState(replay.StateConfig{Dir: file}); err == nil {
		t.Error("a file is taken for a directory")
	}
	d, err := journal.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.Read(77, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}
