package check

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// patience is how long anything may take here.
const patience = 30 * time.Second

// What the chart sets is what the program takes: with the environment of the rendered
// containers a replayer gets healthy, and a listener asks the API, which is a fake here, for
// the pods that the chart's role lets it list.
func TestDeployHelmRuns(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("packet sockets need root")
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "kagami")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, "./cmd/kagami") // as the image's
	build.Dir, build.Env = "../../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	admins := []int{freePort(t), freePort(t)}
	_, replayer, listener := mustRender(t, fmt.Sprintf(`
replayer: {enabled: true, outputHttp: ['http://127.0.0.1:9|10%%', 'http://127.0.0.1:8'], port: %d, adminPort: %d, drainSeconds: 2,
  env: {KAGAMI_STATE: %s, STATE_DIRECTORY: %s}}
listener: {enabled: true, admin: '127.0.0.1:%d', pods: [{namespace: shop, kind: labelSelector, value: app=web, ports: [80, 81]}, {namespace: blog, kind: pod, value: ghost-0, ports: [80]}]}
`, freePort(t), admins[0], filepath.Join(dir, "state"), dir, admins[1]))

	first := start(t, program, replayer, nil)
	waitHealthy(t, first, admins[0])
	join, err := os.ReadFile(filepath.Join(dir, "default.join"))
	if err != nil || !strings.Contains(string(join), "kagami-replay.mirror.svc:") {
		t.Fatalf("the join file: %v, %s", err, join)
	}

	asked := make(chan string, 100)
	api := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("watch") != "" {
			<-r.Context().Done()
			return
		}
		asked <- r.URL.Path + " " + r.URL.Query().Get("labelSelector") + " " + r.URL.Query().Get("fieldSelector")
		fmt.Fprint(w, `{"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": []}`)
	}))
	t.Cleanup(api.Close)
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: api.Certificate().Raw})
	for file, content := range map[string][]byte{"ca.crt": certificate, "token": []byte("secret")} {
		if err := os.WriteFile(filepath.Join(dir, file), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	host, port, _ := net.SplitHostPort(api.Listener.Addr().String())
	second := start(t, program, listener, []string{
		"KAGAMI_INPUT_RAW_K8S_CREDENTIALS=" + dir, "KUBERNETES_SERVICE_HOST=" + host, "KUBERNETES_SERVICE_PORT=" + port, "KAGAMI_JOIN=" + string(join),
	})
	waitHealthy(t, second, admins[1])
	want := map[string]bool{
		"/api/v1/namespaces/shop/pods app=web spec.nodeName=node-1":                true,
		"/api/v1/namespaces/blog/pods  metadata.name=ghost-0,spec.nodeName=node-1": true,
	}
	for range want {
		select {
		case got := <-asked:
			if !want[got] {
				t.Errorf("the listener asked for %q", got)
			}
			delete(want, got)
		case <-time.After(patience):
			t.Fatalf("the listener did not ask for %v", want)
		}
	}
	second.stop(t)
	first.stop(t)
}

// freePort is a port that nobody listens at.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// A running is a process, and what it has logged once it has ended.
type running struct {
	cmd  *exec.Cmd
	done chan error
	log  *bytes.Buffer
}

// start runs what a container would, with its environment and nothing else but more.
func start(t *testing.T, program string, c *corev1.Container, more []string) *running {
	t.Helper()
	r := &running{cmd: exec.Command(program, c.Args...), done: make(chan error, 1), log: &bytes.Buffer{}}
	r.cmd.Env, r.cmd.Stderr = more, r.log
	for name, value := range environment(t, c) {
		switch value {
		case "field:spec.nodeName":
			value = "node-1"
		case "secret:kagami-join/join": // is in more
			continue
		}
		r.cmd.Env = append(r.cmd.Env, name+"="+value)
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { r.done <- r.cmd.Wait() }()
	t.Cleanup(func() { r.cmd.Process.Kill() })
	return r
}

// waitHealthy waits until the process says at its admin port that it is well.
func waitHealthy(t *testing.T, r *running, port int) {
	t.Helper()
	for end := time.Now().Add(patience); ; {
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/healthz", port))
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case err := <-r.done:
			t.Fatalf("%v has ended: %v\n%s", r.cmd.Args[1:], err, r.log)
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(end) {
			t.Fatalf("%v does not get healthy: %v", r.cmd.Args[1:], err)
		}
	}
}

// stop ends the process as Kubernetes does, and wants it to exit 0 without a warning.
func (r *running) stop(t *testing.T) {
	t.Helper()
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-r.done:
		if err != nil || strings.Contains(r.log.String(), "KAGAMI_") {
			t.Errorf("%v: %v\n%s", r.cmd.Args[1:], err, r.log)
		}
	case <-time.After(patience):
		t.Fatalf("%v does not end", r.cmd.Args[1:])
	}
}
