package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"
)

// run runs the command that args ask for and returns the exit code.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	a := &app{environ: environ, stdout: stdout, stderr: stderr, program: "kagami"}
	a.console, _ = newConsole(stdout, stderr, "", 0)
	if len(args) > 0 && strings.TrimSuffix(filepath.Base(args[0]), ".exe") == "gor" {
		a.program = "gor"
	}
	err := a.commands().RunContext(ctx, flagsFirst(flagsFirst(flagsFirst(args, "cat", catCatalog()), "token", tokenCatalog()), "config", configCatalog()))
	var usage usageError
	switch {
	case err == nil:
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "%s: %v\n%s --help says more\n", a.program, err, a.command)
	default:
		a.console.Log.Error(err.Error())
	}
	return exitCode(err)
}

// An app is one call of the program.
type app struct {
	environ        []string
	stdout, stderr io.Writer
	console        Console
	program        string  // "kagami" or "gor"
	command        string  // what was called, as in "kagami listen"
	root           []typed // flags that stand before the command
}

// commands are all commands. The program called gor has no others: it takes
// GoReplay's command lines.
func (a *app) commands() *cli.App {
	role := RoleKagami
	if a.program == "gor" {
		role = RoleGor
	}
	c := &cli.App{
		Name: a.program, HideHelp: true, HideVersion: true,
		Writer: a.stdout, ErrWriter: a.stderr,
		DisableSliceFlagSeparator: true,
		// Errors are printed, and the process ended, in one place.
		ExitErrHandler: func(*cli.Context, error) {},
	}
	root := a.mirror("", role)
	c.Flags, c.OnUsageError, c.Action = root.Flags, root.OnUsageError, root.Action
	if role != RoleGor {
		c.Commands = []*cli.Command{a.mirror("listen", RoleListen), a.mirror("replay", RoleReplay), a.cat(), a.token(), a.health(), a.config(), a.doctor(), a.demo(), a.help()}
	}
	return c
}

// mirror is the command of a role.
func (a *app) mirror(name string, role Role) *cli.Command {
	c := mirrorCatalog()
	return a.parse(name, c, false, func(ctx context.Context, flags []typed, _ []string) error {
		m, layers, err := a.layers(c, flags)
		switch {
		case err != nil:
			return err
		case m.help:
			return a.print(helpText(manualOf(role), c, role, helpDefaults(role)))
		case m.version:
			info, _ := debug.ReadBuildInfo()
			return a.print(versionText(version, info) + "\n")
		}
		cfg, notices, err := (&resolver{c, role, layers}).resolve()
		if err != nil {
			return err
		}
		show := cfg
		a.console, cfg.LogFormat = newConsole(a.stdout, a.stderr, cfg.LogFormat, cfg.Verbose)
		for _, n := range notices {
			a.console.Log.Warn(n)
		}
		if m.printConfig {
			return writeConfig(a.stdout, &show, c)
		}
		cfg.Console = a.console
		if m.file != "" {
			hangups := make(chan os.Signal, 1)
			signal.Notify(hangups, syscall.SIGHUP)
			defer signal.Stop(hangups)
			cfg.Reload = &Reload{hangups, func() (Config, error) { return a.again(c, role, flags) }, show}
		}
		return runMirror(ctx, cfg)
	})
}

// again reads everything again.
func (a *app) again(c *catalog, role Role, flags []typed) (Config, error) {
	_, layers, err := a.layers(c, flags)
	if err != nil {
		return Config{}, err
	}
	cfg, notices, err := (&resolver{c, role, layers}).resolve()
	for _, n := range notices {
		a.console.Log.Warn(n)
	}
	return cfg, err
}

// layers reads the command line, the environment and the file, and returns
// them with the weakest first.
func (a *app) layers(c *catalog, flags []typed) (meta, []layer, error) {
	var m meta
	var line layer
	for _, t := range flags {
		if o, ok := c.option(t.name); ok && o.envOnly {
			return m, nil, usagef("--%s: this is a secret, and command lines can be read by others: put it into %s", t.name, envName(t.name))
		}
		if _, err := line.addNamed(c, t.name, t.text, t.at()); err != nil {
			return m, nil, err
		}
	}
	if err := c.apply(line.settings, &subject{meta: &m}, scopeMeta, ""); err != nil || m.help || m.version {
		return m, nil, err
	}
	env, err := readEnv(a.environ, c)
	if err != nil {
		return m, nil, err
	}
	m = meta{}
	for _, l := range []layer{env, line} {
		if err := c.apply(l.settings, &subject{meta: &m}, scopeMeta, ""); err != nil {
			return m, nil, err
		}
	}
	layers := []layer{env, line}
	if m.file != "" {
		file, err := readFile(m.file, c)
		if err != nil {
			return m, nil, err
		}
		layers = slices.Insert(layers, 0, file)
	}
	return m, layers, nil
}

