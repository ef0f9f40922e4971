// Package kube runs what docs/deploy says of Kubernetes against a real API server: etcd,
// kube-apiserver and kubectl, built from their modules. There is no kubelet: no container
// runs, the test says itself which pods do, and `kubectl rollout` and `kubectl exec` are
// stand-ins. scripts/test-root '^TestKube' runs it, as root; the first time it compiles Kubernetes.
package kube

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	top      = "../../.."
	patience = time.Minute
	nodeIP   = "10.78.0.1"
	webIP    = "10.78.0.2"
	otherIP  = "10.78.0.3"
)

// A cluster is an API server in a network namespace, which is the only node.
type cluster struct {
	t          *testing.T
	dir        string // of its files; dir/bin is in the path of the pages' commands
	node, pods string // network namespaces
}

func startCluster(t *testing.T) *cluster {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, for network namespaces and packet capture")
	}
	c := &cluster{t: t, dir: t.TempDir(), node: fmt.Sprintf("kagami-node-%d", os.Getpid()), pods: fmt.Sprintf("kagami-pods-%d", os.Getpid())}
	for _, ns := range []string{c.node, c.pods} {
		c.must("ip", "netns", "add", ns)
		t.Cleanup(func() { exec.Command("ip", "netns", "del", ns).Run() })
		c.must("ip", "-n", ns, "link", "set", "lo", "up")
	}
	c.must("ip", "-n", c.node, "link", "add", "pods", "type", "veth", "peer", "name", "eth0", "netns", c.pods)
	for _, a := range [][]string{{c.node, "pods", nodeIP}, {c.pods, "eth0", webIP}, {c.pods, "eth0", otherIP}} {
		c.must("ip", "-n", a[0], "addr", "add", a[2]+"/24", "dev", a[1])
		c.must("ip", "-n", a[0], "link", "set", a[1], "up")
	}

	caches, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(caches, "kagami-deploy", "kube")
	const version = "k8s.io/component-base/version"
	c.must("go", "build", "-trimpath", "-ldflags", "-s -w -X "+version+".gitVersion=v1.37.2 -X "+version+".gitMajor=1 -X "+version+".gitMinor=37", "-o", program, "./cluster")
	for _, dir := range []string{"bin", "programs", "state"} {
		if err := os.Mkdir(filepath.Join(c.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"etcd", "kube-apiserver", "kubectl"} {
		if err := os.Symlink(program, filepath.Join(c.dir, "programs", name)); err != nil {
			t.Fatal(err)
		}
	}
	c.build("./cmd/kagami", filepath.Join(c.dir, "programs/kagami"))

	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	c.write("sa.pem", string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})))
	c.write("tokens.csv", "sesame,admin,admin,system:masters\n")
	c.write("kubeconfig", `apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: "https://`+nodeIP+`:6443", certificate-authority: `+c.dir+`/certs/apiserver.crt}}]
users: [{name: admin, user: {token: sesame}}]
contexts: [{name: test, context: {cluster: test, user: admin}}]
current-context: test
`)
	c.write("bin/kubectl", `case " $* " in
*" rollout status "*) echo "stand-in: nothing runs the pods" ;;
*" exec "*) while [ "$1" != -- ]; do shift; done; shift 2; STATE_DIRECTORY=`+c.dir+`/state exec `+c.dir+`/programs/kagami "$@" ;;
*) exec `+c.dir+`/programs/kubectl "$@" ;;
esac
`)
	c.start("etcd", nil, "etcd", "--data-dir", c.dir+"/etcd", "--unsafe-no-fsync", "--log-level", "error")
	c.start("kube-apiserver", nil, "kube-apiserver", "--etcd-servers", "http://127.0.0.1:2379", "--cert-dir", c.dir+"/certs",
		"--bind-address", nodeIP, "--advertise-address", nodeIP, "--service-cluster-ip-range", "10.96.0.0/16",
		"--service-account-issuer", "https://kubernetes.default.svc", "--service-account-key-file", c.dir+"/sa.pem", "--service-account-signing-key-file", c.dir+"/sa.pem",
		"--token-auth-file", c.dir+"/tokens.csv", "--authorization-mode", "RBAC",
		"--disable-admission-plugins", "ServiceAccount") // which wants a controller to make them
	c.waitFor("the API server", func() bool {
		out, err := c.try("kubectl get --raw /readyz && kubectl get namespace default")
		return err == nil && strings.HasPrefix(out, "ok")
	})
	return c
}

func (c *cluster) must(name string, args ...string) {
	c.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		c.t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

// build builds a program of Kagami's as the image has it.
func (c *cluster) build(what, to string) {
	c.t.Helper()
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", to, what)
	cmd.Dir, cmd.Env = top, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		c.t.Fatalf("%v: %s", err, out)
	}
}

// write makes a file; in bin a shell script.
func (c *cluster) write(name, text string) {
	c.t.Helper()
	mode := os.FileMode(0o600)
	if strings.HasPrefix(name, "bin/") {
		mode, text = 0o755, "#!/bin/sh\n"+text
	}
	if err := os.WriteFile(filepath.Join(c.dir, name), []byte(text), mode); err != nil {
		c.t.Fatal(err)
	}
}

