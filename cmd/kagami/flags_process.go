package main

import (
	"time"

	"kagami/filter"
)

// process is an option of the whole process.
func process(flag, arg string, g group, help string, bind func(c *Config) value) option {
	return option{flag: flag, key: flag, arg: arg, help: help, group: g, scope: scopeProcess,
		bind: func(t *subject) value { return bind(t.config) }}
}

func filterOptions() []option {
	rule := func(key, arg, help string, bind func(c *filter.Config) *[]string) option {
		return option{flag: "http-" + key, key: key, arg: arg, help: help, group: groupFilters, scope: scopeFilter,
			bind: func(t *subject) value { return ruleValue{t.filter, bind} }}
	}
	return []option{
		rule("allow-method", "METHOD", "keep requests with one of these methods", func(c *filter.Config) *[]string { return &c.AllowMethod }),
		rule("disallow-method", "METHOD", "drop requests with one of these methods", func(c *filter.Config) *[]string { return &c.DisallowMethod }),
		rule("allow-url", "REGEXP", "keep requests whose target (path and query) matches one of these", func(c *filter.Config) *[]string { return &c.AllowURL }),
		rule("disallow-url", "REGEXP", "drop requests whose target matches any of these", func(c *filter.Config) *[]string { return &c.DisallowURL }),
		rule("allow-header", "'NAME:REGEXP'", "keep requests whose header matches; all of these must", func(c *filter.Config) *[]string { return &c.AllowHeader }),
		rule("disallow-header", "'NAME:REGEXP'", "drop requests whose header matches", func(c *filter.Config) *[]string { return &c.DisallowHeader }),
		rule("basic-auth-filter", "REGEXP", "keep requests whose basic auth user:password matches", func(c *filter.Config) *[]string { return &c.BasicAuthFilter }),
		rule("header-limiter", "'NAME:N%'", "keep a share of the values of a header", func(c *filter.Config) *[]string { return &c.HeaderLimiter }),
		rule("param-limiter", "'NAME:N%'", "keep a share of the values of a query parameter", func(c *filter.Config) *[]string { return &c.ParamLimiter }),
		rule("set-header", "'NAME: VALUE'", "set a header", func(c *filter.Config) *[]string { return &c.SetHeader }),
		rule("set-param", "NAME=VALUE", "set a query parameter", func(c *filter.Config) *[]string { return &c.SetParam }),
		rule("rewrite-url", "REGEXP:NEW", "rewrite the target; $1 is the first group", func(c *filter.Config) *[]string { return &c.RewriteURL }),
		rule("rewrite-header", "'NAME: REGEXP,NEW'", "rewrite a header", func(c *filter.Config) *[]string { return &c.RewriteHeader }),
	}
}

// suffixOptions are what the suffix of an address says, as keys of the file.
func suffixOptions() []option {
	return []option{
		{key: "share", scope: scopeInput | scopeOutput, bind: func(t *subject) value {
			if t.input != nil {
				return shareValue{&t.input.Share}
			}
			return shareValue{&t.output.Share}
		}},
		{key: "limit", scope: scopeInput | scopeOutput, bind: func(t *subject) value {
			if t.input != nil {
				return limitValue{&t.input.Limit}
			}
			return limitValue{&t.output.Limit}
		}},
		{key: "speed", scope: scopeInput, kind: "file", bind: func(t *subject) value { return fileSpeed(&t.input.File) }},
		{key: "speed", scope: scopeInput, kind: "nats", bind: func(t *subject) value { return natsSpeed(&t.input.NATS) }},
	}
}

func queueOptions() []option {
	output := func(flag, kind, key, arg, help string, bind func(c *OutputConfig) value) option {
		return option{flag: flag, key: key, arg: arg, help: help, group: groupQueues, scope: scopeOutput, kind: kind,
			bind: func(t *subject) value { return bind(t.output) }}
	}
	sampleBy := option{flag: "sample-by", key: "sample-by", arg: "KEY", group: groupQueues, scope: scopeInput | scopeOutput,
		help: "what a share goes by: request, connection, client, header:NAME, cookie:NAME or param:NAME",
		bind: func(t *subject) value {
			if t.input != nil {
				return sampleByValue{&t.input.SampleBy}
			}
			return sampleByValue{&t.output.SampleBy}
		}}
	return []option{
		sampleBy,
		process("sample-seed", "NUMBER", groupQueues, "samples with different seeds are independent", func(c *Config) value { return seedValue{&c.SampleSeed} }),
		output("on-full", "", "on-full", "WHAT", "when an output does not keep up: drop messages (and count them), or let the input wait",
			func(c *OutputConfig) value { return enumValue[OnFull]{&c.OnFull, []OnFull{OnFullDrop, OnFullWait}} }),
		output("queue-messages", "", "queue-messages", "NUMBER", "how many messages may wait for each output", func(c *OutputConfig) value { return intValue{&c.QueueMessages, 1} }),
		output("queue-bytes", "", "queue-bytes", "SIZE", "and how large they may be together", func(c *OutputConfig) value { return sizeValue{&c.QueueBytes, 1} }),
		output("output-http-queue-len", "http", "", "NUMBER", "--queue-messages for --output-http alone", func(c *OutputConfig) value { return intValue{&c.QueueMessages, 1} }),
		process("max-message", "SIZE", groupQueues, "drop larger messages", func(c *Config) value { return sizeValue{&c.MaxMessage, 1 << 10} }),
		process("memory-limit", "SIZE", groupQueues, "stay below this much memory; 0 is no limit", func(c *Config) value { return sizeValue{&c.MemoryLimit, 0} }),
		process("cpu-limit", "PERCENT", groupQueues, "take no more of the CPU than this, in percent of one core: over it shed connections, whatever --sample-by says",
			func(c *Config) value { return cpuLimitValue{&c.CPULimit} }),
	}
}

