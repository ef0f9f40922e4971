package main

import (
	"kagami/capture"
	"kagami/capture/live"
)

// open captures by libpcap, with the filter that a listener has.
func open(device string, port uint16) (source, error) {
	return live.Open(live.Config{Interface: device, Filter: capture.FilterExpression(capture.FilterConfig{Ports: []uint16{port}})})
}
