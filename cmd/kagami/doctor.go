package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"kagami/output"
)

// A verdict is how bad a finding is.
type verdict string

const (
	fine    verdict = "ok"
	unwell  verdict = "warn" // it works, with less than it could have
	missing verdict = "FAIL" // it does not work
)

// A finding is what one look at the host has shown.
type finding struct {
	verdict verdict
	what    string // what was looked at
	says    string
	fix     string // a command that mends it, or what to do; "" where there is nothing to
}

// doctor is the command that says what is missing on this host.
func (a *app) doctor() *cli.Command {
	c := configCatalog()
	return a.parse("doctor", c, false, func(_ context.Context, flags []typed, _ []string) error {
		m, layers, err := a.layers(c, flags)
		switch {
		case err != nil:
			return err
		case m.help:
			return a.print(doctorHelp())
		}
		// Without inputs and outputs it is about capturing anything at all.
		for _, missing := range [][2]string{{"input-raw", ":"}, {"output-null", "true"}} {
			g, _, _, err := c.lookUp(missing[0], missing[1], "--"+missing[0])
			if err != nil {
				return err
			}
			in := missing[0] == "input-raw"
			given := false
			for _, l := range layers {
				given = given || in && len(l.inputs) > 0 || !in && len(l.outputs) > 0
			}
			if !given {
				if err := layers[0].add(g); err != nil {
					return err
				}
			}
		}
		role := m.as
		if role == "" {
			role = RoleKagami
		}
		cfg, _, err := (&resolver{c, role, layers}).resolve()
		if err != nil {
			return err
		}
		return writeFindings(a.stdout, examine(&cfg))
	})
}

func doctorManual() manual {
	return manual{
		does:  "kagami doctor: say what this host lacks for what is to run here, and the command that mends it",
		usage: []string{"kagami doctor [flags]     with the flags of what is to run; exit code 1 if it cannot"},
		examples: []string{
			"kagami doctor",
			"kagami doctor --input-raw eth0:8080 --output-file /var/lib/kagami/cap.gor.gz",
			"kagami doctor --config kagami.yaml",
		},
		more: []string{"Run it as the user, and in the container or the network namespace, that kagami is to run in. The flags are those of kagami, " +
			"listen and replay. Nothing is changed, captured or sent."},
	}
}

func doctorHelp() string {
	return helpText(doctorManual(), &catalog{options: append(asOptions(), helpOptions()...)}, "", helpDefaults(""))
}

// writeFindings prints them, and returns an error if something fails.
func writeFindings(w io.Writer, all []finding) error {
	var b strings.Builder
	failed := 0
	for _, f := range all {
		fmt.Fprintf(&b, "%-5s %-12s %s\n", f.verdict, f.what, f.says)
		if f.fix != "" && f.verdict != fine {
			fmt.Fprintf(&b, "%-18s → %s\n", "", f.fix)
		}
		if f.verdict == missing {
			failed++
		}
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d of what is needed here is missing: see above", failed)
	}
	return nil
}

// examine looks at all that a configuration needs of the host.
func examine(cfg *Config) (all []finding) {
	for i := range cfg.Inputs {
		if in := &cfg.Inputs[i]; in.Kind == InputRaw {
			all = append(all, examineRaw(in)...)
		}
	}
	for i := range cfg.Outputs {
		if out := &cfg.Outputs[i]; out.Kind == OutputFile {
			all = append(all, examineDisk(cfg.Role, out))
		}
	}
	return append(all, examineHost(cfg)...)
}

// examineDisk looks at where a recording is to go.
func examineDisk(role Role, out *OutputConfig) finding {
	f := finding{what: "disk"}
	dir := filepath.Dir(out.Address)
	probe, err := os.CreateTemp(dir, ".kagami-doctor-*")
	if err != nil {
		f.verdict, f.says, f.fix = missing, fmt.Sprintf("%s: nothing can be written there: %v", dir, bareCause(err)), "sudo mkdir -p "+dir+" && sudo chown $(id -u) "+dir
		return f
	}
	if err := errors.Join(probe.Close(), os.Remove(probe.Name())); err != nil {
		return finding{missing, f.what, err.Error(), ""}
	}
	if !output.CanWatchDisk {
		return finding{fine, f.what, dir + ": can be written to", ""}
	}
	free, err := output.FreeDisk(dir)
	switch {
	case err != nil:
		return finding{unwell, f.what, fmt.Sprintf("%s: how much is free: %v", dir, err), ""}
	case free < out.File.MinFree:
		return finding{missing, f.what, fmt.Sprintf("%s: %d MiB are free, and --min-free-disk leaves %d to others", dir, free>>20, out.File.MinFree>>20),
			"df -h " + dir + " shows what is there: make room, or record elsewhere"}
	}
	return finding{fine, f.what, fmt.Sprintf("%s: %d MiB are free", dir, free>>20), ""}
}

// bareCause is an error without what and where.
func bareCause(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
