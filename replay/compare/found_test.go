package compare_test

import (
	"slices"
	"strings"
	"testing"

	"kagami"
	"kagami/replay/compare"
)

// found is what a verdict says, as a generator says it.
func found(v compare.Verdict) string {
	if v.Outcome == compare.NotCompared {
		return v.Reason
	}
	var all []string
	for _, d := range v.Differences {
		all = append(all, strings.TrimSpace(string(d.Kind)+" "+d.Path))
	}
	slices.Sort(all)
	return strings.Join(all, "; ")
}

// A hundredth of the answers is altered: all of that is found, at its place, and
// nothing else; what differs by nature is not reported, whether rules say so or
// a baseline shows it.
func TestAllIsFoundAndNothingInvented(t *testing.T) {
	n := 50_000 // twice
	if testing.Short() || raceEnabled {
		n = 2_500
	}
	seed := map[string]uint64{"rules": 7, "baseline": 8}
	for name, cfg := range map[string]compare.Config{
		"rules":    {Ignore: []string{"$..updated_at", "$.items[*].etag", "$.etag", "$['served_at']", "$.users.*.seen", "$.trace", "header:X-Node"}},
		"baseline": {Baseline: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			find(t, cfg, n, seed[name])
		})
	}
}

func find(t *testing.T, cfg compare.Config, n int, seed uint64) {
	share := 0.01
	if n < 20_000 {
		share = 0.1 // so that each alteration is there
	}
	g := newGenerator(seed, share, cfg.Baseline)
	var got compare.Verdict
	cfg.Each = func(v compare.Verdict) { got = v }
	c, err := compare.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	altered := map[string]int{}
	wrong, different, total := 0, int64(0), 0
	for range n {
		x := g.next()
		answers := []*kagami.Message{x.production, x.staging}
		if g.IntN(2) == 0 {
			slices.Reverse(answers)
		}
		if cfg.Baseline {
			write(t, c.Baseline(), x.baseline)
		}
		write(t, c, append([]*kagami.Message{x.request}, answers...)...)
		if got.ID != x.request.Exchange.ID {
			t.Fatalf("exchange %v has no verdict", x.request.Exchange.ID)
		}
		if x.alteration != "" {
			altered[x.alteration]++
			total++
		}
		if got.Outcome == compare.Different {
			different++
		}
		want := strings.Split(x.want, "; ")
		slices.Sort(want)
		if f := found(got); f != strings.Join(want, "; ") {
			if wrong++; wrong <= 10 {
				t.Errorf("%v %s: %s: found %q, want %q\n%q\n%q", got.ID, got.Endpoint, x.alteration, f, x.want, x.production.Raw, x.staging.Raw)
			}
		}
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	t.Logf("%d of %d altered: %v; %d wrong", total, n, altered, wrong)
	for _, a := range []string{"value", "type", "key renamed", "element added", "element missing", "order", "text", "header", "header missing", "header added", "status", "truncation", "coding"} {
		if altered[a] == 0 {
			t.Errorf("the generator has altered no %s", a)
		}
	}
	r := c.Report()
	if r.Exchanges != int64(n) || r.Different != different {
		t.Errorf("the report says %d of %d, want %d of %d", r.Different, r.Exchanges, different, n)
	}
	var endpoints []string
	for _, e := range r.Endpoints {
		endpoints = append(endpoints, e.Endpoint)
	}
	slices.Sort(endpoints)
	if got := strings.Join(endpoints, ", "); got != "GET /items, GET /items/{id}, GET /none, GET /pages/about, GET /users, HEAD /ping" {
		t.Errorf("endpoints %s", got)
	}
}
