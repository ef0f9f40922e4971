package replay_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kagami"
	"kagami/internal/gor"
	"kagami/internal/stream"
	"kagami/replay"
)

// told returns a message of a recording; name is its path or body.
func told(kind kagami.Kind, id byte, ms int, name string) *kagami.Message {
	m := message(kind, id, ms)
	m.Proto = kagami.HTTP1
	m.Raw = []byte("GET /" + name + " HTTP/1.1\r\n\r\n")
	if kind != kagami.Request {
		m.Raw = fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(name), name)
	}
	return m
}

func name(m *kagami.Message) string {
	if m.Proto == kagami.WebSocket {
		return map[kagami.Kind]string{kagami.Request: ">", kagami.Response: "<"}[m.Kind]
	}
	if m.Kind == kagami.Response && bytes.HasPrefix(m.Raw, []byte("HTTP/1.1 101")) {
		return "101"
	}
	if m.Kind != kagami.Request {
		_, body, _ := bytes.Cut(m.Raw, []byte("\r\n\r\n"))
		return string(body)
	}
	return string(bytes.TrimPrefix(bytes.Fields(m.Raw)[1], []byte("/")))
}

// Staging's answers bear the time of the replay that they were recorded in, which may be long
// after that of the recording: they come with their requests all the same, and put off nothing.
func TestFilesWithAnswersOfALaterReplay(t *testing.T) {
	const later = 3 * 365 * 24 * 3600 * 1000
	var ms []*kagami.Message
	for i := range 50 {
		ms = append(ms, told(kagami.Request, byte(i), 100*i, fmt.Sprint(i)))
		if i >= 5 {
			ms = append(ms, told(kagami.Replayed, byte(i-5), later+i, fmt.Sprint("s", i-5)), told(kagami.Response, byte(i-5), 100*i+10, fmt.Sprint("p", i-5)))
		}
	}
	for kind, b := range map[string][]byte{"gor": asGOR(ms), "kgm": asKGM(t, ms)} {
		t.Run(kind, func(t *testing.T) {
			dir := files(t, map[string][]byte{"a." + kind: b})
			f := newFiles(t, replay.FilesConfig{ReadDepth: 10, Pacer: replay.Speed(1)}, dir)
			got := map[*kagami.Exchange]string{}
			var begin time.Time
			err := f.Run(t.Context(), func(_ context.Context, b kagami.Batch) error {
				for _, m := range b.Messages {
					got[m.Exchange] += name(m) + " "
					if begin.IsZero() {
						begin = m.Due
					}
					if late := m.Due.Sub(begin); late > 5*time.Second {
						t.Errorf("%s is due after %v", name(m), late)
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			whole := 0
			for _, names := range got {
				var n int
				if _, err := fmt.Sscan(names, &n); err != nil {
					t.Fatal(err)
				}
				if names == fmt.Sprintf("%d s%[1]d p%[1]d ", n) {
					whole++
				} else if n < 45 {
					t.Errorf("%s", names)
				}
			}
			if last := f.Progress().Last; whole != 45 || len(got) != 50 || last.Sub(ms[0].Start) > time.Minute {
				t.Errorf("%d exchanges, %d whole, the last at %v", len(got), whole, last)
			}
		})
	}
}

// requests are one request at each of the times, named by its number.
func requests(from int, ms ...int) []*kagami.Message {
	var all []*kagami.Message
	for i, t := range ms {
		all = append(all, told(kagami.Request, byte(from+i), t, fmt.Sprint(from+i)))
	}
	return all
}

func asGOR(messages []*kagami.Message) []byte {
	var b []byte
	for _, m := range messages {
		b = gor.Append(b, m)
	}
	return b
}

func asKGM(t testing.TB, messages []*kagami.Message) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := stream.NewFileWriter(&b, stream.FileWriterConfig{})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range messages {
		if err := w.Write(m); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zipped(t testing.TB, b []byte) []byte {
	t.Helper()
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return z.Bytes()
}

// files writes files, given as name and content, into a directory.
func files(t testing.TB, contents map[string][]byte) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, b := range contents {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func newFiles(t testing.TB, cfg replay.FilesConfig, dir string) *replay.Files {
	t.Helper()
	if cfg.Patterns == nil {
		cfg.Patterns = []string{"*"}
	}
	for i, p := range cfg.Patterns {
		cfg.Patterns[i] = filepath.Join(dir, p)
	}
	cfg.Now = func() time.Time { return noon }
	f, err := replay.NewFiles(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

var noon = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

// play runs f to its end and returns what it sent: "name@ms".
func play(f *replay.Files) (log []string, err error) {
	err = f.Run(context.Background(), func(_ context.Context, b kagami.Batch) error {
		log = append(log, names(b)...)
		return nil
	})
	return log, err
}

func names(b kagami.Batch) (log []string) {
	for _, m := range b.Messages {
		due := "max"
		if !m.Due.IsZero() {
			due = fmt.Sprint(float64(m.Due.Sub(noon)) / float64(time.Millisecond))
		}
		log = append(log, name(m)+"@"+due)
	}
	return log
}

func want(t *testing.T, log []string, want string) {
	t.Helper()
	if got := strings.Join(log, " "); got != want {
		t.Errorf("sent %s\nwant %s", got, want)
	}
}

// balanced checks the ledger of f after it ended.
func balanced(t *testing.T, f *replay.Files, in, out int64, dropped map[kagami.Reason]int64) {
	t.Helper()
	s := f.Stages()[0].Statement()
	if s.Missing() != 0 || s.In != in || s.Out != out || s.InFlight != 0 || fmt.Sprint(s.Dropped) != fmt.Sprint(dropped) {
		t.Errorf("ledger %+v, want %d in, %d out, dropped %v", s, in, out, dropped)
	}
}

func TestFilesPace(t *testing.T) {
	const times = "0 10 10 250 1000"
	for _, tc := range []struct {
		name string
		cfg  replay.FilesConfig
		want string
	}{
		{"as recorded", replay.FilesConfig{}, "1@0 2@10 3@10 4@250 5@1000"},
		{"twice as fast", replay.FilesConfig{Speed: 2}, "1@0 2@5 3@5 4@125 5@500"},
		{"at a tenth", replay.FilesConfig{Speed: 0.1}, "1@0 2@100 3@100 4@2500 5@10000"},
		{"as fast as it goes", replay.FilesConfig{Max: true}, "1@max 2@max 3@max 4@max 5@max"},
		{"as fast as it goes, whatever the speed", replay.FilesConfig{Max: true, Speed: 0.1}, "1@max 2@max 3@max 4@max 5@max"},
		{"gaps of 100 ms at most", replay.FilesConfig{MaxWait: 100 * time.Millisecond}, "1@0 2@10 3@10 4@110 5@210"},
		{"gaps of 200 ms at most, twice as fast", replay.FilesConfig{Speed: 2, MaxWait: 200 * time.Millisecond}, "1@0 2@5 3@5 4@125 5@325"},
		{"with time to read ahead", replay.FilesConfig{Lead: 200 * time.Millisecond}, "1@200 2@210 3@210 4@450 5@1200"},
		{"four a second", replay.FilesConfig{Pacer: replay.Rate(4)}, "1@0 2@250 3@500 4@750 5@1000"},
		{"all due at the start", replay.FilesConfig{Pacer: replay.AtOnce{}}, "1@0 2@0 3@0 4@0 5@0"},
		{"a pacer that goes back", replay.FilesConfig{Pacer: backwards{}}, "1@3000 2@3000 3@3000 4@3000 5@3000"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var ms []int
			for _, s := range strings.Fields(times) {
				var n int
				fmt.Sscan(s, &n)
				ms = append(ms, n)
			}
			f := newFiles(t, tc.cfg, files(t, map[string][]byte{"a.gor": asGOR(requests(1, ms...))}))
			log, err := play(f)
			if err != nil {
				t.Error(err)
			}
			want(t, log, tc.want)
			balanced(t, f, 5, 5, map[kagami.Reason]int64{})
		})
	}
}

// A pacer sees offsets that never fall, and counts requests alone.
func TestFilesAskThePacer(t *testing.T) {
	var log []string
	p := pacerFunc(func(offset time.Duration, n int) time.Duration {
		log = append(log, fmt.Sprintf("%v/%d", offset, n))
		return offset
	})
	f := newFiles(t, replay.FilesConfig{Pacer: p, ReadDepth: 1}, files(t, map[string][]byte{"a.gor": asGOR([]*kagami.Message{
		told(kagami.Request, 1, 0, "1"), told(kagami.Response, 1, 20, "1"), told(kagami.Request, 2, 5, "2"),
		told(kagami.Request, 3, 10, "3"), told(kagami.Response, 3, 30, "3")})}))
	if _, err := play(f); err != nil {
		t.Error(err)
	}
	want(t, log, "0s/0 20ms/0 20ms/1 20ms/2 30ms/2")
	if s, err := f.Summary(context.Background()); err != nil || s.Late != 2 {
		t.Errorf("%d late, %v; want 2", s.Late, err)
	}
}

type pacerFunc func(time.Duration, int) time.Duration

func (f pacerFunc) At(offset time.Duration, n int) time.Duration { return f(offset, n) }

type backwards struct{}

func (backwards) At(_ time.Duration, n int) time.Duration {
	return time.Duration(3-n) * time.Second
}

// Nothing adds up: the millionth message is due exactly when it was recorded.
func TestFilesDoNotDrift(t *testing.T) {
	const n = 100_000
	var b []byte
	m := told(kagami.Request, 1, 0, "x")
	for i := range n {
		m.Start = at(0).Add(time.Duration(i) * 333_333 * time.Nanosecond)
		m.End = m.Start
		b = gor.Append(b, m)
	}
	f := newFiles(t, replay.FilesConfig{Speed: 3}, files(t, map[string][]byte{"a.gor": b}))
	i := 0
	err := f.Run(context.Background(), func(_ context.Context, b kagami.Batch) error {
		if len(b.Messages) > 256 {
			t.Errorf("batch of %d messages", len(b.Messages))
		}
		first := b.Messages[0].Due
		for _, m := range b.Messages {
			if due := noon.Add(time.Duration(i) * 111_111 * time.Nanosecond); !m.Due.Equal(due) {
				t.Fatalf("message %d is due at %v, want %v", i, m.Due, due)
			}
			if d := m.Due.Sub(first); d >= 10*time.Millisecond {
				t.Fatalf("one batch spans %v", d)
			}
			i++
		}
		return nil
	})
	if err != nil || i != n {
		t.Errorf("%d messages, %v", i, err)
	}
}

func TestFilesLoop(t *testing.T) {
	for _, tc := range []struct {
		name  string
		times []int
		cfg   replay.FilesConfig
		want  string
	}{
		{"goes on at the mean gap", []int{0, 10, 40}, replay.FilesConfig{}, "1@0 2@10 3@40 1@60 2@70 3@100 1@120 2@130"},
		{"at a speed", []int{0, 10, 40}, replay.FilesConfig{Speed: 0.5}, "1@0 2@20 3@80 1@120 2@140 3@200 1@240 2@260"},
		{"one message, once a second", []int{0}, replay.FilesConfig{}, "1@0 1@1000 1@2000 1@3000 1@4000 1@5000 1@6000 1@7000"},
		{"one message, with short waits", []int{0}, replay.FilesConfig{MaxWait: 5 * time.Millisecond}, "1@0 1@5 1@10 1@15 1@20 1@25 1@30 1@35"},
		{"as fast as it goes", []int{0, 10, 40}, replay.FilesConfig{Max: true}, "1@max 2@max 3@max 1@max 2@max 3@max 1@max 2@max"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.cfg.Loop = true
			f := newFiles(t, tc.cfg, files(t, map[string][]byte{"a.gor": asGOR(requests(1, tc.times...))}))
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			var log []string
			err := f.Run(ctx, func(_ context.Context, b kagami.Batch) error {
				if log = append(log, names(b)...); len(log) >= 8 {
					cancel()
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
			want(t, log[:8], tc.want)
			s := f.Stages()[0].Statement()
			if s.Missing() != 0 || s.Out != int64(len(log)) || s.InFlight != 0 {
				t.Errorf("ledger %+v after %d messages", s, len(log))
			}
			if p := f.Progress(); p.Round < 3 || p.Messages != int64(len(log)) {
				t.Errorf("progress %+v", p)
			}
		})
	}
	t.Run("an orphan stays one", func(t *testing.T) {
		f := newFiles(t, replay.FilesConfig{Loop: true, Max: true}, files(t, map[string][]byte{"a.gor": asGOR([]*kagami.Message{
			told(kagami.Response, 1, 0, "r"), told(kagami.Request, 1, 10, "1")})}))
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		var log []string
		err := f.Run(ctx, func(_ context.Context, b kagami.Batch) error {
			if log = append(log, names(b)...); len(log) >= 3 {
				cancel()
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		want(t, log, "1@max 1@max 1@max")
	})
	t.Run("nothing", func(t *testing.T) {
		f := newFiles(t, replay.FilesConfig{Loop: true}, files(t, map[string][]byte{"a.gor": nil}))
		if log, err := play(f); err == nil || len(log) != 0 {
			t.Errorf("%v, %v: want an error", log, err)
		}
	})
	t.Run("damaged", func(t *testing.T) {
		f := newFiles(t, replay.FilesConfig{Loop: true}, files(t, map[string][]byte{"a.gor": asGOR(requests(1, 0, 1))[:100]}))
		log, err := play(f)
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%v: want that it is cut short", err)
		}
		want(t, log, "1@0")
	})
}

func TestFilesEndOnAnErrorOfEmit(t *testing.T) {
	broken := errors.New("broken")
	f := newFiles(t, replay.FilesConfig{}, files(t, map[string][]byte{"a.gor": asGOR(requests(1, 0, 20, 40, 60, 80))}))
	calls := 0
	err := f.Run(context.Background(), func(context.Context, kagami.Batch) error {
		if calls++; calls == 2 {
			return broken
		}
		return nil
	})
	if !errors.Is(err, broken) || calls != 2 {
		t.Errorf("%v after %d calls", err, calls)
	}
	balanced(t, f, 5, 2, map[kagami.Reason]int64{kagami.DrainTimeout: 3})
}

// While emit blocks no more is read than the window and a batch; when Run is
// told to stop, what was read ahead is accounted for.
func TestFilesReadAheadIsBounded(t *testing.T) {
	var b []byte
	for i := range 5000 {
		b = gor.Append(b, told(kagami.Request, byte(i), i, "x"))
	}
	dir := files(t, map[string][]byte{"a.gor": b})
	synctest.Test(t, func(t *testing.T) {
		f := newFiles(t, replay.FilesConfig{Max: true, ReadDepth: 50}, dir)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		result := make(chan error)
		go func() {
			result <- f.Run(ctx, func(ctx context.Context, b kagami.Batch) error {
				<-ctx.Done()
				return ctx.Err()
			})
		}()
		synctest.Wait()
		s := f.Stages()[0].Statement()
		if s.In > 256+50+1 || s.Out != 256 || s.InFlight < 50 {
			t.Errorf("while emit blocks: %+v", s)
		}
		if p := f.Progress(); p.Messages != 256 || p.Total != int64(len(b)) || p.Done == 0 || !p.First.Equal(at(0)) || !p.Last.Equal(at(255)) {
			t.Errorf("progress %+v", p)
		}
		cancel()
		if err := <-result; err != nil {
			t.Errorf("told to stop: %v", err)
		}
		if s := f.Stages()[0].Statement(); s.Missing() != 0 || s.InFlight != 0 || s.Out != 256 || s.Dropped[kagami.DrainTimeout] != s.In-256 {
			t.Errorf("after the end: %+v", s)
		}
	})
}

// Large messages are read ahead by their bytes, not by their number.
func TestFilesReadAheadIsBoundedInBytes(t *testing.T) {
	var b []byte
	for i := range 40 {
		m := told(kagami.Request, byte(i), i, "x")
		m.Raw = append([]byte("POST / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n"), make([]byte, 1_000_000)...)
		b = gor.Append(b, m)
	}
	dir := files(t, map[string][]byte{"a.gor": b})
	synctest.Test(t, func(t *testing.T) {
		f := newFiles(t, replay.FilesConfig{Max: true}, dir)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		result := make(chan error)
		go func() {
			result <- f.Run(ctx, func(ctx context.Context, b kagami.Batch) error {
				if len(b.Messages) > 2 {
					t.Errorf("a batch of %d messages of a megabyte", len(b.Messages))
				}
				<-ctx.Done()
				return nil
			})
		}()
		synctest.Wait()
		if in, _ := f.Stages()[0].Count(); in > 17+3 {
			t.Errorf("%d messages of a megabyte read ahead", in)
		}
		cancel()
		if err := <-result; err != nil {
			t.Error(err)
		}
	})
}

// A pipe can be replayed, once.
func TestFilesPipe(t *testing.T) {
	if _, err := os.Stat("/dev/fd/0"); err != nil {
		t.Skip("needs /dev/fd to name a pipe")
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := w.Write(asGOR(requests(1, 0, 10, 20))); err != nil {
		t.Fatal(err)
	}
	w.Close()
	path := fmt.Sprintf("/dev/fd/%d", r.Fd())
	if _, err := replay.NewFiles(replay.FilesConfig{Patterns: []string{path}, Loop: true}); err == nil {
		t.Error("a loop over a pipe: no error")
	}
	f := newFiles(t, replay.FilesConfig{Patterns: []string{path}}, "/")
	if _, err := f.Summary(context.Background()); err == nil {
		t.Error("a summary of a pipe: no error")
	}
	log, err := play(f)
	if err != nil {
		t.Error(err)
	}
	want(t, log, "1@0 2@10 3@20")
}

func BenchmarkFiles(b *testing.B) {
	var raw []byte
	const n = 10_000
	for i := range n {
		raw = gor.Append(raw, told(kagami.Request, byte(i), i, strings.Repeat("x", 300)))
	}
	dir := files(b, map[string][]byte{"a.gor": raw})
	b.ReportAllocs()
	for left := 0; b.Loop(); left-- {
		if left > 0 {
			continue
		}
		left = n
		f := newFiles(b, replay.FilesConfig{}, dir)
		if _, err := playCount(f); err != nil {
			b.Fatal(err)
		}
	}
}

func playCount(f *replay.Files) (n int, err error) {
	err = f.Run(context.Background(), func(_ context.Context, b kagami.Batch) error {
		n += len(b.Messages)
		return nil
	})
	return n, err
}
