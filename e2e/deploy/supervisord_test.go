package deploy

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"kagami"
)

var supervisorImage sync.Once

// supervisedNginx is production (80) and staging (8081), supervised as well.
const supervisedNginx = `[program:nginx]
command=nginx -c /etc/nginx/both.conf -g "daemon off;"
`

const bothConf = `worker_processes 1;
pid /run/nginx.pid;
error_log /tmp/error.log;
events { worker_connections 1024; }
http {
	log_format mirrored '$http_kagami_replay $request_uri';
	server { listen 80; access_log /tmp/production.log mirrored; location / { return 200 ok; } }
	server { listen 8081; access_log /tmp/staging.log mirrored; location / { return 200 ok; } }
}
`

// TestDeploySupervisord runs Debian's supervisord with the files of the page, on a
// host that is a container, so that they lie where the page puts them.
func TestDeploySupervisord(t *testing.T) {
	e := needEngine(t)
	e.needImage(t)
	supervisorImage.Do(func() {
		e.importDebian(t, "supervisord", []string{"supervisor", "python3", "nginx-light", "apache2-utils", "libcap2-bin", "passwd"}, func(r *rootfs) {
			for _, dir := range []string{"var/lib/nginx", "var/log/nginx", "var/log/supervisor", "etc/supervisor/conf.d"} {
				r.dir(dir, 0o755)
			}
			r.file("etc/nginx/both.conf", bothConf, 0o644)
			r.file("etc/supervisor/conf.d/nginx.conf", supervisedNginx, 0o644)
		}, `CMD ["supervisord", "-n", "-c", "/etc/supervisor/supervisord.conf"]`)
	})
	dir := t.TempDir()
	e.docker(t, "create", "--name", "program", "kagami")
	defer e.try("rm", "-f", "program", "host")
	e.docker(t, "cp", "program:/usr/local/bin/kagami", filepath.Join(dir, "kagami"))
	e.docker(t, "run", "-d", "--name", "host", "-w", "/tmp/kagami", "supervisord")
	e.docker(t, "cp", filepath.Join(dir, "kagami"), "host:/usr/local/bin/kagami")
	for _, name := range []string{"kagami-listen.conf", "kagami-replay.conf"} {
		b, err := os.ReadFile(filepath.Join(root, "docs/deploy/supervisord", name))
		if err != nil {
			t.Fatal(err)
		}
		// As it is, but for this: ten megabytes of log would take a while.
		small := strings.Replace(string(b), "maxbytes=10MB", "maxbytes=1KB", 1)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(small), 0o644); err != nil {
			t.Fatal(err)
		}
		e.docker(t, "cp", filepath.Join(dir, name), "host:/tmp/kagami/")
	}
	in := func(script string) string { t.Helper(); return e.docker(t, "exec", "host", "sh", "-ec", script) }
	says := func(script, want string) {
		t.Helper()
		var said string
		defer func() {
			if t.Failed() {
				t.Log(said)
			}
		}()
		e.waitFor(t, fmt.Sprintf("%q of %s", want, script), func() bool {
			said, _ = e.try("exec", "host", "sh", "-ec", script)
			return strings.Contains(said, want)
		})
	}
	page := func(name string) string { t.Helper(); return commandsOf(t, "supervisord/README.md", name) }
	says("supervisorctl status nginx", "RUNNING")
	in(page("install"))
	says("supervisorctl status", "kagami-listen                    RUNNING")
	says("supervisorctl status", "kagami-replay                    RUNNING")
	// The admin ports are in the environment that supervisord passes.
	if said := in(page("look")); strings.Count(said, "RUNNING") != 2 || strings.Count(said, "\nok") != 2 {
		t.Errorf("the page's commands say:\n%s", said)
	}
	if user := in("stat -c %U /proc/$(supervisorctl pid kagami-listen)"); user != "kagami" {
		t.Errorf("the listener runs as %q", user)
	}
	load := func(path string) {
		t.Helper()
		in(fmt.Sprintf("ab -q -n 500 -c 5 http://127.0.0.1%s >/dev/null", path))
	}
	arrived := func(path string, want int) {
		t.Helper()
		says("grep -c ' "+path+"$' /tmp/staging.log", fmt.Sprint(want))
	}
	load("/first")
	arrived("/first", 500)

	before := in("supervisorctl pid kagami-listen")
	in("kill -9 " + before)
	says("supervisorctl status kagami-listen", "RUNNING")
	says("KAGAMI_ADMIN=127.0.0.1:9090 kagami health", "ok")
	if after := in("supervisorctl pid kagami-listen"); after == before {
		t.Errorf("killed, and still process %s", after)
	}
	load("/second")
	arrived("/second", 500)

	// Stopped right behind a load.
	load("/third")
	in(page("stop"))
	if n := in("grep -c ' /third$' /tmp/staging.log"); n != "500" {
		t.Errorf("%s of 500 arrived", n)
	}
	log := in("cat /var/log/supervisor/supervisord.log")
	for _, name := range []string{"kagami-listen", "kagami-replay"} {
		if want := "stopped: " + name + " (exit status 0)"; !strings.Contains(log, want) {
			t.Errorf("supervisord's log has no %q:\n%s", want, log)
		}
	}
	for _, name := range []string{"listen", "replay"} {
		all := strings.Split(in("cat $(ls -r /var/log/kagami/"+name+".log*)"), "\n")
		var last logLine
		if err := json.Unmarshal([]byte(all[len(all)-1]), &last); err != nil || last.Statement == nil || !last.Statement.Balanced {
			t.Errorf("%s ends with %v, %s", name, err, all[len(all)-1])
		} else if o, _ := last.Statement.Stage("output", "", kagami.Messages); o.DroppedTotal() > 0 {
			t.Errorf("%s dropped %v", name, o.Dropped)
		}
	}
	if rotated := in("ls /var/log/kagami"); !strings.Contains(rotated, "listen.log.1") {
		t.Errorf("logs do not rotate: %s", rotated)
	}
}
