package main

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"kagami/replay/compare"
)

// maxEndpointLabels is how many endpoints have a series of their own; the rest is "other".
const maxEndpointLabels = 100

// compareCounts counts verdicts for Prometheus. docs/metrics.md fixes the names.
type compareCounts struct {
	compared, notCompared, differences *prometheus.Desc

	state *compareState
}

type compareState struct {
	mu          sync.Mutex
	compared    int64
	notCompared map[string]int64 // by reason, of which there are few
	differences map[string]int64 // by endpoint
}

var _ prometheus.Collector = compareCounts{}

func newCompareCounts() compareCounts {
	return compareCounts{
		compared: prometheus.NewDesc("kagami_compared_total", "How many exchanges were compared.", nil, nil),
		notCompared: prometheus.NewDesc("kagami_not_compared_total",
			"How many exchanges could not be compared, for the reason.", []string{"reason"}, nil),
		differences: prometheus.NewDesc("kagami_differences_total",
			"How many exchanges were compared whose answers differ.", []string{"endpoint"}, nil),
		state: &compareState{notCompared: map[string]int64{}, differences: map[string]int64{}},
	}
}

// add counts a verdict.
func (c compareCounts) add(v *compare.Verdict) {
	s := c.state
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.Outcome == compare.NotCompared {
		s.notCompared[v.Reason]++
		return
	}
	s.compared++
	if v.Outcome == compare.Different {
		endpoint := v.Endpoint
		if _, known := s.differences[endpoint]; !known && len(s.differences) >= maxEndpointLabels {
			endpoint = "other"
		}
		s.differences[endpoint]++
	}
}

// collectors are the metrics of comparing; none of a nil comparison.
func (c *comparison) collectors() []prometheus.Collector {
	if c == nil {
		return nil
	}
	return []prometheus.Collector{c.tally}
}

// Describe implements prometheus.Collector.
func (c compareCounts) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.compared
	ch <- c.notCompared
	ch <- c.differences
}

// Collect implements prometheus.Collector.
func (c compareCounts) Collect(ch chan<- prometheus.Metric) {
	s := c.state
	s.mu.Lock()
	defer s.mu.Unlock()
	ch <- prometheus.MustNewConstMetric(c.compared, prometheus.CounterValue, float64(s.compared))
	for reason, n := range s.notCompared {
		ch <- prometheus.MustNewConstMetric(c.notCompared, prometheus.CounterValue, float64(n), reason)
	}
	for endpoint, n := range s.differences {
		ch <- prometheus.MustNewConstMetric(c.differences, prometheus.CounterValue, float64(n), endpoint)
	}
}
