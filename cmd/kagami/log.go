package main

import (
	"io"
	"log/slog"
	"os"

	"golang.org/x/term"
)

// newConsole returns where a command talks. format "" is text on a terminal
// and JSON elsewhere; the larger verbose is, the more is logged.
func newConsole(stdout, stderr io.Writer, format string, verbose int) (Console, string) {
	c := Console{Stdout: stdout, Stderr: stderr, Terminal: isTerminal(stderr)}
	if format == "" {
		format = "json"
		if c.Terminal {
			format = "text"
		}
	}
	options := &slog.HandlerOptions{Level: slog.LevelInfo - slog.Level(4*verbose)}
	if format == "json" {
		c.Log = slog.New(slog.NewJSONHandler(stderr, options))
	} else {
		c.Log = slog.New(slog.NewTextHandler(stderr, options))
	}
	return c, format
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
