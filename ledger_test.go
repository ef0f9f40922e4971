package kagami_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"kagami"
)

var update = flag.Bool("update", false, "write the golden files of testdata")

// golden compares got with a file in testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (go test . -update writes it):\n%s", path, got)
	}
}

// listener is the ledger of a process with one input and two outputs, where
// all is accounted for.
func listener() (l *kagami.Ledger, messages, first, second *kagami.Stage) {
	l = &kagami.Ledger{Role: "listen"}
	packets := l.Add(&kagami.Stage{Name: "capture", Unit: kagami.Packets})
	packets.In(1200)
	packets.Out(1100)
	packets.Drop(kagami.NotTCP, 100)
	messages = l.Add(&kagami.Stage{Name: "capture", Unit: kagami.Messages})
	messages.In(100)
	messages.Out(90)
	messages.Drop(kagami.SequenceGap, 7)
	messages.Drop(kagami.TooLarge, 1)
	messages.InFlight = func() int64 { return 2 }
	first = l.Add(&kagami.Stage{Name: "output", Of: "tcp://replayer:28020", Unit: kagami.Messages})
	first.In(90)
	first.Out(90)
	second = l.Add(&kagami.Stage{Name: "output", Of: "file://x.gor", Unit: kagami.Messages})
	second.In(90)
	for range 80 {
		second.Settle(kagami.Delivered)
	}
	for range 10 {
		second.Settle(kagami.QueueFull)
	}
	l.Copy([]*kagami.Stage{messages}, first, second)
	return l, messages, first, second
}

func TestLedgerBalances(t *testing.T) {
	l, _, _, _ := listener()
	st := l.Statement()
	if !st.Balanced || st.Bounded || len(st.Faults) != 0 {
		t.Fatalf("balanced %v, bounded %v, faults %q", st.Balanced, st.Bounded, st.Faults)
	}
	var text, asJSON bytes.Buffer
	if err := errors.Join(st.WriteText(&text), st.WriteJSON(&asJSON)); err != nil {
		t.Fatal(err)
	}
	golden(t, "balanced.txt", text.Bytes())
	golden(t, "balanced.json", asJSON.Bytes())
	var read kagami.Statement
	if err := json.Unmarshal(asJSON.Bytes(), &read); err != nil {
		t.Fatal(err)
	}
	s, ok := read.Stage("output", "file://x.gor", kagami.Messages)
	if !ok || s.Out != 80 || s.Dropped[kagami.QueueFull] != 10 || s.DroppedTotal() != 10 || s.Missing() != 0 {
		t.Errorf("read back: %+v, %v", s, ok)
	}
	if read.Version != 1 || read.Role != "listen" || len(read.Stages) != 4 {
		t.Errorf("read back: %+v", read)
	}
}

func TestLedgerNotices(t *testing.T) {
	tests := []struct {
		name  string
		harm  func(messages, first, second *kagami.Stage)
		fault string // part of what the statement says; the faults are one more each
		count int
	}{
		{"a message lost inside a stage", func(_, first, _ *kagami.Stage) { first.Drop(kagami.Timeout, -1) },
			"output tcp://replayer:28020 (messages): 90 in, 90 out, -1 dropped, 0 in flight: 1 unaccounted for", 1},
		{"a message settled twice", func(_, _, second *kagami.Stage) { second.Settle(kagami.Delivered) },
			"output file://x.gor (messages): 90 in, 81 out, 10 dropped, 0 in flight: -1 unaccounted for", 1},
		{"a message lost between two stages", func(messages, _, _ *kagami.Stage) { messages.In(1); messages.Out(1) },
			"output file://x.gor (messages) took in 90 of the 91 that came out of capture (messages)", 2},
		{"something in flight that is not there", func(messages, _, _ *kagami.Stage) { messages.InFlight = func() int64 { return 3 } },
			"capture (messages): 100 in, 90 out, 8 dropped, 3 in flight: -1 unaccounted for", 1},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			l, messages, first, second := listener()
			tc.harm(messages, first, second)
			st := l.Statement()
			if st.Balanced || len(st.Faults) != tc.count {
				t.Fatalf("balanced %v, faults %q", st.Balanced, st.Faults)
			}
			if !strings.Contains(strings.Join(st.Faults, "\n"), tc.fault) {
				t.Errorf("faults %q, want %q", st.Faults, tc.fault)
			}
		})
	}
}

func TestLedgerUnbalancedForm(t *testing.T) {
	l, messages, _, _ := listener()
	messages.In(3)
	messages.Out(1)
	messages.Bounded = func() bool { return true }
	st := l.Statement()
	var text, asJSON bytes.Buffer
	if err := errors.Join(st.WriteText(&text), st.WriteJSON(&asJSON)); err != nil {
		t.Fatal(err)
	}
	golden(t, "unbalanced.txt", text.Bytes())
	golden(t, "unbalanced.json", asJSON.Bytes())
}

