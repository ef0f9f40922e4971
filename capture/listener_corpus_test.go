package capture_test

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kagami"
	"kagami/capture"
	"kagami/internal/http1"
)

// A corpusRow is a message as the corpus describes it, or as it was captured. An
// answer has its status as the method.
type corpusRow struct {
	Src       string `json:"src"`
	Dst       string `json:"dst"`
	Method    string `json:"method"`
	URI       string `json:"uri"` // each byte one rune of Latin-1
	BodyLen   int    `json:"body_len"`
	Doubtful  bool   `json:"doubtful"`
	Frame     int    `json:"frame"`
	Status    int    `json:"status"`
	RequestIn *int   `json:"request_in"`
}

// key is what two rows have in common that are of one request.
func (r corpusRow) key() corpusRow {
	r.Doubtful, r.Frame, r.Status, r.RequestIn = false, 0, 0, nil
	r.Src, r.Dst = canonical(r.Src), canonical(r.Dst)
	return r
}

// String is a row as corpusExceptions has it.
func (r corpusRow) String() string {
	return fmt.Sprintf("%s>%s %s %.40s %d", canonical(r.Src), canonical(r.Dst), r.Method, r.URI, r.BodyLen)
}

// canonical writes an address in its shortest form.
func canonical(s string) string {
	p, err := netip.ParseAddrPort(s)
	if err != nil {
		return s
	}
	return p.String()
}

// A score is how many messages were expected, found, and found besides.
type score struct{ firm, found, extra int }

func (s *score) add(o score) { s.firm += o.firm; s.found += o.found; s.extra += o.extra }

func (s score) String() string {
	return fmt.Sprintf("recall %.4f (%d of %d), precision %.4f (%d besides)",
		s.recall(), s.found, s.firm, s.precision(), s.extra)
}

func (s score) recall() float64    { return float64(s.found) / float64(max(s.firm, 1)) }
func (s score) precision() float64 { return float64(s.found) / float64(max(s.found+s.extra, 1)) }

// TestListenerCorpus captures on any port from every capture below the folder that
// KAGAMI_CORPUS names, without and with answers. Of the rows that are not doubtful in
// NAME.requests.jsonl and NAME.responses.jsonl every one must be found and nothing else,
// but for corpusExceptions. KAGAMI_CORPUS_ONLY chooses names that contain it.
func TestListenerCorpus(t *testing.T) {
	root := os.Getenv("KAGAMI_CORPUS")
	if root == "" {
		t.Skip("KAGAMI_CORPUS does not name a folder with captures")
	}
	traits := corpusTraits(t, root)
	var total, answered score
	per := map[string]*score{}
	files := 0
	err := filepath.WalkDir(root, func(path string, e os.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".pcap" || !strings.Contains(path, os.Getenv("KAGAMI_CORPUS_ONLY")) {
			return err
		}
		files++
		base := strings.TrimSuffix(path, ".pcap")
		name := strings.TrimPrefix(base, root+"/")
		s, a := corpusCapture(t, name, base)
		total.add(s)
		answered.add(a)
		of := []string{"captures"}
		if _, change, derived := strings.Cut(filepath.Base(base), "__"); derived {
			of = []string{"derived", "derived " + change}
		} else {
			of = append(of, traits[strings.TrimPrefix(name, "captures/")]...)
		}
		for _, k := range of {
			if per[k] == nil {
				per[k] = &score{}
			}
			per[k].add(s)
		}
		return nil
	})
	if err != nil || files == 0 {
		t.Fatalf("%d captures, error %v", files, err)
	}
	for _, k := range slices.Sorted(maps.Keys(per)) {
		t.Logf("%-28s %v", k, per[k])
	}
	t.Logf("%-28s %v", "answers", answered)
	t.Logf("%-28s %v", "total", total)
}

// corpusCapture holds one capture to its rows.
func corpusCapture(t *testing.T, name, base string) (requests, answers score) {
	want, wrong := readCorpusRows(t, base+".requests.jsonl"), corpusExceptions[name]
	if wrong.why != "" {
		t.Logf("%s: %s", name, wrong.why)
	}
	got, _ := captureRows(t, base+".pcap", false)
	requests = compareRows(t, name, want, got, wrong.requests)
	got, gotAnswers := captureRows(t, base+".pcap", true)
	compareRows(t, name+" with answers", want, got, wrong.requests)
	if wantAnswers, known := answerRows(t, base, want); known {
		answers = compareRows(t, name+" answers", wantAnswers, gotAnswers, wrong.answers)
	}
	return requests, answers
}

