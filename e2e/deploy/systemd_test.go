package deploy

import (
	"archive/tar"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"kagami"
)

// A host is a container that runs what a host would.
type host struct {
	*engine
	t    *testing.T
	name string
}

// in runs a script on the host and returns what it prints.
func (h *host) in(script string) string {
	h.t.Helper()
	return h.docker(h.t, "exec", h.name, "sh", "-ec", script)
}

// says waits until a script prints something.
func (h *host) says(script, want string) {
	h.t.Helper()
	var said string
	defer func() {
		if h.t.Failed() {
			h.t.Log(said)
		}
	}()
	h.waitFor(h.t, fmt.Sprintf("%q of %s", want, script), func() bool {
		said, _ = h.try("exec", h.name, "sh", "-ec", script)
		return strings.Contains(said, want)
	})
}

// load asks the host's production.
func (h *host) load(path string) {
	h.t.Helper()
	h.in(fmt.Sprintf("ab -q -n 500 -c 5 http://127.0.0.1%s >/dev/null", path))
}

// arrived waits until staging has logged all of a load.
func (h *host) arrived(path string) {
	h.t.Helper()
	h.says("grep -c ' "+path+"$' /tmp/staging.log", "500")
}

// ended wants the last line of a process's log to be a ledger that balances, and
// in which nothing is dropped.
func (h *host) ended(name, log string) {
	h.t.Helper()
	all := strings.Split(strings.TrimSpace(log), "\n")
	var last logLine
	if err := json.Unmarshal([]byte(all[len(all)-1]), &last); err != nil || last.Statement == nil || !last.Statement.Balanced {
		h.t.Errorf("%s ends with %v, %s", name, err, all[len(all)-1])
	} else if o, _ := last.Statement.Stage("output", "", kagami.Messages); o.DroppedTotal() > 0 || o.Out == 0 {
		h.t.Errorf("%s: %d out, dropped %v", name, o.Out, o.Dropped)
	}
}

// bothConf is an nginx that is production (80) and staging (8081).
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

// addNginx puts in what nginx and ab need beside their packages.
func addNginx(r *rootfs) {
	for _, dir := range []string{"var/lib/nginx", "var/log/nginx"} {
		r.dir(dir, 0o755)
	}
	r.file("etc/nginx/both.conf", bothConf, 0o644)
}

// bootDebian starts a Debian by its own systemd, as process 1.
func (e *engine) bootDebian(t *testing.T) *host {
	t.Helper()
	const unit = "[Service]\nType=forking\nExecStart=/usr/sbin/nginx -c /etc/nginx/both.conf\n[Install]\nWantedBy=multi-user.target\n"
	e.importDebian(t, debianImage{
		name:     "debian",
		packages: []string{"systemd", "systemd-sysv", "libnss-systemd", "libcap2-bin", "rpm", "nginx-light", "apache2-utils"},
		also:     bothConf + unit,
		add: func(r *rootfs) {
			addNginx(r)
			r.file("etc/systemd/system/both.service", unit, 0o644)
			r.file("etc/nsswitch.conf", "passwd: files systemd\ngroup: files systemd\n", 0o644)
			// A container has no network to set up, and nobody to ask who it is.
			for _, masked := range []string{"systemd-networkd-wait-online.service", "systemd-firstboot.service", "nginx.service", "apache2.service"} {
				r.header(&tar.Header{Typeflag: tar.TypeSymlink, Name: "etc/systemd/system/" + masked, Linkname: "/dev/null", Mode: 0o777})
			}
		},
		changes: []string{`CMD ["/lib/systemd/systemd"]`, "ENV container=docker"},
	})
	h := &host{e, t, "debian"}
	t.Cleanup(func() { e.try("rm", "-f", "-v", h.name) })
	e.docker(t, "run", "-d", "--name", h.name, "-w", "/tmp", "--cap-add", "SYS_ADMIN", "--cap-add", "SYS_PTRACE", "--security-opt", "seccomp=unconfined",
		"--security-opt", "apparmor=unconfined", "--security-opt", "systempaths=unconfined", "--cgroupns", "host",
		"-v", "/sys/fs/cgroup:/sys/fs/cgroup:rw", "--tmpfs", "/run", "debian")
	h.says("systemctl is-system-running || true", "running")
	return h
}

// show is a script that prints properties of a unit, one a line.
func show(unit string, properties ...string) string {
	script := ""
	for _, p := range properties {
		script += "systemctl show -P " + p + " " + unit + "; "
	}
	return script
}

