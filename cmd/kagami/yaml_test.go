package main

import "testing"

func TestMistakesInTheFile(t *testing.T) {
	const good = "inputs: [{raw: ':80'}]\noutputs: [{null: true}]\n"
	for _, test := range []struct{ name, text, err string }{
		{"good", good, ""},
		{"empty", "", "no input"},
		{"comment only", "# nothing\n", "no input"},
		{"unknown key", good + "sumary: x\n", "c.yaml:3: unknown key sumary: did you mean summary?"},
		{"unknown key, nothing like it", good + "frobnicate: x\n", "unknown key frobnicate: want one of inputs, outputs, "},
		{"unknown key of an entry", "inputs:\n  - raw: ':80'\n    expires: 2s\n", "c.yaml:3: unknown key expires: did you mean expire?"},
		{"key of another kind", "outputs:\n  - file: f.gor\n    timeout: 2s\n", "c.yaml:3: unknown key timeout"},
		{"speed of a raw input", "inputs:\n  - raw: ':80'\n    speed: 200%\n", "unknown key speed"},
		{"unknown filter", "filters:\n  allow-urls: x\n", "c.yaml:2: unknown key allow-urls: did you mean allow-url?"},
		{"a flag's name for a setting of an entry", "input-raw-expire: 2s\n", "c.yaml:1: input-raw-expire goes into an entry of inputs, as expire"},
		{"a flag's name for an output", "output-http: http://a\n", "output-http goes into an entry of outputs, as http"},
		{"a filter at the top", "http-allow-url: x\n", "http-allow-url goes below filters, as allow-url"},
		{"sample-by at the top", "sample-by: client\n", "sample-by goes into the entries of inputs and outputs"},
		{"no kind", "inputs:\n  - share: 10%\n", "c.yaml:2: an entry needs raw, tcp, nats, file or dummy, with its address"},
		{"two kinds", "outputs:\n  - http: http://a\n    file: f\n", "c.yaml:3: http and file in one entry: make it two"},
		{"an entry that is no mapping", "inputs:\n  - :80\n", "an entry: want keys and values"},
		{"an entry that is an empty one", "inputs:\n  -\n", "an entry needs raw"},
		{"no list", "inputs:\n  raw: ':80'\n", "c.yaml:1: inputs: want a list, each entry behind a -"},
		{"a list of one value", good + "summary: [a, b]\n", "c.yaml:3: summary: want one value, not a list"},
		{"a mapping for a value", good + "summary: {a: b}\n", "c.yaml:3: want one plain value"},
		{"no value", good + "summary:\n", "c.yaml:3: a value is missing"},
		{"bad value", good + "exit-after: 3\n", "c.yaml:3: exit-after 3: want a time with its unit"},
		{"bad switch", good + "split-output: yes\n", "split-output yes: want true, false or round-robin"},
		{"bad address", "inputs:\n  - raw: :99999\noutputs: [{null: true}]\n", "c.yaml:2: raw :99999: port 99999: want 1 to 65535"},
		{"bad pattern", good + "filters: {allow-url: '['}\n", "c.yaml:3: allow-url [: missing closing ]"},
		{"suffix and key", "inputs: [{raw: ':80'}]\noutputs:\n  - http: http://a|10%\n    share: 20%\n",
			"c.yaml:3: http http://a|10%: the address ends in |10%, and there is share too: say it in one place"},
		{"suffix and key of a recording", "inputs: [{file: 'f|max', speed: 10%}]\n", "the address ends in |max, and there is speed too"},
		{"share over 100 %", "inputs: [{raw: ':80', share: 101%}]\noutputs: [{null: true}]\n", "0% to 100%"},
		{"bad limit", "inputs: [{raw: ':80', limit: 0}]\noutputs: [{null: true}]\n", "want how many requests a second"},
		{"not there yet", good + "middleware: x\n", "unknown key middleware"},
		{"twice the same key", "summary: a\nsummary: b\n", "c.yaml:2:"},
		{"two documents", good + "---\nsummary: b\n", "want one document"},
		{"not YAML", "inputs: [", "c.yaml:1:"},
		{"a list at the top", "- a\n", "the file: want keys and values"},
		{"anchors", "summary: &a x\n", "anchors, aliases and tags are not supported"},
		{"tags", "summary: !!str x\n", "anchors, aliases and tags are not supported"},
		{"outputs that are off are none", "inputs: [{raw: ':80'}]\noutputs: [{null: false}]\n", "no output"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := mirrorCatalog()
			l, err := parseYAML("c.yaml", []byte(test.text), c)
			if err == nil {
				_, _, err = (&resolver{c, RoleKagami, []layer{l}}).resolve()
			}
			wrongError(t, err, test.err)
			if err != nil && exitCode(err) != exitUsage {
				t.Errorf("exit code %d: want %d", exitCode(err), exitUsage)
			}
		})
	}
}

func TestFileOfSeveralInputsAndOutputs(t *testing.T) {
	c := mirrorCatalog()
	l, err := parseYAML("c.yaml", []byte(`
inputs:
  - file: "a.gor|200%"
    share: 10%
    limit: 5
  - file: b.gor
    speed: max
    filters:
      allow-method: GET
outputs:
  - http: http://a
    filters:
      set-header:
        - "A: b"
        - |
          C: d
  - null: true
`), c)
	if err != nil {
		t.Fatal(err)
	}
	cfg := resolveLayers(t, c, RoleKagami, l)
	if s := cfg.Inputs[0].Share; s == nil || s.Percent() < 9.99 || s.Percent() > 10.01 {
		t.Errorf("share %v", s)
	}
	if in := cfg.Inputs[0]; in.File.Speed != 2 || in.Limit != 5 {
		t.Errorf("speed %v, limit %v: want 2, 5", in.File.Speed, in.Limit)
	}
	if !cfg.Inputs[1].File.Max || cfg.Inputs[1].Filters.AllowMethod[0] != "GET" || cfg.Inputs[0].Filters.AllowMethod != nil {
		t.Errorf("inputs %+v", cfg.Inputs)
	}
	if got := cfg.Outputs[0].Filters.SetHeader; len(got) != 2 || got[1] != "C: d" {
		t.Errorf("filters %q", got)
	}
}

// Whatever the bytes, reading ends with a layer or an error.
func FuzzConfigFile(f *testing.F) {
	f.Add([]byte("inputs:\n  - raw: :80\n    share: 10%\noutputs:\n  - null: true\nfilters: {allow-url: [a, b]}\n"))
	f.Add([]byte("a: &x [*x]\n"))
	f.Add([]byte("? [a]\n: b\n"))
	f.Add([]byte("summary: |\n  x\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c := mirrorCatalog()
		l, err := parseYAML("c.yaml", text, c)
		if err == nil {
			_, _, err = (&resolver{c, RoleKagami, []layer{l}}).resolve()
		}
		if err != nil && exitCode(err) != exitUsage {
			t.Errorf("exit code %d for %v", exitCode(err), err)
		}
	})
}
