//go:build !cgo || !(linux || darwin || freebsd || netbsd || openbsd)

package live

import (
	"errors"

	"golang.org/x/net/bpf"

	"kagami/capture"
	"kagami/capture/kernel"
)

var errNotBuilt = errors.New("live capture is not built in: build kagami with CGO_ENABLED=1 and libpcap's headers (package libpcap-dev)")

// A Source is a live capture. Here there is none: Open always fails.
type Source struct{ capture.Source }

// Open returns an error that says how to build live capture in.
func Open(cfg Config) (*Source, error) {
	if _, err := cfg.withDefaults(); err != nil {
		return nil, err
	}
	return nil, errNotBuilt
}

// Interface returns the name of the interface.
func (s *Source) Interface() string { return "" }

// Warning returns "".
func (s *Source) Warning() string { return "" }

// Delivered returns 0.
func (s *Source) Delivered() uint64 { return 0 }

// Stats returns an error.
func (s *Source) Stats() (capture.Stats, error) { return capture.Stats{}, errNotBuilt }

// Buffered returns 0.
func (s *Source) Buffered() int { return 0 }

// Stop does nothing.
func (s *Source) Stop() {}

// Close does nothing.
func (s *Source) Close() error { return nil }

// Devices returns an error that says how to build live capture in.
func Devices() ([]Device, error) { return nil, errNotBuilt }

// Compile returns an error that says how to build live capture in.
func Compile(filter string, link uint16) ([]bpf.RawInstruction, error) { return nil, errNotBuilt }

// SetFilter returns an error that says how to build live capture in.
func (s *Source) SetFilter([]bpf.RawInstruction) error { return errNotBuilt }

// KernelLink returns false.
func (s *Source) KernelLink() (kernel.Link, bool) { return 0, false }
