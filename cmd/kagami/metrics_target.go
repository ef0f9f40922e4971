package main

import (
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// A targetCollector shows how the targets of http outputs are, read when it
// is asked for.
type targetCollector struct {
	targets []target
	up      *prometheus.Desc
}

var _ prometheus.Collector = (*targetCollector)(nil)

func newTargetCollector(targets []target) *targetCollector {
	return &targetCollector{targets, prometheus.NewDesc("kagami_target_up",
		"Whether the target of an http output can be reached: 0 while attempts at a connection fail.", []string{"output"}, nil)}
}

// Describe implements prometheus.Collector.
func (c *targetCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.up }

// Collect implements prometheus.Collector.
func (c *targetCollector) Collect(ch chan<- prometheus.Metric) {
	seen := map[string]int{}
	for _, t := range c.targets {
		name := strings.ToValidUTF8(t.name, "�")
		if seen[name]++; seen[name] > 1 { // as in the ledger
			name += "#" + strconv.Itoa(seen[name])
		}
		up := 0.0
		if t.up() {
			up = 1
		}
		ch <- prometheus.MustNewConstMetric(c.up, prometheus.GaugeValue, up, name)
	}
}
