package capture_test

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"kagami"
	"kagami/capture"
	"kagami/internal/http1"
)

// A corpusRow is a request as the corpus describes it, or as it was captured.
type corpusRow struct {
	Src      string `json:"src"`
	Dst      string `json:"dst"`
	Method   string `json:"method"`
	URI      string `json:"uri"` // each byte one rune of Latin-1
	BodyLen  int    `json:"body_len"`
	Doubtful bool   `json:"doubtful"`
}

// key is what two rows have in common that are of one request.
func (r corpusRow) key() corpusRow {
	r.Doubtful = false
	r.Src, r.Dst = unmapped(r.Src), unmapped(r.Dst)
	return r
}

// unmapped writes an IPv4 address that is mapped into IPv6 as such.
func unmapped(s string) string {
	p, err := netip.ParseAddrPort(s)
	if err != nil {
		return s
	}
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port()).String()
}

// A score is how many requests were expected, found, and found without being there.
type score struct{ firm, found, extra int }

func (s *score) add(o score) { s.firm += o.firm; s.found += o.found; s.extra += o.extra }

func (s score) String() string {
	return fmt.Sprintf("recall %.4f (%d of %d), precision %.4f (%d false)",
		float64(s.found)/float64(max(s.firm, 1)), s.found, s.firm, float64(s.found)/float64(max(s.found+s.extra, 1)), s.extra)
}

// TestListenerCorpus captures on any port from every capture below the folder that
// KAGAMI_CORPUS names, and says how many of the requests in NAME.requests.jsonl
// were found. KAGAMI_CORPUS_ONLY chooses names that contain it.
func TestListenerCorpus(t *testing.T) {
	root := os.Getenv("KAGAMI_CORPUS")
	if root == "" {
		t.Skip("KAGAMI_CORPUS does not name a folder with captures")
	}
	traits := corpusTraits(t, root)
	total, per := score{}, map[string]*score{}
	err := filepath.WalkDir(root, func(path string, e os.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".pcap" || !strings.Contains(path, os.Getenv("KAGAMI_CORPUS_ONLY")) {
			return err
		}
		base := strings.TrimSuffix(path, ".pcap")
		want := readCorpusRows(t, base+".requests.jsonl")
		s := compareRows(t, strings.TrimPrefix(base, root+"/"), want, captureRows(t, path))
		total.add(s)
		of := []string{"captures"}
		if _, change, derived := strings.Cut(filepath.Base(base), "__"); derived {
			of = []string{"derived", "derived " + change}
		} else {
			rel, _ := filepath.Rel(filepath.Join(root, "captures"), base)
			of = append(of, traits[rel]...)
		}
		for _, k := range of {
			if per[k] == nil {
				per[k] = &score{}
			}
			per[k].add(s)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	names := make([]string, 0, len(per))
	for k := range per {
		names = append(names, k)
	}
	sort.Strings(names)
	for _, k := range names {
		t.Logf("%-28s %v", k, per[k])
	}
	t.Logf("%-28s %v", "total", total)
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

func captureRows(t *testing.T, path string) (rows []corpusRow) {
	f, err := capture.OpenFile(path)
	if err != nil {
		t.Error(err)
		return nil
	}
	l, err := capture.New(capture.Config{Wait: true, Responses: os.Getenv("KAGAMI_CORPUS_RESPONSES") != ""}, f)
	if err != nil {
		t.Fatal(err)
	}
	err = l.Run(t.Context(), func(_ context.Context, b kagami.Batch) error {
		for _, m := range b.Messages {
			if m.Kind != kagami.Request {
				continue
			}
			body, err := http1.Body(m.Raw)
			if err != nil {
				t.Errorf("%s: body of %.60q: %v", path, m.Raw, err)
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
	return rows
}

func latin1(b []byte) string {
	r := make([]rune, len(b))
	for i, c := range b {
		r[i] = rune(c)
	}
	return string(r)
}

// compareRows counts what was found of want. Doubtful rows count neither way.
func compareRows(t *testing.T, name string, want, got []corpusRow) (s score) {
	left := map[corpusRow]int{}
	for _, r := range got {
		left[r.key()]++
	}
	var missed []corpusRow
	for _, r := range want {
		switch {
		case r.Doubtful:
		case left[r.key()] > 0:
			left[r.key()]--
			s.firm++
			s.found++
		default:
			s.firm++
			missed = append(missed, r)
		}
	}
	for _, r := range want {
		if r.Doubtful { // with any body length
			for k := range left {
				if k.Src == r.Src && k.Dst == r.Dst && k.Method == r.Method && k.URI == r.URI && left[k] > 0 {
					left[k]--
					break
				}
			}
		}
	}
	for _, r := range missed {
		t.Logf("%s: missed %+.120v", name, r)
	}
	for r, n := range left {
		if n > 0 {
			s.extra += n
			t.Logf("%s: %d × not there: %+.120v", name, n, r)
		}
	}
	return s
}
