package compare

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"kagami"
)

// ReportVersion is the version of the JSON form of a Report.
const ReportVersion = 1

// A Report is what comparing came to so far. Its JSON form is stable: fields
// are added, not changed, and lists have a fixed order.
type Report struct {
	Version int `json:"version"`
	// Exchanges is all that are finished: those compared and those not.
	Exchanges int64 `json:"exchanges"`
	Compared  int64 `json:"compared"`
	// Different is those compared that differ; Noise those that differ in noise
	// alone. Noise that was found out late is taken from the one to the other,
	// so that there may be fewer different ones than there were such verdicts.
	Different int64 `json:"different"`
	Noise     int64 `json:"noise"`
	// NotCompared counts the others by Verdict.Reason.
	NotCompared map[string]int64 `json:"not_compared"`
	// Unbased is how many were compared without their answer of the baseline,
	// where there is a baseline.
	Unbased int64 `json:"without_baseline"`
	// Late is answers that came when their exchange had been given up.
	Late int64 `json:"late"`
	// Ungrouped is differences that are in no group, for there is room for ten
	// thousand groups.
	Ungrouped int64 `json:"ungrouped"`
	// Endpoints are sorted by Different, then Compared, most first.
	Endpoints []EndpointReport `json:"endpoints"`
	// Groups are sorted by Exchanges, most first.
	Groups []Group `json:"groups"`
	// Noises is what the baseline has shown, sorted by endpoint.
	Noises []Noise `json:"noises"`
}

// An EndpointReport is what the exchanges of one endpoint came to.
type EndpointReport struct {
	Endpoint    string `json:"endpoint"`
	Compared    int64  `json:"compared"`
	Different   int64  `json:"different"`
	Noise       int64  `json:"noise"`
	NotCompared int64  `json:"not_compared"`
	// Bytes are of the bodies compared, as they were sent.
	ProductionBytes int64 `json:"production_bytes"`
	StagingBytes    int64 `json:"staging_bytes"`
	// Latencies are means, 0 where none is known.
	ProductionLatency time.Duration `json:"production_latency_ns"`
	StagingLatency    time.Duration `json:"staging_latency_ns"`
}

// A Group is the differences of one kind at one path of one endpoint.
type Group struct {
	Endpoint string `json:"endpoint"`
	Kind     Kind   `json:"kind"`
	Path     string `json:"path"`
	// Exchanges is in how many it was found, Count how often.
	Exchanges int64 `json:"exchanges"`
	Count     int64 `json:"count"`
	// Examples are the first that were found.
	Examples []Example `json:"examples,omitempty"`
}

// An Example is one difference of a group; see [Difference].
type Example struct {
	ID         kagami.ID `json:"id"`
	At         string    `json:"at"`
	Offset     int       `json:"offset,omitempty"`
	Production string    `json:"production"`
	Staging    string    `json:"staging"`
}

// A Noise is a kind of difference at one path of one endpoint that means
// nothing: the baseline's answers show it as well. Missing stands for Added,
// HeaderMissing for HeaderAdded.
type Noise struct {
	Endpoint string `json:"endpoint"`
	Kind     Kind   `json:"kind"`
	Path     string `json:"path"`
	// Learned is in how many answers the baseline showed it at least, Left how
	// many differences of staging's were left out for it.
	Learned int64 `json:"learned"`
	Left    int64 `json:"left_out"`
}

// report reads what is known.
func (t *tally) report(baseline bool) Report {
	t.mu.Lock()
	r := Report{
		Version: ReportVersion, Exchanges: t.exchanges, NotCompared: map[string]int64{}, Late: t.late, Ungrouped: t.ungrouped.Load(),
		Endpoints: []EndpointReport{}, Groups: []Group{}, Noises: []Noise{},
	}
	if baseline {
		r.Unbased = t.unbased
	}
	r.Compared = t.exchanges
	for reason, n := range t.notCompared {
		r.NotCompared[reason] = n
		r.Compared -= n
	}
	endpoints := make([]*endpoint, 0, len(t.endpoints))
	for _, e := range t.endpoints {
		endpoints = append(endpoints, e)
	}
	t.mu.Unlock()
	for _, e := range endpoints {
		e.report(&r)
	}
	slices.SortFunc(r.Endpoints, func(a, b EndpointReport) int {
		return cmp.Or(cmp.Compare(b.Different, a.Different), cmp.Compare(b.Compared, a.Compared), strings.Compare(a.Endpoint, b.Endpoint))
	})
	slices.SortFunc(r.Groups, func(a, b Group) int {
		return cmp.Or(cmp.Compare(b.Exchanges, a.Exchanges), cmp.Compare(b.Count, a.Count),
			strings.Compare(a.Endpoint, b.Endpoint), cmp.Compare(a.Kind, b.Kind), strings.Compare(a.Path, b.Path))
	})
	slices.SortFunc(r.Noises, func(a, b Noise) int {
		return cmp.Or(strings.Compare(a.Endpoint, b.Endpoint), cmp.Compare(a.Kind, b.Kind), strings.Compare(a.Path, b.Path))
	})
	return r
}

