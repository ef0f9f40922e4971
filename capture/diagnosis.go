package capture

import (
	"maps"

	"kagami"
)

// maxPorts bounds Diagnosis.Ports.
const maxPorts = 256

// A Diagnosis is what a Listener has seen so far, for saying why there is no
// message.
type Diagnosis struct {
	Packets  uint64 // packets the sources gave
	Segments uint64 // TCP segments among them
	SYNs     uint64 // connections whose beginning was seen
	// BytesToServer and BytesToClient are TCP payload on the captured ports. If
	// one stays 0, one direction only is seen.
	BytesToServer, BytesToClient uint64
	TLS                          uint64 // connections that are encrypted
	NotHTTP                      uint64 // connections that are something else
	HTTP2                        uint64 // connections that speak HTTP/2 in clear
	WebSocket                    uint64 // connections that have become WebSockets
	Upgraded                     uint64 // connections that left HTTP
	OwnTraffic                   uint64 // connections to our own targets
	// Waiting is connections, now in the table, that were joined after their
	// beginning and in which no request has begun yet.
	Waiting int64
	// Foreign is how many times a server was left alone because its address is not ours: see
	// Config.Local. Where no ports are given it counts connections, else segments.
	Foreign uint64
	Gaps    uint64 // places where bytes were missing
	// Ports counts the segments that were not looked at because neither of their
	// ports is captured, by the port that looks like the server's. It has
	// at most 256 entries.
	Ports map[uint16]uint64
}

// otherPort notes a segment that no captured port had.
func (d *Diagnosis) otherPort(s *segment) {
	port := min(s.src.port, s.dst.port)
	switch {
	case s.flags&(flagSYN|flagACK) == flagSYN:
		port = s.dst.port
	case s.length == 0:
		return
	}
	if d.Ports == nil {
		d.Ports = make(map[uint16]uint64)
	}
	if n := d.Ports[port]; n > 0 || len(d.Ports) < maxPorts {
		d.Ports[port] = n + 1
	}
}

// parted notes that a connection is left alone.
func (d *Diagnosis) parted(why kagami.Reason) {
	switch why {
	case kagami.TLS:
		d.TLS++
	case kagami.NotHTTP:
		d.NotHTTP++
	case kagami.Upgraded:
		d.Upgraded++
	case kagami.OwnTraffic:
		d.OwnTraffic++
	}
}

// clone returns a copy that shares nothing with d.
func (d *Diagnosis) clone() Diagnosis {
	c := *d
	c.Ports = maps.Clone(d.Ports)
	return c
}
