package replay

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// A peerTable bounds what each address may do before it is known to be a
// listener's, and remembers of which ones Notify was told. It is bounded too:
// when it is full of addresses that were seen lately, those that come on top
// share one entry, which is told of once and not limited.
type peerTable struct {
	most   int // entries
	conns  int // of a peer at once
	shakes int // of those, in their handshake

	mu     sync.Mutex
	peers  map[netip.Addr]*peer
	others peer
	swept  time.Time
}

// A peer is what is known of an address; of IPv6 that is a /64, which is what
// one host has.
type peer struct {
	addr   netip.Addr // of others none
	conns  int
	shakes int
	faults float64 // that are not forgiven yet
	last   time.Time
	told   bool
}

const (
	// peerFaults is how many handshakes may fail in a row; from then on
	// connections are closed at once, but for one each time peerForgiven has passed.
	peerFaults   = 10
	peerForgiven = 3 * time.Second
	// peerMemory is how long a peer is remembered that does nothing.
	peerMemory = 10 * time.Minute
	mostPeers  = 1024
)

func newPeerTable(conns, shakes int) *peerTable {
	return &peerTable{most: mostPeers, conns: conns, shakes: shakes, peers: map[netip.Addr]*peer{}}
}

// peerAddr returns by what the other end of a connection is known.
func peerAddr(conn net.Conn) (netip.Addr, bool) {
	from, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}, false
	}
	addr := from.AddrPort().Addr().Unmap().WithZone("")
	if addr.Is6() {
		prefix, _ := addr.Prefix(64)
		addr = prefix.Addr()
	}
	return addr, addr.IsValid()
}

// begin notes a connection. It returns its peer, nil for one without an IP
// address, and reports whether the connection is over a limit.
func (t *peerTable) begin(conn net.Conn, now time.Time) (p *peer, over bool) {
	addr, ok := peerAddr(conn)
	if !ok {
		return nil, false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	p = t.find(addr, now)
	p.forgive(now)
	if p != &t.others && (p.faults > peerFaults-1 || p.shakes >= t.shakes || p.conns >= t.conns) {
		return p, true
	}
	p.conns++
	p.shakes++
	return p, false
}

// find returns the entry of an address. t.mu is held.
func (t *peerTable) find(addr netip.Addr, now time.Time) *peer {
	if p := t.peers[addr]; p != nil {
		return p
	}
	if len(t.peers) >= t.most {
		t.sweep(now)
	}
	if len(t.peers) >= t.most {
		return &t.others
	}
	p := &peer{addr: addr, last: now}
	t.peers[addr] = p
	return p
}

// sweep forgets who was not seen lately, once a second at most.
func (t *peerTable) sweep(now time.Time) {
	if now.Sub(t.swept) < time.Second {
		return
	}
	t.swept = now
	for addr, p := range t.peers {
		if p.conns == 0 && now.Sub(p.last) > peerMemory {
			delete(t.peers, addr)
		}
	}
}

func (p *peer) forgive(now time.Time) {
	if d := now.Sub(p.last); d > 0 {
		p.faults = max(0, p.faults-float64(d)/float64(peerForgiven))
	}
	p.last = now
}

// welcome notes that the handshake of a connection has ended well.
func (t *peerTable) welcome(p *peer) {
	if p == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	p.shakes--
	p.told = false
}

// end notes that a connection has ended.
func (t *peerTable) end(p *peer, shaking bool) {
	if p == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	p.conns--
	if shaking {
		p.shakes--
	}
}

// complain notes that a peer has failed, by a fault of its own if blame, and
// reports whether that is news.
func (t *peerTable) complain(p *peer, blame bool, now time.Time) bool {
	if p == nil {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	p.forgive(now)
	if blame {
		p.faults = min(p.faults+1, peerFaults)
	}
	news := !p.told
	p.told = true
	return news
}
