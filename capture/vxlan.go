package capture

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// DefaultVXLANPort is the UDP port of VXLAN (RFC 7348 §5).
	DefaultVXLANPort = portVXLAN
	// DefaultGenevePort is the UDP port of Geneve (RFC 8926 §3.3).
	DefaultGenevePort = portGeneve
	// MaxVNI is the largest number of a virtual network: it has 24 bits (RFC 7348 §5).
	MaxVNI = 1<<24 - 1

	defaultVXLANBuffer = 16 << 20
)

const (
	// datagramBatch is how many datagrams are read at once.
	datagramBatch = 64
	// datagramSize is more than a UDP datagram can have, but for those that never
	// were on a wire (IPv6 jumbograms, RFC 2675).
	datagramSize = 1 << 16
	// manyDatagrams is more than the kernel may hold by default.
	manyDatagrams = 1 << 16
)

// A VXLANConfig says where mirrored packets arrive, and which are wanted. The
// zero value takes all that arrive at DefaultVXLANPort.
type VXLANConfig struct {
	// Address is the IP address and the UDP port to receive at: "10.0.0.5:4789",
	// or ":4789" for all addresses of this host, which is the default (":6081" with Geneve).
	// Port 0 is any that is free.
	Address string
	// Geneve says that the packets come in Geneve (RFC 8926) and not in VXLAN. What
	// is said of VXLAN then holds for it.
	Geneve bool
	// VNIs are the virtual networks whose packets are wanted. None means all.
	VNIs []uint32
	// ExceptVNIs are virtual networks whose packets are not wanted.
	ExceptVNIs []uint32
	// BufferSize is how much the kernel may hold that was not read yet, in bytes.
	// Default: 16 MiB. Without CAP_NET_ADMIN, Linux gives at most net.core.rmem_max: see
	// VXLAN.Warning.
	BufferSize int64
}

// protocol is what packets come in.
func (c *VXLANConfig) protocol() string {
	if c.Geneve {
		return "Geneve"
	}
	return "VXLAN"
}

// check returns what is wrong with a config, and the config with its defaults.
func (c VXLANConfig) check() (VXLANConfig, error) {
	port := DefaultVXLANPort
	if c.Geneve {
		port = DefaultGenevePort
	}
	c.Address = cmp.Or(c.Address, ":"+strconv.Itoa(port))
	c.BufferSize = cmp.Or(c.BufferSize, defaultVXLANBuffer)
	host, service, err := net.SplitHostPort(c.Address)
	if err != nil {
		return c, fmt.Errorf("address %q: want an IP address and a port, as in 10.0.0.5:%d or :%[2]d", c.Address, port)
	}
	if _, err := netip.ParseAddr(host); host != "" && err != nil {
		return c, fmt.Errorf("address %q: %q is not an IP address: want one of this host's, or none for all", c.Address, host)
	}
	if _, err := strconv.ParseUint(service, 10, 16); err != nil {
		return c, fmt.Errorf("address %q: port %q: want 0 to 65535", c.Address, service)
	}
	for _, vni := range slices.Concat(c.VNIs, c.ExceptVNIs) {
		if vni > MaxVNI {
			return c, fmt.Errorf("VNI %d: want 0 to %d", vni, MaxVNI)
		}
	}
	if c.BufferSize < 0 || c.BufferSize > math.MaxInt32 {
		return c, fmt.Errorf("buffer of %d bytes: want 1 to %d", c.BufferSize, math.MaxInt32)
	}
	return c, nil
}

// A VXLAN is a live Source of packets that others mirror to this host in VXLAN
// (RFC 7348), as the traffic mirroring of clouds and switches does, or in Geneve (RFC 8926), as
// load balancers for appliances do. It needs no right to
// capture, for it is the receiver of UDP datagrams.
//
// Each datagram is a packet: the frame or IP packet in it, the VNI as Ifindex, and the
// time at which it arrived. One that is no VXLAN packet is a packet without data,
// so that it is counted; one of a VNI that is not wanted is none, and Excluded
// counts it. Where the sender cuts frames to fit its MTU, what is missing is missing
// in the TCP stream, and the messages it belongs to are counted as lost there.
//
// Connections are told apart by addresses and ports, not by VNI: where the addresses
// of several virtual networks overlap, each needs a source and a Listener of its own.
type VXLAN struct {
	conn    *net.UDPConn
	in      *datagrams
	geneve  bool
	wanted  map[uint32]bool // nil: all
	except  map[uint32]bool
	warning string

	// The block at hand: what Next still has to return is packets[at:].
	packets []Packet
	at      int
	failure error // for when the block is used up
	ending  bool  // Stop was called, and
	left    int   // at most so many datagrams were there then and are still

	received atomic.Uint64
	excluded atomic.Uint64

	mu      sync.Mutex // guards what follows
	closed  bool
	dropped uint64
	last    uint32 // the kernel's count, of 32 bits, when dropped was added to
}

