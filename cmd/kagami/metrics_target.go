package main

import (
	"github.com/prometheus/client_golang/prometheus"
)

// A targetCollector shows how the targets of http outputs are, read when it
// is asked for.
type targetCollector struct {
	targets func() []target
	up      *prometheus.Desc
}

var _ prometheus.Collector = (*targetCollector)(nil)

func newTargetCollector(targets func() []target) *targetCollector {
	return &targetCollector{targets, prometheus.NewDesc("kagami_target_up",
		"Whether the target of an http output can be reached: 0 while attempts at a connection fail.", []string{"output"}, nil)}
}

// Describe implements prometheus.Collector.
func (c *targetCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.up }

// Collect implements prometheus.Collector.
func (c *targetCollector) Collect(ch chan<- prometheus.Metric) {
	targets := c.targets()
	names := make([]string, len(targets))
	for i, t := range targets {
		names[i] = t.name
	}
	names = seriesNames(names)
	for i, t := range targets {
		up := 0.0
		if t.up() {
			up = 1
		}
		ch <- prometheus.MustNewConstMetric(c.up, prometheus.GaugeValue, up, names[i])
	}
}
