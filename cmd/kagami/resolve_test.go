package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kagami"
	"kagami/replay"
)

// samples are values that are not the default, for flags whose kind of value
// does not say it all.
var samples = map[string]string{
	"input-raw":                "eth0:80",
	"input-tcp":                ":28020",
	"output-tcp":               "replayer:28020",
	"input-raw-engine":         "pcap_file",
	"input-raw-timestamp-type": "adapter",
	"output-http-ambiguous":    "own-connection",
	"output-http-version":      "1",
	"on-full":                  "wait",
	"sample-by":                "header:X-User",
	"in-doubt":                 "resend",
	"log-format":               "json",
	"cpu-limit":                "7.5%",
	"admin":                    "0.0.0.0:9090",
	"http-pprof":               "0.0.0.0:9090",
	"http-allow-method":        "GET",
	"http-disallow-method":     "PUT",
	"http-rewrite-url":         "a:b",
	"http-rewrite-header":      "A: b,c",
	"http-set-param":           "a=b",
	"http-header-limiter":      "A: 5%",
	"http-param-limiter":       "a: 5%",
	"input-raw-realip-header":  "X-Real-IP",
	"rate":                     "500/s",
	"ramp":                     "10s:100,60s:1000",
	"from":                     "30s",
	"to":                       "2026-01-02T03:04:05Z",
	"compare-ignore":           "$..at",
	"output-file-sync":         "flush",
	"input-nats":               "nats://broker",
	"output-nats":              "nats://broker",
}

// needs are flags that another one is refused without.
var needs = map[string][]string{
	"output-http-compare":    {"input-raw-track-response", "true"},
	"output-file-keep-files": {"output-file-time-limit", "1h"},
	"output-file-keep-size":  {"output-file-time-limit", "1h"},
}

// sampleOf is a value for an option that is not its default.
func sampleOf(o *option) string {
	if s, ok := samples[o.flag]; ok {
		return s
	}
	switch {
	case o.arg == "THRESHOLD":
		return "p99>1s"
	case o.flag == "alert-webhook":
		return "https://hook"
	case o.isSwitch():
		return "true"
	case o.arg == "HOW":
		return "zstd"
	case o.arg == "TIME":
		return "77s"
	case o.arg == "SIZE":
		return "77mb"
	case o.arg == "NUMBER" || o.arg == "LEVEL":
		return "77"
	case strings.Contains(o.arg, "NAME:") && strings.Contains(o.arg, "VALUE"):
		return "A: b"
	case strings.Contains(o.arg, "NAME:"):
		return "A: b.*"
	}
	return "x"
}

// everyKind is an input and an output of each kind, so that every flag has
// something to act on.
func everyKind(t *testing.T, c *catalog) layer {
	return parseArgs(t, c, "input-raw", ":80", "input-tcp", ":1", "input-nats", "nats://b", "input-file", "f.gor", "input-dummy", "x",
		"output-http", "http://a", "output-tcp", "b:1", "output-nats", "nats://b", "output-file", "g.gor", "output-stdout", "true", "output-null", "true")
}

