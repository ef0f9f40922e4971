package main

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"kagami"
)

const metricsDocsPath = "../../docs/metrics.md"

// describedMetrics are the metrics that a mirror can have, each with its labels.
func describedMetrics(t *testing.T) map[string]string {
	t.Helper()
	ch := make(chan *prometheus.Desc, 100)
	for _, c := range append((&mirror{pipeline: &pipeline{}}).collectors(), newLedgerCollector(&kagami.Ledger{})) {
		c.Describe(ch)
	}
	close(ch)
	desc := regexp.MustCompile(`fqName: "([^"]+)".*variableLabels: {([^}]*)}`)
	found := map[string]string{}
	for d := range ch {
		m := desc.FindStringSubmatch(d.String())
		if m == nil {
			t.Fatalf("no name and labels in %s", d)
		}
		found[m[1]] = m[2]
	}
	return found
}

// documentedMetrics are those in the tables of docs/metrics.md, each with its
// type, and with its labels.
func documentedMetrics(t *testing.T) (types, labels map[string]string) {
	t.Helper()
	b, err := os.ReadFile(metricsDocsPath)
	if err != nil {
		t.Fatal(err)
	}
	types, labels = map[string]string{}, map[string]string{}
	withLabels := false
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "| metric |") {
			withLabels = strings.Contains(line, "| labels |")
		}
		cells := strings.Split(line, "|")
		if len(cells) < 4 || !strings.HasPrefix(cells[1], " `kagami_") {
			continue
		}
		name := strings.Trim(cells[1], " `")
		if _, twice := types[name]; twice {
			t.Errorf("%s is there twice", name)
		}
		types[name], labels[name] = strings.TrimSpace(cells[2]), ""
		if withLabels {
			labels[name] = strings.NewReplacer(" ", "", "`", "").Replace(cells[3])
		}
	}
	return types, labels
}

// docs/metrics.md has each metric, no other, and each with its labels and its type.
func TestDocsHaveEveryMetric(t *testing.T) {
	types, labels := documentedMetrics(t)
	described := describedMetrics(t)
	for name, other := range otherMetrics {
		if _, ok := labels[name]; ok {
			described[name] = other
		}
	}
	if diff := cmp.Diff(labels, described); diff != "" {
		t.Errorf("metrics and their labels, -%s +the program:\n%s", metricsDocsPath, diff)
	}
	shown := regexp.MustCompile(`(?m)^# TYPE (kagami_\w+) (\w+)$`).FindAllStringSubmatch(replayed(t, ""), -1)
	if len(shown) < 15 {
		t.Errorf("only %d metrics are shown", len(shown))
	}
	for _, m := range shown {
		if types[m[1]] != m[2] {
			t.Errorf("%s is a %s, and documented as %q", m[1], m[2], types[m[1]])
		}
	}
}

// docs/metrics.md has each reason, and no other.
func TestDocsHaveEveryReason(t *testing.T) {
	b, err := os.ReadFile(metricsDocsPath)
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(b), "\n## Reasons\n")
	if !ok {
		t.Fatal("no reasons")
	}
	table, _, _ = strings.Cut(table, "\n## ")
	documented := map[string]bool{}
	for line := range strings.Lines(table) {
		if cells := strings.Split(line, "|"); len(cells) > 2 {
			for _, m := range regexp.MustCompile("`([a-z-]+)`").FindAllStringSubmatch(cells[1], -1) {
				documented[m[1]] = true
			}
		}
	}
	known := []string{kagami.Delivered.String()}
	for _, r := range kagami.Reasons() {
		known = append(known, r.String())
	}
	slices.Sort(known)
	if diff := cmp.Diff(slices.Sorted(maps.Keys(documented)), known); diff != "" {
		t.Errorf("-%s +the program:\n%s", metricsDocsPath, diff)
	}
}
