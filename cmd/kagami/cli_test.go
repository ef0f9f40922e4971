package main

import (
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"kagami": main, "gor": main})
}

// Each script says at its top what it guards.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			// The race detector would sleep a second at each exit.
			e.Setenv("GORACE", "atexit_sleep_ms=0")
			testdata, err := filepath.Abs("testdata")
			e.Setenv("TESTDATA", testdata)
			e.Setenv("DOCS", filepath.Join(testdata, "../../../docs"))
			return err
		},
	})
}

func TestWaitDrainsAtTheFirstSignalAndEndsAtTheSecond(t *testing.T) {
	drained := 0
	drain := func() { drained++ }

	done := make(chan int, 1)
	done <- 4
	if code := wait(done, make(chan os.Signal), drain, 0); code != 4 || drained != 0 {
		t.Errorf("no signal: exit %d, drained %d times: want 4, none", code, drained)
	}

	signals := make(chan os.Signal, 2)
	signals <- syscall.SIGTERM
	if code := wait(done, signals, func() { drain(); done <- 0 }, 0); code != 0 || drained != 1 {
		t.Errorf("one signal: exit %d, drained %d times: want 0, once", code, drained)
	}

	signals <- os.Interrupt
	signals <- syscall.SIGTERM
	if code := wait(nil, signals, drain, 0); code != 128+15 || drained != 2 {
		t.Errorf("two signals: exit %d, drained %d times: want 143, once more", code, drained)
	}

	// One signal that came twice is one signal.
	signals <- os.Interrupt
	signals <- os.Interrupt
	ends := func() {
		drain()
		go func() {
			for len(signals) > 0 {
				runtime.Gosched()
			}
			done <- 0
		}()
	}
	if code := wait(done, signals, ends, time.Hour); code != 0 || drained != 3 {
		t.Errorf("a signal twice: exit %d, drained %d times: want 0, once more", code, drained)
	}
}