func processOptions() []option {
	return []option{
		process("exit-after", "TIME", groupProcess, "end after so long", func(c *Config) value { return durationValue{&c.ExitAfter, 0} }),
		process("drain-timeout", "TIME", groupProcess, "how long sending what is queued may take at the end", func(c *Config) value { return durationValue{&c.DrainTimeout, 0} }),
		userOption(),
		process("summary", "FILE", groupProcess, "write the ledger to this file at the end, as JSON", func(c *Config) value { return stringValue{&c.Summary} }),
		process("admin", "ADDRESS", groupProcess, "serve /metrics and /healthz at [host]:port; without a host only to this one", func(c *Config) value { return adminValue{&c.Admin} }),
		process("http-pprof", "ADDRESS", groupProcess, "--admin, with /debug/pprof/", func(c *Config) value { return pprofValue{c} }),
		process("stats", "", groupProcess, "print statistics every 5 s, also where there is no terminal", func(c *Config) value { return boolValue{&c.Stats} }),
		process("output-http-stats-ms", "NUMBER", groupProcess, "print them every so many milliseconds", func(c *Config) value { return millisValue{&c.StatsEvery} }),
		process("verbose", "LEVEL", groupProcess, "say more: 1, 2, 3", func(c *Config) value { return intValue{&c.Verbose, 0} }),
		process("log-format", "FORMAT", groupProcess, "of what is said on standard error: text (on a terminal) or json (else)",
			func(c *Config) value { return enumValue[string]{&c.LogFormat, []string{"text", "json"}} }),
	}
}

func metaOptions() []option {
	file := option{flag: "config", arg: "FILE", help: "read inputs, outputs and settings from a YAML file; flags and KAGAMI_… variables win",
		group: groupProcess, scope: scopeMeta, bind: func(t *subject) value { return stringValue{&t.meta.file} }}
	show := option{flag: "print-config", help: "print what all of this comes to, as --config reads it, and end",
		group: groupProcess, scope: scopeMeta, bind: func(t *subject) value { return boolValue{&t.meta.printConfig} }}
	version := option{flag: "version", lineOnly: true, help: "print the version and end",
		group: groupProcess, scope: scopeMeta, bind: func(t *subject) value { return boolValue{&t.meta.version} }}
	return append([]option{file, show, version}, helpOptions()...)
}

func helpOptions() []option {
	help := option{flag: "help", lineOnly: true, help: "print this and end", group: groupProcess, scope: scopeMeta,
		bind: func(t *subject) value { return boolValue{&t.meta.help} }}
	short := help
	short.flag, short.hidden = "h", true
	return []option{help, short}
}

// catCatalog is what kagami cat knows.
func catCatalog() *catalog {
	cat := func(flag, arg, help string, bind func(c *CatConfig) value) option {
		return option{flag: flag, arg: arg, help: help, group: groupCat, scope: scopeCat, bind: func(t *subject) value { return bind(t.cat) }}
	}
	return &catalog{options: append([]option{
		cat("format", "FORMAT", "text, json (a line for each message), gor or har", func(c *CatConfig) value {
			return enumValue[string]{&c.Format, []string{"text", "json", "gor", "har"}}
		}),
		cat("kind", "KIND", "only request, response or replayed messages, and no WebSocket frames; may be repeated", func(c *CatConfig) value { return kindsValue{&c.Kinds} }),
		cat("ports", "PORTS", "in packet files, the servers' ports: 80,8000-8010 (every port that speaks HTTP)", func(c *CatConfig) value { return portsValue{&c.Ports} }),
	}, helpOptions()...)}
}

// demoCatalog is what kagami demo knows.
func demoCatalog() *catalog {
	demo := func(flag, help string, bind func(c *DemoConfig) value) option {
		return option{flag: flag, arg: "NUMBER", help: help, group: groupDemo, scope: scopeDemo, bind: func(t *subject) value { return bind(t.demo) }}
	}
	return &catalog{options: append([]option{
		demo("seconds", "how long the load lasts", func(c *DemoConfig) value { return secondsValue{&c.Duration} }),
		demo("rate", "requests a second", func(c *DemoConfig) value { return intValue{&c.Rate, 1} }),
		{flag: "nats", help: "through a broker in the same process: needs a kagami built with -tags embed_nats, as make build does", group: groupDemo, scope: scopeDemo,
			bind: func(t *subject) value { return boolValue{&t.demo.NATS} }},
	}, helpOptions()...)}
}

func defaultCat() CatConfig   { return CatConfig{Format: "text"} }
func defaultDemo() DemoConfig { return DemoConfig{Duration: 5 * time.Second, Rate: 500} }
