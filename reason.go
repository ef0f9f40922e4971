package kagami

import (
	"fmt"
	"strings"
)

// A Reason says what became of a message, a packet or a connection at a stage:
// it was delivered, or dropped for a named reason. The names, not the numbers,
// are what ledgers, metrics and docs/metrics.md use.
type Reason uint8

// The reasons. Delivered is the zero value: everything else is a loss.
const (
	Delivered Reason = iota

	// Packets.
	KernelDrop     // the kernel's buffer was full
	InterfaceDrop  // the network interface dropped it
	NotTCP         // not TCP, or not decodable as far as TCP
	DuplicateCopy  // the same packet seen on a second interface
	OtherPort      // neither end is a captured port
	OtherDirection // a response, where nothing needs responses

	// Connections and what they carry.
	SequenceGap // bytes of it were never seen
	Unfinished  // its end was never seen
	NotHTTP     // it does not begin as HTTP does
	TLS         // it is encrypted
	Undecodable // its header refers to what was sent before the capture began (HTTP/2)
	Upgraded    // it left HTTP: a 101, or a 2xx to CONNECT
	TooLarge    // larger than --max-message
	MemoryLimit // its bytes were given up to stay within the memory limit
	OwnTraffic  // our own mirrored traffic

	// Messages on their way.
	Filtered         // a filter said no
	SampledOut       // not in the share
	RateLimited      // over the limit
	CPULimit         // shed to stay within the CPU limit
	QueueFull        // an output did not keep up
	RequestDropped   // an answer to a request that was dropped
	OrphanResponse   // an answer whose request is unknown
	AmbiguousFraming // could be read in two ways; see --output-http-ambiguous
	NotReplayable    // cannot be sent as a request of its own
	NoWebSocket      // a frame of a WebSocket that the target refused, or has closed
	SendError        // the target or the network failed
	Timeout          // the target did not answer in time
	Unauthorized     // the peer did not accept our credentials
	InDoubt          // sent, and never acknowledged
	DrainTimeout     // still waiting when the process had to end
	Damaged          // a record that could not be read
	UnknownKind      // a record of a kind this version does not know
	DryRun           // not sent, because of --dry-run
	OutsideWindow    // not in the part of a recording that is replayed
	DiskFull         // a recording had no room left
	SizeLimit        // a recording was as large as it may be
	SpoolFull        // the spool was at its size
	SpoolError       // the spool's disk was full or broken
	Expired          // longer in the spool than it keeps anything
	FailedOver       // went to another replayer in its place
	BrokerLimit      // the broker's limits of size or age took it before a replayer did

	// Comparing.
	NoProductionResponse
	NoStagingResponse

	numReasons = iota
)

var reasonNames = [numReasons]string{
	Delivered:            "delivered",
	KernelDrop:           "kernel-drop",
	InterfaceDrop:        "interface-drop",
	NotTCP:               "not-tcp",
	DuplicateCopy:        "duplicate-copy",
	OtherPort:            "other-port",
	OtherDirection:       "other-direction",
	SequenceGap:          "sequence-gap",
	Unfinished:           "incomplete",
	NotHTTP:              "not-http",
	TLS:                  "tls",
	Undecodable:          "undecodable",
	Upgraded:             "upgraded",
	TooLarge:             "too-large",
	MemoryLimit:          "memory-limit",
	OwnTraffic:           "own-traffic",
	Filtered:             "filtered",
	SampledOut:           "sampled-out",
	RateLimited:          "rate-limited",
	CPULimit:             "cpu-limit",
	QueueFull:            "queue-full",
	RequestDropped:       "request-dropped",
	OrphanResponse:       "orphan-response",
	AmbiguousFraming:     "ambiguous",
	NotReplayable:        "not-replayable",
	NoWebSocket:          "no-websocket",
	SendError:            "send-error",
	Timeout:              "timeout",
	Unauthorized:         "unauthorized",
	InDoubt:              "in-doubt",
	DrainTimeout:         "drain-timeout",
	Damaged:              "damaged",
	UnknownKind:          "unknown-kind",
	DryRun:               "dry-run",
	OutsideWindow:        "outside-window",
	DiskFull:             "disk-full",
	SizeLimit:            "size-limit",
	SpoolFull:            "spool-full",
	SpoolError:           "spool-error",
	Expired:              "expired",
	FailedOver:           "failed-over",
	BrokerLimit:          "broker-limit",
	NoProductionResponse: "no-production-response",
	NoStagingResponse:    "no-staging-response",
}

// String returns the reason's name, as in "queue-full".
func (r Reason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return fmt.Sprintf("reason(%d)", uint8(r))
}

// ParseReason is the opposite of String.
func ParseReason(s string) (Reason, error) {
	for r, name := range reasonNames {
		if name == s {
			return Reason(r), nil
		}
	}
	return 0, fmt.Errorf("unknown reason %q: want one of %s", s, strings.Join(reasonNames[:], ", "))
}

// MarshalText makes a Reason usable as a JSON key.
func (r Reason) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText is the opposite of MarshalText.
func (r *Reason) UnmarshalText(b []byte) error {
	v, err := ParseReason(string(b))
	if err == nil {
		*r = v
	}
	return err
}

// Reasons returns all reasons but Delivered, in order.
func Reasons() []Reason {
	rs := make([]Reason, 0, numReasons-1)
	for r := Delivered + 1; r < numReasons; r++ {
		rs = append(rs, r)
	}
	return rs
}
