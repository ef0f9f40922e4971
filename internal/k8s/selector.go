package k8s

import (
	"fmt"
	"net/url"
	"strings"
)

// A Selector says which pods are meant. Its text is that of GoReplay's
// k8s:// addresses: [NAMESPACE/]KIND/VALUE.
type Selector struct {
	Namespace string // "" is every namespace
	Kind      string // "pod", "deployment", "daemonset", "labelSelector" or "fieldSelector"
	Value     string
}

// kinds are those of Selector, and short names of theirs.
var kinds = map[string]string{
	"pod": "pod", "deployment": "deployment", "daemonset": "daemonset",
	"labelSelector": "labelSelector", "label": "labelSelector", "fieldSelector": "fieldSelector", "field": "fieldSelector",
}

const selectorHelp = "want k8s://[NAMESPACE/]KIND/VALUE:PORT, KIND being pod, deployment, daemonset, labelSelector or fieldSelector, " +
	"as in k8s://shop/labelSelector/app=nginx:80"

// ParseSelector reads what stands between k8s:// and the ports.
func ParseSelector(text string) (Selector, error) {
	var s Selector
	first, rest, ok := strings.Cut(text, "/")
	if !ok {
		return s, fmt.Errorf("%q: %s", text, selectorHelp)
	}
	// The namespace may be left out: then what comes first is the kind. The value of a
	// selector may have slashes, as in app.kubernetes.io/name=nginx.
	kind, value := first, rest
	if next, after, more := strings.Cut(rest, "/"); more && kinds[next] != "" {
		s.Namespace, kind, value = first, next, after
		if !isName(s.Namespace) {
			return s, fmt.Errorf("namespace %q: want small letters, digits and -", s.Namespace)
		}
	}
	if s.Kind = kinds[kind]; s.Kind == "" {
		return s, fmt.Errorf("%q is no kind of selector: %s", kind, selectorHelp)
	}
	if s.Value = value; value == "" {
		return s, fmt.Errorf("%s of what name? %s", kind, selectorHelp)
	}
	named := s.Kind != "labelSelector" && s.Kind != "fieldSelector"
	if named && !isName(value) {
		return s, fmt.Errorf("%s %q: want small letters, digits, - and dots", kind, value)
	}
	if s.Kind == "fieldSelector" && !strings.Contains(value, "=") {
		return s, fmt.Errorf("fieldSelector %q: want FIELD=VALUE, as in metadata.name=web-0", value)
	}
	return s, nil
}

// isName reports whether s can be the name of an object (RFC 1123, a subdomain).
func isName(s string) bool {
	return s != "" && len(s) <= 253 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-.") == ""
}

// String writes it as ParseSelector reads it.
func (s Selector) String() string {
	text := s.Kind + "/" + s.Value
	if s.Namespace != "" {
		text = s.Namespace + "/" + text
	}
	return text
}

// path is where the API has the pods (of the namespace).
func (s Selector) path() string {
	if s.Namespace == "" {
		return "/api/v1/pods"
	}
	return "/api/v1/namespaces/" + url.PathEscape(s.Namespace) + "/pods"
}

// query is what the API server itself can select by. A deployment's pods are
// told by their owner, for which that has no selector.
func (s Selector) query(node string) url.Values {
	q := url.Values{}
	fields := []string{}
	if node != "" {
		fields = append(fields, "spec.nodeName="+node)
	}
	switch s.Kind {
	case "pod":
		fields = append(fields, "metadata.name="+s.Value)
	case "fieldSelector":
		fields = append(fields, s.Value)
	case "labelSelector":
		q.Set("labelSelector", s.Value)
	}
	if len(fields) > 0 {
		q.Set("fieldSelector", strings.Join(fields, ","))
	}
	return q
}

// has reports whether a pod that the API server selected is one.
func (s Selector) has(p *object) bool {
	for _, o := range p.Metadata.OwnerReferences {
		switch {
		case s.Kind == "daemonset" && o.Kind == "DaemonSet" && o.Name == s.Value:
			return true
		case s.Kind == "deployment" && o.Kind == "ReplicaSet":
			// A deployment's replica set is named after it and the hash of its template,
			// and its pods have that hash as a label.
			if hash := p.Metadata.Labels["pod-template-hash"]; hash != "" && o.Name == s.Value+"-"+hash {
				return true
			}
		}
	}
	return s.Kind != "daemonset" && s.Kind != "deployment"
}
