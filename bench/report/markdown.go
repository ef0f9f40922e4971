package report

import (
	"fmt"
	"slices"
	"strings"
)

// titles of the sections, in the order they are shown in.
var titles = [][2]string{
	{"table", "A connection for each request (`ab -n 10000 -c 100`, no keep-alive)"},
	{"keepalive", "Keep-alive (`wrk -t1 -c32`, answers of 1 KB)"},
	{"keepalive 200 KB", "Keep-alive, answers of 200 KB"},
	{"memory", "At full rate for a minute"},
	{"idle", "Idle"},
	{"delay", "From a request to its copy's arrival"},
	{"engines", "Engines, a connection for each request"},
	{"engines keep-alive", "Engines, keep-alive"},
	{"limit", "Under a CPU limit, a third of what the load needs"},
	{"replay", "Replay from a file: as fast as it goes beside `wrk -c32` on the same processor; and at a set rate"},
	{"profile", "While profiles were taken"},
}

// Markdown is all figures in tables, under headings of the third level.
func (r *Results) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Measured %s by `go run ./bench/run %s` with %s on %s (%d cores), %s, kernel %s, %s.\n",
		r.When.Format("2006-01-02 15:04 MST"), r.Setting, r.Version, r.Machine.CPU, r.Machine.Cores, r.Machine.System, r.Machine.Kernel, r.Machine.Go)
	for _, t := range titles {
		if r.has(t[0]) {
			fmt.Fprintf(&b, "\n### %s\n\n", t[1])
			if t[0] == "table" {
				r.byShare(&b, t[0], "kept", "Throughput kept: requests a second, to those without a listener just before and after")
				r.byShare(&b, t[0], "to floor", "The same, to what the counting floor keeps")
				r.byShare(&b, t[0], "CPU µs/request", "CPU time of the listener, µs for each of production's requests")
				r.byShare(&b, t[0], "requests/s", "Requests a second")
				r.byShare(&b, t[0], "core busy", "How much of production's processor was used: far below 1, the load was the limit")
				r.byShare(&b, t[0], "dropped", "Requests dropped in a run, whatever the reason")
				continue
			}
			r.byMetric(&b, t[0])
		}
	}
	list(&b, "Not measured", r.Skipped)
	list(&b, "Notes", r.Notes)
	return b.String()
}

func list(b *strings.Builder, title string, lines []string) {
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(b, "\n### %s\n\n", title)
	for _, l := range lines {
		fmt.Fprintf(b, "- %s\n", strings.Join(strings.Fields(l), " "))
	}
}

func (r *Results) has(section string) bool {
	return slices.ContainsFunc(r.Figures, func(f *Figure) bool { return f.Section == section })
}

// byShare is one metric: a row for each mode, a column for each share.
func (r *Results) byShare(b *strings.Builder, section, metric, title string) {
	var modes []string
	var shares []float64
	for _, f := range r.Figures {
		if f.Section == section && f.Metric == metric {
			modes, shares = appendOnce(modes, f.Mode), appendOnce(shares, f.Share)
		}
	}
	if len(modes) == 0 {
		return
	}
	slices.Sort(shares)
	fmt.Fprintf(b, "%s:\n\n| |", title)
	for _, s := range shares {
		fmt.Fprintf(b, " %g %% |", s)
	}
	fmt.Fprintf(b, "\n| --- |%s\n", strings.Repeat(" --- |", len(shares)))
	for _, m := range modes {
		fmt.Fprintf(b, "| %s |", Name(m))
		for _, s := range shares {
			fmt.Fprintf(b, " %s |", cell(r.Find(section, m, s, metric)))
		}
		b.WriteString("\n")
	}
	b.WriteString("\n")
}

// byMetric is a row for each mode and share, and a line for each metric.
func (r *Results) byMetric(b *strings.Builder, section string) {
	fmt.Fprintf(b, "| | share | figure | median (min – max) | target |\n| --- | --- | --- | --- | --- |\n")
	var keys []string
	for _, f := range r.Figures {
		if f.Section == section {
			keys = appendOnce(keys, fmt.Sprintf("%s %g", f.Mode, f.Share))
		}
	}
	for _, key := range keys {
		name := ""
		for _, f := range r.Figures {
			if f.Section != section || fmt.Sprintf("%s %g", f.Mode, f.Share) != key {
				continue
			}
			share := fmt.Sprintf("%g %%", f.Share)
			if n := Name(f.Mode); n != name {
				name = n
			} else {
				n, share = "", ""
				fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", n, share, f.Metric, spread(f), verdict(f))
				continue
			}
			fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", name, share, f.Metric, spread(f), verdict(f))
		}
	}
}

func appendOnce[T comparable](all []T, v T) []T {
	if slices.Contains(all, v) {
		return all
	}
	return append(all, v)
}

func cell(f *Figure) string {
	if f == nil {
		return "–"
	}
	if v := verdict(f); v != "" {
		return spread(f) + "<br>" + v
	}
	return spread(f)
}

// spread is a figure's median, and between which values it lies.
func spread(f *Figure) string {
	if len(f.Values) == 1 {
		return number(f.Median)
	}
	return fmt.Sprintf("%s (%s – %s)", number(f.Median), number(f.Min), number(f.Max))
}

// number shows three significant digits, and whole numbers whole.
func number(v float64) string {
	switch a := max(v, -v); {
	case a >= 100 || v == float64(int64(v)):
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	case a >= 0.1:
		return fmt.Sprintf("%.2f", v)
	default:
		return fmt.Sprintf("%.3f", v)
	}
}

// Name is what a reader calls a mode.
func Name(mode string) string {
	switch mode {
	case "none":
		return "no listener"
	case "floor":
		return "floor: packets counted only"
	case "http":
		return "one process, to HTTP"
	case "http-responses":
		return "one process, to HTTP, answers captured too"
	case "tcp-request":
		return "listen → replay, by request"
	case "tcp-connection":
		return "listen → replay, by connection"
	case "tcp-request-yielding":
		return "listen → replay, by request, which yields to the client"
	case "tcp-connection-yielding":
		return "listen → replay, by connection, which yields to the client"
	case "http-yielding":
		return "one process, to HTTP, staging yields to the client"
	case "tcp-request-null":
		return "listen → a replayer that only receives"
	case "file":
		return "to a file"
	case "nginx-mirror":
		return "nginx's mirror directive"
	case "gor-tcp":
		return "GoReplay, two processes"
	case "gor-http":
		return "GoReplay, one process"
	}
	return mode
}
