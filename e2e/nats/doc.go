// Package nats has the tests of output.NATS and replay.NATS together, with real
// servers between them.
package nats
