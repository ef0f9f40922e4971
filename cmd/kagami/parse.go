package main

import (
	"context"
	"flag"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"
)

// A typed is a flag as it stands on the command line.
type typed struct {
	flagName
	text string
}

// at writes the flag as it was typed, or would best have been.
func (t typed) at() string {
	switch {
	case !t.isSwitch:
		return "--" + t.name + " " + quoteIfOdd(shown(t.text))
	case t.text == "true":
		return "--" + t.name
	}
	return "--" + t.name + "=" + quoteIfOdd(shown(t.text))
}

// An action is what a command does with its flags and arguments.
type action func(ctx context.Context, flags []typed, args []string) error

// parse returns a command that takes the flags of a catalog, in any order and
// number, and nothing else unless it has arguments. What the flags mean is
// found out later, together with the environment and the file. The command
// without a name is the program itself.
func (a *app) parse(name string, c *catalog, arguments bool, do action) *cli.Command {
	var flags []typed
	cmd := &cli.Command{Name: name, HideHelp: true}
	for _, n := range c.names() {
		cmd.Flags = append(cmd.Flags, &collector{n, func(text string) {
			flags = append(flags, typed{n, text})
			if name == "" {
				a.root = flags
			}
		}})
	}
	called := func() {
		a.command = strings.TrimSpace(a.program + " " + name)
	}
	cmd.OnUsageError = func(_ *cli.Context, err error, _ bool) error {
		called()
		return flagError(err, c)
	}
	cmd.Action = func(cc *cli.Context) error {
		called()
		args := cc.Args().Slice()
		switch {
		case name != "" && len(a.root) > 0:
			at := a.root[0].at()
			return usagef("%s stands before the command: put flags behind it, as in kagami %s %s", at, name, at)
		case len(args) > 0 && !arguments:
			return a.strayError(args[0])
		}
		return do(cc.Context, flags, args)
	}
	return cmd
}

// A collector is a flag of any kind: it hands on what was typed.
type collector struct {
	flagName
	collect func(text string)
}

var _ cli.Flag = (*collector)(nil)

func (c *collector) Apply(set *flag.FlagSet) error {
	take := func(text string) error { c.collect(text); return nil }
	if c.isSwitch {
		set.BoolFunc(c.name, "", take)
	} else {
		set.Func(c.name, "", take)
	}
	return nil
}

func (c *collector) Names() []string { return []string{c.name} }
func (c *collector) IsSet() bool     { return false } // nobody asks
func (c *collector) String() string  { return "--" + c.name }

// flagError says what is wrong with a command line that package flag could not parse.
func flagError(err error, c *catalog) error {
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		var names []string
		for _, n := range c.names() {
			names = append(names, n.name)
		}
		if like, ok := nearest(name, names); ok {
			return usagef("unknown flag --%s: did you mean --%s?", name, like)
		}
		return usagef("unknown flag --%s", name)
	}
	if name, ok := strings.CutPrefix(text, "flag needs an argument: -"); ok {
		if o, ok := c.option(name); ok {
			return usagef("--%s needs a value: --%s %s", name, name, o.arg)
		}
		return usagef("--%s needs a value", name)
	}
	return usageError{err}
}

// strayError says what to do about an argument that is no flag's value.
func (a *app) strayError(arg string) error {
	stray := "unexpected argument " + strconv.Quote(arg)
	switch {
	case boolValue{new(bool)}.Set(arg) == nil:
		return usagef("%s: flags that are on or off are written --split-output=%s or just --split-output", stray, arg)
	case a.program == "gor" && arg == "file-server":
		return usagef("%s: there is no file server in Kagami", stray)
	case a.command == "kagami":
		if like, ok := nearest(arg, []string{"listen", "replay", "cat", "token", "health", "config", "doctor", "demo", "help"}); ok {
			return usagef("%s: did you mean kagami %s?", stray, like)
		}
	}
	return usagef("%s: everything here is a flag; put a value that has spaces or | into quotes", stray)
}

// flagsFirst moves the flags of a command that has arguments before these,
// for package flag stops at the first argument.
func flagsFirst(args []string, command string, c *catalog) []string {
	if len(args) < 2 || args[1] != command {
		return args
	}
	withValue := map[string]bool{}
	for _, n := range c.names() {
		withValue[n.name] = !n.isSwitch
	}
	var flags, rest []string
	for i := 2; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			rest = append(rest, args[i+1:]...)
			break
		}
		if !strings.HasPrefix(arg, "-") || arg == "-" {
			rest = append(rest, arg)
			continue
		}
		flags = append(flags, arg)
		if withValue[strings.TrimLeft(arg, "-")] {
			if i++; i == len(args) {
				return slices.Concat(args[:2], []string{arg}) // which package flag complains about
			}
			flags = append(flags, args[i])
		}
	}
	return slices.Concat(args[:2], flags, []string{"--"}, rest)
}
