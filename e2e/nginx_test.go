package e2e

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// An nginx is a real one, in a namespace, that logs every request.
type nginx struct {
	t   *testing.T
	dir string
	ns  string
	cmd *exec.Cmd
	log string
}

// startNginx starts one that answers on port 8080 of all addresses. echo is
// what its location / does, in the words of nginx's echo module.
func startNginx(t *testing.T, ns, echo string) *nginx {
	t.Helper()
	n := &nginx{t: t, dir: t.TempDir(), ns: ns}
	n.log = filepath.Join(n.dir, "access.log")
	os.Chmod(n.dir, 0o755)
	conf := fmt.Sprintf(`load_module /usr/lib/nginx/modules/ngx_http_echo_module.so;
daemon off;
master_process off;
worker_rlimit_nofile 10000;
pid %[1]s/nginx.pid;
error_log %[1]s/error.log warn;
events { worker_connections 4000; }
http {
	log_format ids '$status $request_method $request_uri $http_kagami_replay';
	access_log %[1]s/access.log ids;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	keepalive_requests 1000000;
	client_max_body_size 32m;
	server {
		listen 8080 backlog=4096;
		listen [::]:8080 backlog=4096;
		location / { %[2]s }
	}
}
`, n.dir, echo)
	if err := os.WriteFile(filepath.Join(n.dir, "nginx.conf"), []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	n.start()
	t.Cleanup(n.kill)
	return n
}

func (n *nginx) start() {
	n.t.Helper()
	n.cmd = in(n.ns, "nginx", "-p", n.dir, "-e", n.dir+"/error.log", "-c", n.dir+"/nginx.conf")
	if err := n.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; {
		if err := in(n.ns, "curl", "-s", "-o", "/dev/null", "-X", "READY", "http://127.0.0.1:8080/ready").Run(); err == nil {
			return
		}
		if time.Now().After(deadline) {
			b, _ := os.ReadFile(n.dir + "/error.log")
			n.t.Fatalf("nginx does not answer: %s", b)
		}
	}
}

// kill ends nginx at once; start brings it back.
func (n *nginx) kill() {
	if n.cmd != nil {
		n.cmd.Process.Kill()
		n.cmd.Wait()
		n.cmd = nil
	}
}

// pause and resume stop and continue the process, as a hung server does.
func (n *nginx) pause()  { n.cmd.Process.Signal(syscall.SIGSTOP) }
func (n *nginx) resume() { n.cmd.Process.Signal(syscall.SIGCONT) }

// A logged is a request that nginx answered.
type logged struct{ status, method, uri, id string }

// requests reads nginx's access log, without the harness's own requests.
func (n *nginx) requests() []logged {
	n.t.Helper()
	f, err := os.Open(n.log)
	if err != nil {
		n.t.Fatal(err)
	}
	defer f.Close()
	var rs []logged
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) != 4 {
			n.t.Fatalf("access log: %q", lines.Text())
		}
		if f[1] != "READY" {
			rs = append(rs, logged{f[0], f[1], f[2], f[3]})
		}
	}
	return rs
}

// ids returns the Kagami-Replay ids that nginx saw, and how often each.
func (n *nginx) ids() map[string]int {
	n.t.Helper()
	ids := map[string]int{}
	for _, r := range n.requests() {
		ids[r.id]++
	}
	return ids
}

// waitForRequests waits until nginx has logged n requests.
func (n *nginx) waitForRequests(want int) {
	n.t.Helper()
	for deadline := time.Now().Add(patience); len(n.requests()) < want; {
		if time.Now().After(deadline) {
			n.t.Fatalf("nginx logged %d requests, want %d", len(n.requests()), want)
		}
		time.Sleep(20 * time.Millisecond) // polling another process's file: there is nothing to wait on
	}
}

func addr(ip string) string { return net.JoinHostPort(ip, "8080") }

// settle waits until nginx logs nothing more: its load has ended, and what is
// in its buffers was answered.
func (n *nginx) settle() {
	n.t.Helper()
	for last := -1; ; {
		rs := len(n.requests())
		if rs == last {
			return
		}
		last = rs
		time.Sleep(100 * time.Millisecond) // polling another process's file
	}
}
