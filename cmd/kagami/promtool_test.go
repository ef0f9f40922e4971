package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// promtool runs Prometheus' own tool, which scripts/deps installs.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	tool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("no promtool: make deps-test installs it")
	}
	if out, err := exec.Command(tool, args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// Prometheus takes what docs/deploy/prometheus has, the rules that it names included.
func TestPrometheusTakesItsConfig(t *testing.T) {
	promtool(t, "check", "config", filepath.Join(filepath.Dir(rulesPath), "prometheus.yml"))
}

// Each alert fires when it should, and none does when all is well.
func TestAlertsFire(t *testing.T) {
	dir := t.TempDir() // promtool looks for the rules beside the test
	for name, from := range map[string]string{"kagami.rules.yml": rulesPath, "alerts.test.yml": "testdata/alerts/alerts.test.yml"} {
		b, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	promtool(t, "test", "rules", filepath.Join(dir, "alerts.test.yml"))
}

// questions are the expressions that docs/metrics.md asks.
func questions(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile(metricsDocsPath)
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(b), "\n## Questions\n")
	var all []string
	for line := range strings.Lines(text) {
		if expr, ok := strings.CutPrefix(line, "    "); ok {
			all = append(all, strings.TrimSpace(expr))
		}
	}
	if len(all) < 5 {
		t.Fatalf("only %d questions", len(all))
	}
	return all
}

func TestQuestionsInDocs(t *testing.T) {
	c := newPromQLChecker(t)
	for _, expr := range questions(t) {
		c.check(t, metricsDocsPath, expr)
	}
}

// Prometheus can read the expressions of the dashboard, and those of docs/metrics.md.
func TestPrometheusReadsTheQueries(t *testing.T) {
	type rule struct{ Record, Expr string }
	var rules []rule
	add := func(expr string) {
		expr = strings.ReplaceAll(expr, "$__rate_interval", "1m")
		rules = append(rules, rule{fmt.Sprintf("query:%d", len(rules)), expr})
	}
	for _, p := range readDashboard(t).Panels {
		for _, q := range p.Targets {
			add(q.Expr)
		}
	}
	for _, expr := range questions(t) {
		add(expr)
	}
	b, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "queries", "rules": rules}}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "queries.yml")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", path)
}
