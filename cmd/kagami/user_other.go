//go:build !linux

package main

import "errors"

// A privileges gives up nothing here: what a thread may do is Linux's to say.
type privileges struct{}

func newPrivileges(name string) (*privileges, error) {
	if name != "" {
		return nil, usageError{errors.New("--user: only on Linux: start it as the user")}
	}
	return &privileges{}, nil
}

func (p *privileges) as(f func() error) error               { return f() }
func (p *privileges) drop() error                           { return nil }
func (p *privileges) checkWritable(flag, path string) error { return nil }
func (p *privileges) hint() string                          { return "" }
