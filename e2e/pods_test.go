package e2e

import (
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kagami/internal/testbed"
)

// A fakeAPIServer stands in for Kubernetes': it answers what a listener asks, in a
// node's network namespace, over TLS, and nothing else.
type fakeAPIServer struct {
	t      *testing.T
	pods   []string
	events chan string
}

func (f *fakeAPIServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if r.URL.Path != "/api/v1/namespaces/shop/pods" || q.Get("labelSelector") != "app=web" || q.Get("fieldSelector") != "spec.nodeName=node1" {
		f.t.Errorf("asked for %s", r.URL)
	}
	if r.Header.Get("Authorization") != "Bearer the token" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if q.Get("watch") == "" {
		fmt.Fprintf(w, `{"metadata":{"resourceVersion":"1"},"items":[%s]}`, strings.Join(f.pods, ","))
		return
	}
	w.(http.Flusher).Flush()
	for {
		select {
		case <-r.Context().Done():
			return
		case e := <-f.events:
			fmt.Fprintln(w, e)
			w.(http.Flusher).Flush()
		}
	}
}

func podObject(name, ip string) string {
	return fmt.Sprintf(`{"metadata":{"name":%q,"namespace":"shop","resourceVersion":"2"},"status":{"phase":"Running","podIPs":[{"ip":%q}]}}`, name, ip)
}

// Pods are network namespaces behind a node's bridge. Only those that the selector
// means are captured: one that comes from its first request on, one that goes not
// any more, and another program's on the same node and port never. The API server is a fake.
func TestRootPodsOfAFakeAPIServer(t *testing.T) {
	testbed.NeedRoot(t)
	node := testbed.NewNetns(t)
	node.IP(t, "link", "add", "cni0", "type", "bridge")
	node.IP(t, "addr", "add", "10.88.0.1/24", "dev", "cni0")
	node.IP(t, "link", "set", "cni0", "up")
	pod := func(i int) (ip string) {
		ns := testbed.NewNetns(t)
		ip, host := fmt.Sprintf("10.88.0.%d", i), fmt.Sprintf("veth%d", i)
		node.IP(t, "link", "add", host, "type", "veth", "peer", "name", "eth0", "netns", string(ns))
		node.IP(t, "link", "set", host, "master", "cni0", "up")
		ns.IP(t, "addr", "add", ip+"/24", "dev", "eth0")
		ns.IP(t, "link", "set", "eth0", "up")
		testbed.StartNginx(t, string(ns), answer)
		return ip
	}
	web, later, other := pod(11), pod(12), pod(13)

	api := &fakeAPIServer{t: t, pods: []string{podObject("web-1", web)}, events: make(chan string)}
	server := httptest.NewUnstartedServer(api)
	server.Listener.Close()
	node.Do(t, func() (err error) {
		server.Listener, err = net.Listen("tcp", "127.0.0.1:0")
		return err
	})
	server.StartTLS()
	defer server.Close()
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	account := t.TempDir()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	for name, text := range map[string]string{"token": "the token\n", "ca.crt": string(ca)} {
		if err := os.WriteFile(filepath.Join(account, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// ip netns exec has a mount namespace of its own: there, the service account is
	// where a pod finds it.
	inPod := filepath.Join(t.TempDir(), "kagami")
	script := fmt.Sprintf("#!/bin/sh\nset -e\nmount -t tmpfs none /run\nmkdir -p /run/secrets/kubernetes.io\nln -s %s /run/secrets/kubernetes.io/serviceaccount\nexec %s \"$@\"\n",
		account, testbed.Binary)
	if err := os.WriteFile(inPod, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	all := filepath.Join(t.TempDir(), "all.kgm")
	k := testbed.StartBinary(t, inPod, []string{"KUBERNETES_SERVICE_HOST=127.0.0.1", "KUBERNETES_SERVICE_PORT=" + port, "KAGAMI_INPUT_RAW_K8S_NODE=node1"},
		string(node), capturing, "listen", "--input-raw", "k8s://shop/labelSelector/app=web:8080", "--output-file", all)
	ask := func(n int, path string) {
		t.Helper()
		for _, ip := range []string{web, later, other} {
			for i := range n {
				testbed.Run(t, string(node), "curl", "-sf", "-o", "/dev/null", fmt.Sprintf("http://%s:8080/%s/%s/%d", ip, path, ip, i))
			}
		}
	}
	tell := func(event, log string) {
		t.Helper()
		api.events <- event
		k.WaitFor(log)
	}
	ask(5, "first")
	tell(fmt.Sprintf(`{"type":"ADDED","object":%s}`, podObject("web-2", later)), "shop/web-1 shop/web-2\"")
	ask(5, "second")
	tell(fmt.Sprintf(`{"type":"DELETED","object":%s}`, podObject("web-1", web)), `"pods":"shop/web-2"`)
	ask(5, "third")
	k.Stop()

	got := map[string]int{}
	_, out, diag := testbed.RunKagami(t, string(node), "cat", "--format", "json", all)
	for line := range strings.Lines(out) {
		for _, path := range []string{"first", "second", "third"} {
			for name, ip := range map[string]string{"web": web, "later": later, "other": other} {
				if strings.Contains(line, "/"+path+"/"+ip+"/") {
					got[path+" "+name]++
				}
			}
		}
	}
	want := map[string]int{"first web": 5, "second web": 5, "second later": 5, "third later": 5}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("captured %v, want %v\n%s", got, want, diag)
	}
}