// TestDeployDebAndSystemd installs the .deb with dpkg on a Debian that systemd has booted, has
// systemd judge the units, and runs them: rights, a crash, a stop that drains; then the .rpm.
func TestDeployDebAndSystemd(t *testing.T) {
	t.Parallel()
	e := needEngine(t)
	h := e.bootDebian(t)
	needRelease(t)
	for _, file := range []string{"*_amd64.deb", "*.x86_64.rpm"} {
		e.docker(t, "cp", oneFile(t, file), "debian:/tmp/")
	}
	page := func(name string) string { t.Helper(); return commandsOf(t, "systemd/README.md", name) }
	t.Cleanup(func() {
		if t.Failed() {
			said, _ := e.try("exec", h.name, "journalctl", "-o", "cat", "--no-pager", "-n", "50")
			t.Log(said)
		}
	})

	if said := h.in(commandsOf(t, "packages/README.md", "install")); !strings.Contains(said, "\nkagami ") {
		t.Errorf("installing says %q", said)
	}
	if mode := h.in("stat -c %a /etc/kagami/listen.env"); mode != "600" {
		t.Errorf("listen.env has mode %s", mode)
	}
	if caps := h.in("getcap /usr/bin/kagami"); caps != "" {
		t.Errorf("the installed program lets every user capture: %s", caps)
	}
	said, err := e.try("exec", h.name, "sh", "-ec", "exec 2>&1; cd /lib/systemd/system; "+page("check"))
	if err != nil {
		t.Errorf("%v\n%s", err, said)
	}
	for line := range strings.Lines(said) {
		if strings.Contains(line, "Overall exposure") {
			t.Log(strings.TrimSpace(line))
		} else if strings.Contains(line, "kagami") && strings.Contains(line, ".service:") {
			t.Errorf("verify says: %s", line)
		}
	}

	// As installed there is nothing to capture: a usage error, which is not tried again.
	if said, err := e.try("exec", h.name, "systemctl", "start", "kagami-listen"); err == nil {
		t.Errorf("a listener with nothing to do starts: %s", said)
	}
	if said := h.in(show("kagami-listen", "ExecMainStatus", "NRestarts") + "systemctl reset-failed"); said != "2\n0" {
		t.Errorf("without an input: exit status and restarts %q", said)
	}

	// The .env files have the lines, as comments.
	h.in(`sed -i 's/^#KAGAMI_INPUT_TCP=.*/KAGAMI_INPUT_TCP=127.0.0.1:28020/; /^#KAGAMI_OUTPUT_HTTP/,/^#http/d' /etc/kagami/replay.env
		echo KAGAMI_OUTPUT_HTTP=http://127.0.0.1:8081 >>/etc/kagami/replay.env
		sed -i 's/^#KAGAMI_INPUT_RAW/KAGAMI_INPUT_RAW/; s/^#KAGAMI_OUTPUT_TCP=.*/KAGAMI_OUTPUT_TCP=127.0.0.1:28020/; s/^#KAGAMI_CPU_LIMIT/KAGAMI_CPU_LIMIT/' /etc/kagami/listen.env
		systemctl start both`)
	start := page("start")
	for _, script := range []string{strings.NewReplacer("kagami-listen", "kagami-replay", "9090", "9091").Replace(start), start} {
		if said := h.in(script); !strings.HasPrefix(said, "ok") {
			t.Errorf("%s says:\n%s", script, said)
		}
	}
	status := h.in("cat /proc/$(systemctl show -P MainPID kagami-listen)/status")
	for _, want := range []string{"CapPrm:\t0000000000002000", "CapBnd:\t0000000000002000", "NoNewPrivs:\t1", "Seccomp:\t2"} {
		if !strings.Contains(status, want) {
			t.Errorf("the listener's process has no %q:\n%s", want, status)
		}
	}
	if status := h.in("cat /proc/$(systemctl show -P MainPID kagami-replay)/status"); !strings.Contains(status, "CapPrm:\t0000000000000000") {
		t.Errorf("the replayer has capabilities:\n%s", status)
	}
	for _, unit := range []string{"kagami-listen", "kagami-replay"} {
		if user := h.in("stat -c %U /proc/$(systemctl show -P MainPID " + unit + ")"); user != unit {
			t.Errorf("%s runs as the user %q", unit, user)
		}
	}
	h.load("/first")
	h.arrived("/first")

	// A crash: it is started again.
	before := h.in(show("kagami-listen", "MainPID"))
	h.in("kill -9 " + before)
	h.says(show("kagami-listen", "NRestarts", "ActiveState"), "1\nactive")
	if after := h.in(show("kagami-listen", "MainPID")); after == before {
		t.Errorf("killed, and still process %s", after)
	}
	h.says("journalctl -u kagami-listen -o cat | tail -n 5", `"streaming"`)
	h.load("/second")
	h.arrived("/second")

	// Stopped right behind a load.
	h.load("/third")
	h.in("systemctl stop kagami-listen; systemctl stop kagami-replay")
	if n := h.in("grep -c ' /third$' /tmp/staging.log"); n != "500" {
		t.Errorf("%s of 500 arrived", n)
	}
	for _, unit := range []string{"kagami-listen", "kagami-replay"} {
		if said := h.in(show(unit, "Result", "ExecMainStatus")); said != "success\n0" {
			t.Errorf("%s ended with %q", unit, said)
		}
		h.ended(unit, h.in("journalctl _SYSTEMD_UNIT="+unit+".service -o cat --no-pager"))
	}

	// What was configured stays when the package goes, until it is purged; the units are disabled with it.
	h.in("dpkg -r kagami; grep -q ^KAGAMI_INPUT_RAW=:80 /etc/kagami/listen.env; ! command -v kagami; ! ls /etc/systemd/system/multi-user.target.wants/kagami-*; dpkg -P kagami; test ! -e /etc/kagami/listen.env")

	// The .rpm on the same systemd (Debian's rpm advises against itself, and does it).
	if said := h.in("exec 2>&1; " + commandsOf(t, "packages/README.md", "install-rpm")); !strings.Contains(said, "\nkagami ") {
		t.Errorf("installing the .rpm says %q", said)
	}
	if said := h.in("rpm -V kagami; stat -c %a /etc/kagami/listen.env; " + show("kagami-listen", "LoadState")); said != "600\nloaded" {
		t.Errorf("installed from the .rpm: %q", said)
	}
	h.in("echo KAGAMI_INPUT_RAW=:80 >>/etc/kagami/listen.env; rpm -e kagami; grep -q ^KAGAMI_INPUT_RAW=:80 /etc/kagami/listen.env.rpmsave; ! command -v kagami")
	if said := h.in(show("kagami-listen", "LoadState")); said != "not-found" {
		t.Errorf("without the .rpm the unit is %q", said)
	}
}
