package main

import (
	"strings"
	"unicode/utf8"

	"kagami/filter"
)

// helpWidth is how many columns the help needs.
const helpWidth = 100

// helpColumn is where the explanations begin.
const helpColumn = 40

// A manual is what the help of a command says beside its flags.
type manual struct {
	does     string
	usage    []string
	examples []string
	more     []string // paragraphs behind the flags
}

// helpText writes the help of a command: what it does, how it is called,
// examples, and the flags by the job they are for.
func helpText(m manual, c *catalog, role Role, defaults *subject) string {
	var b strings.Builder
	b.WriteString(m.does + "\n")
	section := func(title string, lines []string) {
		if len(lines) > 0 {
			b.WriteString("\n" + title + "\n")
			for _, line := range lines {
				b.WriteString("  " + line + "\n")
			}
		}
	}
	section("Usage", m.usage)
	section("Examples", m.examples)
	for _, g := range role.groups() {
		var flags strings.Builder
		for i := range c.options {
			if o := &c.options[i]; o.group == g && o.shown(role) {
				writeFlag(&flags, o, defaultText(o, defaults))
			}
		}
		if flags.Len() > 0 {
			b.WriteString("\n" + string(g) + "\n" + flags.String())
		}
	}
	for _, p := range m.more {
		b.WriteString("\n" + wrap(p, 0) + "\n")
	}
	return b.String()
}

// shown reports whether the help of a role lists the option.
func (o *option) shown(role Role) bool {
	return !o.hidden && o.flag != "" && (role == "" || o.notFor != role)
}

// does is what the option does, and its other name.
func (o *option) does() string {
	if o.also == "" {
		return o.help
	}
	return o.help + "; --" + o.also + " is the same"
}

func writeFlag(b *strings.Builder, o *option, byDefault string) {
	name := "  --" + o.flag
	if o.arg != "" {
		name += " " + o.arg
	}
	if utf8.RuneCountInString(name) > helpColumn-2 {
		b.WriteString(name + "\n")
		name = ""
	}
	text := o.does()
	if byDefault != "" {
		text += " (default " + byDefault + ")"
	}
	b.WriteString(name + strings.Repeat(" ", helpColumn-utf8.RuneCountInString(name)))
	b.WriteString(wrap(text, helpColumn) + "\n")
}

// defaultText is the value of an option that was not given, where it says something.
func defaultText(o *option, defaults *subject) string {
	if o.entry || o.isSwitch() || o.bind == nil {
		return ""
	}
	switch text := o.bind(defaults).String(); text {
	case "0", "0s":
		return ""
	default:
		return strings.ReplaceAll(text, "\n", ", ")
	}
}

// wrap breaks text into lines that end before helpWidth, those behind the
// first begun at the column indent.
func wrap(text string, indent int) string {
	var b strings.Builder
	at := indent
	for i, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case at+1+n > helpWidth:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			at = indent
		default:
			b.WriteByte(' ')
			at++
		}
		b.WriteString(word)
		at += n
	}
	return b.String()
}

// helpDefaults is a subject that has every default of a role, whatever the kind.
func helpDefaults(role Role) *subject {
	cfg, in, out := defaultConfig(role), defaultInput(InputRaw), defaultOutput(role, OutputHTTP)
	in.File = defaultInput(InputFile).File
	out.File, out.TCP = defaultOutput(role, OutputFile).File, defaultOutput(role, OutputTCP).TCP
	in.NATS, out.NATS = defaultNATSInput(), defaultNATSOutput()
	cat, demo, token := defaultCat(), defaultDemo(), TokenConfig{}
	return &subject{config: &cfg, filter: &filter.Config{}, input: &in, output: &out, cat: &cat, demo: &demo, token: &token, meta: &meta{}}
}

// manualOf is the manual of a role.
func manualOf(role Role) manual {
	const addresses = "An ADDRESS, URL or PATH may end in a suffix: |10% is a share, |100 or |100/s a limit of requests a second, both may " +
		"stand together; of --input-file and --input-nats |200% is the speed, and |max as fast as it goes. Inputs and outputs may be repeated."
	const environment = "Every flag is also an environment variable, --input-raw is KAGAMI_INPUT_RAW, and (without its prefix) a key of the " +
		"--config file. docs/cli.md has it all, and every flag of GoReplay."
	const elsewhere = "The other flags of kagami work here too: see kagami --help."
	switch role {
	case RoleListen:
		return manual{
			does:  "kagami listen: capture HTTP beside a production server, and hand it on",
			usage: []string{"kagami listen --input-raw ADDRESS --output-tcp HOST:PORT [flags]"},
			examples: []string{
				"sudo kagami listen --input-raw :8080 --output-tcp 'replayer:28020|10%' --join-file default.join",
				"sudo kagami listen --input-raw eth0:80,8080 --output-file traffic.gor",
			},
			more: []string{addresses, elsewhere + " " + environment},
		}
	case RoleReplay:
		return manual{
			does:  "kagami replay: take in what a listener streams or what was recorded, and send it to staging",
			usage: []string{"kagami replay --input-tcp [HOST]:PORT|--input-file PATTERN --output-http URL [flags]"},
			examples: []string{
				"kagami replay --input-tcp :28020 --output-http http://staging1 --output-http 'http://staging2|50%'",
				"kagami replay --input-file 'traffic.gor|200%' --output-http http://staging:8080",
			},
			more: []string{addresses, elsewhere + " " + environment},
		}
	}
	return manual{
		does: "kagami: copy live HTTP traffic from production to staging, without standing in its way",
		usage: []string{
			"kagami --input-… --output-… [flags]     every input and every output in one process",
			"kagami listen [flags]                   beside production: capture, and hand on",
			"kagami replay [flags]                   beside staging: take in, and send",
			"kagami cat FILE… [flags]                show what is in a recording",
			"kagami token add|revoke|list [flags]    say which listeners may stream to a replayer",
			"kagami config check FILE|schema         say whether a configuration file is right",
			"kagami doctor [flags]                   say what this host lacks for that, and what mends it",
			"kagami health [flags]                   ask a kagami that runs on this host how it is",
			"kagami demo [flags]                     see all of it work, on this machine",
		},
		examples: []string{
			"sudo kagami --input-raw :8080 --output-http 'http://staging901.example.com|10%'",
			"sudo kagami --input-raw :8080 --output-file traffic.gor",
			"kagami --input-file 'traffic.gor|200%' --output-http http://staging:8080",
		},
		more: []string{addresses, environment},
	}
}

func catManual() manual {
	return manual{
		does:  "kagami cat: show what is in recordings and packet files",
		usage: []string{"kagami cat FILE… [flags]     .gor, .kgm, .pcap and .pcapng, also .gz"},
		examples: []string{
			"kagami cat traffic.gor",
			"kagami cat --format json --kind request traffic.kgm | jq .",
			"kagami cat dump.pcap --ports 8080 --format gor > traffic.gor",
		},
	}
}

func demoManual() manual {
	return manual{
		does: "kagami demo: a production server, load, a listener, a replayer and two staging servers, on loopback",
		usage: []string{
			"kagami demo [flags]          needs the right to capture: root, or setcap cap_net_raw+p",
		},
		examples: []string{"sudo kagami demo --seconds 10", "sudo kagami demo --nats"},
	}
}