func corpusTraits(t *testing.T, root string) map[string][]string {
	f, err := os.Open(filepath.Join(root, "INDEX.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.Comma, r.LazyQuotes = '\t', true
	rows, err := r.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	column := map[string]int{}
	for i, name := range rows[0] {
		column[name] = i
	}
	traits := map[string][]string{}
	for _, row := range rows[1:] {
		traits[row[column["name"]]] = strings.Split(row[column["traits"]], ",")
	}
	return traits
}

func readCorpusRows(t *testing.T, path string) (rows []corpusRow) {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d := json.NewDecoder(bufio.NewReader(f))
	for {
		var r corpusRow
		if err := d.Decode(&r); err == io.EOF {
			return rows
		} else if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		rows = append(rows, r)
	}
}

// answerRows reads the answers to the requests in want, if the corpus has them.
// Which request each belongs to is not compared: where requests are pipelined, the corpus
// is wrong about it.
func answerRows(t *testing.T, base string, want []corpusRow) (rows []corpusRow, known bool) {
	if _, err := os.Stat(base + ".responses.jsonl"); err != nil {
		return nil, false
	}
	requests := map[int]corpusRow{}
	for _, r := range want {
		requests[r.Frame] = r
	}
	for _, r := range readCorpusRows(t, base+".responses.jsonl") {
		if r.Status < 200 && r.Status != 101 {
			continue // interim
		}
		r.Method = fmt.Sprint(r.Status)
		if r.RequestIn == nil {
			r.Doubtful = true
		} else if q, known := requests[*r.RequestIn]; !known || q.Doubtful {
			r.Doubtful = true
		}
		rows = append(rows, r)
	}
	return rows, true
}

// captureRows captures from a file, with the answers or without them.
func captureRows(t *testing.T, path string, responses bool) (rows, answers []corpusRow) {
	f, err := capture.OpenFile(path)
	if err != nil {
		t.Error(err)
		return nil, nil
	}
	l, err := capture.New(capture.Config{Wait: true, Responses: responses}, f)
	if err != nil {
		t.Fatal(err)
	}
	err = l.Run(t.Context(), func(_ context.Context, b kagami.Batch) error {
		for _, m := range b.Messages {
			if m.Proto != kagami.HTTP1 {
				continue // the corpus knows nothing of it
			}
			body, err := http1.Body(m.Raw)
			if err != nil {
				t.Errorf("%s: body of %.60q: %v", path, m.Raw, err)
			}
			if m.Kind == kagami.Response {
				h, _ := http1.ParseHead(m.Raw, true)
				answers = append(answers, corpusRow{
					Src: m.Server.String(), Dst: m.Client.String(), Method: fmt.Sprint(h.Status),
					BodyLen: len(body),
				})
				continue
			}
			rows = append(rows, corpusRow{
				Src: m.Client.String(), Dst: m.Server.String(), Method: string(http1.Method(m.Raw)),
				URI: latin1(http1.Target(m.Raw)), BodyLen: len(body),
			})
		}
		return nil
	})
	if err != nil {
		t.Logf("%s: %v", path, err)
	}
	for _, s := range l.Stages() {
		if st := s.Statement(); st.Missing() != 0 || st.InFlight != 0 {
			t.Errorf("%s: does not balance: %+v", path, st)
		}
	}
	return rows, answers
}

func latin1(b []byte) string {
	r := make([]rune, len(b))
	for i, c := range b {
		r[i] = rune(c)
	}
	return string(r)
}

// compareRows counts what was found of want, and fails the test where more or less was
// than wrong says. Doubtful rows count neither way.
func compareRows(t *testing.T, name string, want, got []corpusRow, wrong corpusErrors) (s score) {
	left := map[corpusRow]int{}
	for _, r := range got {
		left[r.key()]++
	}
	var missed, extra []string
	for _, r := range want {
		switch {
		case r.Doubtful:
		case left[r.key()] > 0:
			left[r.key()]--
			s.firm++
			s.found++
		default:
			s.firm++
			missed = append(missed, r.String())
		}
	}
	for _, r := range want {
		if r.Doubtful { // with any body length
			for k := range left {
				if k.Src == canonical(r.Src) && k.Dst == canonical(r.Dst) && k.Method == r.Method && k.URI == r.URI && left[k] > 0 {
					left[k]--
					break
				}
			}
		}
	}
	for r, n := range left {
		for range n {
			s.extra++
			extra = append(extra, r.String())
		}
	}
	slices.Sort(extra)
	if !slices.Equal(missed, wrong.notThere) {
		t.Errorf("%s: missed %.1000q, of which these are not there: %q", name, missed, wrong.notThere)
	}
	if len(extra) != max(wrong.lacks, len(wrong.lacking)) || len(wrong.lacking) > 0 && !slices.Equal(extra, wrong.lacking) {
		t.Errorf("%s: found %.1000q besides; the corpus lacks %d %q", name, extra, wrong.lacks, wrong.lacking)
	}
	return s
}
