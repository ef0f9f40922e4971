//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// The ports of production's nginx. What is mirrored by nginx itself is on mirrorPort
// plus the share. Staging is on port as well; the one that yields, on idlePort.
const (
	port       = 8080
	idlePort   = 8081
	mirrorPort = 9000
)

// The paths of production: what ab asks for, and what wrk does.
const (
	tiny  = "/tiny"
	small = "/small" // 1 KB
	large = "/large" // 200 KB
)

// An nginx is one with a single worker, that counts requests and logs none.
type nginx struct {
	*process
	status *http.Client
	asked  int64 // questions for its counter, which counts them too
}

// A starter is start, or startIdle.
type starter func(ns string, cpu int, ready, name string, args ...string) (*process, error)

// startNginx starts one on a processor; servers is its configuration.
func startNginx(start starter, dir, ns string, cpu int, servers string) (*nginx, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	socket := filepath.Join(dir, "status.sock")
	conf := fmt.Sprintf(`load_module /usr/lib/nginx/modules/ngx_http_echo_module.so;
daemon off;
master_process off;
worker_rlimit_nofile 10000;
pid %[1]s/nginx.pid;
error_log %[1]s/error.log warn;
events { worker_connections 4000; }
http {
	access_log off;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	keepalive_requests 100000000;
	server { listen unix:%[2]s; location / { stub_status; } }
%[3]s}
`, dir, socket, servers)
	os.Remove(socket) // of one that was killed
	path := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(path, []byte(conf), 0o644); err != nil {
		return nil, err
	}
	p, err := start(ns, cpu, "", "nginx", "-p", dir, "-e", filepath.Join(dir, "error.log"), "-c", path)
	if err != nil {
		return nil, err
	}
	n := &nginx{process: p, status: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}}}}
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if _, err := n.requests(); err == nil {
			return n, nil
		} else if time.Now().After(deadline) {
			b, _ := os.ReadFile(filepath.Join(dir, "error.log"))
			return nil, fmt.Errorf("nginx does not answer: %w\n%s%s", err, b, p.output.String())
		}
	}
}

var counters = regexp.MustCompile(`(?m)^ *\d+ \d+ (\d+)`)

// requests is how many requests nginx has taken since it was started.
func (n *nginx) requests() (int64, error) {
	resp, err := n.status.Get("http://status/")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	n.asked++
	m := counters.FindSubmatch(b)
	if m == nil {
		return 0, fmt.Errorf("stub_status: %q", b)
	}
	count, err := strconv.ParseInt(string(m[1]), 10, 64)
	return count - n.asked, err
}

// production is the configuration of the server that is measured; with a port for each
// of the shares that nginx itself is to mirror.
func productionServers(shares []float64) string {
	answers := `		location ` + tiny + ` { echo ok; }
		location ` + small + ` { echo_duplicate 1024 x; }
		location ` + large + ` { echo_duplicate 204800 x; }
`
	var b strings.Builder
	fmt.Fprintf(&b, "	server {\n		listen %d backlog=4096;\n%s	}\n", port, answers)
	fmt.Fprintf(&b, "	upstream staging { server %s:%d; keepalive 64; }\n", stagingIP, port)
	for _, s := range shares {
		chosen := fmt.Sprintf("	split_clients $request_id $mirrored%g { %g%% 1; * 0; }\n", s, s)
		unless := fmt.Sprintf("if ($mirrored%g = 0) { return 204; }", s)
		if s >= 100 {
			chosen, unless = "", ""
		}
		fmt.Fprintf(&b, `%s	server {
		listen %d backlog=4096;
		mirror /mirror;
		mirror_request_body off;
%s		location = /mirror {
			internal;
			%s
			proxy_pass http://staging$request_uri;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
		}
	}
`, chosen, mirrorPort+int(s), answers, unless)
	}
	return b.String()
}

// stagingServers is the configuration of staging. Its answers have a length, so that a
// connection outlives a request in HTTP/1.0, which ab's are.
func stagingServers(port int) string {
	return fmt.Sprintf("	server {\n		listen %d backlog=4096;\n		location / { return 200 ok; }\n	}\n", port)
}
