package kube

import (
	"encoding/json"
	"net/netip"
)

// A pod is what is read of a Pod
// (https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/).
type pod struct {
	Metadata struct {
		UID             string            `json:"uid"`
		ResourceVersion string            `json:"resourceVersion"`
		Labels          map[string]string `json:"labels"`
		OwnerReferences []struct {
			Kind string `json:"kind"`
			Name string `json:"name"`
		} `json:"ownerReferences"`
	} `json:"metadata"`
	Status struct {
		Phase  string `json:"phase"`
		PodIPs []struct {
			IP string `json:"ip"`
		} `json:"podIPs"`
	} `json:"status"`
}

// A podList is a page of pods.
type podList struct {
	Metadata struct {
		ResourceVersion string `json:"resourceVersion"`
		Continue        string `json:"continue"`
	} `json:"metadata"`
	Items []pod `json:"items"`
}

// An event is a line of a watch.
type event struct {
	Type   string          `json:"type"` // ADDED, MODIFIED, DELETED, BOOKMARK, ERROR
	Object json.RawMessage `json:"object"`
}

// A status is what the API says in place of what was asked for.
type status struct {
	Message string `json:"message"`
	Code    int    `json:"code"`
}

func (p pod) ownedBy(kind, name string) bool {
	for _, o := range p.Metadata.OwnerReferences {
		if o.Kind == kind && o.Name == name {
			return true
		}
	}
	return false
}

// addresses are those of a pod that runs or is about to; one that has ended may have its addresses
// still, when another has got them.
func (p pod) addresses() (all []netip.Addr) {
	if p.Status.Phase == "Succeeded" || p.Status.Phase == "Failed" {
		return nil
	}
	for _, ip := range p.Status.PodIPs {
		if a, err := netip.ParseAddr(ip.IP); err == nil {
			all = append(all, a.Unmap())
		}
	}
	return all
}
