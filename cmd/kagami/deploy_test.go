package main

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	grafana "github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

const (
	dashboardPath = "../../docs/deploy/grafana/kagami.json"
	rulesPath     = "../../docs/deploy/prometheus/kagami.rules.yml"
)

// A dashboard is as much of Grafana's as is looked at.
type dashboard struct {
	UID, Title    string
	SchemaVersion int
	Panels        []panel
	Templating    struct {
		List []struct {
			Name, Type string
			Query      any
			Definition string
			Datasource *datasource
		}
	}
}

type datasource struct{ Type, UID string }

type panel struct {
	ID          int
	Type, Title string
	Description string
	GridPos     struct{ X, Y, W, H int }
	Datasource  *datasource
	Targets     []struct {
		Expr, LegendFormat, RefID string
		Datasource                *datasource
	}
}

func readDashboard(t *testing.T) dashboard {
	t.Helper()
	b, err := os.ReadFile(dashboardPath)
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatalf("%s: %v", dashboardPath, err)
	}
	return d
}

// The dashboard is what Grafana's own types take: no field is missing that they need, and none is
// there that they do not know, but for those of its export format.
func TestDashboardIsGrafanas(t *testing.T) {
	b, err := os.ReadFile(dashboardPath)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(b, &fields); err != nil {
		t.Fatal(err)
	}
	for _, exported := range []string{"__inputs", "__elements", "__requires"} {
		delete(fields, exported)
	}
	if b, err = json.Marshal(fields); err != nil {
		t.Fatal(err)
	}
	plugins.RegisterDefaultPlugins()
	//lint:ignore SA1019 ours is of the schema that this reads, not of the next one
	var d grafana.Dashboard
	for _, err := range []error{d.UnmarshalJSONStrict(b), d.Validate()} {
		if err != nil && err.Error() != "" { // an empty list of errors is an error too
			t.Errorf("%s: %v", dashboardPath, err)
		}
	}
	if len(d.Panels) != len(readDashboard(t).Panels) {
		t.Errorf("%d panels", len(d.Panels))
	}
}

// Panels have ids of their own, lie within the 24 columns, and not upon each other.
func TestDashboardLayout(t *testing.T) {
	d := readDashboard(t)
	if d.UID == "" || d.Title == "" || d.SchemaVersion < 38 || len(d.Panels) < 15 {
		t.Errorf("uid %q, title %q, schema %d, %d panels: is it the dashboard?", d.UID, d.Title, d.SchemaVersion, len(d.Panels))
	}
	ids := map[int]string{}
	cells := map[[2]int]string{}
	for _, p := range d.Panels {
		if other, taken := ids[p.ID]; taken || p.ID <= 0 {
			t.Errorf("%s has the id %d of %q", p.Title, p.ID, other)
		}
		ids[p.ID] = p.Title
		g := p.GridPos
		if g.X < 0 || g.Y < 0 || g.W < 1 || g.H < 1 || g.X+g.W > 24 {
			t.Errorf("%s is at %+v", p.Title, g)
		}
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				if other, taken := cells[[2]int{x, y}]; taken {
					t.Fatalf("%q lies upon %q", p.Title, other)
				}
				cells[[2]int{x, y}] = p.Title
			}
		}
	}
}

// Each panel asks the data source that was chosen, about the instances that were
// chosen, for metrics and labels that there are, and says what it shows.
func TestDashboardQueries(t *testing.T) {
	d := readDashboard(t)
	c := newPromQLChecker(t)
	legend := regexp.MustCompile(`{{(\w+)}}`)
	for _, p := range d.Panels {
		if p.Type == "row" {
			continue
		}
		if p.Description == "" || len(p.Targets) == 0 || p.Datasource == nil || p.Datasource.UID != "${datasource}" {
			t.Errorf("%s has no description, no query, or a data source of its own", p.Title)
		}
		refs := map[string]bool{}
		for _, q := range p.Targets {
			if refs[q.RefID] || q.RefID == "" || q.Datasource == nil || q.Datasource.UID != "${datasource}" {
				t.Errorf("%s, query %q: the name is taken, or it has a data source of its own", p.Title, q.RefID)
			}
			refs[q.RefID] = true
			c.check(t, p.Title, q.Expr)
			look := lookAt(q.Expr)
			if len(look.selectors) != len(look.metrics) {
				t.Errorf("%s: %q does not choose the job and instance everywhere", p.Title, q.Expr)
			}
			for _, s := range look.selectors {
				if !strings.HasPrefix(s[1], `job=~"$job",instance=~"$instance"`) {
					t.Errorf("%s: %q does not choose the job and instance", p.Title, q.Expr)
				}
			}
			for _, m := range legend.FindAllStringSubmatch(q.LegendFormat, -1) {
				labels, _ := c.labelsOf(look.metrics[0])
				if len(look.by) > 0 {
					labels = look.by
				}
				if !slices.Contains(labels, m[1]) {
					t.Errorf("%s: the result of %q has no label %q", p.Title, q.Expr, m[1])
				}
			}
		}
	}
}

func TestDashboardVariables(t *testing.T) {
	c := newPromQLChecker(t)
	found := map[string]string{}
	for _, v := range readDashboard(t).Templating.List {
		found[v.Name] = v.Type
		if v.Type == "query" {
			c.check(t, "variable "+v.Name, v.Definition)
			if v.Datasource == nil || v.Datasource.UID != "${datasource}" {
				t.Errorf("variable %s has a data source of its own", v.Name)
			}
		}
	}
	if found["datasource"] != "datasource" || found["job"] != "query" || found["instance"] != "query" || len(found) != 3 {
		t.Errorf("variables %v", found)
	}
}

// An alertRule is as much of one as is looked at.
type alertRule struct {
	Alert, Expr, For    string
	Labels, Annotations map[string]string
}

func readRules(t *testing.T) []alertRule {
	t.Helper()
	b, err := os.ReadFile(rulesPath)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Name  string
			Rules []alertRule
		}
	}
	if err := yaml.UnmarshalWithOptions(b, &file, yaml.Strict()); err != nil {
		t.Fatalf("%s: %v", rulesPath, err)
	}
	if len(file.Groups) != 1 || len(file.Groups[0].Rules) < 5 {
		t.Fatalf("%s: want one group with rules", rulesPath)
	}
	return file.Groups[0].Rules
}

// The alerts look at metrics, labels and reasons that there are, say how bad it is, and stand
// in the table of the README.
func TestAlertRules(t *testing.T) {
	readme, err := os.ReadFile("../../docs/deploy/prometheus/README.md")
	if err != nil {
		t.Fatal(err)
	}
	c := newPromQLChecker(t)
	names := map[string]bool{}
	for _, r := range readRules(t) {
		c.check(t, r.Alert, r.Expr)
		if names[r.Alert] || !strings.HasPrefix(r.Alert, "Kagami") {
			t.Errorf("the name %q is taken, or begins with something else than Kagami", r.Alert)
		}
		names[r.Alert] = true
		if r.For == "" || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
			t.Errorf("%s: for, summary or description is missing", r.Alert)
		}
		severity := r.Labels["severity"]
		if !regexp.MustCompile("(?m)^\\| `" + r.Alert + "` \\| [^|]+ \\| " + severity + " \\|$").Match(readme) {
			t.Errorf("%s, severity %q: not so in the README", r.Alert, severity)
		}
	}
	if n := len(regexp.MustCompile("(?m)^\\| `Kagami").FindAll(readme, -1)); n != len(names) {
		t.Errorf("%d alerts in the README, %d in the rules", n, len(names))
	}
}
