package main

import (
	"runtime/debug"
	"strings"
	"testing"
)

func TestVersionIsNeverEmpty(t *testing.T) {
	vcs := func(modified string) []debug.BuildSetting {
		return []debug.BuildSetting{
			{Key: "vcs.revision", Value: "0123456789abcdef0123"}, {Key: "vcs.time", Value: "2025-04-01T12:00:00Z"}, {Key: "vcs.modified", Value: modified}}
	}
	for _, test := range []struct {
		name string
		set  string
		info *debug.BuildInfo
		want string
	}{
		{"by the linker", "v1.2.3", &debug.BuildInfo{Main: debug.Module{Version: "v9.9.9"}}, "kagami v1.2.3 ("},
		{"by go install", "", &debug.BuildInfo{Main: debug.Module{Version: "v0.9.0"}}, "kagami v0.9.0 ("},
		{"by go build in a clone", "", &debug.BuildInfo{Main: debug.Module{Version: "(devel)"}, Settings: vcs("false")},
			"kagami 0123456789ab of 2025-04-01T12:00:00Z ("},
		{"in a changed clone", "", &debug.BuildInfo{Settings: vcs("true")}, "kagami 0123456789ab-dirty of"},
		{"without version control", "", &debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, "kagami devel ("},
		{"without anything", "", nil, "kagami devel ("},
	} {
		if got := versionText(test.set, test.info); !strings.HasPrefix(got, test.want) {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}
