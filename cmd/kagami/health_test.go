package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("no space left") }

// A process is healthy until an output breaks for good, or its inputs have ended.
func TestHealthOfAProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "traffic.gor")
	if err := os.WriteFile(path, []byte(recording()), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := mirrorOf(t, RoleKagami, "input-file", path, "output-stdout", "true", "output-null", "true", "admin", "127.0.0.1:0")
	cfg.Console.Stdout = brokenWriter{}
	m, err := newMirror(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer m.stopAdmin()
	wantHealth(t, m, exitDone, "ok")
	if err := m.pipeline.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.shutdown(context.Background()) // so that all has been written, or not
	wantHealth(t, m, exitFailed, "not healthy: stdout: ", "no space left")
	m.ending.Store(true)
	wantHealth(t, m, exitFailed, "not healthy: ending: ", "no space left")
}

func wantHealth(t *testing.T, m *mirror, code int, texts ...string) {
	t.Helper()
	var said bytes.Buffer
	err := runHealth(t.Context(), m.admin.listener.Addr().String(), Console{Stdout: &said, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		said.WriteString(err.Error())
	}
	if got := exitCode(err); got != code {
		t.Errorf("exit code %d, want %d: %s", got, code, &said)
	}
	for _, text := range texts {
		if !strings.Contains(said.String(), text) {
			t.Errorf("says %q, want %q in it", &said, text)
		}
	}
}

// Something else at that port is neither healthy nor ill: it is not ours.
func TestHealthOfAnotherServer(t *testing.T) {
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	err := runHealth(t.Context(), other.Listener.Addr().String(), Console{Stdout: &bytes.Buffer{}})
	if code := exitCode(err); code != exitFailed || !strings.Contains(err.Error(), "404 Not Found: is this kagami's --admin?") {
		t.Errorf("exit code %d: %v", code, err)
	}
}
