// Kagami copies live HTTP traffic from a production host to staging.
// docs/cli.md describes its commands and flags.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	ctx, drain := context.WithCancel(context.Background())
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, os.Args, os.Environ(), os.Stdout, os.Stderr)
	}()
	os.Exit(wait(done, signals, drain))
}

// wait returns the exit code: that of the command, which the first signal asks
// to drain, or 128 and the signal's number at the second.
func wait(done <-chan int, signals <-chan os.Signal, drain func()) int {
	for draining := false; ; draining = true {
		select {
		case code := <-done:
			return code
		case s := <-signals:
			if draining {
				n, _ := s.(syscall.Signal)
				return 128 + int(n)
			}
			drain()
		}
	}
}
