package replay_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
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
	if m.Kind != kagami.Request {
		_, body, _ := bytes.Cut(m.Raw, []byte("\r\n\r\n"))
		return string(body)
	}
	return string(bytes.TrimPrefix(bytes.Fields(m.Raw)[1], []byte("/")))
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

func TestFilesMerge(t *testing.T) {
	ask := func(id byte, ms int, name string) *kagami.Message { return told(kagami.Request, id, ms, name) }
	answer := func(id byte, ms int, name string) *kagami.Message { return told(kagami.Response, id, ms, name) }
	type contents map[string][]*kagami.Message
	for _, tc := range []struct {
		name    string
		files   contents
		depth   int
		want    string
		orphans int64
	}{
		{"one after the other", contents{"a_0": requests(1, 0, 10), "a_1": requests(3, 20, 30)}, 0, "1@0 2@10 3@20 4@30", 0},
		{"in the order of time, not of names", contents{"b": requests(1, 0, 10), "a": requests(3, 20, 30)}, 0, "1@0 2@10 3@20 4@30", 0},
		{"side by side", contents{"a": requests(1, 0, 20, 40), "b": requests(4, 10, 30)}, 0, "1@0 4@10 2@20 5@30 3@40", 0},
		{"one within a gap of the other", contents{"a": requests(1, 0, 100), "b": requests(3, 40, 50, 60)}, 0, "1@0 3@40 4@50 5@60 2@100", 0},
		{"an empty file among them", contents{"a": requests(1, 0, 10), "b": nil}, 0, "1@0 2@10", 0},
		{"out of order", contents{"a": requests(1, 30, 10, 20, 0)}, 0, "4@0 2@10 3@20 1@30", 0},
		{"out of order by more than is read ahead", contents{"a": requests(1, 0, 20, 30, 40, 10, 50)}, 2, "1@0 2@20 3@30 5@30 4@40 6@50", 0},
		{"out of order, and not to be put in order", contents{"a": requests(1, 0, 20, 10, 30)}, 1, "1@0 2@20 3@20 4@30", 0},
		{"the same instant", contents{"a": requests(1, 5, 5, 5), "b": requests(4, 5, 5)}, 0, "1@0 2@0 3@0 4@0 5@0", 0},
		{"answers in a file of their own", contents{
			"1.gor": {ask(1, 0, "one"), ask(2, 10, "two")},
			"2.gor": {answer(1, 5, "ONE"), answer(2, 10, "TWO")}}, 0, "one@0 ONE@5 two@10 TWO@10", 0},
		{"answers without a request", contents{"a": {answer(1, 0, "A"), ask(2, 10, "b"), answer(2, 11, "B"), answer(3, 12, "C")}},
			0, "b@0 B@1", 2},
	} {
		for _, format := range []string{"gor", "kgm", "gz"} {
			t.Run(tc.name+", "+format, func(t *testing.T) {
				contents, total, sent := map[string][]byte{}, int64(0), int64(0)
				for name, messages := range tc.files {
					total += int64(len(messages))
					switch format {
					case "gor":
						contents[name] = asGOR(messages)
					case "kgm":
						contents[name] = asKGM(t, messages)
					case "gz":
						contents[name] = zipped(t, asGOR(messages))
					}
				}
				f := newFiles(t, replay.FilesConfig{ReadDepth: tc.depth}, files(t, contents))
				kinds := map[kagami.ID]*kagami.Exchange{}
				var log []string
				err := f.Run(context.Background(), func(_ context.Context, b kagami.Batch) error {
					log = append(log, names(b)...)
					for _, m := range b.Messages {
						sent++
						if m.Hop != 1 || m.Exchange.Method != "GET" {
							t.Errorf("%s: hop %d, method %q", name(m), m.Hop, m.Exchange.Method)
						}
						if m.Kind == kagami.Request {
							kinds[m.Exchange.ID] = m.Exchange
						} else if kinds[m.Exchange.ID] != m.Exchange {
							t.Errorf("%s has another exchange than its request", name(m))
						}
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
				want(t, log, tc.want)
				dropped := map[kagami.Reason]int64{}
				if tc.orphans > 0 {
					dropped[kagami.OrphanResponse] = tc.orphans
				}
				balanced(t, f, total, sent, dropped)
			})
		}
	}
}

// A recording in many chunks needs few open files, and is read chunk by chunk.
func TestFilesOpenWhenTheirTimeComes(t *testing.T) {
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		t.Skip("needs /proc/self/fd to count open files")
	}
	contents := map[string][]byte{}
	for i := range 300 {
		contents[fmt.Sprintf("r_%d.gor", i)] = asGOR(requests(i%200, 2*i, 2*i+1))
	}
	f := newFiles(t, replay.FilesConfig{Speed: 0.01}, files(t, contents))
	before, most, n := openFiles(t), 0, 0
	err := f.Run(context.Background(), func(_ context.Context, b kagami.Batch) error {
		most = max(most, openFiles(t)-before)
		n += len(b.Messages)
		return nil
	})
	if err != nil || n != 600 || most > 3 {
		t.Errorf("%d messages, %v, %d files open at a time", n, err, most)
	}
	if left := openFiles(t) - before; left != 0 {
		t.Errorf("%d files are still open", left)
	}
}

func openFiles(t *testing.T) int {
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(fds)
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

// All whole records of all files are replayed before the damage is reported.
func TestFilesDamaged(t *testing.T) {
	one, two := asGOR(requests(1, 0, 20, 40)), asGOR(requests(4, 10, 30, 50))
	size := len(two) / 3
	three := asKGM(t, requests(7, 15, 16))
	torn := bytes.Replace(two, []byte("1 05"), []byte("x 05"), 1)
	f := newFiles(t, replay.FilesConfig{}, files(t, map[string][]byte{
		"one.gor": one, "two.gor": torn[:3*size-20], "three.kgm": three, "four.gor.gz": zipped(t, one)[:20],
		"five.kgm": three[:len(three)-1],
	}))
	log, err := play(f)
	want(t, log, "1@0 4@10 7@15 8@16 2@20 3@40")
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range []string{"two.gor: damaged at byte " + fmt.Sprint(size), "four.gor.gz", "five.kgm"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}
	for _, part := range []string{"one.gor:", "three"} {
		if strings.Contains(err.Error(), part) {
			t.Errorf("error %q says %q", err, part)
		}
	}
	balanced(t, f, 6+4, 6, map[kagami.Reason]int64{kagami.Damaged: 4})
}

func TestFilesUnknownKinds(t *testing.T) {
	b := asGOR(requests(1, 0, 20, 40))
	b = bytes.Replace(b, []byte("1 02"), []byte("9 02"), 1)
	f := newFiles(t, replay.FilesConfig{}, files(t, map[string][]byte{"a.gor": b}))
	log, err := play(f)
	if err != nil {
		t.Error(err)
	}
	want(t, log, "1@0 3@40")
	balanced(t, f, 3, 2, map[kagami.Reason]int64{kagami.UnknownKind: 1})
}

func TestNewFilesErrors(t *testing.T) {
	dir := files(t, map[string][]byte{
		"good.gor": asGOR(requests(1, 0)), "chunks_0.gor.gz": nil, "chunks_1.gor.gz": nil,
		"cap.pcap": []byte("\xd4\xc3\xb2\xa1\x02\x00\x04\x00"), "text.txt": []byte("hello\n"), "future.kgm": []byte(stream.FileMagic + "\x63\x00\x00\x00\x00\x00\x00\x00"),
	})
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	good := []string{filepath.Join(dir, "good.gor")}
	for _, tc := range []struct {
		name string
		cfg  replay.FilesConfig
		says string
	}{
		{"no pattern", replay.FilesConfig{}, "no files to replay"},
		{"no such file", replay.FilesConfig{Patterns: []string{good[0], dir + "/none.gor"}}, "none.gor: no such file"},
		{"no match", replay.FilesConfig{Patterns: []string{good[0], dir + "/none*.gor"}}, "none*.gor: no file matches"},
		{"chunks", replay.FilesConfig{Patterns: []string{dir + "/chunks.gor.gz"}}, "chunks_*.gor.gz'?"},
		{"bad pattern", replay.FilesConfig{Patterns: []string{dir + "/[a.gor"}}, "syntax error"},
		{"S3", replay.FilesConfig{Patterns: []string{"s3://bucket/key"}}, "S3"},
		{"directory", replay.FilesConfig{Patterns: []string{dir + "/sub"}}, "sub/*.gor'?"},
		{"pcap", replay.FilesConfig{Patterns: []string{dir + "/cap.pcap"}}, "--input-raw"},
		{"text", replay.FilesConfig{Patterns: []string{dir + "/text.txt"}}, `text.txt: not a recording, but text that begins with "hello`},
		{"version", replay.FilesConfig{Patterns: []string{dir + "/future.kgm"}}, "version 99"},
		{"speed", replay.FilesConfig{Patterns: good, Speed: -1}, "speed of -1"},
		{"no number", replay.FilesConfig{Patterns: good, Speed: math.NaN()}, "speed of NaN"},
		{"speed and pacer", replay.FilesConfig{Patterns: good, Speed: 1, Pacer: replay.AtOnce{}}, "want one of them"},
		{"max and pacer", replay.FilesConfig{Patterns: good, Max: true, Pacer: replay.AtOnce{}}, "want one of them"},
		{"wait", replay.FilesConfig{Patterns: good, MaxWait: -1}, "longest wait"},
		{"depth", replay.FilesConfig{Patterns: good, ReadDepth: -1}, "read depth"},
	} {
		if _, err := replay.NewFiles(tc.cfg); err == nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v, want an error that says %q", tc.name, err, tc.says)
		}
	}
}

// A file is read once, whichever patterns name it, and its name may look like a pattern.
func TestFilesPatterns(t *testing.T) {
	dir := files(t, map[string][]byte{"a[1].gor": asGOR(requests(1, 0)), "b.gor": asGOR(requests(2, 10))})
	f := newFiles(t, replay.FilesConfig{Patterns: []string{"a[1].gor", "b.gor", "*.gor"}}, dir)
	log, err := play(f)
	if err != nil {
		t.Error(err)
	}
	want(t, log, "1@0 2@10")
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

func TestFilesSummary(t *testing.T) {
	one := append(requests(1, 0, 20, 300), told(kagami.Response, 3, 301, "r"), told(kagami.Response, 9, 302, "orphan"))
	two := requests(4, 10, 5, 400)
	raw := [][]byte{asGOR(one), append(asGOR(two), "torn"...)}
	dir := files(t, map[string][]byte{"one.gor": raw[0], "two.gor": raw[1]})
	f := newFiles(t, replay.FilesConfig{Speed: 0.5, ReadDepth: 1, MaxWait: 100 * time.Millisecond}, dir)
	s, err := f.Summary(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	// 0 10 10 20 (300) 301 400, slowed down: 0 20 20 40 140 142 242
	if s.Files != 2 || s.Bytes != int64(len(raw[0])+len(raw[1])) || s.Requests != 6 || s.Responses != 1 || s.Replayed != 0 ||
		s.Orphans != 1 || s.Late != 1 || !s.First.Equal(at(0)) || !s.Last.Equal(at(400)) ||
		s.Duration != 242*time.Millisecond || s.MinGap != 0 || s.MaxGap != 100*time.Millisecond || s.MeanGap != 242*time.Millisecond/6 || len(s.Damaged) != 1 {
		t.Errorf("%+v", s)
	}
	var text strings.Builder
	if err := s.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"files      2, ", "6 requests, 1 responses", "242ms, gaps of 0s to 100ms, 40.3", "1 out of order", "1 answers without", "two.gor: cut short"} {
		if !strings.Contains(text.String(), part) {
			t.Errorf("no %q in\n%s", part, &text)
		}
	}
	log, _ := play(f)
	want(t, log, "1@0 4@20 5@20 2@40 3@140 r@142 6@242")

	f = newFiles(t, replay.FilesConfig{Max: true}, dir)
	if s, err = f.Summary(context.Background()); err != nil || !s.AtOnce || s.Duration != 0 || s.MaxGap != 0 || s.Messages() != 7 {
		t.Errorf("as fast as it goes: %+v, %v", s, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := f.Summary(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestPacers(t *testing.T) {
	for _, tc := range []struct {
		name   string
		pacer  replay.Pacer
		offset time.Duration
		n      int
		want   time.Duration
	}{
		{"speed 1 is exact", replay.Speed(1), math.MaxInt64 - 1, 0, math.MaxInt64 - 1},
		{"speed 2", replay.Speed(2), 3, 7, 2},
		{"so slow that it never comes", replay.Speed(1e-30), time.Hour, 0, math.MaxInt64},
		{"rate", replay.Rate(200), 0, 7, 35 * time.Millisecond},
		{"rate under one", replay.Rate(0.5), 0, 2, 4 * time.Second},
		{"at once", replay.AtOnce{}, time.Hour, 7, 0},
	} {
		if got := tc.pacer.At(tc.offset, tc.n); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
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