func (a *app) print(text string) error {
	_, err := io.WriteString(a.stdout, text)
	return err
}

// cat is the command that shows recordings.
func (a *app) cat() *cli.Command {
	c := catCatalog()
	return a.parse("cat", c, true, func(ctx context.Context, flags []typed, files []string) error {
		cfg := defaultCat()
		m, err := a.small(c, flags, &subject{cat: &cfg}, scopeCat)
		switch {
		case err != nil:
			return err
		case m.help:
			return a.print(helpText(catManual(), c, "", helpDefaults("")))
		case len(files) == 0:
			return usagef("no file: say which, as in kagami cat traffic.gor")
		}
		cfg.Files, cfg.Console = files, a.console
		return runCat(ctx, cfg)
	})
}

// token is the command that says which listeners may stream.
func (a *app) token() *cli.Command {
	c := tokenCatalog()
	return a.parse("token", c, true, func(ctx context.Context, flags []typed, args []string) error {
		var cfg TokenConfig
		m, err := a.small(c, flags, &subject{token: &cfg}, scopeToken)
		switch {
		case err != nil:
			return err
		case m.help:
			return a.print(helpText(tokenManual(), c, "", helpDefaults("")))
		}
		return runToken(ctx, cfg, args, a.console)
	})
}

// health is the command that asks a process how it is.
func (a *app) health() *cli.Command {
	return a.parse("health", healthCatalog(), false, func(ctx context.Context, flags []typed, _ []string) error {
		c := mirrorCatalog()
		m, layers, err := a.layers(c, flags)
		switch {
		case err != nil:
			return err
		case m.help:
			return a.print(helpText(healthManual(), healthCatalog(), "", helpDefaults("")))
		}
		var cfg Config
		for _, l := range layers {
			if err := c.apply(l.settings, &subject{config: &cfg}, scopeProcess, ""); err != nil {
				return err
			}
		}
		return runHealth(ctx, cfg.Admin, a.console)
	})
}

// demo is the command that shows all of it.
func (a *app) demo() *cli.Command {
	c := demoCatalog()
	return a.parse("demo", c, false, func(ctx context.Context, flags []typed, _ []string) error {
		cfg := defaultDemo()
		m, err := a.small(c, flags, &subject{demo: &cfg}, scopeDemo)
		if err != nil {
			return err
		}
		if m.help {
			return a.print(helpText(demoManual(), c, "", helpDefaults("")))
		}
		cfg.Console = a.console
		return runDemo(ctx, cfg)
	})
}

// small sets what a command without inputs and outputs has to know.
func (a *app) small(c *catalog, flags []typed, t *subject, s scope) (meta, error) {
	var m meta
	t.meta = &m
	env, err := readEnv(a.environ, c)
	if err != nil {
		return m, err
	}
	var line layer
	for _, f := range flags {
		if _, err := line.addNamed(c, f.name, f.text, f.at()); err != nil {
			return m, err
		}
	}
	for _, l := range []layer{env, line} {
		if err := c.apply(l.settings, t, s|scopeMeta, ""); err != nil {
			return m, err
		}
	}
	for _, n := range env.notices {
		a.console.Log.Warn(n)
	}
	return m, nil
}

// help is the command that prints the help of another.
func (a *app) help() *cli.Command {
	return a.parse("help", &catalog{options: helpOptions()}, true, func(_ context.Context, _ []typed, args []string) error {
		name := ""
		if len(args) > 0 {
			name = args[0]
		}
		switch name {
		case "":
			return a.print(helpText(manualOf(RoleKagami), mirrorCatalog(), RoleKagami, helpDefaults(RoleKagami)))
		case "listen", "replay":
			return a.print(helpText(manualOf(Role(name)), mirrorCatalog(), Role(name), helpDefaults(Role(name))))
		case "cat":
			return a.print(helpText(catManual(), catCatalog(), "", helpDefaults("")))
		case "token":
			return a.print(helpText(tokenManual(), tokenCatalog(), "", helpDefaults("")))
		case "health":
			return a.print(helpText(healthManual(), healthCatalog(), "", helpDefaults("")))
		case "config":
			return a.print(helpText(configManual(), &catalog{options: append(asOptions(), helpOptions()...)}, "", helpDefaults("")))
		case "doctor":
			return a.print(doctorHelp())
		case "demo":
			return a.print(helpText(demoManual(), demoCatalog(), "", helpDefaults("")))
		}
		return usagef("no help for %s: the commands are listen, replay, cat, token, health, config, doctor and demo", quoteIfOdd(name))
	})
}