func TestLedgerFlows(t *testing.T) {
	tests := []struct {
		name  string
		join  func(l *kagami.Ledger, from, to []*kagami.Stage)
		out   []int // of each stage that messages come from
		in    []int // of each stage that they go to
		fault string
	}{
		{"a copy to each", copies, []int{10}, []int{10, 10}, ""},
		{"two inputs, a copy to each", copies, []int{10, 5}, []int{15, 15}, ""},
		{"one output missed some", copies, []int{10, 5}, []int{15, 14}, "to 1 (messages) took in 14 of the 15 that came out of from 0 (messages) and from 1 (messages)"},
		{"one output had too many", copies, []int{10}, []int{11, 10}, "to 0 (messages) took in 11 of the 10 that came out of from 0 (messages)"},
		{"copies do not make up for each other", copies, []int{10}, []int{9, 11}, "to 0 (messages) took in 9 of the 10"},
		{"shared out", splits, []int{10}, []int{3, 7}, ""},
		{"two inputs, shared out", splits, []int{10, 2}, []int{12, 0}, ""},
		{"one lost in sharing out", splits, []int{10}, []int{3, 6}, "to 0 (messages) and to 1 (messages) took in 9 of the 10 that came out of from 0 (messages)"},
		{"to nowhere", copies, []int{10}, nil, ""},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			l := &kagami.Ledger{Role: "kagami"}
			stages := func(name string, ns []int) (all []*kagami.Stage) {
				for i, n := range ns {
					s := l.Add(&kagami.Stage{Name: name, Of: string(rune('0' + i)), Unit: kagami.Messages})
					s.In(n)
					s.Out(n)
					all = append(all, s)
				}
				return all
			}
			tc.join(l, stages("from", tc.out), stages("to", tc.in))
			st := l.Statement()
			if st.Balanced != (tc.fault == "") {
				t.Errorf("balanced %v, faults %q", st.Balanced, st.Faults)
			}
			if !strings.Contains(strings.Join(st.Faults, "\n"), tc.fault) {
				t.Errorf("faults %q, want %q", st.Faults, tc.fault)
			}
			if got := len(l.Stages()); got != len(tc.in)+len(tc.out) {
				t.Errorf("%d stages", got)
			}
		})
	}
}

func copies(l *kagami.Ledger, from, to []*kagami.Stage) { l.Copy(from, to...) }
func splits(l *kagami.Ledger, from, to []*kagami.Stage) { l.Split(from, to...) }

func TestLedgerOfNothing(t *testing.T) {
	var l kagami.Ledger
	st := l.Statement()
	if !st.Balanced {
		t.Errorf("faults %q", st.Faults)
	}
	var b bytes.Buffer
	if err := st.WriteJSON(&b); err != nil || !strings.Contains(b.String(), `"stages": []`) {
		t.Errorf("%s, %v", &b, err)
	}
	if _, ok := st.Stage("capture", "", kagami.Messages); ok {
		t.Error("there is a stage")
	}
}

func TestStatementStage(t *testing.T) {
	l, _, _, _ := listener()
	st := l.Statement()
	tests := []struct {
		stage, of string
		unit      kagami.Unit
		in        int64 // -1: there is none
	}{
		{"capture", "", kagami.Packets, 1200},
		{"capture", "", kagami.Messages, 100},
		{"capture", "", kagami.Connections, -1},
		{"output", "", kagami.Messages, 90},
		{"output", "file://x.gor", kagami.Messages, 90},
		{"output", "elsewhere", kagami.Messages, -1},
	}
	for _, tc := range tests {
		s, ok := st.Stage(tc.stage, tc.of, tc.unit)
		if ok != (tc.in >= 0) || ok && s.In != tc.in {
			t.Errorf("%s %q (%s): %+v, %v", tc.stage, tc.of, tc.unit, s, ok)
		}
	}
}

func TestStageCountsFromManyGoroutines(t *testing.T) {
	const goroutines, each = 8, 1000
	l := &kagami.Ledger{Role: "listen"}
	s := l.Add(&kagami.Stage{Name: "output", Unit: kagami.Messages})
	var wg, reading sync.WaitGroup
	done := make(chan struct{})
	reading.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			if st := s.Statement(); st.Missing() < 0 {
				t.Errorf("while counting: %d in, %d out, %d dropped", st.In, st.Out, st.DroppedTotal())
				return
			}
			l.Statement()
		}
	})
	for range goroutines {
		wg.Go(func() {
			for i := range each {
				s.In(1)
				if i%4 == 0 {
					s.Settle(kagami.QueueFull)
				} else {
					s.Settle(kagami.Delivered)
				}
			}
		})
	}
	wg.Wait()
	close(done)
	reading.Wait()
	in, out := s.Count()
	if in != goroutines*each || out != in*3/4 || s.Dropped(kagami.QueueFull) != in/4 {
		t.Errorf("%d in, %d out, %d dropped", in, out, s.Dropped(kagami.QueueFull))
	}
	if st := l.Statement(); !st.Balanced {
		t.Errorf("faults %q", st.Faults)
	}
}

type brokenWriter struct{}

var errBroken = errors.New("broken")

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

func TestStatementSaysWhenItCannotBeWritten(t *testing.T) {
	l, _, _, _ := listener()
	st := l.Statement()
	if err := st.WriteText(brokenWriter{}); !errors.Is(err, errBroken) {
		t.Errorf("text: %v", err)
	}
	if err := st.WriteJSON(brokenWriter{}); !errors.Is(err, errBroken) {
		t.Errorf("JSON: %v", err)
	}
}

func BenchmarkStageSettle(b *testing.B) {
	b.ReportAllocs()
	var s kagami.Stage
	for b.Loop() {
		s.In(1)
		s.Settle(kagami.Delivered)
	}
}
