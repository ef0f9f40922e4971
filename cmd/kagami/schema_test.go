package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

const schemaPath = "../../docs/config.schema.json"

// The published schema is that of the options there are: go test -update writes it anew.
func TestDocsSchemaIsUpToDate(t *testing.T) {
	var b bytes.Buffer
	if err := writeJSON(&b, configSchema(mirrorCatalog())); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(schemaPath, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(schemaPath)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("%s: -want +got:\n%s", schemaPath, diff)
	}
}

func compileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	s, err := c.Compile(schemaPath)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// checkYAML is what the schema says of a file.
func checkYAML(t *testing.T, s *jsonschema.Schema, text string) error {
	t.Helper()
	j, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		return err
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(j))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(v)
}

// examplesOf are the configuration files in a page: indented, with --config in their first line.
func examplesOf(text string) (all []string) {
	in := false
	for line := range strings.Lines(text) {
		body, indented := strings.CutPrefix(line, "    ")
		switch {
		case indented && strings.HasPrefix(body, "# kagami") && strings.Contains(body, "--config"):
			all, in = append(all, body), true
		case in && (indented || strings.TrimSpace(line) == ""):
			all[len(all)-1] += body
		default:
			in = false
		}
	}
	return all
}

// What the pages show is right, by the schema and by the program.
func TestDocsExamplesOfTheFile(t *testing.T) {
	s := compileSchema(t)
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, page := range pages {
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range examplesOf(string(b)) {
			found++
			if err := checkYAML(t, s, text); err != nil {
				t.Errorf("%s: %v\n%s", page, err, text)
			}
			c := mirrorCatalog()
			l, err := parseYAML(page, []byte(text), c)
			if err == nil {
				_, _, err = (&resolver{c, RoleKagami, []layer{l}}).resolve()
			}
			if err != nil {
				t.Errorf("%s: %v\n%s", page, err, text)
			}
		}
	}
	if found < 2 {
		t.Errorf("%d examples found", found)
	}
}

// The schema takes what --print-config writes, with every flag and in every role.
func TestSchemaTakesWhatIsPrinted(t *testing.T) {
	s := compileSchema(t)
	for _, role := range []Role{RoleKagami, RoleListen, RoleReplay, RoleGor} {
		c := mirrorCatalog()
		l := everyKind(t, c)
		for i := range c.options {
			if o := &c.options[i]; o.flag != "" && !o.entry && !o.scope.has(scopeMeta) && !o.hidden && o.flag != "ramp" && (role != RoleGor || o.flag != "output-file-append") {
				l.settings = append(l.settings, parseArgs(t, c, o.flag, sampleOf(o)).settings...)
			}
		}
		cfg := resolveLayers(t, c, role, l)
		if text := string(printed(t, c, &cfg)); checkYAML(t, s, text) != nil {
			t.Errorf("%s: %v\n%s", role, checkYAML(t, s, text), text)
		}
	}
}

// What has the wrong shape is wrong by the schema as it is for the program.
func TestSchemaRefuses(t *testing.T) {
	s := compileSchema(t)
	const good = "inputs: [{raw: ':80'}]\noutputs: [{stdout: true}]\n"
	if err := checkYAML(t, s, good); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		good + "sumary: x\n", good + "exit-after: 3\n", good + "split-output: yes please\n", good + "summary: [a, b]\n", good + "summary: {a: b}\n",
		good + "memory-limit: many\n", good + "filters: {allow-urls: x}\n", good + "filters: [a]\n",
		"inputs: {raw: ':80'}\n", "inputs: [{share: 10%}]\n", "inputs: [{raw: ':80', expires: 2s}]\n", "inputs: [{raw: ':80', share: 101}]\n",
		"inputs: [{raw: ':80', speed: 200%}]\n", "outputs: [{http: a, file: b}]\n", "outputs: [{file: f.gor, timeout: 2s}]\n",
		"outputs: [{http: a, on-full: perhaps}]\n", "outputs: [{http: a, limit: 0}]\n", "outputs: [{http: a, workers: -1}]\n", "- a\n",
	} {
		if checkYAML(t, s, text) == nil {
			t.Errorf("the schema takes\n%s", text)
		}
		c := mirrorCatalog()
		l, err := parseYAML("c.yaml", []byte(text), c)
		if err == nil {
			_, _, err = (&resolver{c, RoleKagami, []layer{l}}).resolve()
		}
		if err == nil {
			t.Errorf("the program takes\n%s", text)
		}
	}
}

// A schema that names a key that the file cannot have, or leaves one out, is of no use: both come from the
// options, so it is enough that the number of keys is plausible.
func TestSchemaHasEveryPart(t *testing.T) {
	b, err := os.ReadFile(schemaPath)
	if err != nil {
		t.Fatal(err)
	}
	var s struct {
		Properties map[string]any
		Defs       map[string]struct{ Properties map[string]any } `json:"$defs"`
	}
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	c := mirrorCatalog()
	r := yamlReader{catalog: c}
	for _, key := range r.keys(scopeProcess, "") {
		if s.Properties[key] == nil {
			t.Errorf("%s is not in the schema", key)
		}
	}
	for i := range c.options {
		if o := &c.options[i]; o.entry {
			for _, key := range append(r.keys(o.scope, o.kind), o.key) {
				if s.Defs[o.flag].Properties[key] == nil {
					t.Errorf("%s of %s is not in the schema", key, o.flag)
				}
			}
		}
	}
}
