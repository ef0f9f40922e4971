package e2e

import (
	"encoding/pem"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"kagami"
	"kagami/internal/testbed"
)

// A pod API is a fake of Kubernetes', for there is no cluster here: it lists no pod, and its watch
// says what it is given.
type podAPI struct {
	port        string
	credentials string
	says        chan string
}

func startPodAPI(t *testing.T, node testbed.Netns) *podAPI {
	t.Helper()
	a := &podAPI{credentials: t.TempDir(), says: make(chan string)}
	ended := make(chan bool)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		switch {
		case r.URL.Path != "/api/v1/namespaces/shop/pods" || q.Get("fieldSelector") != "spec.nodeName=node-1" ||
			q.Get("labelSelector") != "app=web" || r.Header.Get("Authorization") != "Bearer sesame":
			http.Error(w, "not what was expected", http.StatusForbidden)
		case q.Get("watch") == "":
			fmt.Fprint(w, `{"metadata":{"resourceVersion":"1"},"items":[]}`)
		default:
			for {
				http.NewResponseController(w).Flush()
				select {
				case line := <-a.says:
					fmt.Fprintln(w, line)
				case <-r.Context().Done():
					return
				case <-ended:
					return
				}
			}
		}
	}))
	node.Do(t, func() (err error) {
		server.Listener, err = net.Listen("tcp", "127.0.0.1:0")
		return err
	})
	server.StartTLS()
	t.Cleanup(func() { close(ended); server.Close() })
	_, a.port, _ = net.SplitHostPort(server.Listener.Addr().String())
	for name, b := range map[string][]byte{
		"token":  []byte("sesame"),
		"ca.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
	} {
		if err := os.WriteFile(filepath.Join(a.credentials, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

func (a *podAPI) say(kind, uid, version, ips string) {
	a.says <- fmt.Sprintf(`{"type":%q,"object":{"metadata":{"uid":%q,"resourceVersion":%q},"status":{"phase":"Running","podIPs":[%s]}}}`, kind, uid, version, ips)
}

// Of two pods at one port only that is captured which is selected, from when it comes until it goes.
func TestRootPods(t *testing.T) {
	const otherIP = "10.77.9.3"
	h := testbed.NewHosts(t)
	web := testbed.StartNginx(t, container(t, h), answer)
	other := testbed.StartNginx(t, plugIn(t, h, "1", otherIP), answer)
	api := startPodAPI(t, testbed.Netns(h.Production))
	all := filepath.Join(t.TempDir(), "all.kgm")
	env := []string{"KUBERNETES_SERVICE_HOST=127.0.0.1", "KUBERNETES_SERVICE_PORT=" + api.port, "KAGAMI_INPUT_RAW_K8S_NODE=node-1"}
	k := testbed.StartBinary(t, testbed.Binary, env, h.Production, capturing, "listen", "--input-raw", "k8s://shop/labelSelector/app=web:8080",
		"--input-raw-k8s-credentials", api.credentials, "--output-file", all, "--queue-bytes", "1gb", "--queue-messages", "100000")
	both := func() {
		load(t, h, testbed.Addr(containerIP), "-n", "500")
		load(t, h, testbed.Addr(otherIP), "-n", "500")
	}
	both()
	before := len(web.Requests())
	api.say("ADDED", "a", "2", `{"ip":"`+containerIP+`"}`)
	k.WaitFor(`"addresses":1`)
	both()
	without := len(other.Requests())
	api.say("MODIFIED", "b", "3", `{"ip":"`+otherIP+`"},{"ip":"fd00::3"}`)
	k.WaitFor(`"addresses":3`)
	both()
	web.Settle()
	want := map[string]int{testbed.Addr(containerIP): len(web.Requests()) - before}
	api.say("DELETED", "a", "4", `{"ip":"`+containerIP+`"}`)
	k.WaitFor(`"addresses":2`)
	both()
	other.Settle()
	want[testbed.Addr(otherIP)] = len(other.Requests()) - without
	st := k.Stop()
	got := map[string]int{}
	for _, m := range messages(t, all) {
		got[m.Server.String()]++
	}
	if !maps.Equal(got, want) || want[testbed.Addr(containerIP)] < 1000 || want[testbed.Addr(otherIP)] < 1000 {
		t.Errorf("captured %v, want %v", got, want)
	}
	// What was not selected was not even handed over by the kernel.
	if c, _ := st.Stage("capture", "", kagami.Connections); c.Dropped[kagami.OtherPort] != 0 {
		t.Errorf("connections dropped: %v", c.Dropped)
	}
	if st.Bounded {
		t.Error("packets were lost")
	}
}