// A process is one on the node, and what it has printed.
type process struct {
	cmd  *exec.Cmd
	mu   sync.Mutex
	said bytes.Buffer
	done chan struct{}
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said.Write(b)
}

func (p *process) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said.String()
}

// start starts one of the programs on the node, until the test ends.
func (c *cluster) start(name string, env []string, program string, args ...string) *process {
	c.t.Helper()
	p := &process{done: make(chan struct{})}
	p.cmd = exec.Command("ip", append([]string{"netns", "exec", c.node, c.dir + "/programs/" + program}, args...)...)
	p.cmd.Stdout, p.cmd.Stderr = p, p
	p.cmd.Env = append(os.Environ(), env...)
	if err := p.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	go func() { p.cmd.Wait(); close(p.done) }()
	c.t.Cleanup(func() {
		p.cmd.Process.Signal(unix.SIGTERM)
		select {
		case <-p.done:
		case <-time.After(10 * time.Second):
			p.cmd.Process.Kill()
			<-p.done
		}
		if c.t.Failed() {
			text := p.text()
			c.t.Logf("%s: …%s", name, text[max(0, len(text)-3000):])
		}
	})
	return p
}

// try runs a script as an administrator would, on the node.
func (c *cluster) try(script string) (string, error) { return c.tryIn(c.dir, script) }

