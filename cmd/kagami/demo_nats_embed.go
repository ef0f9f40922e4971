//go:build embed_nats

package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// startDemoBroker starts a broker in this process, at a port that the system
// chooses, which keeps what it has in dir.
func startDemoBroker(dir string) (*demoBroker, error) {
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: dir,
		NoLog: true, NoSigs: true, // signals are the demo's
	})
	if err != nil {
		return nil, fmt.Errorf("the broker: %w", err)
	}
	stop := func() {
		s.Shutdown()
		s.WaitForShutdown()
	}
	s.Start()
	if !s.ReadyForConnections(10*time.Second) || !s.JetStreamEnabled() {
		stop()
		return nil, errors.New("the broker does not start")
	}
	return &demoBroker{s.ClientURL() + "/demo", stop}, nil
}
