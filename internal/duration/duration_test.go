package duration_test

import (
	"testing"
	"time"

	"kagami/internal/duration"
)

func TestText(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 10 * time.Second: "10s", time.Minute: "1m", 90 * time.Second: "1m30s", time.Hour: "1h", 10 * time.Minute: "10m",
		time.Hour + time.Minute: "1h1m", time.Hour + time.Second: "1h0m1s", -time.Minute: "-1m", 1500 * time.Microsecond: "1.5ms",
	} {
		got := duration.Text(d)
		if back, err := time.ParseDuration(got); got != want || err != nil || back != d {
			t.Errorf("%v is %q (read as %v, %v), want %q", d, got, back, err, want)
		}
	}
}
