//go:build !embed_nats

package main

import "errors"

// startDemoBroker says where to find a program that has a broker in it.
func startDemoBroker(string) (*demoBroker, error) {
	return nil, errors.New("this program has no broker in it, to be small: make demo-nats, in Kagami's sources, builds and runs one that has (-tags embed_nats)")
}