// parseArgs returns the layer of names and values of flags.
func parseArgs(t *testing.T, c *catalog, args ...string) layer {
	t.Helper()
	var l layer
	for i := 0; i < len(args); i += 2 {
		if _, err := l.addNamed(c, args[i], args[i+1], "--"+args[i]+" "+args[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

func resolveLayers(t *testing.T, c *catalog, role Role, layers ...layer) Config {
	t.Helper()
	cfg, _, err := (&resolver{c, role, layers}).resolve()
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

var compareShares = cmp.AllowUnexported(kagami.Share{}, replay.Ramp{})

// No flag is taken and then forgotten.
func TestEveryFlagChangesTheConfiguration(t *testing.T) {
	c := mirrorCatalog()
	base := everyKind(t, c)
	without := resolveLayers(t, c, RoleKagami, base)
	tried := 0
	for i := range c.options {
		o := &c.options[i]
		if o.flag == "" || o.scope.has(scopeMeta) || o.flag == "input-raw-protocol" {
			continue // input-raw-protocol takes only what is
		}
		t.Run(o.flag, func(t *testing.T) {
			l, without := everyKind(t, c), without
			if flag, ok := needs[o.flag]; ok {
				l.settings = append(l.settings, parseArgs(t, c, flag...).settings...)
				without = resolveLayers(t, c, RoleKagami, l)
			}
			more := parseArgs(t, c, o.flag, sampleOf(o))
			l.settings = append(l.settings, more.settings...)
			l.inputs = append(l.inputs, more.inputs...)
			l.outputs = append(l.outputs, more.outputs...)
			with := resolveLayers(t, c, RoleKagami, l)
			if cmp.Diff(without, with, compareShares) == "" {
				t.Errorf("--%s %s changes nothing", o.flag, sampleOf(o))
			}
		})
		tried++
	}
	if tried < 70 {
		t.Errorf("only %d flags were tried", tried)
	}
}

// What --print-config prints, --config reads as the same.
func TestConfigurationIsPrintedAsItIsRead(t *testing.T) {
	for _, role := range []Role{RoleKagami, RoleListen, RoleReplay, RoleGor} {
		for _, all := range []bool{false, true} {
			c := mirrorCatalog()
			l := everyKind(t, c)
			for i := range c.options {
				o := &c.options[i]
				if all && o.flag != "" && !o.entry && !o.scope.has(scopeMeta) && !o.hidden && o.flag != "ramp" && // not with --rate
					(role != RoleGor || o.flag != "output-file-append") { // which makes one file, of which none can be deleted
					l.settings = append(l.settings, parseArgs(t, c, o.flag, sampleOf(o)).settings...)
				}
			}
			want := resolveLayers(t, c, role, l)
			text := printed(t, c, &want)
			file, err := parseYAML("printed.yaml", text, c)
			if err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			got := resolveLayers(t, c, role, file)
			if diff := cmp.Diff(want, got, compareShares); diff != "" {
				t.Errorf("%s: -want +got:\n%s\n%s", role, diff, text)
			}
		}
	}
}

func printed(t *testing.T, c *catalog, cfg *Config) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := writeConfig(&b, cfg, c); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Zero is a value too, where something else is the default.
func TestZeroIsPrintedWhereItIsNotTheDefault(t *testing.T) {
	c := mirrorCatalog()
	l := everyKind(t, c)
	l.settings = parseArgs(t, c, "memory-limit", "0", "drain-timeout", "0", "output-file-queue-limit", "0").settings
	want := resolveLayers(t, c, RoleGor, l)
	file, err := parseYAML("printed.yaml", printed(t, c, &want), c)
	if err != nil {
		t.Fatal(err)
	}
	got := resolveLayers(t, c, RoleGor, file)
	if diff := cmp.Diff(want, got, compareShares); diff != "" || got.MemoryLimit != 0 || got.DrainTimeout != 0 {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestThereAreAsManyOutputsAsAnExchangeCanTellApart(t *testing.T) {
	c := mirrorCatalog()
	l := parseArgs(t, c, "input-raw", ":80")
	for range kagami.MaxOutputs {
		l.outputs = append(l.outputs, parseArgs(t, c, "output-http", "http://a").outputs...)
	}
	if cfg := resolveLayers(t, c, RoleKagami, l); len(cfg.Outputs) != kagami.MaxOutputs {
		t.Errorf("%d outputs", len(cfg.Outputs))
	}
	l.outputs = append(l.outputs, parseArgs(t, c, "output-null", "true").outputs...)
	_, _, err := (&resolver{c, RoleKagami, []layer{l}}).resolve()
	wrongError(t, err, "64 outputs: there can be 63")
}

// A flag with two meanings would be taken in one and dropped in the other.
func TestNoFlagIsDefinedTwice(t *testing.T) {
	for _, c := range []*catalog{mirrorCatalog(), catCatalog(), demoCatalog()} {
		seen := map[string]bool{}
		for _, n := range c.names() {
			if seen[n.name] {
				t.Errorf("--%s is there twice", n.name)
			}
			seen[n.name] = true
		}
		for _, r := range c.renamings {
			if _, ok := c.option(r.name); !ok {
				t.Errorf("--%s is to be --%s, which is not there", r.old, r.name)
			}
		}
	}
}

func TestNoKeyIsDefinedTwiceInOnePartOfTheFile(t *testing.T) {
	c := mirrorCatalog()
	parts := map[scope][]string{scopeProcess: {""}, scopeFilter: {""}, scopeInput: {"raw", "tcp", "file", "dummy"},
		scopeOutput: {"http", "tcp", "file", "stdout", "null"}}
	for s, kinds := range parts {
		for _, kind := range kinds {
			seen := map[string]bool{}
			for i := range c.options {
				if o := &c.options[i]; o.in(s, kind) {
					if seen[o.key] {
						t.Errorf("scope %d, kind %q: %s is there twice", s, kind, o.key)
					}
					seen[o.key] = true
				}
			}
		}
	}
}
