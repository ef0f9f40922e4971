package main

import (
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// localAddrs knows the addresses of this host, which may change.
type localAddrs struct {
	mu      sync.Mutex
	read    time.Time
	addrs   map[netip.Addr]bool
	bridged map[int]bool // by interface number
}

func newLocalAddrs() *localAddrs {
	l := &localAddrs{}
	l.refresh(time.Now())
	return l
}

// local reports whether a server with this address is ours to capture, if it
// was seen on this interface: the address is this host's, or the interface is
// a bridge's, behind which its containers are.
func (l *localAddrs) local(ifindex int, a netip.Addr) bool {
	return l.has(a) || l.isBridged(ifindex)
}

// refreshAfter is how old an answer "no" may be.
const refreshAfter = time.Second

func (l *localAddrs) has(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if a.IsLoopback() {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.addrs[a] {
		l.refreshIfOld()
	}
	return l.addrs[a]
}

func (l *localAddrs) isBridged(ifindex int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.bridged[ifindex]; !known {
		l.refreshIfOld()
	}
	return l.bridged[ifindex]
}

func (l *localAddrs) refreshIfOld() {
	if now := time.Now(); now.Sub(l.read) > refreshAfter {
		l.refresh(now)
	}
}

func (l *localAddrs) refresh(now time.Time) {
	l.read = now
	devices, err := net.Interfaces()
	if err != nil {
		return // what was known stays known
	}
	l.addrs, l.bridged = map[netip.Addr]bool{}, map[int]bool{}
	for _, d := range devices {
		l.bridged[d.Index] = isBridgePort(d.Name)
		addrs, _ := d.Addrs()
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				l.addrs[p.Addr().Unmap().WithZone("")] = true
			}
		}
	}
}

// isBridgePort reports whether an interface is a bridge or plugged into one.
func isBridgePort(name string) bool {
	for _, mark := range []string{"bridge", "brport"} {
		if _, err := os.Stat("/sys/class/net/" + name + "/" + mark); err == nil {
			return true
		}
	}
	return false
}
