//go:build !cgo

package live_test

import (
	"strings"
	"testing"

	"kagami/capture/live"
)

// Without cgo, what cannot work says how it would.
func TestNotBuilt(t *testing.T) {
	_, open := live.Open(live.Config{Interface: "lo"})
	_, devices := live.Devices()
	_, compile := live.Compile("tcp", 1)
	for name, err := range map[string]error{"Open": open, "Devices": devices, "Compile": compile} {
		if err == nil || !strings.Contains(err.Error(), "CGO_ENABLED=1") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}
