package main

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kagami"
	"kagami/capture"
)

// endless is a source that has nothing.
type endless struct{}

func (endless) Next() (capture.Packet, error) { select {} }

// fakeSieve is a kernel.
type fakeSieve struct {
	shares []kagami.Share
	err    error
}

func (f *fakeSieve) shed(s kagami.Share) error {
	f.shares = append(f.shares, s)
	return f.err
}

// limited is a limiter of 10 % whose process uses load × share cores.
type limited struct {
	*cpuLimiter
	kernel *fakeSieve
	log    bytes.Buffer
	now    time.Duration
	cpu    time.Duration
}

func newLimited(t *testing.T) *limited {
	t.Helper()
	l, err := capture.New(capture.Config{}, endless{})
	if err != nil {
		t.Fatal(err)
	}
	d := &limited{kernel: &fakeSieve{}}
	d.cpuLimiter, err = newCPULimiter(0.1, shedSalt(0), slog.New(slog.NewTextHandler(&d.log, nil)), []shedder{{l, d.kernel}})
	if err != nil {
		t.Fatal(err)
	}
	d.cpuTime = func() time.Duration { return d.cpu }
	return d
}

// pass lets time pass under a load and a fixed cost, in cores.
func (d *limited) pass(seconds int, load, fixed float64) {
	for range seconds * 4 {
		d.now += cpuPeriod
		d.cpu += time.Duration((fixed + load*d.statement().Share) * float64(cpuPeriod))
		d.look(d.now)
	}
}

// Shedding begins and ends in the log, the kernel is told each share, and the ledger and
// the metrics have the share now and the lowest.
func TestCPULimiter(t *testing.T) {
	d := newLimited(t)
	d.pass(10, 0.05, 0)
	if d.log.Len() != 0 || len(d.kernel.shares) != 0 || d.statement() != (kagami.Shedding{Cores: 0.1, Share: 1, Lowest: 1}) {
		t.Fatalf("under the limit: %+v, %s", d.statement(), &d.log)
	}
	d.pass(20, 0.3, 0)
	st := d.statement()
	if st.Share > 0.34 || st.Share < 0.2 || st.Lowest != st.Share {
		t.Errorf("at three times the limit: %+v", st)
	}
	if n := strings.Count(d.log.String(), "level=WARN msg=\"shedding connections"); n != 1 {
		t.Errorf("it is said %d times that shedding begins:\n%s", n, &d.log)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(newLedgerCollector(&kagami.Ledger{Shedding: d.statement}))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		got[f.GetName()] = f.GetMetric()[0].GetGauge().GetValue()
	}
	if got["kagami_cpu_limit_cores"] != 0.1 || got["kagami_cpu_limit_share"] != st.Share || got["kagami_cpu_limit_lowest_share"] != st.Lowest {
		t.Errorf("metrics %v, want %+v", got, st)
	}
	d.pass(20, 30, 0)
	d.pass(60, 0, 0)
	if st := d.statement(); st.Share != 1 || st.Lowest > 0.004 {
		t.Errorf("after the load: %+v", st)
	}
	if !strings.Contains(d.log.String(), "msg=\"capturing all connections again\" lowest=0.") {
		t.Errorf("its end is not in the log:\n%s", &d.log)
	}
	if last := d.kernel.shares[len(d.kernel.shares)-1]; last != kagami.Whole {
		t.Errorf("the kernel was left with %v", last)
	}
	if n := strings.Count(d.log.String(), "\n"); n > 12 {
		t.Errorf("%d lines in the log:\n%s", n, &d.log)
	}
}

// Where shedding cannot help, or the kernel does not take it, the log says so, once.
func TestCPULimiterSaysWhatFails(t *testing.T) {
	d := newLimited(t)
	d.kernel.err = errors.New("no room")
	d.pass(60, 0.1, 0.2)
	for _, text := range []string{"more than --cpu-limit is used though hardly", "the kernel does not shed connections"} {
		if n := strings.Count(d.log.String(), text); n != 1 {
			t.Errorf("%q is in the log %d times:\n%s", text, n, &d.log)
		}
	}
}
