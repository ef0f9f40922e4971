package k8s

import (
	"io"
	"net/netip"
)

// Replay returns the pods that there are after the events of a watch.
func Replay(s Selector, events io.Reader) ([]string, error) {
	p := &Pods{selector: s, pods: map[string][]netip.Addr{}}
	p.publish()
	err := p.follow(events)
	return p.Names(), err
}
