// Package kube says which addresses the pods have that a selection means, and follows
// them as they come and go, by the list and watch of Kubernetes' API
// (https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes).
//
//	s, err := kube.ParseSelection("shop/deployment/web")
//	…
//	pods, err := kube.Find(ctx, kube.Config{Server: "https://10.0.0.1:443", Credentials: kube.ServiceAccount, Selection: s, Node: "node-7"})
//	…
//	capture(pods.Addresses())
//	err = pods.Follow(ctx, func(now []netip.Addr) { capture(now) })
//
// It asks for nothing but pods: to list and to watch them is all that its service account
// has to be allowed.
package kube
