// Package stream tests both ends of a stream together: output.TCP and
// replay.Server over loopback, in one process. It holds tests only, and needs
// no root.
package stream
