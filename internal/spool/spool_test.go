//go:build unix

package spool_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"kagami"
	"kagami/internal/spool"
	"kagami/internal/stream"
)

// message is the n-th message, so many bytes long.
func message(n, size int) *kagami.Message {
	raw := fmt.Appendf(nil, "GET /%d HTTP/1.1\r\n\r\n", n)
	raw = append(raw, bytes.Repeat([]byte("x"), max(0, size-len(raw)))...)
	return &kagami.Message{Kind: kagami.Request, Proto: kagami.HTTP1, Raw: raw, WireLen: len(raw), Exchange: &kagami.Exchange{}}
}

// batch is a batch of n records of size bytes that begins with seq.
func batch(seq uint64, n, size int) []byte {
	var b stream.Builder
	for i := range n {
		b.Add(message(int(seq)+i, size))
	}
	return b.Finish(seq)
}

func open(t *testing.T, dir string, change func(*spool.Config)) (*spool.Spool, spool.Found) {
	t.Helper()
	cfg := spool.Config{Dir: dir, Listener: "edge 1", Rand: func() uint64 { return 7 }}
	if change != nil {
		change(&cfg)
	}
	s, found, err := spool.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s, found
}

func add(t *testing.T, s *spool.Spool, n, size int) (first uint64) {
	t.Helper()
	first = s.Next()
	if err := s.Append(batch(first, n, size), n); err != nil {
		t.Fatal(err)
	}
	return first
}

// drain reads what there is to be sent: first and last numbers.
func drain(t *testing.T, s *spool.Spool) (got string) {
	t.Helper()
	var buf []byte
	for {
		h, b, ok := s.Read(buf, true)
		if !ok {
			return strings.TrimSpace(got)
		}
		buf = b
		if _, _, _, err := stream.ParseBatch(bytes.Clone(b), stream.Limits{}); err != nil {
			t.Error(err)
		}
		got += fmt.Sprintf("%x-%x ", h.Seq, h.Last())
	}
}

// balanced checks the books, and returns what is in the spool.
func balanced(t *testing.T, s *spool.Spool) kagami.StageStatement {
	t.Helper()
	carried, stage := s.Stages()
	if st := carried.Statement(); st.Missing() != 0 {
		t.Errorf("carried over: %+v", st)
	}
	st := stage.Statement()
	if st.Missing() != 0 {
		t.Errorf("spool: %+v: %d missing", st, st.Missing())
	}
	return st
}

