package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is set by the linker, with -X main.version=…
var version string

// versionText says which Kagami this is. It is never empty: what the linker
// did not set, the build may know.
func versionText(set string, info *debug.BuildInfo) string {
	v := set
	if v == "" && info != nil {
		v = buildVersion(info)
	}
	if v == "" {
		v = "devel"
	}
	return fmt.Sprintf("kagami %s (%s %s/%s)", v, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// buildVersion is the module's version, or else the commit it was built from.
func buildVersion(info *debug.BuildInfo) string {
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	v := settings["vcs.revision"]
	if len(v) > 12 {
		v = v[:12]
	}
	if v != "" && settings["vcs.modified"] == "true" {
		v += "-dirty"
	}
	if at := settings["vcs.time"]; v != "" && at != "" {
		v += " of " + at
	}
	return v
}
