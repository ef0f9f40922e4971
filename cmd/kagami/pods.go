package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"kagami/internal/kube"
)

// podScheme begins the address of a raw input whose servers are pods.
const podScheme = "k8s://"

// apiPatience is how long Kubernetes' API may take to list the pods at the start.
const apiPatience = 20 * time.Second

// parsePods reads what is behind podScheme into c: a selection, and ports.
func parsePods(address string, c *RawConfig) error {
	selection, ports, ok := cutPorts(address)
	if !ok {
		return errors.New("want a port behind it, as in k8s://shop/deployment/web:80")
	}
	s, err := kube.ParseSelection(selection)
	if err != nil {
		return fmt.Errorf("behind %s: %w", podScheme, err)
	}
	if c.Ports, err = parsePorts(ports); err != nil {
		return err
	}
	if c.mirrored() || c.Engine == enginePcapFile {
		return fmt.Errorf("what pods get is captured at interfaces: --input-raw-engine %s cannot", c.Engine)
	}
	c.Host, c.Pods = "any", &s
	return nil
}

// idlePods says which settings of a raw input have nothing to act on, for its servers are no pods.
func idlePods(in *InputConfig) (notices []string) {
	if in.Raw.Pods != nil {
		return nil
	}
	for key, set := range map[string]bool{"k8s-credentials": in.Raw.Credentials != "", "k8s-node": in.Raw.Node != ""} {
		if set {
			notices = append(notices, fmt.Sprintf("--input-raw %s: --input-raw-%s changes nothing without %s", in.Address, key, podScheme))
		}
	}
	slices.Sort(notices)
	return notices
}

// podServers are the pods of which an input captures what they get.
type podServers struct {
	pods   *kube.Pods
	what   string // as the user named them
	log    *slog.Logger
	filter *kernelFilter
	now    atomic.Pointer[map[netip.Addr]bool]
	whole  bool // the kernel's filter does not hold so many addresses: it lets all through
}

// findPods asks Kubernetes which pods raw means.
func (m *mirror) findPods(ctx context.Context, raw RawConfig) (*podServers, error) {
	host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
	if host == "" || port == "" {
		return nil, errors.New("this is no pod of Kubernetes: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT say where its API is, and are not set")
	}
	p := &podServers{what: podScheme + raw.Pods.String(), log: m.log}
	if raw.Node == "" {
		m.log.Warn("requests to pods of other nodes are captured too where they come by here: --input-raw-k8s-node leaves them to the listener there", "input", p.what)
	}
	ctx, cancel := context.WithTimeout(ctx, apiPatience)
	defer cancel()
	var err error
	p.pods, err = kube.Find(ctx, kube.Config{
		Server:      "https://" + net.JoinHostPort(host, port),
		Credentials: cmp.Or(raw.Credentials, kube.ServiceAccount),
		Selection:   *raw.Pods,
		Node:        raw.Node,
		Failed:      func(err error) { m.log.Warn("pods that come or go now are not noticed", "error", err) },
	})
	if err != nil {
		return nil, err
	}
	p.set(p.pods.Addresses())
	return p, nil
}

func (p *podServers) set(addrs []netip.Addr) {
	now := make(map[netip.Addr]bool, len(addrs))
	for _, a := range addrs {
		now[a] = true
	}
	p.now.Store(&now)
}

// has reports whether an address is a pod's.
func (p *podServers) has(a netip.Addr) bool { return (*p.now.Load())[a.Unmap().WithZone("")] }

// local is has for a capture: pods are no addresses of this host.
func (p *podServers) local(_ int, a netip.Addr) bool { return p.has(a) }

func (p *podServers) none() bool { return len(*p.now.Load()) == 0 }

// hosts is what the kernel lets through. Without a pod that is nobody, and not anybody.
func (p *podServers) hosts() (all []netip.Addr) {
	for a := range *p.now.Load() {
		all = append(all, a)
	}
	if len(all) == 0 {
		all = append(all, netip.IPv4Unspecified())
	}
	return all
}

// follow captures what pods get that come, and no longer what went to those that go, until ctx is done.
func (p *podServers) follow(ctx context.Context) {
	p.pods.Follow(ctx, func(addrs []netip.Addr) {
		p.set(addrs)
		if err := p.filter.setHosts(p.hosts()); err == nil {
			p.whole = false
		} else if !p.whole {
			p.whole = true
			p.log.Warn("the kernel does not filter by the pods' addresses: packets to others at these ports are thrown away here, which takes more CPU time", "error", err)
			if err := p.filter.setHosts(nil); err != nil {
				p.log.Error("the kernel's filter is an old one: requests to new pods are missed", "error", err)
			}
		}
		p.log.Info("capturing what goes to pods", "input", p.what, "addresses", len(addrs))
	})
}

// onNode names a node in a sentence.
func onNode(node string) string {
	if node == "" {
		return ""
	}
	return " on node " + node
}
