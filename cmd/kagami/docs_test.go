package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const docsPath = "../../docs/cli.md"

// The tables of docs/cli.md are made from what the program knows: go test
// -update writes them anew.
func TestDocsHaveEveryFlag(t *testing.T) {
	b, err := os.ReadFile(docsPath)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for name, table := range map[string]string{
		"flags": flagTables(mirrorCatalog(), RoleKagami), "cat": flagTables(catCatalog(), ""), "demo": flagTables(demoCatalog(), ""), "token": flagTables(tokenCatalog(), ""),
		"health":        flagTables(healthCatalog(), ""),
		"not supported": refusalTable(), "no effect": nothingTable(), "renamed": renamingTable(),
	} {
		begin, end := "<!-- table: "+name+" -->\n", "<!-- end -->\n"
		before, rest, ok := strings.Cut(text, begin)
		old, after, ended := strings.Cut(rest, end)
		if !ok || !ended {
			t.Fatalf("%s has no %q … %q", docsPath, begin, end)
		}
		if diff := cmp.Diff(old, table); diff != "" && !*update {
			t.Errorf("%s, table %s: -want +got:\n%s", docsPath, name, diff)
		}
		text = before + begin + table + end + after
	}
	if *update {
		if err := os.WriteFile(docsPath, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func flagTables(c *catalog, role Role) string {
	var b strings.Builder
	defaults := helpDefaults(role)
	for _, g := range role.groups() {
		var rows strings.Builder
		for i := range c.options {
			o := &c.options[i]
			if o.group != g || !o.shown(role) {
				continue
			}
			name := "--" + o.flag
			if o.arg != "" {
				name += " " + o.arg
			}
			key := ""
			if o.key != "" {
				key = "`" + o.key + "`"
			}
			fmt.Fprintf(&rows, "| `%s` | %s | %s | %s |\n", cell(name), key, cell(defaultText(o, defaults)), cell(o.does()))
		}
		if rows.Len() > 0 {
			fmt.Fprintf(&b, "\n### %s\n\n| flag | key in the file | default | what it does |\n| --- | --- | --- | --- |\n%s", g, &rows)
		}
	}
	return b.String() + "\n"
}

func refusalTable() string {
	var b strings.Builder
	b.WriteString("\n| flag | what it says |\n| --- | --- |\n")
	for _, r := range refusals() {
		fmt.Fprintf(&b, "| `--%s` | %s |\n", r.flag, cell(r.instead))
	}
	return b.String() + "\n"
}

func nothingTable() string {
	var b strings.Builder
	b.WriteString("\n| flag | because |\n| --- | --- |\n")
	for _, n := range nothings() {
		fmt.Fprintf(&b, "| `--%s` | %s |\n", n.flag, cell(n.because))
	}
	return b.String() + "\n"
}

func renamingTable() string {
	var b strings.Builder
	b.WriteString("\n| GoReplay | Kagami |\n| --- | --- |\n")
	for _, r := range renamings() {
		fmt.Fprintf(&b, "| `--%s` | `--%s` |\n", r.old, r.name)
	}
	return b.String() + "\n"
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
