package replay_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"kagami"
	"kagami/replay"
)

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
		{"an answer at the same instant, written first", contents{"a": {ask(1, 0, "x"), answer(2, 10, "TWO"), ask(2, 10, "two")}}, 0, "x@0 two@10 TWO@10", 0},
		{"answers in a file of their own", contents{
			"2.gor": {ask(1, 0, "one"), ask(2, 10, "two")},
			"1.gor": {answer(1, 5, "ONE"), answer(2, 10, "TWO")}}, 0, "one@0 ONE@5 two@10 TWO@10", 0},
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
