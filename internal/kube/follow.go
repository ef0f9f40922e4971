package kube

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Pods are those that a selection means. Its methods are for one goroutine.
type Pods struct {
	client  *client
	version string
	byUID   map[string][]netip.Addr
	said    []netip.Addr
}

// Find lists the pods once. The error says what to do: the API may be elsewhere, or not let
// the service account list pods.
func Find(ctx context.Context, cfg Config) (*Pods, error) {
	if cfg.Retry == 0 {
		cfg.Retry = time.Second
	}
	c, err := newClient(cfg)
	if err != nil {
		return nil, err
	}
	p := &Pods{client: c}
	return p, p.list(ctx)
}

func (p *Pods) list(ctx context.Context) error {
	pods, version, err := p.client.list(ctx)
	if err != nil {
		return err
	}
	p.version, p.byUID = version, map[string][]netip.Addr{}
	for _, pod := range pods {
		p.changed(false, pod)
	}
	return nil
}

func (p *Pods) changed(deleted bool, pod pod) {
	addrs := pod.addresses()
	if deleted || len(addrs) == 0 || !p.client.cfg.Selection.has(pod) {
		delete(p.byUID, pod.Metadata.UID)
		return
	}
	p.byUID[pod.Metadata.UID] = addrs
}

// Addresses are those of the pods as they were known last, sorted, each once.
func (p *Pods) Addresses() (all []netip.Addr) {
	for _, addrs := range p.byUID {
		all = append(all, addrs...)
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}

// Follow calls changed with the addresses, at once and each time they are others than before, until
// ctx is done. While the API cannot be reached, what was known stays; Config.Failed is told of each error.
func (p *Pods) Follow(ctx context.Context, changed func([]netip.Addr)) {
	say := func() {
		if now := p.Addresses(); p.said == nil || !slices.Equal(now, p.said) {
			p.said = append([]netip.Addr{}, now...)
			changed(now)
		}
	}
	say()
	wait := p.client.cfg.Retry
	for ctx.Err() == nil {
		before := p.version
		version, err := p.client.watch(ctx, p.version, func(deleted bool, pod pod) {
			p.changed(deleted, pod)
			say()
		})
		p.version = version
		if errors.Is(err, errExpired) {
			if err = p.list(ctx); err == nil {
				say()
			}
		}
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && p.client.cfg.Failed != nil:
			p.client.cfg.Failed(fmt.Errorf("pods %s: %w", p.client.cfg.Selection, err))
		}
		// A watch that the API ends is begun again where it ended: at once, or it was a short one.
		if err == nil {
			wait = p.client.cfg.Retry
			if p.version != before {
				continue
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		if err != nil {
			wait = min(2*wait, 30*p.client.cfg.Retry)
		}
	}
}
