// Package duration writes durations as people do.
package duration

import (
	"strings"
	"time"
)

// Text is d as [time.ParseDuration] reads it, without the zeros that its String ends in: "1m", not "1m0s".
func Text(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
