package main

import (
	"errors"
	"strings"
	"time"

	"kagami"
	"kagami/replay/compare"
)

// A CompareConfig is how staging's answers are compared with production's, at the http
// outputs that say so.
type CompareConfig struct {
	Ignore   []string      // what is no difference, as compare.ParseRule reads it
	Headers  []string      // compare these and no others; none: all but those that differ by nature
	Report   string        // file for the report as JSON; "" none
	Timeout  time.Duration // for the other answer
	MaxBody  int64         // larger bodies are not compared, in bytes
	Memory   int64         // of answers that wait for the other one, in bytes
	Examples int           // of each kind of difference in the report
}

func defaultCompare(role Role) CompareConfig {
	c := CompareConfig{Timeout: compare.DefaultTimeout, MaxBody: 2 << 20, Memory: compare.DefaultMaxBytes, Examples: compare.DefaultExamples}
	if role != RoleReplay {
		c.Memory = 16 << 20 // a quarter of what the process may have
	}
	return c
}

func compareOptions() []option {
	at := func(flag, key, arg, help string, bind func(c *HTTPConfig) value) option {
		return option{flag: flag, key: key, arg: arg, help: help, group: groupCompare, scope: scopeOutput, kind: "http",
			bind: func(t *subject) value { return bind(&t.output.HTTP) }}
	}
	all := func(flag, arg, help string, bind func(c *CompareConfig) value) option {
		return process(flag, arg, groupCompare, help, func(c *Config) value { return bind(&c.Compare) })
	}
	return []option{
		at("output-http-compare", "compare", "", "compare the target's answers with production's, and report what differs at the end",
			func(c *HTTPConfig) value { return boolValue{&c.Compare} }),
		at("compare-baseline", "compare-baseline", "URL", "send the same requests to this unchanged copy of production too: where its answers differ from production's, a difference is noise",
			func(c *HTTPConfig) value { return stringValue{&c.Baseline} }),
		all("compare-ignore", "RULE", "what is no difference: a JSON path as $..updated_at, header:NAME, or pattern:REGEXP; may be repeated",
			func(c *CompareConfig) value { return compareRuleValue{&c.Ignore} }),
		all("compare-headers", "NAME", "compare this header, and no others but those named so; may be repeated",
			func(c *CompareConfig) value { return compareHeadersValue{&c.Headers} }),
		all("compare-report", "FILE", "write what differs to this file at the end, as JSON", func(c *CompareConfig) value { return stringValue{&c.Report} }),
		all("compare-timeout", "TIME", "how long an answer waits for the other one", func(c *CompareConfig) value { return durationValue{&c.Timeout, time.Millisecond} }),
		all("compare-max-body", "SIZE", "do not compare larger bodies", func(c *CompareConfig) value { return sizeValue{&c.MaxBody, 1 << 10} }),
		all("compare-memory", "SIZE", "how much memory answers may take that wait for the other one", func(c *CompareConfig) value { return sizeValue{&c.Memory, 1 << 20} }),
		all("compare-examples", "NUMBER", "of each kind of difference in the report", func(c *CompareConfig) value { return intValue{&c.Examples, 0} }),
	}
}

// compares reports whether answers are compared at any output.
func (c *Config) compares() bool { return c.compared() > 0 }

// compared is at how many outputs answers are compared.
func (c *Config) compared() int {
	n := 0
	for i := range c.Outputs {
		if !c.DryRun && c.Outputs[i].HTTP.Compare {
			n++
		}
	}
	return n
}

// checkCompare checks what is asked for about comparing: that production's
// answers come, above all.
func checkCompare(cfg *Config) error {
	n := cfg.compared()
	if n == 0 {
		for _, t := range cfg.Results.FailIf {
			if t.Compares() && !cfg.DryRun {
				return usagef("--fail-if %s: no answers are compared: say --output-http-compare beside an --output-http", t)
			}
		}
		return nil
	}
	if len(cfg.Outputs)+outputsOfCompare*n+1 > kagami.MaxOutputs {
		return usagef("%d outputs, of which %d compare: there can be %d less", len(cfg.Outputs), n, len(cfg.Outputs)+outputsOfCompare*n+1-kagami.MaxOutputs)
	}
	for i := range cfg.Outputs {
		if out := &cfg.Outputs[i]; out.HTTP.Compare && out.HTTP.Redirects > 0 {
			return usagef("--output-http-compare and --output-http-redirects: production's answer is the redirect itself, and staging's would be what it leads to; leave one out")
		}
	}
	answers := false
	for _, in := range cfg.Inputs {
		switch {
		case in.Kind == InputRaw && in.Raw.ResponseHeads > 0:
			return usagef("--output-http-compare needs production's answers whole: say --input-raw-track-response in place of --input-raw-response-heads")
		case in.Kind == InputRaw && !in.Raw.TrackResponse:
			return usagef("--output-http-compare needs production's answers, which are not captured: say --input-raw-track-response")
		}
		answers = answers || in.Kind != InputDummy
	}
	if !answers {
		return usagef("--output-http-compare needs production's answers: no input has any")
	}
	if cfg.Compare.MaxBody > maxCompareBody {
		return usagef("--compare-max-body %s: want %s or less", sizeText(cfg.Compare.MaxBody), sizeText(maxCompareBody))
	}
	return nil
}

// maxCompareBody is the largest body that can be compared, in bytes.
const maxCompareBody = 1 << 30

// idleCompare says whether a setting about comparing has nothing to act on.
func idleCompare(g given, cfg *Config) []string {
	if g.option.group != groupCompare || cfg.compares() {
		return nil
	}
	switch flag := g.option.flag; {
	case cfg.DryRun && flag == "output-http-compare":
		return []string{"--output-http-compare changes nothing with --dry-run: nothing is sent"}
	case flag != "output-http-compare":
		return []string{"--" + flag + " changes nothing without --output-http-compare"}
	}
	return nil
}

// compareRuleValue is a list of rules, each tried out when it is set.
type compareRuleValue struct{ p *[]string }

func (v compareRuleValue) Set(s string) error {
	_, err := compare.ParseRule(s)
	if err == nil {
		*v.p = append(*v.p, s)
	}
	return err
}

func (v compareRuleValue) String() string { return strings.Join(*v.p, "\n") }
func (v compareRuleValue) clear()         { *v.p = nil }

// compareHeadersValue is a list of names of headers.
type compareHeadersValue struct{ p *[]string }

func (v compareHeadersValue) Set(s string) error {
	if _, err := compare.ParseRule("header:" + s); err != nil || strings.HasSuffix(s, "*") {
		return errors.New("want the name of a header, as in Content-Type")
	}
	*v.p = append(*v.p, s)
	return nil
}

func (v compareHeadersValue) String() string { return strings.Join(*v.p, "\n") }
func (v compareHeadersValue) clear()         { *v.p = nil }
