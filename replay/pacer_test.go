package replay_test

import (
	"math"
	"testing"
	"time"

	"kagami/replay"
)

func TestPacers(t *testing.T) {
	for _, tc := range []struct {
		name   string
		pacer  replay.Pacer
		offset time.Duration
		n      int
		want   time.Duration
	}{
		{"speed 1 is exact", replay.Speed(1), math.MaxInt64 - 1, 0, math.MaxInt64 - 1},
		{"speed 2", replay.Speed(2), 3, 7, 2},
		{"so slow that it never comes", replay.Speed(1e-30), time.Hour, 0, math.MaxInt64},
		{"rate", replay.Rate(200), 0, 7, 35 * time.Millisecond},
		{"rate under one", replay.Rate(0.5), 0, 2, 4 * time.Second},
		{"at once", replay.AtOnce{}, time.Hour, 7, 0},
	} {
		if got := tc.pacer.At(tc.offset, tc.n); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}
