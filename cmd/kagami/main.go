// Kagami copies live HTTP traffic from a production host to staging.
// docs/cli.md describes its commands and flags.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	ctx, drain := context.WithCancel(context.Background())
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, os.Args, os.Environ(), os.Stdout, os.Stderr)
	}()
	os.Exit(wait(done, signals, drain, sameSignal))
}

// sameSignal is how soon after the first a signal is still the same one: what
// runs us (timeout, sudo) may pass on what its process group got already.
const sameSignal = 300 * time.Millisecond

// wait returns the exit code: that of the command, which the first signal asks
// to drain, or 128 and the signal's number at the second, if that comes later than
// same after the first.
func wait(done <-chan int, signals <-chan os.Signal, drain func(), same time.Duration) int {
	var first time.Time
	for {
		select {
		case code := <-done:
			return code
		case s := <-signals:
			switch {
			case first.IsZero():
				first = time.Now()
				drain()
			case time.Since(first) >= same:
				n, _ := s.(syscall.Signal)
				return 128 + int(n)
			}
		}
	}
}
