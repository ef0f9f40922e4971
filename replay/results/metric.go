package results

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// A unit is how the values of a metric are written, and what they are inside.
type unit int

const (
	unitShare unit = iota // "1%" or "0.01": a fraction
	unitTime              // "500ms": seconds
	unitRatio             // "1.2": a number
	unitRate              // "100/s": a number a second
	unitCount             // "1000": a whole number
)

// A metric is something that a threshold can be set for.
type metric struct {
	name string
	unit unit
	does string // what it is, for people
	// of returns its value, and how many exchanges it was made of; 0 says that
	// it is not known. A metric that needs none for being known returns always.
	of func(t *tally) (v float64, n int64)
}

// always is the n of a metric that is known whatever there is.
const always = math.MaxInt64

// metrics are all there are, in the order in which people are told of them.
func metrics() []metric {
	share := func(part, whole func(t *tally) int64) func(*tally) (float64, int64) {
		return func(t *tally) (float64, int64) {
			n := whole(t)
			return float64(part(t)) / math.Max(float64(n), 1), n
		}
	}
	exchanges := func(t *tally) int64 { return t.exchanges }
	answered := func(t *tally) int64 { return t.staging.n }
	all := []metric{
		{"error_rate", unitShare, "exchanges without a whole answer from staging, or with a status of 500 or more",
			share(func(t *tally) int64 { return t.errors }, exchanges)},
		{"no_answer_rate", unitShare, "exchanges without a whole answer from staging",
			share(func(t *tally) int64 { return t.exchanges - t.answered }, exchanges)},
		{"status_5xx_rate", unitShare, "staging's answers with a status of 500 to 599", share(func(t *tally) int64 { return t.classes[5] }, answered)},
		{"status_4xx_rate", unitShare, "staging's answers with a status of 400 to 499", share(func(t *tally) int64 { return t.classes[4] }, answered)},
		{"diff_rate", unitShare, "compared exchanges whose answers differ",
			share(func(t *tally) int64 { return t.different }, func(t *tally) int64 { return t.compared })},
	}
	staging := func(t *tally) *series { return &t.staging }
	production := func(t *tally) *series { return &t.production }
	for _, l := range latencies() {
		all = append(all, metric{l.name, unitTime, "staging's latency: " + l.does, timeOf(staging, l.of)})
	}
	for _, l := range latencies() {
		all = append(all, metric{"production_" + l.name, unitTime, "production's latency: " + l.does, timeOf(production, l.of)})
	}
	for _, l := range latencies() {
		all = append(all, metric{l.name + "_ratio", unitRatio, "staging's " + l.name + " by production's", ratioOf(l.of)})
	}
	return append(all,
		metric{"rate", unitRate, "exchanges a second", func(t *tally) (float64, int64) {
			if v := t.rate(); v > 0 || t.length > 0 {
				return v, always
			}
			return 0, 0
		}},
		metric{"count", unitCount, "exchanges", func(t *tally) (float64, int64) { return float64(t.exchanges), always }},
	)
}

// A latency is a way to make one number of a distribution.
type latency struct {
	name, does string
	of         func(*series) time.Duration
}

func latencies() []latency {
	percentile := func(name string, p float64) latency {
		return latency{name, strconv.FormatFloat(p, 'g', -1, 64) + " % take no longer", func(s *series) time.Duration { return s.at(p) }}
	}
	return []latency{percentile("p50", 50), percentile("p90", 90), percentile("p95", 95), percentile("p99", 99), percentile("p999", 99.9),
		{"max", "the longest", func(s *series) time.Duration { return s.max }},
		{"mean", "the mean", (*series).mean}}
}

func timeOf(which func(*tally) *series, of func(*series) time.Duration) func(*tally) (float64, int64) {
	return func(t *tally) (float64, int64) {
		s := which(t)
		return of(s).Seconds(), s.n
	}
}

func ratioOf(of func(*series) time.Duration) func(*tally) (float64, int64) {
	return func(t *tally) (float64, int64) {
		p := of(&t.production).Seconds()
		if p == 0 {
			return 0, 0
		}
		return of(&t.staging).Seconds() / p, min(t.staging.n, t.production.n)
	}
}

// parse reads a value as users write it.
func (u unit) parse(s string) (float64, error) {
	switch u {
	case unitShare:
		return parseShare(s, 1, "want a share, as in 1% or 0.01")
	case unitRatio:
		return parseShare(s, math.Inf(1), "want a ratio, as in 1.2 or 120%")
	case unitTime:
		d, err := time.ParseDuration(s)
		if err != nil || d < 0 {
			return 0, fmt.Errorf("%.40q: want a time with its unit, as in 500ms or 2s", s)
		}
		return d.Seconds(), nil
	case unitRate:
		return parseNumber(strings.TrimSuffix(s, "/s"), s, "want a number a second, as in 100/s")
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%.40q: want a whole number, as in 1000", s)
	}
	return float64(n), nil
}

func parseShare(s string, most float64, want string) (float64, error) {
	digits, percent := strings.CutSuffix(s, "%")
	v, err := parseNumber(strings.TrimSpace(digits), s, want)
	if percent {
		v /= 100
	}
	if err == nil && v > most {
		err = fmt.Errorf("%.40q is more than all: %s", s, want)
	}
	return v, err
}

// parseNumber reads a decimal number of 0 or more. Of its errors s is the subject.
func parseNumber(digits, s, want string) (float64, error) {
	v, err := strconv.ParseFloat(digits, 64)
	if err != nil || v < 0 || math.IsNaN(v) || math.IsInf(v, 0) || strings.ContainsAny(digits, "xXpP_") {
		return 0, fmt.Errorf("%.40q: %s", s, want)
	}
	return v, nil
}

// text writes a value so that parse reads it.
func (u unit) text(v float64) string {
	switch u {
	case unitShare:
		return number(v*100) + "%"
	case unitTime:
		return time.Duration(math.Round(v * float64(time.Second))).Round(time.Microsecond).String()
	case unitRate:
		return number(v) + "/s"
	}
	return number(v)
}

// number is v to six digits, without an exponent.
func number(v float64) string {
	s := strconv.FormatFloat(v, 'g', 6, 64)
	if strings.ContainsRune(s, 'e') {
		s = strconv.FormatFloat(v, 'f', -1, 64)
	}
	return s
}
