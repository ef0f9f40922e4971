package main

import (
	"strings"
	"time"

	"kagami/replay/results"
)

// A ResultsConfig is what is made of staging's answers.
type ResultsConfig struct {
	Path         string              // of the rows; "-" is standard output, "" none
	Append       bool                // add to a file that exists
	FailIf       []results.Threshold // what must not be
	MinExchanges int                 // fewer exchanges fail a threshold
	Webhook      string              // URL that alerts are posted to, a secret; "" none
	Window       time.Duration       // that alerts look at
}

func defaultResults() ResultsConfig {
	return ResultsConfig{MinExchanges: results.DefaultMinExchanges, Window: results.DefaultWindow}
}

// on reports whether anything is to be made of staging's answers.
func (c *ResultsConfig) on() bool { return c.Path != "" || len(c.FailIf) > 0 }

func resultsOptions() []option {
	result := func(flag, arg, help string, bind func(c *ResultsConfig) value) option {
		return process(flag, arg, groupResults, help, func(c *Config) value { return bind(&c.Results) })
	}
	return []option{
		result("output-results", "FILE", "write a line of JSON for each exchange: what production answered, what staging did; - is standard output",
			func(c *ResultsConfig) value { return stringValue{&c.Path} }),
		result("output-results-append", "", "add to a file that exists; without it that is an error", func(c *ResultsConfig) value { return boolValue{&c.Append} }),
		result("fail-if", "THRESHOLD", "exit with 3 if this is true of the whole run, as 'error_rate>1%' or 'p99>500ms'; docs/results.md has them all; may be repeated",
			func(c *ResultsConfig) value { return thresholdsValue{&c.FailIf} }),
		result("min-exchanges", "NUMBER", "and if a threshold is made of fewer exchanges than this", func(c *ResultsConfig) value { return intValue{&c.MinExchanges, 1} }),
		result("alert-webhook", "URL", "post a message as Slack takes it when a --fail-if is crossed, and when that is over",
			func(c *ResultsConfig) value { return stringValue{&c.Webhook} }),
		result("alert-window", "TIME", "the time that alerts look back", func(c *ResultsConfig) value { return durationValue{&c.Window, time.Second} }),
	}
}

// thresholdsValue is a list of thresholds.
type thresholdsValue struct{ p *[]results.Threshold }

func (v thresholdsValue) Set(s string) error {
	t, err := results.ParseThreshold(s)
	if err == nil {
		*v.p = append(*v.p, t)
	}
	return err
}

func (v thresholdsValue) String() string {
	var all []string
	for _, t := range *v.p {
		all = append(all, t.String())
	}
	return strings.Join(all, "\n")
}

func (v thresholdsValue) clear() { *v.p = nil }
