package results

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the tables of docs/results.md anew")

// A column is one of a BigQuery table.
type column struct {
	Name, Type, Mode, Description string
	Fields                        []column
}

// schema is the columns that the rows have, without their descriptions.
func schema(t reflect.Type) []column {
	var all []column
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		c := column{Name: name, Mode: "NULLABLE"}
		if options != "omitempty" {
			c.Mode = "REQUIRED"
		}
		ft := f.Type
		if ft.Kind() == reflect.Pointer {
			ft = ft.Elem()
		}
		switch ft.Kind() {
		case reflect.String:
			if c.Type = "STRING"; strings.HasSuffix(name, "time") {
				c.Type = "TIMESTAMP"
			}
		case reflect.Int, reflect.Int64:
			c.Type = "INTEGER"
		case reflect.Float64:
			c.Type = "FLOAT"
		case reflect.Bool:
			c.Type = "BOOLEAN"
		case reflect.Slice:
			c.Type, c.Mode, c.Fields = "RECORD", "REPEATED", schema(ft.Elem())
		}
		all = append(all, c)
	}
	return all
}

func withoutDescriptions(all []column) []column {
	var bare []column
	for _, c := range all {
		c.Description, c.Fields = "", withoutDescriptions(c.Fields)
		bare = append(bare, c)
	}
	return bare
}

// The schema that users give to BigQuery is that of the rows, and so is the table in
// docs/results.md; so are the metrics there.
func TestDocsHaveEveryField(t *testing.T) {
	b, err := os.ReadFile("../../docs/results.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var documented []column
	if err := json.Unmarshal(b, &documented); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(schema(reflect.TypeFor[row]()), withoutDescriptions(documented)); diff != "" {
		t.Errorf("docs/results.schema.json: -rows +file:\n%s", diff)
	}

	const path = "../../docs/results.md"
	if b, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for name, table := range map[string]string{"fields": fieldTable(documented), "metrics": metricTable()} {
		begin, end := "<!-- table: "+name+" -->\n", "<!-- end -->\n"
		before, rest, ok := strings.Cut(text, begin)
		old, after, ended := strings.Cut(rest, end)
		if !ok || !ended {
			t.Fatalf("%s has no %q … %q", path, begin, end)
		}
		if diff := cmp.Diff(old, table); diff != "" && !*update {
			t.Errorf("%s, table %s: -file +code (go test -update writes it):\n%s", path, name, diff)
		}
		text = before + begin + table + end + after
	}
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func fieldTable(all []column) string {
	b := "\n| field | type | what it is |\n| --- | --- | --- |\n"
	for _, c := range all {
		b += fmt.Sprintf("| `%s` | %s | %s |\n", c.Name, strings.ToLower(c.Type), c.Description)
		for _, f := range c.Fields {
			b += fmt.Sprintf("| `%s.%s` | %s | %s |\n", c.Name, f.Name, strings.ToLower(f.Type), f.Description)
		}
	}
	return b + "\n"
}

func metricTable() string {
	b := "\n| metric | value | what it is |\n| --- | --- | --- |\n"
	units := map[unit]string{unitShare: "`1%`", unitTime: "`500ms`", unitRatio: "`1.2`", unitRate: "`100/s`", unitCount: "`1000`"}
	for _, m := range metrics() {
		b += fmt.Sprintf("| `%s` | %s | %s |\n", m.name, units[m.unit], m.does)
	}
	return b + "\n"
}
