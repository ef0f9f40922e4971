package main

import (
	"github.com/prometheus/client_golang/prometheus"
)

// A natsCollector shows what outputs publish to brokers, and inputs take from them.
type natsCollector struct {
	pipeline    *pipeline
	subscribers []subscriber

	batches, bytes, retries        *prometheus.Desc
	shards, replayers, backlog     *prometheus.Desc
	inDoubt, duplicates, takenOver *prometheus.Desc
}

var _ prometheus.Collector = (*natsCollector)(nil)

func newNATSCollector(p *pipeline, s []subscriber) *natsCollector {
	desc := func(label, name, help string) *prometheus.Desc {
		return prometheus.NewDesc("kagami_nats_"+name, help, []string{label}, nil)
	}
	return &natsCollector{
		pipeline: p, subscribers: s,
		batches:    desc("output", "published_batches_total", "How many batches the broker has acknowledged."),
		bytes:      desc("output", "published_bytes_total", "How many bytes they had, headers aside."),
		retries:    desc("output", "retries_total", "How many times a batch was published again, for the broker did not acknowledge it."),
		shards:     desc("input", "shards", "How many shards of the stream this replayer holds."),
		replayers:  desc("input", "replayers", "How many replayers of the group live, this one included."),
		backlog:    desc("input", "backlog_batches", "How many batches wait at the broker in the shards that this replayer holds."),
		inDoubt:    desc("input", "in_doubt_total", "How many messages a replayer that died may have sent already, sent again or dropped."),
		duplicates: desc("input", "duplicates_total", "How many messages were published twice, and left out here."),
		takenOver:  desc("input", "taken_over_total", "How many shards were taken over from replayers that died."),
	}
}

// Describe implements prometheus.Collector.
func (c *natsCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.batches, c.bytes, c.retries, c.shards, c.replayers, c.backlog, c.inDoubt, c.duplicates, c.takenOver} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *natsCollector) Collect(ch chan<- prometheus.Metric) {
	count := func(d *prometheus.Desc, n int64, name string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), name)
	}
	gauge := func(d *prometheus.Desc, n int64, name string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), name)
	}
	series := c.pipeline.seriesOf()
	for _, out := range c.pipeline.lines() {
		if out.published == nil {
			continue
		}
		s, name := out.published(), series[out.tally]
		count(c.batches, s.Batches, name)
		count(c.bytes, s.Bytes, name)
		count(c.retries, s.Retries, name)
	}
	var names []string
	for _, s := range c.subscribers {
		names = append(names, s.name)
	}
	names = seriesNames(names)
	for i, x := range c.subscribers {
		s, name := x.stats(), names[i]
		gauge(c.shards, int64(s.Shards), name)
		gauge(c.replayers, int64(s.Replayers), name)
		gauge(c.backlog, s.Backlog, name)
		count(c.inDoubt, s.InDoubt, name)
		count(c.duplicates, s.Duplicate, name)
		count(c.takenOver, s.TakenOver, name)
	}
}
