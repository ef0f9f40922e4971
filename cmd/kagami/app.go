package main

import (
	"context"
	"io"

	"github.com/urfave/cli/v2"
)

// run runs the command that args ask for and returns the exit code.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	app := &cli.App{Name: "kagami", HideHelp: true}
	return exitCode(app.RunContext(ctx, args))
}