var (
	_ Source    = (*VXLAN)(nil)
	_ Buffered  = (*VXLAN)(nil)
	_ Statser   = (*VXLAN)(nil)
	_ Stopper   = (*VXLAN)(nil)
	_ io.Closer = (*VXLAN)(nil)
)

// OpenVXLAN begins to receive. An error says what can be done about it.
func OpenVXLAN(cfg VXLANConfig) (*VXLAN, error) {
	cfg, err := cfg.check()
	if err != nil {
		return nil, fmt.Errorf("receive %s: %w", cfg.protocol(), err)
	}
	v := &VXLAN{geneve: cfg.Geneve, wanted: setOf(cfg.VNIs), except: setOf(cfg.ExceptVNIs), packets: make([]Packet, 0, datagramBatch)}
	c, err := net.ListenPacket("udp", cfg.Address)
	if err != nil {
		return nil, fmt.Errorf("receive %s at %s: %w", cfg.protocol(), cfg.Address, explainListen(err))
	}
	v.conn = c.(*net.UDPConn)
	if v.in, v.warning, err = newDatagrams(v.conn, int(cfg.BufferSize)); err != nil {
		v.conn.Close()
		return nil, fmt.Errorf("receive %s at %s: %w", cfg.protocol(), cfg.Address, err)
	}
	return v, nil
}

func setOf(vnis []uint32) map[uint32]bool {
	if len(vnis) == 0 {
		return nil
	}
	set := make(map[uint32]bool, len(vnis))
	for _, vni := range vnis {
		set[vni] = true
	}
	return set
}

// explainListen adds to an error what can be done about it.
func explainListen(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err // without the address, which the caller names
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w: another program has this UDP port (ss -lunp names it), or a vxlan or geneve interface of this host: "+
			"then capture at that", err)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%w: a port below 1024 is for root: run it with sudo, or let the mirror send to a higher port", err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%w: want an IP address of this host, or none for all of them", err)
	}
	return err
}

// Next returns the next packet, and waits for it. Its Data is valid until the
// next call. The error is io.EOF after Stop, and unwraps to net.ErrClosed after Close.
func (v *VXLAN) Next() (Packet, error) {
	for v.at == len(v.packets) {
		if v.failure != nil {
			return Packet{}, v.failure
		}
		v.fill()
	}
	p := v.packets[v.at]
	v.at++
	return p, nil
}

// fill waits for datagrams, and makes a block of those that are wanted.
func (v *VXLAN) fill() {
	n, err := v.in.wait()
	if errors.Is(err, os.ErrDeadlineExceeded) { // Stop
		n, err = v.rest()
	}
	switch {
	case err == io.EOF:
		v.failure = err
	case err != nil:
		v.failure = fmt.Errorf("receive VXLAN: %w", err)
	}
	v.packets, v.at = v.packets[:0], 0
	for i := range n {
		b, wire, at := v.in.datagram(i)
		v.take(b, wire, at)
	}
	v.received.Add(uint64(len(v.packets)))
}

// rest reads what was there when Stop was called. There may be more behind it,
// for as long as others send: so it ends when it has read as many as there can have been.
func (v *VXLAN) rest() (n int, err error) {
	if !v.ending {
		v.ending, v.left = true, v.in.waiting()
	}
	if n, err = v.in.poll(); err != nil {
		return n, err
	}
	if v.left -= n; n == 0 || v.left <= 0 {
		err = io.EOF
	}
	return n, err
}

