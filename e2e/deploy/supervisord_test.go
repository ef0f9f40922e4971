package deploy

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

var supervisorImage sync.Once

// supervisedNginx is production (80) and staging (8081), supervised as well.
const supervisedNginx = `[program:nginx]
command=nginx -c /etc/nginx/both.conf -g "daemon off;"
`

// TestDeploySupervisord runs Debian's supervisord with the files of the page, on a
// host that is a container, so that they lie where the page puts them.
func TestDeploySupervisord(t *testing.T) {
	t.Parallel()
	e := needEngine(t)
	e.needImage(t)
	supervisorImage.Do(func() {
		packages := []string{"supervisor", "python3", "nginx-light", "apache2-utils", "libcap2-bin", "passwd"}
		e.importDebian(t, debianImage{name: "supervisord", packages: packages, also: bothConf + supervisedNginx, add: func(r *rootfs) {
			addNginx(r)
			r.dir("var/log/supervisor", 0o755)
			r.file("etc/supervisor/conf.d/nginx.conf", supervisedNginx, 0o644)
		}, changes: []string{`CMD ["supervisord", "-n", "-c", "/etc/supervisor/supervisord.conf"]`}})
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
	h := &host{e, t, "host"}
	page := func(name string) string { t.Helper(); return commandsOf(t, "supervisord/README.md", name) }
	h.says("supervisorctl status nginx", "RUNNING")
	h.in(page("install"))
	h.says("supervisorctl status", "kagami-listen                    RUNNING")
	h.says("supervisorctl status", "kagami-replay                    RUNNING")
	// The admin ports are in the environment that supervisord passes.
	if said := h.in(page("look")); strings.Count(said, "RUNNING") != 2 || strings.Count(said, "\nok") != 2 {
		t.Errorf("the page's commands say:\n%s", said)
	}
	if user := h.in("stat -c %U /proc/$(supervisorctl pid kagami-listen)"); user != "kagami" {
		t.Errorf("the listener runs as %q", user)
	}
	h.load("/first")
	h.arrived("/first")

	before := h.in("supervisorctl pid kagami-listen")
	h.in("kill -9 " + before)
	h.says("supervisorctl status kagami-listen", "RUNNING")
	h.says("KAGAMI_ADMIN=127.0.0.1:9090 kagami health", "ok")
	if after := h.in("supervisorctl pid kagami-listen"); after == before {
		t.Errorf("killed, and still process %s", after)
	}
	h.load("/second")
	h.arrived("/second")

	// Stopped right behind a load.
	h.load("/third")
	h.in(page("stop"))
	if n := h.in("grep -c ' /third$' /tmp/staging.log"); n != "500" {
		t.Errorf("%s of 500 arrived", n)
	}
	log := h.in("cat /var/log/supervisor/supervisord.log")
	for _, name := range []string{"kagami-listen", "kagami-replay"} {
		if want := "stopped: " + name + " (exit status 0)"; !strings.Contains(log, want) {
			t.Errorf("supervisord's log has no %q:\n%s", want, log)
		}
	}
	for _, name := range []string{"listen", "replay"} {
		h.ended(name, h.in("cat $(ls -r /var/log/kagami/"+name+".log*)"))
	}
	if rotated := h.in("ls /var/log/kagami"); !strings.Contains(rotated, "listen.log.1") {
		t.Errorf("logs do not rotate: %s", rotated)
	}
}
