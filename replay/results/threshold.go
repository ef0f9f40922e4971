package results

import (
	"errors"
	"fmt"
	"strings"
)

// A Threshold is what must not be: a metric, an operator and a limit, as in
// error_rate>1%. It is crossed where that is true.
type Threshold struct {
	metric metric
	op     string
	limit  float64
	text   string // of the limit, as it was given
}

// operators are those of thresholds; one that begins as another stands before it.
var operators = [...]string{">=", "<=", ">", "<"}

// MetricNames are the names that a threshold can be set for.
func MetricNames() []string {
	var names []string
	for _, m := range metrics() {
		names = append(names, m.name)
	}
	return names
}

// MetricText is what a metric is, in a few words; "" for a name that is none.
func MetricText(name string) string {
	for _, m := range metrics() {
		if m.name == name {
			return m.does
		}
	}
	return ""
}

// ParseThreshold reads a threshold: a metric, one of > >= < <=, and a value in the
// unit of that metric, as in error_rate>1%, p99 > 500ms, p99_ratio>1.2, rate<100/s
// or count<1000.
func ParseThreshold(s string) (Threshold, error) {
	i := strings.IndexAny(s, "<>")
	if i < 0 {
		return Threshold{}, errors.New("want a metric, one of > >= < <= and a value, as in error_rate>1% or p99>500ms")
	}
	t := Threshold{}
	name, rest := strings.TrimSpace(s[:i]), s[i:]
	for _, op := range operators {
		if strings.HasPrefix(rest, op) {
			t.op = op
			break
		}
	}
	t.text = strings.TrimSpace(rest[len(t.op):])
	known := false
	for _, m := range metrics() {
		if m.name == name {
			t.metric, known = m, true
		}
	}
	if !known {
		return Threshold{}, fmt.Errorf("unknown metric %.40q: want one of %s", name, strings.Join(MetricNames(), ", "))
	}
	if t.text == "" {
		return Threshold{}, fmt.Errorf("a value is missing behind %s%s", name, t.op)
	}
	var err error
	if t.limit, err = t.metric.unit.parse(t.text); err != nil {
		return Threshold{}, fmt.Errorf("%s: %w", name, err)
	}
	return t, nil
}

// String writes the threshold so that ParseThreshold reads it.
func (t Threshold) String() string { return t.metric.name + t.op + t.text }

// Equal reports whether both say the same.
func (t Threshold) Equal(o Threshold) bool { return t.String() == o.String() }

// Compares reports whether the threshold is about differences, so that without a
// comparison it cannot be told.
func (t Threshold) Compares() bool { return t.metric.name == "diff_rate" }

// crossed reports whether v is on the wrong side.
func (t Threshold) crossed(v float64) bool {
	switch t.op {
	case ">":
		return v > t.limit
	case ">=":
		return v >= t.limit
	case "<":
		return v < t.limit
	}
	return v <= t.limit
}

// A Check is what became of a threshold.
type Check struct {
	Threshold string `json:"threshold"`
	// Value is what was measured, as users write it; "" where it is not known.
	Value string `json:"value,omitempty"`
	// Exchanges is how many it was made of.
	Exchanges int64 `json:"exchanges"`
	Crossed   bool  `json:"crossed"`
	// TooFew says that there were fewer exchanges than a gate needs, which is as
	// good as crossed.
	TooFew bool `json:"too_few,omitempty"`
}

// Failed reports whether a pipeline should stop here.
func (c Check) Failed() bool { return c.Crossed || c.TooFew }

// check looks whether t is crossed in what was counted, and whether that was at
// least so many exchanges.
func (t Threshold) check(of *tally, least int64) Check {
	v, n := t.metric.of(of)
	c := Check{Threshold: t.String(), Exchanges: n}
	if n == always {
		c.Exchanges = of.exchanges
	}
	if n > 0 {
		c.Value, c.Crossed = t.metric.unit.text(v), t.crossed(v)
	}
	c.TooFew = n < least || of.exchanges < least
	return c
}
