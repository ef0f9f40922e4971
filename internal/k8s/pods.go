package k8s

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// maxPods bounds what is remembered. A node has 110 pods by default.
const maxPods = 10_000

// errGone says that the API server does not know any more what came after the
// version that was seen: everything has to be listed anew.
var errGone = errors.New("the version that was seen last is too old")

// A Pods is the set of pods that a selector means, kept up to date by Run.
type Pods struct {
	client   *client
	selector Selector
	node     string
	changed  func(names []string)

	pods    map[string][]netip.Addr // by namespace and name; Run's alone once that is called
	version string
	addrs   atomic.Pointer[map[netip.Addr]bool]
	mu      sync.Mutex
	names   []string
}

// object is what is read of a pod.
type object struct {
	Metadata struct {
		Name, Namespace, ResourceVersion string
		Labels                           map[string]string
		OwnerReferences                  []struct{ Kind, Name string }
	}
	Status struct {
		Phase  string
		PodIPs []struct{ IP string }
	}
}

// List asks for the pods once, so that a wrong address or a missing right is known at
// once. node is the node they are to be on, "" is any; changed, if not nil, is told
// the names whenever Run finds that they are others.
func List(ctx context.Context, cfg Config, s Selector, node string, changed func(names []string)) (*Pods, error) {
	c, err := newClient(cfg)
	if err != nil {
		return nil, err
	}
	p := &Pods{client: c, selector: s, node: node, changed: changed}
	return p, p.list(ctx)
}

// Has reports whether an address is one of a pod. It is quick, and may be called at any time.
func (p *Pods) Has(a netip.Addr) bool { return (*p.addrs.Load())[a.Unmap().WithZone("")] }

// Names are the pods, as namespace/name, sorted.
func (p *Pods) Names() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.names)
}

// Run keeps the set up to date until ctx is done. While the API server cannot be
// reached, what was known stays; report, if not nil, is told why not, and nil when it is
// back.
func (p *Pods) Run(ctx context.Context, report func(error)) {
	failed := false
	for wait := time.Second; ctx.Err() == nil; {
		began := time.Now()
		err := p.watch(ctx)
		switch {
		case errors.Is(err, errGone):
			err = p.list(ctx)
		case err == nil && time.Since(began) < time.Second:
			err = errors.New("the API server ends each answer at once")
		}
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			if failed && report != nil {
				report(nil)
			}
			failed, wait = false, time.Second
			continue
		}
		if !failed && report != nil {
			report(err)
		}
		failed = true
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, 30*time.Second)
	}
}

// list reads all pods, page by page.
func (p *Pods) list(ctx context.Context) error {
	found := map[string][]netip.Addr{}
	q := p.selector.query(p.node)
	q.Set("limit", "100")
	for {
		var page struct {
			Metadata struct{ ResourceVersion, Continue string }
			Items    []object
		}
		body, err := p.client.get(ctx, p.selector.path(), q)
		if err != nil {
			return err
		}
		err = json.NewDecoder(io.LimitReader(body, maxPage)).Decode(&page)
		body.Close()
		if err != nil {
			return fmt.Errorf("list of pods: %w", err)
		}
		for i := range page.Items {
			if err := put(found, p.selector, &page.Items[i]); err != nil {
				return err
			}
		}
		p.version = page.Metadata.ResourceVersion
		if page.Metadata.Continue == "" {
			break
		}
		q.Set("continue", page.Metadata.Continue)
	}
	p.pods = found
	p.publish()
	return nil
}

// put takes note of a pod, if it is one of those meant and has an address.
func put(pods map[string][]netip.Addr, s Selector, o *object) error {
	name := o.Metadata.Namespace + "/" + o.Metadata.Name
	delete(pods, name)
	if o.Status.Phase == "Succeeded" || o.Status.Phase == "Failed" || !s.has(o) {
		return nil // its address may soon be another's
	}
	var addrs []netip.Addr
	for _, ip := range o.Status.PodIPs {
		if a, err := netip.ParseAddr(ip.IP); err == nil {
			addrs = append(addrs, a.Unmap().WithZone(""))
		}
	}
	if len(addrs) == 0 {
		return nil
	}
	if len(pods) == maxPods {
		return fmt.Errorf("more than %d pods: select fewer", maxPods)
	}
	pods[name] = addrs
	return nil
}

// publish lets Has and Names know.
func (p *Pods) publish() {
	addrs := map[netip.Addr]bool{}
	for _, as := range p.pods {
		for _, a := range as {
			addrs[a] = true
		}
	}
	names := slices.Sorted(maps.Keys(p.pods))
	p.mu.Lock()
	was := p.names
	p.names = names
	p.mu.Unlock()
	first := p.addrs.Swap(&addrs) == nil
	if p.changed != nil && !first && !slices.Equal(was, names) {
		p.changed(names)
	}
}

// watch follows changes until the API server ends the answer, which it does now
// and then.
func (p *Pods) watch(ctx context.Context) error {
	q := p.selector.query(p.node)
	q.Set("watch", "1")
	q.Set("allowWatchBookmarks", "true")
	q.Set("timeoutSeconds", "300")
	q.Set("resourceVersion", p.version)
	body, err := p.client.get(ctx, p.selector.path(), q)
	if err != nil {
		return err
	}
	defer body.Close()
	return p.follow(body)
}

// follow reads the events of a watch.
func (p *Pods) follow(body io.Reader) error {
	events := lines(body)
	for events.Scan() {
		var e event
		if err := json.Unmarshal(events.Bytes(), &e); err != nil {
			return fmt.Errorf("watch of pods: %w", err)
		}
		if err := p.apply(&e); err != nil {
			return err
		}
	}
	if err := events.Err(); errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("watch of pods: an event of more than %d bytes", maxEvent)
	}
	return nil // the connection ended: watch again from here
}

// An event is a change, as a watch tells it.
type event struct {
	Type   string // ADDED, MODIFIED, DELETED, BOOKMARK, ERROR
	Object json.RawMessage
}

func (p *Pods) apply(e *event) error {
	if e.Type == "ERROR" {
		var status struct {
			Code    int
			Message string
		}
		if err := json.Unmarshal(e.Object, &status); err != nil {
			return fmt.Errorf("watch of pods: %w", err)
		}
		if status.Code == http.StatusGone {
			return errGone
		}
		return fmt.Errorf("watch of pods: %d %s", status.Code, status.Message)
	}
	var o object
	if err := json.Unmarshal(e.Object, &o); err != nil {
		return fmt.Errorf("watch of pods: %w", err)
	}
	if o.Metadata.ResourceVersion != "" {
		p.version = o.Metadata.ResourceVersion
	}
	switch e.Type {
	case "ADDED", "MODIFIED":
		if err := put(p.pods, p.selector, &o); err != nil {
			return err
		}
	case "DELETED":
		delete(p.pods, o.Metadata.Namespace+"/"+o.Metadata.Name)
	default: // BOOKMARK: only the version
		return nil
	}
	p.publish()
	return nil
}
