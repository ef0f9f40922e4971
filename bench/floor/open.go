//go:build linux

package main

import (
	"kagami"
	"kagami/capture/kernel"
	"kagami/capture/ring"
)

// open captures by the ring, with the filter that a listener has which samples by
// connection.
func open(device string, port uint16, percent float64) (source, error) {
	share, err := kagami.ShareOf(percent)
	if err != nil {
		return nil, err
	}
	cfg := kernel.Config{Ports: []uint16{port}}
	if percent < 100 {
		cfg.Samples = []kernel.Sample{{By: kernel.ByConnection, Salt: kagami.NewSalt(0, 0, kagami.OutputSide), Share: share}}
	}
	program, err := kernel.Program(kernel.Network, cfg)
	if err != nil {
		return nil, err
	}
	return ring.Open(ring.Config{Interface: device, Program: program})
}
