package kube

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// A Selection says which pods are meant. The zero value means all.
type Selection struct {
	Namespace string // "": all
	Kind      string // pod, deployment, daemonset, labelSelector, fieldSelector; "": all
	Value     string // the name or the selector
}

// Forms is what ParseSelection reads, for messages to people.
const Forms = "[NAMESPACE/]pod/NAME, [NAMESPACE/]deployment/NAME, [NAMESPACE/]daemonset/NAME, " +
	"[NAMESPACE/]labelSelector/SELECTOR or [NAMESPACE/]fieldSelector/SELECTOR"

// ParseSelection reads [NAMESPACE/]KIND/VALUE. Selectors are the API's
// (https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/), which checks them.
func ParseSelection(text string) (Selection, error) {
	first, rest, more := strings.Cut(text, "/")
	s := Selection{Kind: first, Value: rest}
	if !isKind(first) {
		s.Namespace = first
		s.Kind, s.Value, more = strings.Cut(rest, "/")
	}
	switch {
	case !more || !isKind(s.Kind) || s.Value == "":
		return Selection{}, fmt.Errorf("want %s", Forms)
	case s.Namespace == "" && !isKind(first):
		return Selection{}, errors.New("the namespace is empty: leave it out with its slash for all of them")
	case !isName(s.Namespace):
		return Selection{}, fmt.Errorf("namespace %q: want lower-case letters, digits and -", s.Namespace)
	case !strings.HasSuffix(s.Kind, "Selector") && !isName(s.Value):
		return Selection{}, fmt.Errorf("%s %q: want lower-case letters, digits, dots and -", s.Kind, s.Value)
	}
	return s, nil
}

func isKind(s string) bool {
	switch s {
	case "pod", "deployment", "daemonset", "labelSelector", "fieldSelector":
		return true
	}
	return false
}

// isName reports whether s has only the characters of names (RFC 1123, §2.1).
func isName(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '.'
	})
}

// String is what ParseSelection reads.
func (s Selection) String() string {
	if s.Namespace == "" {
		return s.Kind + "/" + s.Value
	}
	return s.Namespace + "/" + s.Kind + "/" + s.Value
}

// path is where the API has the pods of the namespace.
func (s Selection) path() string {
	if s.Namespace == "" {
		return "/api/v1/pods"
	}
	return "/api/v1/namespaces/" + s.Namespace + "/pods"
}

// query is what the API can select by: all but what has a pod made.
func (s Selection) query(node string) url.Values {
	q := url.Values{}
	var fields []string
	switch s.Kind {
	case "labelSelector":
		q.Set("labelSelector", s.Value)
	case "fieldSelector":
		fields = append(fields, s.Value)
	case "pod":
		fields = append(fields, "metadata.name="+s.Value)
	}
	if node != "" {
		fields = append(fields, "spec.nodeName="+node)
	}
	if len(fields) > 0 {
		q.Set("fieldSelector", strings.Join(fields, ","))
	}
	return q
}

// has reports whether a pod that the API selected is meant. A pod of a deployment is its
// ReplicaSet's, whose name is the deployment's and the hash that is the pod's label
// (https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#pod-template-hash-label).
func (s Selection) has(p pod) bool {
	switch s.Kind {
	case "deployment":
		hash := p.Metadata.Labels["pod-template-hash"]
		return hash != "" && p.ownedBy("ReplicaSet", s.Value+"-"+hash)
	case "daemonset":
		return p.ownedBy("DaemonSet", s.Value)
	}
	return true
}
