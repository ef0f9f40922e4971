package results

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"kagami"
)

// SummaryVersion is the version of the JSON form of a Summary.
const SummaryVersion = 1

// A Summary is what came of a whole run.
type Summary struct {
	Version int `json:"version"`
	// Exchanges were sent to staging, or could not be for a reason on its side; NotSent
	// is those that could not be sent anywhere, which no threshold counts.
	Exchanges int64 `json:"exchanges"`
	NotSent   int64 `json:"not_sent"`
	Answered  int64 `json:"answered"`
	// Errors are exchanges without a whole answer, or with a status of 500 or more.
	Errors    int64            `json:"errors"`
	Compared  int64            `json:"compared"`
	Different int64            `json:"different"`
	Outcomes  map[string]int64 `json:"outcomes"`
	// Statuses counts staging's answers by the first digit of their status: "2xx".
	Statuses   map[string]int64 `json:"statuses"`
	Rate       float64          `json:"rate"` // exchanges a second
	Staging    Latency          `json:"staging"`
	Production Latency          `json:"production"`
	// ScheduleLag is how much later than due requests were sent; what was early counts as 0.
	ScheduleLag Latency `json:"schedule_lag"`
	// MinExchanges is how many a gate needs.
	MinExchanges int64   `json:"min_exchanges"`
	Thresholds   []Check `json:"thresholds,omitempty"`
	// AlertsFailed is how many messages the webhook did not take.
	AlertsFailed int64 `json:"alerts_failed,omitempty"`
}

// A Latency is a distribution, in milliseconds.
type Latency struct {
	Count int64   `json:"count"`
	Mean  float64 `json:"mean_ms"`
	P50   float64 `json:"p50_ms"`
	P90   float64 `json:"p90_ms"`
	P99   float64 `json:"p99_ms"`
	P999  float64 `json:"p999_ms"`
	Max   float64 `json:"max_ms"`
	// Histogram is all of it, in microseconds, as HdrHistogram writes it down (V2, compressed, in
	// base64): those of several runs can be added up. "" where there is nothing.
	Histogram string `json:"histogram,omitempty"`
}

func (s *series) latency() Latency {
	return Latency{Count: s.n, Mean: millis(s.mean()), P50: millis(s.at(50)), P90: millis(s.at(90)),
		P99: millis(s.at(99)), P999: millis(s.at(99.9)), Max: millis(s.max), Histogram: s.encode()}
}

// summary makes a Summary of what was counted.
func (t *tally) summary(thresholds []Threshold, least int64) Summary {
	s := Summary{
		Version: SummaryVersion, Exchanges: t.exchanges, NotSent: t.notSent, Answered: t.answered, Errors: t.errors,
		Compared: t.compared, Different: t.different, Rate: t.rate(), MinExchanges: least,
		Outcomes: map[string]int64{}, Statuses: map[string]int64{},
		Staging: t.staging.latency(), Production: t.production.latency(), ScheduleLag: t.lag.latency(),
	}
	for r, n := range t.outcomes {
		s.Outcomes[outcomeName(r)] = n
	}
	for i, n := range t.classes {
		if n > 0 {
			s.Statuses[fmt.Sprintf("%dxx", i)] = n
		}
	}
	for _, th := range thresholds {
		s.Thresholds = append(s.Thresholds, th.check(t, least))
	}
	return s
}

// Failed reports whether a threshold was crossed, or there was too little to tell.
func (s Summary) Failed() bool { return slices.ContainsFunc(s.Thresholds, Check.Failed) }

// Failures says of each threshold that failed what was wrong.
func (s Summary) Failures() []string {
	var all []string
	for _, c := range s.Thresholds {
		if c.Failed() {
			all = append(all, c.text(s.MinExchanges))
		}
	}
	return all
}

func (c Check) text(least int64) string {
	text := c.Threshold + ": "
	switch {
	case c.Value == "":
		text += "not known"
	default:
		text += c.Value
	}
	switch {
	case c.TooFew:
		text += fmt.Sprintf(", made of %d exchanges where a gate needs %d: failed", c.Exchanges, least)
	case c.Crossed:
		text += ": crossed"
	default:
		text += ": kept"
	}
	return text
}

// WriteText writes the summary as a table for people.
func (s Summary) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "results: %d exchanges, %.4g a second; %d answered, %d errors (%s)\n",
		s.Exchanges, s.Rate, s.Answered, s.Errors, percent(s.Errors, s.Exchanges))
	if s.NotSent > 0 {
		fmt.Fprintf(&b, "  %d more could not be sent\n", s.NotSent)
	}
	if s.Compared > 0 {
		fmt.Fprintf(&b, "  %d compared, %d different (%s)\n", s.Compared, s.Different, percent(s.Different, s.Compared))
	}
	for _, l := range []struct {
		name string
		Latency
	}{{"staging", s.Staging}, {"production", s.Production}, {"schedule lag", s.ScheduleLag}} {
		if l.Count > 0 {
			fmt.Fprintf(&b, "  %-12s %10d  p50 %-9s p90 %-9s p99 %-9s p99.9 %-9s max %s\n", l.name, l.Count,
				timeIn(l.P50), timeIn(l.P90), timeIn(l.P99), timeIn(l.P999), timeIn(l.Max))
		}
	}
	for _, o := range sortedCounts(s.Outcomes) {
		if o != outcomeName(kagami.Delivered) {
			fmt.Fprintf(&b, "  outcome %s: %d\n", o, s.Outcomes[o])
		}
	}
	for _, c := range sortedCounts(s.Statuses) {
		fmt.Fprintf(&b, "  status %s: %d\n", c, s.Statuses[c])
	}
	for _, c := range s.Thresholds {
		mark := " "
		if c.Failed() {
			mark = "!"
		}
		fmt.Fprintf(&b, "%s threshold %s\n", mark, c.text(s.MinExchanges))
	}
	if s.AlertsFailed > 0 {
		fmt.Fprintf(&b, "! %d alerts were not taken by the webhook\n", s.AlertsFailed)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func percent(part, whole int64) string {
	if whole == 0 {
		return "0%"
	}
	return unitShare.text(float64(part) / float64(whole))
}

// timeIn is a number of milliseconds as text.
func timeIn(ms float64) string {
	return time.Duration(ms * float64(time.Millisecond)).Round(time.Microsecond).String()
}

func sortedCounts(m map[string]int64) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