func (c *cluster) tryIn(dir, script string) (string, error) {
	cmd := exec.Command("ip", "netns", "exec", c.node, "sh", "-ec", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.dir+"/kubeconfig", "PATH="+c.dir+"/bin:"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func (c *cluster) run(script string) string {
	c.t.Helper()
	out, err := c.try(script)
	if err != nil {
		c.t.Fatalf("%s\n%v\n%s", script, err, out)
	}
	return out
}

func (c *cluster) waitFor(what string, done func() bool) {
	c.t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(200 * time.Millisecond) { // polling other processes
		if time.Now().After(end) {
			c.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// page runs the commands of a page of docs/deploy behind a mark, in a copy of its folder.
func (c *cluster) page(folder, mark string) string {
	c.t.Helper()
	dir := filepath.Join(c.dir, folder)
	if _, err := os.Stat(dir); err != nil {
		if err := os.CopyFS(dir, os.DirFS(filepath.Join(top, "docs/deploy", folder))); err != nil {
			c.t.Fatal(err)
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil {
		c.t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(b), "<!-- run: "+mark+" -->\n")
	if !ok {
		c.t.Fatalf("%s has no commands marked %q", folder, mark)
	}
	var script strings.Builder
	for line := range strings.Lines(strings.TrimLeft(rest, "\n")) {
		code, ok := strings.CutPrefix(line, "    ")
		if !ok {
			break
		}
		script.WriteString(code)
	}
	out, err := c.tryIn(dir, script.String())
	if err != nil || script.Len() == 0 {
		c.t.Fatalf("%s\n%v\n%s", script.String(), err, out)
	}
	return out
}

// serve answers HTTP at an address of the pods', port 80.
func (c *cluster) serve(ip string) {
	c.t.Helper()
	listening := make(chan error)
	var l net.Listener
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		fd, err := unix.Open("/run/netns/"+c.pods, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Setns(fd, unix.CLONE_NEWNET)
			unix.Close(fd)
		}
		if err == nil {
			l, err = net.Listen("tcp", ip+":80")
		}
		listening <- err
	}()
	if err := <-listening; err != nil {
		c.t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })}
	go server.Serve(l)
	c.t.Cleanup(func() { server.Close() })
}

// canI asks the API server what the listener's service account may do.
func (c *cluster) canI(what string) string {
	c.t.Helper()
	out, err := c.try("kubectl auth can-i " + what + " --as system:serviceaccount:kagami:kagami-listen 2>/dev/null")
	if err != nil && out != "no" {
		c.t.Fatalf("can-i %s: %v: %s", what, err, out)
	}
	return out
}

// The pages' commands, by kubectl and by helm, on a real API server; what its RBAC lets the
// listener do; and a listener with that service account's token that follows pods.
func TestKubeAPI(t *testing.T) {
	c := startCluster(t)
	c.start("replayer", []string{"STATE_DIRECTORY=" + c.dir + "/state", "KAGAMI_INPUT_TCP=:28020"}, "kagami", "replay", "--output-null")
	c.waitFor("the replayer's key", func() bool { _, err := os.Stat(c.dir + "/state/default.join"); return err == nil })

	c.page("kubernetes", "sidecar")
	if join := c.run("kubectl get secret kagami-join -o jsonpath='{.data.join}' | base64 -d"); !strings.Contains(join, "kagami-replay:28020") {
		t.Errorf("the secret has no join file: %s", join)
	}
	if got := c.run("kubectl get statefulset,deployment,service -o name"); got != "statefulset.apps/kagami-replay\ndeployment.apps/web\nservice/kagami-replay\nservice/kubernetes" {
		t.Errorf("in the cluster there is %s", got)
	}
	c.run("kubectl create namespace shop")
	c.page("kubernetes", "daemonset")
	c.checkRights("shop")
	c.follow()
	c.run("kubectl delete --wait=false -f kubernetes/daemonset.yaml; kubectl delete --wait=false -n kagami -f kubernetes/replayer.yaml; kubectl delete -n kagami secret kagami-join")

	// The chart, by Helm's program.
	caches, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	helm := filepath.Join(caches, "kagami-deploy", "helm-cluster")
	c.must("go", "-C", "../check", "build", "-o", helm, "helm.sh/helm/v3/cmd/helm")
	c.write("bin/helm", "exec "+helm+` "$@"`+"\n")
	c.page("helm", "install")
	if got := c.run("kubectl get -n kagami statefulset,daemonset,service -o name; kubectl get -n kagami secret kagami-join -o name"); got != "statefulset.apps/kagami-replay\ndaemonset.apps/kagami-listen\nservice/kagami-replay\nsecret/kagami-join" {
		t.Errorf("helm has made %s", got)
	}
	c.checkRights("shop")
	c.page("helm", "upgrade")
	c.page("helm", "uninstall")
	if got := c.canI("list pods -n shop"); got != "no" {
		t.Errorf("helm has uninstalled it, and the listener may still list pods: %s", got)
	}
}

// checkRights asks for all that might matter, and wants two of it.
func (c *cluster) checkRights(namespace string) {
	c.t.Helper()
	for what, want := range map[string]string{
		"list pods -n " + namespace: "yes", "watch pods -n " + namespace: "yes",
		"get pods -n " + namespace: "no", "delete pods -n " + namespace: "no", "create pods -n " + namespace: "no",
		"get pods/log -n " + namespace: "no", "create pods/exec -n " + namespace: "no", "list secrets -n " + namespace: "no",
		"list pods -n default": "no", "list pods -A": "no", "list nodes": "no", "get secrets -n kagami": "no",
	} {
		if got := c.canI(what); got != want {
			c.t.Errorf("may the listener %s? %s, want %s", what, got, want)
		}
	}
}

// follow runs a listener with the token of the service account, and wants it to capture what the
// pod gets, from when it runs until it is gone.
func (c *cluster) follow() {
	t := c.t
	t.Helper()
	for _, ip := range []string{webIP, otherIP} {
		c.serve(ip)
	}
	if err := os.Mkdir(c.dir+"/credentials", 0o700); err != nil {
		t.Fatal(err)
	}
	c.run("kubectl create token -n kagami kagami-listen >credentials/token; cp certs/apiserver.crt credentials/ca.crt")
	env := []string{"KUBERNETES_SERVICE_HOST=" + nodeIP, "KUBERNETES_SERVICE_PORT=6443", "KAGAMI_INPUT_RAW_K8S_CREDENTIALS=" + c.dir + "/credentials", "KAGAMI_INPUT_RAW_K8S_NODE=node-1"}
	pod := func(name, label, ip string) {
		t.Helper()
		c.run(fmt.Sprintf(`kubectl apply -f - <<EOF
{apiVersion: v1, kind: Pod, metadata: {name: %[1]s, namespace: shop, labels: {app: %[2]s}}, spec: {nodeName: node-1, containers: [{name: nginx, image: nginx}]}}
EOF
kubectl patch pod -n shop %[1]s --subresource status --type merge -p '{"status": {"phase": "Running", "podIP": "%[3]s", "podIPs": [{"ip": "%[3]s"}]}}'`, name, label, ip))
	}
	ask := func(path string) {
		t.Helper()
		for _, ip := range []string{webIP, otherIP} {
			c.run("for i in 1 2 3 4 5 6 7 8 9 10; do curl -sf http://" + ip + path + "; done")
		}
	}
	pod("other-0", "other", otherIP)
	l := c.start("listener", env, "kagami", "listen", "--input-raw", "k8s://shop/labelSelector/app=web:80", "--output-file", c.dir+"/cap.gor")
	says := func(text string) { c.waitFor(text, func() bool { return strings.Contains(l.text(), text) }) }
	says(`"capturing"`)
	ask("/before")
	pod("web-0", "web", webIP)
	says(`"addresses":1`)
	ask("/during")
	c.run("kubectl delete pod -n shop web-0 --force --grace-period 0")
	says(`"addresses":0`)
	ask("/after")
	l.cmd.Process.Signal(unix.SIGTERM)
	<-l.done
	if code := l.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("the listener ended with %d", code)
	}
	out := c.run("programs/kagami cat cap.gor")
	if strings.Count(out, "GET /during") != 10 || strings.Count(out, "GET /") != 10 {
		t.Errorf("captured:\n%s", out)
	}

	// Where the role gives no right, the API server refuses, and the listener says so.
	refused := c.start("without rights", env, "kagami", "listen", "--input-raw", "k8s://default/labelSelector/app=web:80", "--output-null")
	<-refused.done
	if code := refused.cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(refused.text(), "forbidden") {
		t.Errorf("without a right: exit code %d: %s", code, refused.text())
	}
}
