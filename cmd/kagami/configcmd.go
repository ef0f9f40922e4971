package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// config is the command that says what is right in a configuration file.
func (a *app) config() *cli.Command {
	c := configCatalog()
	return a.parse("config", c, true, func(_ context.Context, flags []typed, args []string) error {
		verb := ""
		if len(args) > 0 {
			verb = args[0]
		}
		m, _, err := a.layers(c, slices.DeleteFunc(slices.Clone(flags), func(t typed) bool { return t.name != "help" && t.name != "h" }))
		if err != nil {
			return err
		}
		switch {
		case m.help:
			return a.print(helpText(configManual(), &catalog{options: append(asOptions(), helpOptions()...)}, "", helpDefaults("")))
		case verb == "schema" && len(args) == 1:
			return writeJSON(a.stdout, configSchema(mirrorCatalog()))
		case verb == "check" && len(args) == 2:
			return a.checkConfig(c, flags, args[1])
		case verb == "check":
			return usagef("want one file, as in kagami config check kagami.yaml")
		}
		if like, ok := nearest(verb, []string{"check", "schema"}); ok {
			return usagef("unknown command kagami config %s: did you mean %s?", quoteIfOdd(verb), like)
		}
		return usagef("want kagami config check FILE, or kagami config schema")
	})
}

// checkConfig prints what would run with a file, or returns what is wrong with it.
func (a *app) checkConfig(c *catalog, flags []typed, path string) error {
	m, layers, err := a.layers(c, append(flags, typed{flagName{name: "config"}, path}))
	if err != nil {
		return err
	}
	role := cmp.Or(m.as, RoleKagami)
	cfg, notices, err := (&resolver{c, role, layers}).resolve()
	if err != nil {
		if !strings.Contains(err.Error(), path) {
			err = usageError{fmt.Errorf("%s: %w", path, err)}
		}
		return err
	}
	for _, n := range notices {
		a.console.Log.Warn(n)
	}
	command := string(RoleKagami)
	if role != RoleKagami {
		command += " " + string(role)
	}
	if role == RoleGor {
		command = string(role)
	}
	if err := a.print("# " + path + " is right. What " + command + " --config " + path + " runs:\n"); err != nil {
		return err
	}
	return writeConfig(a.stdout, &cfg, c)
}

// configCatalog is what kagami config knows: all that may stand beside the file.
func configCatalog() *catalog {
	c := mirrorCatalog()
	c.options = append(c.options, asOptions()...)
	return c
}

func asOptions() []option {
	return []option{{flag: "as", arg: "COMMAND", lineOnly: true, help: "the command that is to run: kagami, listen, replay or gor, whose defaults differ",
		group: groupProcess, scope: scopeMeta, bind: func(t *subject) value {
			return enumValue[Role]{&t.meta.as, []Role{RoleKagami, RoleListen, RoleReplay, RoleGor}}
		}}}
}

func configManual() manual {
	return manual{
		does: "kagami config: say whether a configuration file is right, and what it may hold",
		usage: []string{
			"kagami config check FILE [flags]     say where it is wrong (exit code 2), or what would run",
			"kagami config schema                 print the JSON schema of the file, for editors and checks",
		},
		examples: []string{
			"kagami config check kagami.yaml",
			"kagami config check kagami.yaml --as listen --input-raw :8080",
			"kagami config schema > kagami.schema.json",
		},
		more: []string{"Other flags are those of kagami, and change what would run as they do there; so does the environment. " +
			"Nothing is opened: names, files and ports are looked at when it runs."},
	}
}
