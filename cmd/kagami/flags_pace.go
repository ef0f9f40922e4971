package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"kagami/output"
	"kagami/replay"
)

// A PaceConfig is which part of recordings is replayed, and when its requests
// are due, where that is not their time on the recording's clock.
type PaceConfig struct {
	Rate     float64       // requests a second; 0: see Ramp
	Ramp     *replay.Ramp  // a rate that changes; nil: as recorded
	From, To replay.Moment // the part of the recording; zero: all of it
	Requests int           // how many at most; 0 all
	Duration time.Duration // only what is due before this is over; 0 any time
}

// pacer returns what decides when requests are due; nil is the recording.
func (c *PaceConfig) pacer() replay.Pacer {
	switch {
	case c.Ramp != nil:
		return c.Ramp
	case c.Rate > 0:
		return replay.Rate(c.Rate)
	}
	return nil
}

// checkPace checks what a file input's settings come to.
func checkPace(c *FileInputConfig) error {
	p := &c.Pace
	paced := "--rate"
	if p.Ramp != nil {
		paced = "--ramp"
	}
	switch {
	case p.Rate > 0 && p.Ramp != nil:
		return errors.New("there are --rate and --ramp: say one of them; --ramp begins at a rate with 0s:RATE")
	case p.pacer() != nil && (c.Max || c.Speed != 1):
		return fmt.Errorf("there are a speed (|%s) and %s: say one of them", fileSpeed(c), paced)
	case p.Duration > 0 && c.Max:
		return errors.New("with |max nothing has a time, and so --duration no end: say --requests or --exit-after")
	case p.To == replay.Moment{}:
		return nil
	}
	if from, to := p.From, p.To; from.Time.IsZero() == to.Time.IsZero() && (from.Offset >= to.Offset && to.Time.IsZero() ||
		!to.Time.IsZero() && !from.Time.Before(to.Time)) {
		return fmt.Errorf("--to %v is not behind --from %v", to, from)
	}
	return nil
}

func paceOptions() []option {
	pace := func(flag, arg, help string, bind func(c *PaceConfig) value) option {
		return option{flag: flag, key: flag, arg: arg, help: help, group: groupReading, scope: scopeInput, kind: "file",
			bind: func(t *subject) value { return bind(&t.input.File.Pace) }}
	}
	return []option{
		pace("rate", "NUMBER/s", "send so many requests a second, evenly, whenever they were recorded", func(c *PaceConfig) value { return limitValue{&c.Rate} }),
		pace("ramp", "TIME:RATE,…", "send at a rate that changes: 10s:100,60s:1000 goes from 0 to 100 requests a second in 10 s, on to 1000 by 60 s, and stays there",
			func(c *PaceConfig) value { return rampValue{&c.Ramp} }),
		pace("from", "WHEN", "leave out requests recorded before this: a time as 2006-01-02T15:04:05Z, or an offset from the beginning as 30s or 5m", func(c *PaceConfig) value { return momentValue{&c.From} }),
		pace("to", "WHEN", "leave out requests recorded at this time or later", func(c *PaceConfig) value { return momentValue{&c.To} }),
		pace("requests", "NUMBER", "end after so many requests", func(c *PaceConfig) value { return intValue{&c.Requests, 0} }),
		pace("duration", "TIME", "end when so much of the schedule is over: requests due later are left out", func(c *PaceConfig) value { return durationValue{&c.Duration, 0} }),
	}
}

// rampValue is the points of a ramp: 10s:100,60s:1000.
type rampValue struct{ p **replay.Ramp }

func (v rampValue) Set(s string) error {
	var points []replay.RampPoint
	for _, part := range strings.Split(s, ",") {
		at, rate, ok := strings.Cut(strings.TrimSpace(part), ":")
		var p replay.RampPoint
		rate = strings.TrimSuffix(rate, "/s")
		if !ok || !isNumber(rate) || (durationValue{&p.At, 0}).Set(at) != nil {
			return fmt.Errorf("%q: want a time from the start and the rate at that time, as in 10s:100,60s:1000", part)
		}
		var err error
		if p.Rate, err = strconv.ParseFloat(rate, 64); err != nil {
			return fmt.Errorf("%q: the rate is too large", part)
		}
		points = append(points, p)
	}
	ramp, err := replay.NewRamp(points...)
	if err == nil {
		*v.p = ramp
	}
	return err
}

func (v rampValue) String() string {
	if *v.p == nil {
		return ""
	}
	return (*v.p).String()
}

// momentValue is a moment of a recording: a time, or an offset from its beginning.
type momentValue struct{ p *replay.Moment }

func (v momentValue) Set(s string) error {
	var m replay.Moment
	if (durationValue{&m.Offset, 0}).Set(s) != nil {
		var err error
		if m.Time, err = time.Parse(time.RFC3339Nano, s); err != nil {
			return errors.New("want a time with its zone, as 2006-01-02T15:04:05Z, or an offset from the recording's beginning, as 30s or 5m")
		}
	}
	*v.p = m
	return nil
}

func (v momentValue) String() string {
	if *v.p == (replay.Moment{}) {
		return ""
	}
	return v.p.String()
}

// keepOrderOption is --recognize-tcp-sessions.
func keepOrderOption() option {
	return process("recognize-tcp-sessions", "", groupHTTP,
		"send the requests of each client connection in their order, each when the one before it was answered; --split-output keeps connections whole",
		func(c *Config) value { return boolValue{&c.KeepOrder} })
}

// queueOnFull is what an output does with what it has no room for.
func queueOnFull(f OnFull) output.OnFull {
	if f == OnFullWait {
		return output.WaitWhenFull
	}
	return output.DropWhenFull
}
