package main

import "github.com/prometheus/client_golang/prometheus"

// A spoolCollector shows how full the spools are.
type spoolCollector struct {
	spools []spoolLine

	bytes, maxBytes, age *prometheus.Desc
}

var _ prometheus.Collector = (*spoolCollector)(nil)

func newSpoolCollector(spools []spoolLine) *spoolCollector {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("kagami_spool_"+name, help, []string{"output"}, nil)
	}
	return &spoolCollector{
		spools:   spools,
		bytes:    desc("bytes", "How large the files of the spool are."),
		maxBytes: desc("limit_bytes", "How large the files of the spool may be."),
		age:      desc("age_seconds", "How old the oldest messages in the spool are, about."),
	}
}

// Describe implements prometheus.Collector.
func (c *spoolCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.bytes, c.maxBytes, c.age} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *spoolCollector) Collect(ch chan<- prometheus.Metric) {
	names := make([]string, len(c.spools))
	for i, s := range c.spools {
		names[i] = s.name
	}
	names = seriesNames(names)
	for i, s := range c.spools {
		st, _ := s.tcp.Spool()
		ch <- prometheus.MustNewConstMetric(c.bytes, prometheus.GaugeValue, float64(st.Bytes), names[i])
		ch <- prometheus.MustNewConstMetric(c.maxBytes, prometheus.GaugeValue, float64(st.Limit), names[i])
		ch <- prometheus.MustNewConstMetric(c.age, prometheus.GaugeValue, st.Age.Seconds(), names[i])
	}
}
