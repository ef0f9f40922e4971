package main

import (
	"slices"
	"strings"

	"kagami/filter"
)

// A scope says which part of a configuration an option belongs to.
type scope uint

const (
	scopeProcess scope = 1 << iota // Config
	scopeFilter                    // a filter.Config: that of Config for a flag, any in a file
	scopeInput                     // an InputConfig: all of the option's kind for a flag, one in a file
	scopeOutput                    // an OutputConfig, likewise
	scopeCat                       // CatConfig
	scopeDemo                      // DemoConfig
	scopeToken                     // TokenConfig
	scopeMeta                      // what to do at all: --help
)

func (s scope) has(of scope) bool { return s&of != 0 }

// A subject is what options are set on; an option binds to the part its scope names.
type subject struct {
	config *Config
	filter *filter.Config
	input  *InputConfig
	output *OutputConfig
	cat    *CatConfig
	demo   *DemoConfig
	token  *TokenConfig
	meta   *meta
}

// A meta is what a command line says about itself.
type meta struct {
	help, version, printConfig bool
	file                       string // --config
	as                         Role   // --as; "" none
}

// An option is one thing that a user can set: by a flag, an environment
// variable, and (where it has a key) in the configuration file.
type option struct {
	flag  string // "input-raw-expire"; "" where only the file can say it
	also  string // a shorter name of the flag; "" none
	key   string // "expire", below the input; "" where the file cannot say it
	arg   string // what the help calls its value; "" for a switch
	help  string // what it does, without the default
	group group  // the heading it stands under in the help
	scope scope
	// kind is the one kind of input or output that the option is for; "" is any.
	kind string
	// entry: each value is an input or output of that kind. bind is not used,
	// except that a switch has none either.
	entry bool
	bind  func(t *subject) value
	// hidden keeps it out of the help, notFor out of that of one role.
	hidden bool
	notFor Role
	// lineOnly: the option means something on the command line alone.
	lineOnly bool
	// envOnly: in the environment alone, for its value is a secret. It is never shown.
	envOnly bool
}

// isSwitch reports whether the option can be given without a value.
func (o *option) isSwitch() bool { return o.arg == "" }

// isList reports whether each value given adds to those before it.
func (o *option) isList() bool {
	if o.entry {
		return !o.isSwitch()
	}
	_, ok := o.bind(newSubject()).(listValue)
	return ok
}

// newSubject returns a subject with something to bind to everywhere.
func newSubject() *subject {
	return &subject{config: &Config{}, filter: &filter.Config{}, input: &InputConfig{}, output: &OutputConfig{},
		cat: &CatConfig{}, demo: &DemoConfig{}, token: &TokenConfig{}, meta: &meta{}}
}

// A refusal is a flag of GoReplay's that Kagami does not have.
type refusal struct {
	flag     string
	isSwitch bool
	instead  string // why, and what to do instead
}

// A nothing is a flag of GoReplay's that asks for what Kagami always does.
type nothing struct {
	flag     string
	isSwitch bool
	because  string
}

// A renaming is an old name of a flag.
type renaming struct{ old, name string }

// A catalog is all options that a command knows, by flag.
type catalog struct {
	options   []option
	refusals  []refusal
	nothings  []nothing
	renamings []renaming
}

// mirrorCatalog is what kagami, listen, replay and gor know.
func mirrorCatalog() *catalog {
	return &catalog{
		options: slices.Concat(inputOptions(), captureOptions(), fileInputOptions(), paceOptions(), outputOptions(), streamOptions(), trustOptions(), natsOptions(), stateOptions(), httpOptions(), tlsOptions(),
			compareOptions(), resultsOptions(), fileOutputOptions(), filterOptions(), suffixOptions(), queueOptions(), processOptions(), metaOptions()),
		refusals:  refusals(),
		nothings:  nothings(),
		renamings: renamings(),
	}
}

// option returns the option with a flag's name, old names included.
func (c *catalog) option(flag string) (*option, bool) {
	if flag == "" {
		return nil, false
	}
	for _, r := range c.renamings {
		if r.old == flag {
			flag = r.name
		}
	}
	for i := range c.options {
		if c.options[i].flag == flag || c.options[i].also == flag {
			return &c.options[i], true
		}
	}
	return nil, false
}

// knows reports whether a flag has a meaning, if only to be refused.
func (c *catalog) knows(flag string) bool {
	return slices.ContainsFunc(c.names(), func(n flagName) bool { return n.name == flag })
}

// A flagName is a name that a command line can hold.
type flagName struct {
	name     string
	isSwitch bool
}

// names are all names that the command line takes, whatever comes of it.
func (c *catalog) names() []flagName {
	var names []flagName
	for i := range c.options {
		if c.options[i].flag != "" {
			names = append(names, flagName{c.options[i].flag, c.options[i].isSwitch()})
		}
		if c.options[i].also != "" {
			names = append(names, flagName{c.options[i].also, c.options[i].isSwitch()})
		}
	}
	for _, r := range c.refusals {
		names = append(names, flagName{r.flag, r.isSwitch})
	}
	for _, n := range c.nothings {
		names = append(names, flagName{n.flag, n.isSwitch})
	}
	for _, r := range c.renamings {
		o, _ := c.option(r.name)
		names = append(names, flagName{r.old, o.isSwitch()})
	}
	return names
}

// variables are the names of the flags by that of their environment variable.
func (c *catalog) variables() map[string]string {
	flags := map[string]string{}
	for _, n := range c.names() {
		if o, ok := c.option(n.name); !ok || !o.lineOnly {
			flags[envName(n.name)] = n.name
		}
	}
	return flags
}

// A given is an option with one value, and where the user said so.
type given struct {
	option *option
	text   string
	at     string // "--input-raw :80", "KAGAMI_INPUT_RAW=:80", "kagami.yaml:3: raw"
}

// fail says that what was given will not do.
func (g given) fail(err error) error { return usagef("%s: %w", g.at, err) }

// lookUp turns a flag's name and value into what was given. ok is false where
// there is nothing to set, and notice then says why; err refuses.
func (c *catalog) lookUp(name, text, at string) (g given, notice string, ok bool, err error) {
	for _, r := range c.refusals {
		if r.flag == name {
			if r.isSwitch && isFalse(text) {
				return given{}, "", false, nil
			}
			return given{}, "", false, usagef("%s: %s", at, r.instead)
		}
	}
	for _, n := range c.nothings {
		if n.flag == name {
			return given{}, at + " changes nothing: " + n.because, false, nil
		}
	}
	o, known := c.option(name)
	if !known {
		return given{}, "", false, nil
	}
	if o.flag != name && o.also != name {
		notice = at + ": here the flag is called --" + o.flag
	}
	return given{o, text, at}, notice, true, nil
}

func isFalse(s string) bool {
	b := true
	return boolValue{&b}.Set(s) == nil && !b
}

// envName is the environment variable that stands for a flag.
func envName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// nearest returns the one of names that s is most likely a slip for.
func nearest(s string, names []string) (string, bool) {
	best, at := "", len(s)/3+2
	for _, name := range names {
		if d := distance(s, name); d < at {
			best, at = name, d
		}
	}
	return best, best != ""
}

// distance is how many letters have to be put in, taken out, changed or
// swapped with their neighbour to make b of a.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, row = last, row, before
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(b)]
}
