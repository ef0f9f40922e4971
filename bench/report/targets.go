package report

import "fmt"

// A Target is what a figure is to come to. It is shown beside the figure; it decides
// nothing.
type Target struct {
	Section, Mode string
	Share         float64
	Metric        string
	AtLeast       bool // else: at most
	Value         float64
}

// Targets are those of the project.
var Targets = targets()

func targets() []Target {
	var all []Target
	keep := func(section, mode string, values ...float64) {
		for i, v := range values {
			all = append(all, Target{section, mode, []float64{10, 20, 50, 100}[i], "kept", true, v})
		}
	}
	for _, mode := range []string{"tcp-request", "tcp-connection", "tcp-request-yielding", "tcp-connection-yielding"} {
		keep("table", mode, 0.97, 0.96, 0.95, 0.93)
		for _, share := range []float64{10, 20, 50, 100} {
			all = append(all, Target{"table", mode, share, "to floor", true, 0.95})
		}
	}
	keep("table", "http", 0.95, 0.93, 0.88, 0.80)
	keep("table", "http-yielding", 0.95, 0.93, 0.88, 0.80)
	atMost := func(section, mode, metric string, v float64) {
		all = append(all, Target{section, mode, 100, metric, false, v})
	}
	const perRequest = "CPU µs/request"
	atMost("table", "tcp-request", perRequest, 6)
	atMost("table", "tcp-connection", perRequest, 6)
	atMost("table", "http", perRequest, 25)
	atMost("keepalive", "tcp-request", perRequest, 2.5)
	atMost("keepalive", "file", perRequest, 1.5)
	all = append(all, Target{"keepalive 200 KB", "http-responses", 10, "kept", true, 0.90})
	for _, mode := range []string{"tcp-request", "file", "http"} {
		atMost("memory", mode, "peak MiB", 64)
		atMost("memory", mode, "dropped", 0)
	}
	atMost("idle", "tcp-request", "% of a core", 0.1)
	for _, mode := range []string{"tcp-request", "http"} {
		atMost("delay", mode, "p99 ms", 50)
	}
	all = append(all, Target{"replay", "max", 100, "to wrk", true, 0.5})
	atMost("replay", "max", perRequest, 20)
	atMost("replay", "5000/s", "p99 error ms", 1)
	return all
}

// verdict is the target of a figure and whether it was met, or "".
func verdict(f *Figure) string {
	for _, t := range Targets {
		if t.Section != f.Section || t.Mode != f.Mode || t.Share != f.Share || t.Metric != f.Metric {
			continue
		}
		sign, met := "≤", f.Median <= t.Value
		if t.AtLeast {
			sign, met = "≥", f.Median >= t.Value
		}
		word := "**missed**"
		if met {
			word = "met"
		}
		return fmt.Sprintf("%s %g: %s", sign, t.Value, word)
	}
	return ""
}
