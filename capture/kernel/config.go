// Package kernel makes the program that the kernel runs on a capture socket, so
// that packets nobody asked for are not copied at all.
//
//	program, err := kernel.Program(kernel.Network, kernel.Config{
//		Ports:   []uint16{8080},
//		Samples: []kernel.Sample{{By: kernel.ByConnection, Salt: salt, Share: share}},
//	})
//
// The program is classic BPF. It lets through TCP to the servers' ports (and from
// them, if responses are wanted) that has payload, SYN, FIN or RST, and of that
// the packets of the connections in all samples. [Config.Keep] is the same function in Go.
//
// What the program cannot know it lets through: later fragments of TCP, whatever
// their port and sample, and, whatever the sample, packets whose direction is unknown because both ends have
// a server's port. So what comes by has to be filtered again.
// IPv6 packets with more than two extension headers are not let through, nor is
// what is in a tunnel.
//
// The package neither opens nor reads sockets: capture/ring and capture/live do, and have [Attach] give
// them the program.
package kernel

import (
	"net/netip"
	"slices"

	"kagami"
)

// A Link says what a packet begins with as the kernel's filter sees it.
type Link uint8

// The links.
const (
	// Ethernet is a packet from its Ethernet header on: a SOCK_RAW socket's.
	Ethernet Link = iota
	// Network is a packet from its network header on, where the kernel knows
	// the protocol: any SOCK_DGRAM socket's, libpcap's on "any" among them.
	Network
	// RawIP is a packet from its IP header on: a tun device's on SOCK_RAW.
	RawIP
)

// base is where the network header is, but for tags.
func (l Link) base() uint32 {
	if l == Ethernet {
		return 14
	}
	return 0
}

// A By is what a sample goes by.
type By uint8

// What samples go by.
const (
	ByConnection By = iota // the client's address and port
	ByClient               // the client's address
)

// A Sample is a share of the connections or of the clients. The hash is that of the Salt's
// Connection or Client, to the bit; an IPv4 address mapped into IPv6 counts as IPv4 there.
type Sample struct {
	By    By
	Salt  kagami.Salt
	Share kagami.Share
}

// Includes reports whether the sample has a client's connection.
func (s Sample) Includes(client netip.AddrPort) bool {
	if s.By == ByClient {
		return s.Share.Includes(s.Salt.Client(client.Addr()))
	}
	return s.Share.Includes(s.Salt.Connection(client))
}

// Responses says how much of what servers send is wanted.
type Responses uint8

// What is wanted of responses.
const (
	NoResponses    Responses = iota
	ResponseHeads            // Config.Head bytes of each packet
	WholeResponses           // all
)

// Config says which packets are wanted. The zero value is requests to any port.
type Config struct {
	Ports     []uint16     // the servers' ports; empty: any
	Hosts     []netip.Addr // the servers' addresses; empty: any
	Responses Responses
	// Head is how many bytes are kept of a packet of a response, from where the Link begins,
	// with ResponseHeads. Default: 1024.
	Head uint32
	// VLAN wants packets in an IEEE 802.1Q tag, or in two, as well. A tag that the
	// card took off needs no VLAN.
	VLAN bool
	// VLANIDs wants packets with one of these tags, and no others.
	VLANIDs []uint16
	// Samples is what a connection has to be in, each of them. With no Ports and no
	// Hosts the direction of packets is unknown, and nothing is left out.
	Samples []Sample
	// Snaplen is how many bytes of a packet are kept. Default: 262144.
	Snaplen uint32
	// Loopback is the number of the interface lo, whose outgoing copies are
	// dropped, for each packet comes by there twice. 0: none are.
	Loopback int
}

const (
	defaultHead    = 1024
	defaultSnaplen = 262144
)

func (c Config) withDefaults() Config {
	if c.Head == 0 {
		c.Head = defaultHead
	}
	if c.Snaplen == 0 {
		c.Snaplen = defaultSnaplen
	}
	hosts := make([]netip.Addr, len(c.Hosts))
	for i, h := range c.Hosts {
		hosts[i] = h.Unmap().WithZone("")
	}
	c.Hosts = hosts
	c.Head = min(c.Head, c.Snaplen)
	return c
}

// anyOf reports whether a server may have an address of a family.
func (c Config) anyOf(six bool) bool {
	return len(c.Hosts) == 0 || slices.ContainsFunc(c.Hosts, func(h netip.Addr) bool { return h.Is6() == six })
}

// directed says whether it matters which way a packet goes.
func (c Config) directed() bool {
	return len(c.Samples) > 0 || c.Responses == ResponseHeads
}

// maxRanges bounds how many ranges of ports a program names, twice each.
const maxRanges = 512
