package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"kagami/internal/k8s"
)

// podsScheme is what the address of a raw input begins with that means pods.
const podsScheme = "k8s://"

// parsePods is parseRaw for what stands behind k8s://. The pods are captured at all
// interfaces of the node: those that lead into them come and go.
func parsePods(address string, c *RawConfig) error {
	text, ports, ok := cutPorts(address)
	if !ok {
		return errors.New("want a port behind the pods, as in k8s://shop/labelSelector/app=nginx:80")
	}
	selector, err := k8s.ParseSelector(text)
	if err != nil {
		return err
	}
	if c.Ports, err = parsePorts(ports); err != nil {
		return err
	}
	switch {
	case !c.atInterfaces():
		return fmt.Errorf("pods are captured at the interfaces of their node: --input-raw-engine %s does not do that", c.Engine)
	case c.K8sNode == "":
		return errors.New("which node is this? Say so with --input-raw-k8s-node, or in the pod's environment: KAGAMI_INPUT_RAW_K8S_NODE from spec.nodeName")
	}
	c.Host, c.Pods = "any", &selector
	return nil
}

// newPods asks the API server for the pods to capture, and has the mirror follow
// their changes while it runs.
func (m *mirror) newPods(ctx context.Context, raw RawConfig) (*k8s.Pods, error) {
	cfg, err := k8s.InCluster(os.Getenv)
	if err != nil {
		return nil, err
	}
	log := m.log.With("selector", raw.Pods.String(), "node", raw.K8sNode)
	pods, err := k8s.List(ctx, cfg, *raw.Pods, raw.K8sNode, func(names []string) { log.Info("other pods are captured now", "pods", someNames(names)) })
	if err != nil {
		return nil, fmt.Errorf("ask for pods: %w", err)
	}
	log.Info("pods", "pods", someNames(pods.Names()))
	m.pods = append(m.pods, func(ctx context.Context) {
		pods.Run(ctx, func(err error) {
			if err != nil {
				log.Warn("the API server does not say which pods there are: those that were known are captured", "error", err)
				return
			}
			log.Info("the API server answers again")
		})
	})
	return pods, nil
}

// localPod is a Config.Local that knows pods alone: not what else runs on their node.
func localPod(pods *k8s.Pods) func(int, netip.Addr) bool {
	return func(_ int, a netip.Addr) bool { return pods.Has(a) }
}

// someNames keeps a line of the log readable.
func someNames(names []string) string {
	const most = 20
	if n := len(names); n > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], " "), n-most)
	}
	return strings.Join(names, " ")
}
