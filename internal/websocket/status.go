package websocket

import "encoding/binary"

// A Status is why a connection is closed (RFC 6455 §7.4.1).
type Status uint16

// The statuses that are sent here.
const (
	GoingAway     Status = 1001
	ProtocolError Status = 1002
)

// Append appends the status as the payload of a Close frame begins.
func (s Status) Append(dst []byte) []byte { return binary.BigEndian.AppendUint16(dst, uint16(s)) }
