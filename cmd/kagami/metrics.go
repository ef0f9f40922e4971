package main

import (
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"kagami"
)

// A ledgerCollector shows the ledger as Prometheus metrics: the same counters,
// read when they are asked for. docs/metrics.md fixes the names.
type ledgerCollector struct {
	ledger *kagami.Ledger
	in     map[kagami.Unit]*prometheus.Desc
	out    map[kagami.Unit]*prometheus.Desc
	flight map[kagami.Unit]*prometheus.Desc

	kernelShare                   *prometheus.Desc
	cpuShare, cpuLowest, cpuLimit *prometheus.Desc
}

var _ prometheus.Collector = (*ledgerCollector)(nil)

func newLedgerCollector(l *kagami.Ledger) *ledgerCollector {
	c := &ledgerCollector{
		ledger: l,
		in:     map[kagami.Unit]*prometheus.Desc{},
		out:    map[kagami.Unit]*prometheus.Desc{},
		flight: map[kagami.Unit]*prometheus.Desc{},
	}
	c.cpuLimit = prometheus.NewDesc("kagami_cpu_limit_cores", "The CPU limit, in cores.", nil, nil)
	c.cpuShare = prometheus.NewDesc("kagami_cpu_limit_share",
		"The share of the connections that is captured to stay within the CPU limit: 1 is all.", nil, nil)
	c.cpuLowest = prometheus.NewDesc("kagami_cpu_limit_lowest_share", "The lowest kagami_cpu_limit_share since the start.", nil, nil)
	for _, unit := range []kagami.Unit{kagami.Packets, kagami.Connections, kagami.Messages} {
		u := string(unit)
		c.in[unit] = prometheus.NewDesc("kagami_"+u+"_in_total",
			"How many "+u+" came into the stage.", []string{"stage", "output"}, nil)
		c.out[unit] = prometheus.NewDesc("kagami_"+u+"_total",
			"How many "+u+" left the stage: delivered, or dropped for the reason.", []string{"stage", "output", "reason"}, nil)
		c.flight[unit] = prometheus.NewDesc("kagami_"+u+"_in_flight",
			"How many "+u+" the stage holds now.", []string{"stage", "output"}, nil)
	}
	c.kernelShare = prometheus.NewDesc("kagami_kernel_share",
		"What share the kernel lets through to the stage, 0 to 1. What it leaves out is counted nowhere.", []string{"stage", "output", "by"}, nil)
	return c
}

// Describe implements prometheus.Collector.
func (c *ledgerCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.kernelShare
	for unit := range c.in {
		ch <- c.in[unit]
		ch <- c.out[unit]
		ch <- c.flight[unit]
	}
	ch <- c.cpuLimit
	ch <- c.cpuShare
	ch <- c.cpuLowest
}

// Collect implements prometheus.Collector.
func (c *ledgerCollector) Collect(ch chan<- prometheus.Metric) {
	if c.ledger.Shedding != nil {
		l := c.ledger.Shedding()
		for desc, v := range map[*prometheus.Desc]float64{c.cpuLimit: l.Cores, c.cpuShare: l.Share, c.cpuLowest: l.Lowest} {
			ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, v)
		}
	}
	seen := map[string]int{}
	for _, s := range c.ledger.Stages() {
		st := s.Statement()
		name := strings.ToValidUTF8(st.Name, "�") // a file may have any name
		// Two outputs may well have the same address; metrics may not.
		key := strings.Join([]string{st.Stage, st.Name, string(st.Unit)}, "\x00")
		if seen[key]++; seen[key] > 1 {
			name += "#" + strconv.Itoa(seen[key])
		}
		ch <- prometheus.MustNewConstMetric(c.in[st.Unit], prometheus.CounterValue, float64(st.In), st.Stage, name)
		ch <- prometheus.MustNewConstMetric(c.out[st.Unit], prometheus.CounterValue, float64(st.Out), st.Stage, name, kagami.Delivered.String())
		for r, n := range st.Dropped {
			ch <- prometheus.MustNewConstMetric(c.out[st.Unit], prometheus.CounterValue, float64(n), st.Stage, name, r.String())
		}
		for _, k := range st.KernelShare {
			ch <- prometheus.MustNewConstMetric(c.kernelShare, prometheus.GaugeValue, k.Percent/100, st.Stage, name, k.By)
		}
		ch <- prometheus.MustNewConstMetric(c.flight[st.Unit], prometheus.GaugeValue, float64(st.InFlight), st.Stage, name)
	}
}