// take puts a datagram into the block, if it is wanted.
func (v *VXLAN) take(b []byte, wire int, at time.Time) {
	p := Packet{Time: at, WireLen: wire, Link: linkEthernet}
	vni, frame, ok := parseVXLAN(b)
	if v.geneve {
		vni, p.Link, frame, ok = parseGeneve(b)
	}
	if ok {
		if v.wanted != nil && !v.wanted[vni] || v.except[vni] {
			v.excluded.Add(1)
			return
		}
		p.Data, p.WireLen, p.Ifindex = frame, wire-(len(b)-len(frame)), int(vni)
	}
	v.packets = append(v.packets, p)
}

const vxlanHeader = 8

// parseVXLAN returns the virtual network and the Ethernet frame of a VXLAN packet
// (RFC 7348 §5). ok is false for what is none: it is too short, or does not say that its
// VNI is valid. Other flags and the reserved bits may be anything.
func parseVXLAN(b []byte) (vni uint32, frame []byte, ok bool) {
	const valid = 0x08
	if len(b) < vxlanHeader || b[0]&valid == 0 {
		return 0, nil, false
	}
	return binary.BigEndian.Uint32(b[4:]) >> 8, b[vxlanHeader:], true
}

// parseGeneve is parseVXLAN for Geneve (RFC 8926 §3.4): a frame, or an IP packet without one
// around it, as link says. Its options may be anything, and so may the flag that says not to
// ignore them all: they are for those who send packets on. What else it can carry is no
// mirrored packet.
func parseGeneve(b []byte) (vni uint32, link uint16, frame []byte, ok bool) {
	if len(b) < geneveHeader || b[0]>>6 != 0 {
		return 0, linkEthernet, nil, false
	}
	n := geneveHeader + int(b[0]&0x3f)*4
	if len(b) < n {
		return 0, linkEthernet, nil, false
	}
	switch ether := binary.BigEndian.Uint16(b[2:]); {
	case ether == etherEthernet:
		link = linkEthernet
	case len(b) > n && (ether == etherIPv4 && b[n]>>4 == 4 || ether == etherIPv6 && b[n]>>4 == 6):
		link = linkRaw
	default:
		return 0, linkEthernet, nil, false
	}
	return binary.BigEndian.Uint32(b[4:]) >> 8, link, b[n:], true
}

const geneveHeader = 8

// Buffered returns how many packets of the block at hand are left.
func (v *VXLAN) Buffered() int { return len(v.packets) - v.at }

// Addr is the address and port that datagrams are received at.
func (v *VXLAN) Addr() netip.AddrPort {
	a := v.conn.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// Warning returns what is not as it was asked for, or "": a buffer that is smaller.
func (v *VXLAN) Warning() string { return v.warning }

// Excluded returns how many packets came of virtual networks that are not wanted.
func (v *VXLAN) Excluded() uint64 { return v.excluded.Load() }

// Stats returns what was received since OpenVXLAN, but for what Excluded counts;
// after Close, up to then. KernelDropped is the datagrams that the kernel had for this socket
// and threw away: its buffer was full, there was no memory, or the UDP checksum was wrong. They
// may have been of any virtual network, or no VXLAN. Only Linux (4.12 and
// later) counts them. What was lost before, as a fragment of a datagram on the
// way, is counted nowhere.
func (v *VXLAN) Stats() (Stats, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	err := v.countDrops()
	return Stats{Received: v.received.Load() + v.dropped, KernelDropped: v.dropped}, err
}

func (v *VXLAN) countDrops() error {
	if v.closed {
		return nil
	}
	now, err := v.in.dropped()
	if err != nil {
		return fmt.Errorf("statistics of the VXLAN socket: %w", err)
	}
	v.dropped += uint64(now - v.last)
	v.last = now
	return nil
}

// Stop ends the reception without losing what the kernel has already: Next goes on
// with what arrived until now, and then returns io.EOF.
func (v *VXLAN) Stop() {
	v.conn.SetReadDeadline(time.Unix(1, 0)) // long ago; fails only once it is closed
}

// Close ends the reception at once: a Next that waits returns an error, and any
// other does after the block at hand. What is left in the kernel is lost. Data that
// Next returned stays valid.
func (v *VXLAN) Close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return nil
	}
	v.countDrops() // for those who ask later; what cannot be read then is as it was
	v.closed = true
	return v.conn.Close()
}
