//go:build !linux

package main

// yieldOften is for Linux.
func yieldOften() {}
