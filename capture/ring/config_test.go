package ring

import (
	"strings"
	"testing"
	"time"
)

func TestWithDefaults(t *testing.T) {
	cfg, err := Config{Interface: Any}.withDefaults()
	if err != nil || cfg.BufferSize != 16<<20 || cfg.Timeout != 20*time.Millisecond {
		t.Errorf("%+v, %v", cfg, err)
	}
	for _, cfg := range []Config{
		{Interface: "lo", BufferSize: 1, Timeout: time.Millisecond},
		{Interface: "lo", BufferSize: 1 << 30, Timeout: time.Minute},
	} {
		got, err := cfg.withDefaults()
		if err != nil || got.BufferSize != cfg.BufferSize || got.Timeout != cfg.Timeout {
			t.Errorf("%+v: %+v, %v", cfg, got, err)
		}
	}
	for _, test := range []struct {
		cfg  Config
		want string
	}{
		{Config{}, "no interface"},
		{Config{Interface: "lo", BufferSize: -1}, "buffer of -1 bytes"},
		{Config{Interface: "lo", BufferSize: 1<<30 + 1}, "buffer of 1073741825 bytes"},
		{Config{Interface: "lo", Timeout: time.Millisecond - 1}, "timeout of 999.999µs"},
		{Config{Interface: "lo", Timeout: -time.Second}, "timeout of -1s"},
		{Config{Interface: "lo", Timeout: time.Minute + 1}, "timeout of 1m0.000000001s"},
	} {
		if _, err := test.cfg.withDefaults(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, want %q", test.cfg, err, test.want)
		}
	}
}
