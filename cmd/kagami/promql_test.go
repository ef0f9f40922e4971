package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"kagami"
)

// otherMetrics are metrics of other parts of the program, with their labels.
var otherMetrics = map[string]string{
	"up":                            "",       // Prometheus' own
	"process_cpu_seconds_total":     "",       // of client_golang
	"process_resident_memory_bytes": "",       // likewise
	"kagami_compared_total":         "",       // of comparing
	"kagami_not_compared_total":     "reason", // likewise
	"kagami_differences_total":      "endpoint",
}

// A promQL is what a test can tell about an expression without a parser.
type promQL struct {
	metrics   []string
	selectors [][2]string // a metric, and what stands in braces behind it
	by        []string    // labels of aggregations
}

var (
	promString   = regexp.MustCompile(`"[^"]*"`)
	promSelector = regexp.MustCompile(`(\w+)\{([^}]*)\}`)
	promGrouping = regexp.MustCompile(`\b(?:by|on|group_left)\s*\(([^)]*)\)`)
	promMatcher  = regexp.MustCompile(`(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"`)
	promMetric   = regexp.MustCompile(`\b(up|(?:kagami|process|go)_\w+)\b`)
	promSuffix   = regexp.MustCompile(`_(bucket|count|sum)$`)
)

func lookAt(expr string) promQL {
	var q promQL
	for _, m := range promSelector.FindAllStringSubmatch(expr, -1) {
		q.selectors = append(q.selectors, [2]string{m[1], m[2]})
	}
	bare := promString.ReplaceAllString(expr, `""`)
	for _, m := range promGrouping.FindAllStringSubmatch(bare, -1) {
		for label := range strings.SplitSeq(m[1], ",") {
			if label = strings.TrimSpace(label); label != "" {
				q.by = append(q.by, label)
			}
		}
	}
	q.metrics = promMetric.FindAllString(bare, -1)
	return q
}

// A promQLChecker holds expressions to the metrics that there are.
type promQLChecker struct {
	labels map[string]string // of each metric
	types  map[string]string
}

func newPromQLChecker(t *testing.T) promQLChecker {
	types, _ := documentedMetrics(t)
	c := promQLChecker{labels: describedMetrics(t), types: types}
	for name, labels := range otherMetrics {
		if _, ok := c.labels[name]; !ok {
			c.labels[name] = labels
		}
	}
	return c
}

// labelsOf are the labels of a metric of an expression; ok is false where there
// is no such metric.
func (c promQLChecker) labelsOf(name string) (labels []string, ok bool) {
	labels = []string{"job", "instance"}
	if base := promSuffix.ReplaceAllString(name, ""); base != name && c.types[base] == "histogram" {
		if strings.HasSuffix(name, "_bucket") {
			labels = append(labels, "le")
		}
		name = base
	} else if c.types[name] == "histogram" {
		return nil, false // there is no series of this name
	}
	own, ok := c.labels[name]
	return append(labels, strings.Split(own, ",")...), ok
}

// check says what of an expression there is not.
func (c promQLChecker) check(t *testing.T, where, expr string) {
	t.Helper()
	q := lookAt(expr)
	if len(q.metrics) == 0 {
		t.Errorf("%s: no metric in %q", where, expr)
	}
	var all []string
	for _, name := range q.metrics {
		labels, ok := c.labelsOf(name)
		if !ok {
			t.Errorf("%s: there is no %s", where, name)
		}
		all = append(all, labels...)
	}
	for _, label := range q.by {
		if !slices.Contains(all, label) {
			t.Errorf("%s: no metric of %q has a label %q", where, expr, label)
		}
	}
	for _, s := range q.selectors {
		labels, _ := c.labelsOf(s[0])
		for _, m := range promMatcher.FindAllStringSubmatch(s[1], -1) {
			if !slices.Contains(labels, m[1]) {
				t.Errorf("%s: %s has no label %q", where, s[0], m[1])
			}
			for value := range strings.SplitSeq(m[3], "|") {
				if !possible(m[1], value) {
					t.Errorf("%s: %s is never %q", where, m[1], value)
				}
			}
		}
	}
}

// possible reports whether a label can have a value, as far as that is known.
func possible(label, value string) bool {
	switch label {
	case "reason":
		_, err := kagami.ParseReason(value)
		return err == nil
	case "stage":
		return slices.Contains([]string{"capture", "file", "stream", "dummy", "filter", "answers", "output", "compare", "baseline"}, value)
	case "class":
		return slices.Contains([]string{"1xx", "2xx", "3xx", "4xx", "5xx", "other"}, value)
	}
	return true
}

func TestPromQLChecker(t *testing.T) {
	c := newPromQLChecker(t)
	for expr, labels := range map[string][]string{
		`histogram_quantile(0.9, sum by (output, le) (rate(kagami_target_lag_seconds_bucket{job="a"}[5m])))`: {"output", "le"},
		`up{job="kagami_x"} == 0`: nil,
	} {
		if q := lookAt(expr); len(q.metrics) != 1 || len(q.selectors) != 1 || !slices.Equal(q.by, labels) {
			t.Errorf("%s: %+v", expr, q)
		}
		c.check(t, expr, expr)
	}
	for _, name := range []string{"kagami_target_lag_seconds", "kagami_queue_messages_bucket", "kagami_nothing"} {
		if _, ok := c.labelsOf(name); ok {
			t.Errorf("there is a %s", name)
		}
	}
	if possible("reason", "late") || possible("stage", "queue") || possible("class", "6xx") {
		t.Error("everything is possible")
	}
}
