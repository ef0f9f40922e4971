//go:build !linux

package ring

import (
	"errors"

	"golang.org/x/net/bpf"

	"kagami/capture"
)

// A Source is a capture on an interface. Here there is none: Open always fails.
type Source struct{ capture.Source }

// Open returns an error that says that only Linux has this.
func Open(cfg Config) (*Source, error) {
	if _, err := cfg.withDefaults(); err != nil {
		return nil, err
	}
	return nil, errors.New("only Linux has packet rings: capture by libpcap")
}

// Interface returns "".
func (s *Source) Interface() string { return "" }

// Warning returns "".
func (s *Source) Warning() string { return "" }

// SetFilter returns an error.
func (s *Source) SetFilter([]bpf.RawInstruction) error { return errors.New("no packet rings here") }

// Close does nothing.
func (s *Source) Close() error { return nil }
