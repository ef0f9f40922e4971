package live_test

import (
	"strings"
	"testing"
	"time"

	"kagami/capture/live"
)

func TestOpenRefusesConfig(t *testing.T) {
	for _, c := range []struct {
		name, want string
		cfg        live.Config
	}{
		{"no interface", "no interface", live.Config{}},
		{"snaplen", "snaplen of 262145", live.Config{Interface: "lo", Snaplen: 262145}},
		{"negative snaplen", "snaplen of -1", live.Config{Interface: "lo", Snaplen: -1}},
		{"buffer", "buffer of 4294967296 bytes", live.Config{Interface: "lo", BufferSize: 1 << 32}},
		{"negative buffer", "buffer of -1 bytes", live.Config{Interface: "lo", BufferSize: -1}},
		{"short timeout", "timeout of 1µs", live.Config{Interface: "lo", Timeout: time.Microsecond}},
		{"long timeout", "timeout of 1h0m0s", live.Config{Interface: "lo", Timeout: time.Hour}},
	} {
		if s, err := live.Open(c.cfg); err == nil {
			s.Close()
			t.Errorf("%s: no error", c.name)
		} else if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %q, want %q in it", c.name, err, c.want)
		}
	}
}