// report adds an endpoint to a report.
func (e *endpoint) report(r *Report) {
	e.mu.Lock()
	defer e.mu.Unlock()
	er := EndpointReport{
		Endpoint: e.name, Compared: e.compared, NotCompared: e.notCompared,
		ProductionBytes: e.bytes[0], StagingBytes: e.bytes[1],
		ProductionLatency: mean(e.latency[0], e.timed[0]), StagingLatency: mean(e.latency[1], e.timed[1]),
	}
	er.Different, er.Noise = e.different()
	r.Different += er.Different
	r.Noise += er.Noise
	r.Endpoints = append(r.Endpoints, er)
	for _, g := range e.list {
		if !e.isNoise(g) {
			r.Groups = append(r.Groups, Group{e.name, g.kind, g.path, g.exchanges, g.count, slices.Clone(g.examples)})
		}
	}
	for _, p := range e.noise.paths {
		r.Noises = append(r.Noises, Noise{e.name, noiseKind(p.kind), p.path, p.learned, p.left})
	}
}

func mean(sum time.Duration, n int64) time.Duration {
	if n == 0 {
		return 0
	}
	return sum / time.Duration(n)
}

// shownGroups is how many groups the text form of a report shows.
const shownGroups = 50

// WriteTo writes the report for people to read.
func (r Report) WriteTo(w io.Writer) (int64, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "compared %d of %d exchanges: %d different, %d in noise alone\n", r.Compared, r.Exchanges, r.Different, r.Noise)
	reasons := make([]string, 0, len(r.NotCompared))
	for reason := range r.NotCompared {
		reasons = append(reasons, reason)
	}
	slices.Sort(reasons)
	for _, reason := range reasons {
		fmt.Fprintf(&b, "  not compared: %s %d\n", reason, r.NotCompared[reason])
	}
	if r.Unbased > 0 {
		fmt.Fprintf(&b, "  %d were compared without an answer of the baseline\n", r.Unbased)
	}
	if r.Late > 0 {
		fmt.Fprintf(&b, "  %d answers came too late\n", r.Late)
	}
	for i, g := range r.Groups {
		if i == shownGroups {
			fmt.Fprintf(&b, "and %d more kinds of difference\n", len(r.Groups)-i)
			break
		}
		fmt.Fprintf(&b, "%7d  %s  %s\n", g.Exchanges, g.Endpoint, strings.TrimSpace(string(g.Kind)+" "+g.Path))
		for _, e := range g.Examples {
			production, staging := g.Kind.sides(e)
			fmt.Fprintf(&b, "         %s: production %s, staging %s  (%s)\n", e.At, production, staging, e.ID)
		}
	}
	if len(r.Noises) > 0 {
		fmt.Fprintf(&b, "noise, as the baseline shows it:\n")
	}
	for i, n := range r.Noises {
		if i == shownGroups {
			fmt.Fprintf(&b, "and %d more\n", len(r.Noises)-i)
			break
		}
		fmt.Fprintf(&b, "%7d  %s  %s %s\n", n.Left, n.Endpoint, n.Kind, n.Path)
	}
	n, err := io.WriteString(w, b.String())
	return int64(n), err
}

// sides are the two values of an example as the text form shows them.
func (k Kind) sides(e Example) (production, staging string) {
	production, staging = shown(e.Production), shown(e.Staging)
	switch k {
	case Missing, HeaderMissing:
		staging = "nothing"
	case Added, HeaderAdded:
		production = "nothing"
	}
	return production, staging
}

// shown is a value as the text form shows it, on one line: quoted, where it could not be seen else.
func shown(s string) string {
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) && r != utf8.RuneError }) {
		return strconv.Quote(s)
	}
	return s
}
