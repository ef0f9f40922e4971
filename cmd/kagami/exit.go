package main

import (
	"errors"
	"fmt"
)

// The exit codes. docs/cli.md lists them.
const (
	exitDone       = 0
	exitFailed     = 1
	exitUsage      = 2
	exitThreshold  = 3 // a threshold that the user set was crossed
	exitUnbalanced = 4 // the ledger does not balance
)

// A usageError says that the command line, the environment or the
// configuration file asks for something that cannot be; its text says what
// would do instead.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// usagef returns a usageError with a text made as by fmt.Errorf.
func usagef(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

// An exitError ends the process with a code of its own.
type exitError struct {
	Code int
	Err  error
}

func (e exitError) Error() string { return e.Err.Error() }
func (e exitError) Unwrap() error { return e.Err }

// exitCode is the code that the process ends with after err.
func exitCode(err error) int {
	var exit exitError
	var usage usageError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &exit):
		return exit.Code
	case errors.As(err, &usage):
		return exitUsage
	}
	return exitFailed
}
