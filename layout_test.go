package kagami_test

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// deps returns the packages that a package of this module needs, itself left
// out, in a build without cgo.
func deps(t *testing.T, pkg string) []string {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list -deps %s: %v", pkg, err)
	}
	all := strings.Fields(string(out))
	return slices.DeleteFunc(all, func(d string) bool { return d == pkg })
}

func imports(deps []string, prefix string) bool {
	return slices.ContainsFunc(deps, func(d string) bool { return d == prefix || strings.HasPrefix(d, prefix+"/") })
}

// Imports point one way: root ◄ internal ◄ capture, filter, output, replay ◄
// cmd; and heavy dependencies stay in the rooms that need them.
func TestImportsPointOneWay(t *testing.T) {
	rooms := []string{"kagami/capture", "kagami/filter", "kagami/output", "kagami/replay"}
	heavy := []string{"github.com/prometheus", "github.com/urfave/cli", "runtime/cgo"}
	for _, room := range rooms {
		d := deps(t, room)
		for _, other := range rooms {
			if other != room && imports(d, other) {
				t.Errorf("%s needs %s: what both need belongs into the root package or into internal", room, other)
			}
		}
		if imports(d, "kagami/cmd") {
			t.Errorf("%s needs the command", room)
		}
		for _, h := range heavy {
			if imports(d, h) {
				t.Errorf("%s needs %s", room, h)
			}
		}
	}
	for _, d := range deps(t, "kagami") {
		if strings.Contains(d, ".") || strings.HasPrefix(d, "kagami/") {
			t.Errorf("the root package needs %s: it is to need the standard library only", d)
		}
	}
	for _, d := range deps(t, "kagami/replay/compare") {
		if strings.HasPrefix(d, "kagami/") {
			t.Errorf("comparing needs %s: it is to need the root package only", d)
		}
	}
	for _, codec := range []string{"kagami/internal/http1", "kagami/internal/gor", "kagami/internal/stream", "kagami/internal/trust", "kagami/internal/journal", "kagami/internal/broker"} {
		for _, room := range rooms {
			if imports(deps(t, codec), room) {
				t.Errorf("%s needs %s", codec, room)
			}
		}
	}
}