func expect(t *testing.T, what string, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func TestSpoolGoesOnAfterRestart(t *testing.T) {
	dir := t.TempDir()
	s, found := open(t, dir, nil)
	expect(t, "found", found, spool.Found{})
	add(t, s, 3, 0)
	add(t, s, 2, 0)
	expect(t, "to send", drain(t, s), "1-3 4-5")
	add(t, s, 4, 0)
	expect(t, "acknowledged", s.Acknowledge(3), 3)
	expect(t, "held", balanced(t, s).InFlight, 6)
	s.Seek(4) // the replayer has half a batch
	expect(t, "to send again", drain(t, s), "4-5 6-9")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s, found = open(t, dir, func(c *spool.Config) { c.Listener = "another"; c.Rand = func() uint64 { return 8 } })
	expect(t, "found", found.Messages, 6)
	expect(t, "identity", fmt.Sprint(s.Listener(), s.Epoch()), fmt.Sprint("edge 1", 7))
	expect(t, "sent", s.Sent(), 9)
	first := add(t, s, 1, 0)
	expect(t, "next number", fmt.Sprintf("%x", first), "10000000a")
	expect(t, "to send", drain(t, s), "4-5 6-9 10000000a-10000000a")
	expect(t, "acknowledged", s.Acknowledge(first), 7)
	st := balanced(t, s)
	expect(t, "in, out, held", fmt.Sprint(st.In, st.Out, st.InFlight), "7 7 0")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, found = open(t, dir, nil)
	expect(t, "found", fmt.Sprint(found.Messages, found.Bytes), "0 0")
	expect(t, "next number", fmt.Sprintf("%x", s.Next()), "20000000b")
	s.Close()
	files, _ := filepath.Glob(dir + "/*.kgm")
	expect(t, "segments", len(files), 0)
}

// Wherever a crash cut the last segment, all batches before that are found, and no half one.
func TestSpoolTornTail(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, dir, nil)
	var ends []int
	size := len(stream.FileHead())
	for n := 1; n <= 4; n++ {
		first := s.Next()
		size += len(batch(first, n, 0))
		add(t, s, n, 0)
		ends = append(ends, size)
	}
	path := filepath.Join(dir, fmt.Sprintf("%016x.kgm", 1))
	whole, err := os.ReadFile(path)
	if err != nil || len(whole) != size {
		t.Fatalf("%d bytes, want %d: %v", len(whole), size, err)
	}
	for _, name := range []string{"identity", "mark"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	defer s.Close()
	for _, damage := range []string{"cut", "zeros", "garbage"} {
		for cut := range whole {
			if damage != "cut" && cut%17 != 0 {
				continue
			}
			to := t.TempDir()
			for _, name := range []string{"identity", "mark"} {
				b, _ := os.ReadFile(filepath.Join(dir, name))
				os.WriteFile(filepath.Join(to, name), b, 0o600)
			}
			torn := bytes.Clone(whole[:cut])
			switch damage {
			case "zeros":
				torn = append(torn, make([]byte, size-cut)...)
			case "garbage":
				torn = append(torn, whole[cut]^0x55)
			}
			os.WriteFile(filepath.Join(to, filepath.Base(path)), torn, 0o600)
			want, at, to4 := "", 0, uint64(0)
			for i, end := range ends {
				if end <= cut {
					at = end
					to4 += uint64(i + 1)
					want += fmt.Sprintf("%x-%x ", to4-uint64(i), to4)
				}
			}
			c, found := open(t, to, nil)
			if got := drain(t, c); got != strings.TrimSpace(want) || found.Messages != int64(to4) {
				t.Fatalf("%s at %d: found %+v, to send %q, want %q", damage, cut, found, got, want)
			}
			if damage == "cut" && cut != at && cut != len(stream.FileHead()) && found.Torn == 0 {
				t.Fatalf("cut at %d: %+v", cut, found)
			}
			add(t, c, 1, 0)
			balanced(t, c)
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestSpoolFull(t *testing.T) {
	s, _ := open(t, t.TempDir(), func(c *spool.Config) { c.MaxBytes = 8000 })
	defer s.Close()
	n := 0
	for ; n < 100; n++ {
		if err := s.Append(batch(s.Next(), 1, 400), 1); err == spool.ErrFull {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if n < 14 || n > 18 || s.Bytes() > 8000 {
		t.Fatalf("%d taken in, %d bytes", n, s.Bytes())
	}
	expect(t, "held", balanced(t, s).InFlight, n)
	drain(t, s)
	s.Acknowledge(uint64(n - 2))
	for range 3 {
		add(t, s, 1, 400)
	}
	expect(t, "held", balanced(t, s).InFlight, 5)
	expect(t, "to send", len(strings.Fields(drain(t, s))), 3)
}

func TestSpoolExpires(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	dir := t.TempDir()
	s, _ := open(t, dir, func(c *spool.Config) { c.MaxAge = time.Hour; c.Now = func() time.Time { return now } })
	add(t, s, 3, 0)
	_, _, _ = s.Read(nil, true)
	now = now.Add(10 * time.Minute)
	add(t, s, 5, 0) // another segment, for the first is old
	now = now.Add(10 * time.Minute)
	add(t, s, 7, 0)
	now = now.Add(55 * time.Minute)
	s.Expire(now) // 3 and 5 are older than an hour
	st := balanced(t, s)
	expect(t, "dropped", fmt.Sprint(st.Dropped[kagami.InDoubt], st.Dropped[kagami.Expired], st.InFlight), "3 5 7")
	expect(t, "to send", drain(t, s), "9-f")
	expect(t, "age", s.Age(), 55*time.Minute)
	s.Acknowledge(15)
	now = now.Add(2 * time.Hour)
	s.Expire(now)
	balanced(t, s)
	expect(t, "age", s.Age(), time.Duration(0))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// A batch that is damaged on the disk is lost alone; a head takes the rest of its file with it.
func TestSpoolDamage(t *testing.T) {
	for _, test := range []struct {
		name string
		at   int // of the file's bytes
		want string
		lost int64
	}{
		{"record", len(stream.FileHead()) + stream.BatchHead + 20, "3-4 5-6", 2},
		{"head", len(stream.FileHead()) + 2, "", 6},
	} {
		t.Run(test.name, func(t *testing.T) {
			var said []string
			dir := t.TempDir()
			s, _ := open(t, dir, func(c *spool.Config) { c.Notify = func(err error) { said = append(said, err.Error()) } })
			for range 3 {
				add(t, s, 2, 0)
			}
			path := filepath.Join(dir, fmt.Sprintf("%016x.kgm", 1))
			b, _ := os.ReadFile(path)
			b[test.at] ^= 1
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			expect(t, "to send", drain(t, s), test.want)
			st := balanced(t, s)
			expect(t, "damaged", st.Dropped[kagami.Damaged], test.lost)
			expect(t, "said", len(said), 1)
			s.Acknowledge(6)
			expect(t, "held", balanced(t, s).InFlight, 0)
			s.Close()
		})
	}
}

func TestSpoolIsLocked(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, dir, nil)
	_, _, err := spool.Open(spool.Config{Dir: dir, Listener: "edge"})
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("pid %d", os.Getpid())) {
		t.Errorf("opened twice: %v", err)
	}
	s.Close()
	s, _ = open(t, dir, nil)
	s.Close()
}

// What root makes belongs to the owner of the directory.
func TestSpoolOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to give files away")
	}
	dir := t.TempDir()
	if err := os.Chown(dir, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	s, _ := open(t, filepath.Join(dir, "spool"), nil)
	add(t, s, 1, 0)
	s.Close()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Stat(path)
		if err == nil && info.Sys().(*syscall.Stat_t).Uid != 12345 {
			t.Errorf("%s belongs to %d", path, info.Sys().(*syscall.Stat_t).Uid)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestSpoolOfANewerVersion(t *testing.T) {
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "identity"), []byte("kagami-spool 2\nlistener edge\nepoch 7\n"), 0o600)
	if _, _, err := spool.Open(spool.Config{Dir: dir, Listener: "edge"}); err == nil || !strings.Contains(err.Error(), "version") {
		t.Error(err)
	}
}

// Whatever is done in whatever order, with restarts and crashes between: what is neither
// acknowledged nor dropped is read, in order, and the books balance.
func TestSpoolRandomly(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		dir := t.TempDir()
		config := func(c *spool.Config) {
			c.SegmentBytes = int64(300 + r.IntN(3000))
			c.MaxBytes = 40_000
			c.SyncEvery = time.Hour
		}
		s, _ := open(t, dir, config)
		var held []uint64 // the model: numbers that are neither acknowledged nor dropped
		var sent uint64
		for step := range 200 {
			switch r.IntN(10) {
			case 0, 1, 2, 3:
				n := 1 + r.IntN(5)
				first := s.Next()
				err := s.Append(batch(first, n, r.IntN(300)), n)
				if err == spool.ErrFull {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				for i := range n {
					held = append(held, first+uint64(i))
				}
			case 4, 5:
				if h, _, ok := s.Read(nil, true); ok {
					sent = max(sent, h.Last())
				}
			case 6, 7:
				if len(held) == 0 || sent < held[0] {
					break
				}
				n := held[r.IntN(len(held))]
				if n > sent {
					break
				}
				s.Acknowledge(n)
				for len(held) > 0 && held[0] <= n {
					held = held[1:]
				}
			case 8:
				if len(held) == 0 {
					break
				}
				i := r.IntN(len(held))
				j := i + r.IntN(min(3, len(held)-i))
				if held[j]-held[i] != uint64(j-i) {
					break // across a gap
				}
				s.Drop(held[i], held[j], kagami.TooLarge)
				held = append(held[:i:i], held[j+1:]...)
			case 9:
				if r.IntN(3) > 0 {
					var after uint64
					if len(held) > 0 {
						after = held[r.IntN(len(held))]
					}
					s.Seek(after)
					break
				}
				if r.IntN(2) == 0 { // a crash: what is there is there
					to := t.TempDir()
					if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
						t.Fatal(err)
					}
					s.Close()
					dir = to
				} else if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				gone := map[uint64]bool{}
				var found spool.Found
				s, found = open(t, dir, config)
				// What was dropped in the middle is found again by a new process.
				for _, n := range held {
					gone[n] = true
				}
				if found.Messages < int64(len(held)) {
					t.Fatalf("seed %d step %d: %d found of %d", seed, step, found.Messages, len(held))
				}
				held = all(t, s)
				for _, n := range held {
					delete(gone, n)
				}
				if len(gone) > 0 {
					t.Fatalf("seed %d step %d: lost %v", seed, step, gone)
				}
				s.Seek(0)
			}
			if n := balanced(t, s).InFlight; n != int64(len(held)) {
				t.Fatalf("seed %d step %d: %d held, want %d", seed, step, n, len(held))
			}
		}
		s.Seek(0)
		got := all(t, s)
		for i := 0; i < len(held); i++ {
			if i >= len(got) || got[i] != held[i] {
				t.Fatalf("seed %d: reads %v, want %v", seed, got, held)
			}
		}
		s.Acknowledge(s.Next())
		if st := balanced(t, s); st.InFlight != 0 {
			t.Fatalf("seed %d: %+v", seed, st)
		}
		s.Close()
	}
}

// all reads the numbers of all records that are not done with.
func all(t *testing.T, s *spool.Spool) (numbers []uint64) {
	t.Helper()
	s.Seek(0)
	for {
		h, _, ok := s.Read(nil, false)
		if !ok {
			return numbers
		}
		for n := h.Seq; n <= h.Last(); n++ {
			if s.Has(n) {
				numbers = append(numbers, n)
			}
		}
	}
}
