package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kagami"
	"kagami/internal/testbed"
)

// commandsIn are the commands of a page of the documentation: its indented lines.
func commandsIn(t *testing.T, page string) []string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "docs", page))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for line := range strings.Lines(string(b)) {
		if command, ok := strings.CutPrefix(line, "    "); ok {
			all = append(all, strings.TrimSpace(command))
		}
	}
	return all
}

// asTyped returns a command that runs what a user types in a namespace, in the
// directory dir, with kagami and sudo in the path.
func asTyped(t *testing.T, ns, dir, line string) *exec.Cmd {
	t.Helper()
	bin := t.TempDir()
	if err := os.Symlink(testbed.Binary, filepath.Join(bin, "kagami")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bin, "sudo"), []byte("#!/bin/sh\nexec \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := testbed.In(ns, "sh", "-c", "exec "+line)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	return cmd
}

// readStatement reads a ledger that was written at a path of our own, and expects it to balance.
func readStatement(t *testing.T, path string) (st kagami.Statement) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, &st)
	}
	if err != nil || !st.Balanced {
		t.Fatalf("%s: %v, %v", path, err, st.Faults)
	}
	return st
}
