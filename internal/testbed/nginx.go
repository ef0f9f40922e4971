package testbed

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// An Nginx is a real one, in a namespace, that logs every request.
type Nginx struct {
	t    testing.TB
	dir  string
	ns   string
	port int
	cmd  *exec.Cmd
	log  string
}

// StartNginx starts one that answers on port 8080 of all addresses. echo is
// what its location / does, in the words of nginx's echo module.
func StartNginx(t testing.TB, ns, echo string) *Nginx {
	t.Helper()
	return StartNginxOn(t, ns, 8080, echo)
}

// StartNginxOn is StartNginx on another port.
func StartNginxOn(t testing.TB, ns string, port int, echo string) *Nginx {
	t.Helper()
	n := &Nginx{t: t, dir: t.TempDir(), ns: ns, port: port}
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
		listen %[3]d backlog=4096;
		listen [::]:%[3]d backlog=4096;
		location / { %[2]s }
	}
}
`, n.dir, echo, port)
	if err := os.WriteFile(filepath.Join(n.dir, "nginx.conf"), []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	n.Start()
	t.Cleanup(n.Kill)
	return n
}

// Start starts nginx again after Kill, and waits until it answers.
func (n *Nginx) Start() {
	n.t.Helper()
	n.cmd = In(n.ns, "nginx", "-p", n.dir, "-e", n.dir+"/error.log", "-c", n.dir+"/nginx.conf")
	if err := n.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	for deadline := time.Now().Add(Patience); ; {
		if err := In(n.ns, "curl", "-s", "-o", "/dev/null", "-X", "READY", fmt.Sprintf("http://127.0.0.1:%d/ready", n.port)).Run(); err == nil {
			return
		}
		if time.Now().After(deadline) {
			b, _ := os.ReadFile(n.dir + "/error.log")
			n.t.Fatalf("nginx does not answer: %s", b)
		}
	}
}

// Pid is its process's number.
func (n *Nginx) Pid() int { return n.cmd.Process.Pid }

// Kill ends nginx at once; Start brings it back.
func (n *Nginx) Kill() {
	if n.cmd != nil {
		n.cmd.Process.Kill()
		n.cmd.Wait()
		n.cmd = nil
	}
}

// A Logged is a request that nginx answered.
type Logged struct{ Status, Method, URI, ID string }

// Requests reads nginx's access log, without the harness's own requests.
func (n *Nginx) Requests() []Logged {
	n.t.Helper()
	f, err := os.Open(n.log)
	if err != nil {
		n.t.Fatal(err)
	}
	defer f.Close()
	var rs []Logged
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) != 4 {
			n.t.Fatalf("access log: %q", lines.Text())
		}
		if f[1] != "READY" {
			rs = append(rs, Logged{f[0], f[1], f[2], f[3]})
		}
	}
	return rs
}

// IDs returns the Kagami-Replay ids that nginx saw, and how often each.
func (n *Nginx) IDs() map[string]int {
	n.t.Helper()
	ids := map[string]int{}
	for _, r := range n.Requests() {
		ids[r.ID]++
	}
	return ids
}

// WaitForRequests waits until nginx has logged n requests.
func (n *Nginx) WaitForRequests(want int) {
	n.t.Helper()
	for deadline := time.Now().Add(Patience); len(n.Requests()) < want; {
		if time.Now().After(deadline) {
			n.t.Fatalf("nginx logged %d requests, want %d", len(n.Requests()), want)
		}
		time.Sleep(20 * time.Millisecond) // polling another process's file: there is nothing to wait on
	}
}

// Addr is where nginx listens on an address.
func Addr(ip string) string { return net.JoinHostPort(ip, "8080") }

// Settle waits until nginx logs nothing more: its load has ended, and what is
// in its buffers was answered.
func (n *Nginx) Settle() {
	n.t.Helper()
	for last := -1; ; {
		rs := len(n.Requests())
		if rs == last {
			return
		}
		last = rs
		time.Sleep(100 * time.Millisecond) // polling another process's file
	}
}
