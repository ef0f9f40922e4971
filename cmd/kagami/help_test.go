package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// What users read first is read here first: go test -update writes it anew.
func TestHelp(t *testing.T) {
	for name, args := range map[string][]string{
		"kagami": {"kagami", "--help"},
		"listen": {"kagami", "listen", "--help"},
		"replay": {"kagami", "replay", "--help"},
		"cat":    {"kagami", "cat", "--help"},
		"demo":   {"kagami", "demo", "--help"},
		"token":  {"kagami", "token", "--help"},
		"config": {"kagami", "config", "--help"},
		"doctor": {"kagami", "doctor", "--help"},
		"health": {"kagami", "health", "--help"},
		"gor":    {"gor", "--help"},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if code := run(t.Context(), args, nil, &stdout, &stderr); code != exitDone || stderr.Len() > 0 {
				t.Fatalf("exit code %d, stderr %q", code, &stderr)
			}
			golden(t, "help-"+name+".txt", stdout.String())
			for _, line := range strings.Split(stdout.String(), "\n") {
				if n := utf8.RuneCountInString(line); n > helpWidth {
					t.Errorf("%d columns: %s", n, line)
				}
			}
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s: -want +got:\n%s", path, diff)
	}
}

// Each flag has its place: kagami --help shows all that are not hidden.
func TestHelpShowsEveryFlag(t *testing.T) {
	for _, test := range []struct {
		role Role
		c    *catalog
	}{{RoleKagami, mirrorCatalog()}, {"", catCatalog()}, {"", demoCatalog()}, {"", tokenCatalog()}, {"", healthCatalog()}} {
		text := helpText(manual{}, test.c, test.role, helpDefaults(test.role))
		for i := range test.c.options {
			o := &test.c.options[i]
			if shown := strings.Contains(text, "  --"+o.flag); o.flag != "" && !o.hidden && o.flag != "help" && !shown {
				t.Errorf("--%s is not in the help", o.flag)
			}
		}
	}
}
