package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"kagami"
	"kagami/output"
)

// A latencyObserver is told latencies, in seconds.
type latencyObserver interface{ Observe(seconds float64) }

// watchProduction has the inputs that bring production's answers measure how long
// they took.
func (m *mirror) watchProduction() prometheus.Collector {
	var buckets []float64
	for _, b := range output.LatencyBounds() {
		buckets = append(buckets, b.Seconds())
	}
	latency := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "kagami_production_latency_seconds",
		Help:    "How long production took, from the first byte of the request to the last of the answer.",
		Buckets: buckets,
	}, []string{"input"})
	names := make([]string, len(m.inputs))
	for i, in := range m.inputs {
		names[i] = in.name
	}
	names = seriesNames(names)
	for i, cfg := range m.cfg.Inputs {
		if cfg.bringsAnswers() {
			m.inputs[i].production = latency.WithLabelValues(names[i])
		}
	}
	return latency
}

// observe measures how long production took over what answers are among ms, all of
// which passed the input's filters, as the requests did that go to staging. An
// answer that comes before its request, or without its end, is not measured.
func (l *inputLine) observe(ms []*kagami.Message) {
	if l.production == nil {
		return
	}
	for _, m := range ms {
		if m.Proto != kagami.HTTP1 && m.Proto != kagami.HTTP2 {
			continue
		}
		switch m.Kind {
		case kagami.Request:
			m.Exchange.SetBegun(m.Start)
		case kagami.Response:
			begun, known := m.Exchange.Begun()
			if known && m.Flags&kagami.Incomplete == 0 {
				l.production.Observe(max(m.End.Sub(begun).Seconds(), 0))
			}
		}
	}
}
