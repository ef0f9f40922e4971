package main

import (
	"io"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"

	"kagami/filter"
)

// writeConfig writes a configuration as --config reads it. Reading it back, in
// the same role, gives the same configuration.
func writeConfig(w io.Writer, cfg *Config, c *catalog) error {
	defaults := defaultConfig(cfg.Role)
	top := c.show(&subject{config: cfg}, &subject{config: &defaults}, scopeProcess, "")
	if f := c.showFilters(&cfg.Filters); len(f) > 0 {
		top = append(top, yaml.MapItem{Key: "filters", Value: f})
	}
	var inputs, outputs []yaml.MapSlice
	for i := range cfg.Inputs {
		inputs = append(inputs, c.showInput(&cfg.Inputs[i]))
	}
	for i := range cfg.Outputs {
		outputs = append(outputs, c.showOutput(cfg.Role, &cfg.Outputs[i]))
	}
	top = append(top, yaml.MapItem{Key: "inputs", Value: inputs}, yaml.MapItem{Key: "outputs", Value: outputs})
	text, err := yaml.MarshalWithOptions(top, yaml.IndentSequence(true))
	if err == nil {
		_, err = w.Write(text)
	}
	return err
}

func (c *catalog) showInput(in *InputConfig) yaml.MapSlice {
	defaults := defaultInput(in.Kind)
	m := yaml.MapSlice{{Key: string(in.Kind), Value: in.Address}}
	m = append(m, c.show(&subject{input: in}, &subject{input: &defaults}, scopeInput, string(in.Kind))...)
	if f := c.showFilters(&in.Filters); len(f) > 0 {
		m = append(m, yaml.MapItem{Key: "filters", Value: f})
	}
	return m
}

func (c *catalog) showOutput(role Role, out *OutputConfig) yaml.MapSlice {
	defaults := defaultOutput(role, out.Kind)
	m := yaml.MapSlice{{Key: string(out.Kind), Value: out.Address}}
	if out.Address == "" {
		m[0].Value = true
	}
	m = append(m, c.show(&subject{output: out}, &subject{output: &defaults}, scopeOutput, string(out.Kind))...)
	if f := c.showFilters(&out.Filters); len(f) > 0 {
		m = append(m, yaml.MapItem{Key: "filters", Value: f})
	}
	return m
}

func (c *catalog) showFilters(f *filter.Config) yaml.MapSlice {
	return c.show(&subject{filter: f}, &subject{filter: &filter.Config{}}, scopeFilter, "")
}

// show returns the settings of one part of a configuration: all that say
// something, and all that differ from the default.
func (c *catalog) show(t, defaults *subject, s scope, kind string) yaml.MapSlice {
	var m yaml.MapSlice
	for i := range c.options {
		o := &c.options[i]
		if !o.in(s, kind) {
			continue
		}
		v := o.bind(t)
		text := v.String()
		if says := text != "" && text != "0" && text != "0s"; !says && text == o.bind(defaults).String() {
			continue
		}
		if _, ok := v.(listValue); ok {
			m = append(m, yaml.MapItem{Key: o.key, Value: strings.Split(text, "\n")})
		} else {
			m = append(m, yaml.MapItem{Key: o.key, Value: plain(text)})
		}
	}
	return m
}

// plain is a text as what YAML calls it, so that it needs no quotes.
func plain(text string) any {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && strconv.FormatInt(n, 10) == text {
		return n
	}
	if text == "true" {
		return true
	}
	return text
}
