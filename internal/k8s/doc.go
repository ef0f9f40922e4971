// Package k8s asks a Kubernetes API server which pods there are, so that a listener
// on a node can capture those and no others. It lists and watches pods, which is all
// the right it needs, and knows of them what capturing needs: their names and
// addresses. It is no general client: see k8s.io/client-go for one.
package k8s
