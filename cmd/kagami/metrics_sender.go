package main

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kagami/output"
)

// A senderCollector shows what was sent to each target, and what it answered.
type senderCollector struct {
	pipeline *pipeline

	requests, responses, retries, connects *prometheus.Desc
	failures                               *prometheus.Desc
	connections, waiting                   *prometheus.Desc
	latency, lag                           *prometheus.Desc
	sockets, asked, frames, ends           *prometheus.Desc
}

var _ prometheus.Collector = (*senderCollector)(nil)

func newSenderCollector(p *pipeline) *senderCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("kagami_target_"+name, help, append([]string{"output"}, labels...), nil)
	}
	return &senderCollector{
		pipeline:    p,
		requests:    desc("requests_total", "How many requests were sent, those sent again and those a redirect led to included."),
		responses:   desc("responses_total", "How many answers came, by the class of their status.", "class"),
		failures:    desc("failures_total", "How many requests got no whole answer, by why that was.", "cause"),
		retries:     desc("retries_total", "How many requests were sent again, for their connection turned out to be closed."),
		connects:    desc("connects_total", "How many attempts at a connection there were, by how they went.", "result"),
		connections: desc("connections", "How many connections there are, by what they do.", "state"),
		waiting:     desc("waiting_requests", "How many requests wait for a connection, or for their turn."),
		latency:     desc("latency_seconds", "How long answers took, from when the request was due to the last byte."),
		lag:         desc("lag_seconds", "How much later than it was due a request was sent."),
		sockets:     desc("websockets", "How many WebSockets are open, or being opened."),
		asked:       desc("websockets_total", "How many requests for a WebSocket there were, by how they went.", "result"),
		frames:      desc("websocket_frames_total", "How many frames of WebSockets were sent and received.", "direction"),
		ends:        desc("websocket_ends_total", "How many WebSockets ended, by what ended them.", "by"),
	}
}

// Describe implements prometheus.Collector.
func (c *senderCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.requests, c.responses, c.failures, c.retries, c.connects, c.connections, c.waiting, c.latency, c.lag,
		c.sockets, c.asked, c.frames, c.ends} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *senderCollector) Collect(ch chan<- prometheus.Metric) {
	names := c.pipeline.seriesOf()
	for _, out := range c.pipeline.lines() {
		if out.stats == nil {
			continue
		}
		name, st := names[out.tally], out.stats()
		count := func(d *prometheus.Desc, n uint64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), append([]string{name}, labels...)...)
		}
		gauge := func(d *prometheus.Desc, n int, labels ...string) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), append([]string{name}, labels...)...)
		}
		count(c.requests, st.Requests)
		for i, n := range st.Answers {
			count(c.responses, n, statusClass(i))
		}
		for failure, n := range st.Failures {
			count(c.failures, n, output.HTTPFailure(failure).String())
		}
		count(c.retries, st.Retries)
		count(c.connects, st.Connected, "ok")
		count(c.connects, st.ConnectFailed, "failed")
		gauge(c.connections, st.Busy, "busy")
		gauge(c.connections, max(st.Open-st.Busy, 0), "idle")
		gauge(c.waiting, st.Waiting)
		ws := st.WebSockets
		gauge(c.sockets, ws.Open)
		count(c.asked, ws.Accepted, "accepted")
		count(c.asked, ws.Refused, "refused")
		count(c.asked, ws.Failed, "failed")
		count(c.frames, ws.Sent, "sent")
		count(c.frames, ws.Received, "received")
		for end, n := range ws.Ended {
			count(c.ends, n, output.WSEnd(end).String())
		}
		ch <- histogram(c.latency, output.LatencyBounds(), st.Latency, st.LatencySum, name)
		ch <- histogram(c.lag, output.LagBounds(), st.Lag, st.LagSum, name)
	}
}

// statusClass is the class of the statuses that output.HTTPStats counts at i.
func statusClass(i int) string {
	if i == 0 {
		return "other"
	}
	return strconv.Itoa(i) + "xx"
}

// histogram makes a histogram of counts, each of its own bucket alone.
func histogram(d *prometheus.Desc, bounds []time.Duration, counts []uint64, sum time.Duration, labels ...string) prometheus.Metric {
	buckets := make(map[float64]uint64, len(bounds))
	var n uint64
	for i, count := range counts {
		n += count
		if i < len(bounds) {
			buckets[bounds[i].Seconds()] = n
		}
	}
	return prometheus.MustNewConstHistogram(d, n, sum.Seconds(), buckets, labels...)
}
