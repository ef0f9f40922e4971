//go:build !linux

package main

// withNetRaw calls open: only Linux has the capability NET_RAW.
func withNetRaw(open func() error) error { return open() }
