package main

import (
	"time"

	"kagami"
)

// A demoBroker is a NATS server with JetStream, on loopback.
type demoBroker struct {
	url  string // of the demo's stream
	stop func()
}

// await waits until the replayer has taken from the broker, and staging1 has
// got, all that the listener published; ten seconds at most.
func (d *demo) await(listened kagami.Statement) {
	if d.broker == nil {
		return
	}
	out, _ := listened.Stage("output", "", kagami.Messages)
	for begun := time.Now(); d.staging1.served() < out.Out && time.Since(begun) < 10*time.Second; {
		time.Sleep(20 * time.Millisecond)
	}
}
