package main

import (
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// collectors are the metrics beside the ledger's and Go's own.
func (m *mirror) collectors() []prometheus.Collector {
	return append(m.comparison.collectors(),
		newTargetCollector(m.targets), newSenderCollector(m.pipeline),
		newQueueCollector(m.pipeline), newSpoolCollector(m.spools), newNATSCollector(m.pipeline, m.subscribers), m.watchProduction(), newStateCollector(m.state))
}

// seriesNames are names as the ledger's metrics have them: valid UTF-8, and each
// of them once.
func seriesNames(names []string) []string {
	seen := map[string]int{}
	series := make([]string, len(names))
	for i, name := range names {
		series[i] = strings.ToValidUTF8(name, "�")
		if seen[name]++; seen[name] > 1 {
			series[i] += "#" + strconv.Itoa(seen[name])
		}
	}
	return series
}

// A queueCollector shows how full the outputs' queues are.
type queueCollector struct {
	pipeline *pipeline

	messages, maxMessages, bytes, maxBytes, late *prometheus.Desc
}

var _ prometheus.Collector = (*queueCollector)(nil)

func newQueueCollector(p *pipeline) *queueCollector {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("kagami_queue_"+name, help, []string{"output"}, nil)
	}
	return &queueCollector{
		pipeline:    p,
		messages:    desc("messages", "How many messages wait in the output's queue, or are being handed to the output."),
		maxMessages: desc("limit_messages", "How many messages the output's queue holds at most."),
		bytes:       desc("bytes", "How many bytes the messages in the output's queue take."),
		maxBytes:    desc("limit_bytes", "How many bytes the messages in the output's queue may take."),
		late:        desc("late_seconds", "For how long the next message in the output's queue has been due."),
	}
}

// Describe implements prometheus.Collector.
func (c *queueCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.messages, c.maxMessages, c.bytes, c.maxBytes, c.late} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *queueCollector) Collect(ch chan<- prometheus.Metric) {
	names := c.pipeline.seriesOf()
	for _, out := range c.pipeline.lines() {
		d := out.queue.Depth()
		for _, g := range []struct {
			desc  *prometheus.Desc
			value float64
		}{
			{c.messages, float64(d.Messages)}, {c.maxMessages, float64(d.MaxMessages)},
			{c.bytes, float64(d.Bytes)}, {c.maxBytes, float64(d.MaxBytes)},
			{c.late, d.Late.Seconds()},
		} {
			ch <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, g.value, names[out.tally])
		}
	}
}
