package deploy

import (
	"archive/tar"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"kagami/internal/testbed"
)

// A goCache is the compiler's cache for the image's flags, and the modules that the
// program needs. It is kept from one run to the next, and what it has when the image that
// stands in for golang's is made is in that image: the compiler there is the one here,
// so what was compiled here need not be again.
type goCache struct{ dir string }

func newGoCache(t testing.TB) goCache {
	t.Helper()
	dir, err := cacheDir()
	if err != nil {
		t.Fatal(err)
	}
	c := goCache{dir}
	for cgo, flags := range [][]string{{"-ldflags", "-s -w"}, {"-tags", "netgo,osusergo", "-ldflags", "-s -w -linkmode external"}} {
		// Linking is done in the image anyway.
		build := exec.Command("go", slices.Concat([]string{"build", "-trimpath"}, flags, []string{"-o", os.DevNull, "./cmd/kagami"})...)
		build.Dir = root
		build.Env = append(os.Environ(), fmt.Sprintf("CGO_ENABLED=%d", cgo), "GOFLAGS=-buildvcs=false -modcacherw",
			"GOCACHE="+c.compiled(), "GOMODCACHE="+dir+"/modules", "GOPROXY=file://"+goEnv(t, "GOMODCACHE")+"/cache/download,"+goEnv(t, "GOPROXY"))
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("go build: %v\n%s", err, out)
		}
	}
	return c
}

func (c goCache) compiled() string { return c.dir + "/go-build" }
func (c goCache) modules() string  { return c.dir + "/modules/cache/download" }

// needGolang makes the image that the Dockerfile builds in, of the compiler and the
// packages of this machine. Modules come from a directory, as from a proxy.
func (e *engine) needGolang(t testing.TB) {
	t.Helper()
	sums, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	e.importDebian(t, debianImage{
		name:     "golang:1.26-bookworm",
		packages: []string{"apt", "gcc", "libc6-dev", "libpcap-dev", "libcap2-bin", "ca-certificates"},
		also:     goEnv(t, "GOVERSION") + string(sums),
		add: func(r *rootfs) {
			cache := newGoCache(t)
			r.dir("usr/local", 0o755)
			r.tree(goEnv(t, "GOROOT"), "usr/local/go", "test", "doc", "api")
			r.tree(cache.modules(), "modules")
			r.tree(cache.compiled(), "root/.cache/go-build")
		},
		changes: []string{"ENV PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			"ENV GOPROXY=file:///modules GOSUMDB=off GOTOOLCHAIN=local GOFLAGS=-buildvcs=false"},
	})
}

func goEnv(t testing.TB, key string) string {
	t.Helper()
	out, err := exec.Command("go", "env", key).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

var kagamiImage sync.Once

// needImage builds both images, as the page says.
func (e *engine) needImage(t testing.TB) {
	t.Helper()
	kagamiImage.Do(func() {
		e.needGolang(t)
		e.shell(t, root, commandsOf(t, "docker.md", "build"))
	})
}

// needNginx makes the image nginx, of Debian's package.
func (e *engine) needNginx(t testing.TB) {
	t.Helper()
	nginxImage.Do(func() {
		e.importDebian(t, debianImage{name: "nginx", packages: []string{"nginx-light", "curl"}, also: nginxConf + nginxDefault, add: func(r *rootfs) {
			r.dir("var/lib/nginx", 0o755)
			r.dir("var/log/nginx", 0o755)
			r.file("etc/nginx/nginx.conf", nginxConf, 0o644)
			r.file("etc/nginx/conf.d/default.conf", nginxDefault, 0o644)
		}, changes: []string{`CMD ["nginx", "-g", "daemon off;"]`}})
	})
}

var nginxImage sync.Once

// nginxConf is as in the image nginx of the registry, where it matters: what is
// in conf.d counts, and the logs are those of the container.
const nginxConf = `worker_processes 1;
error_log /dev/stderr notice;
pid /run/nginx.pid;
events { worker_connections 1024; }
http {
	default_type text/plain;
	access_log /dev/stdout;
	include /etc/nginx/conf.d/*.conf;
}
`

// nginxDefault is what it serves where nobody says something else.
const nginxDefault = `server { listen 80; location / { return 200 "Welcome to nginx!\n"; } }
`

// A file is what one is like in an image.
type file struct {
	*tar.Header
	capability string // of the file, as in linux/capability.h
}

// files are those of the layers of an image, as they are saved.
func (e *engine) files(t testing.TB, image string) map[string]file {
	t.Helper()
	saved := e.docker(t, "save", image)
	all := map[string]file{}
	layers := tar.NewReader(strings.NewReader(saved))
	for h, err := layers.Next(); err == nil; h, err = layers.Next() {
		if filepath.Base(h.Name) != "layer.tar" {
			continue
		}
		layer := tar.NewReader(layers)
		for h, err := layer.Next(); err == nil; h, err = layer.Next() {
			all["/"+strings.Trim(h.Name, "./")] = file{h, h.PAXRecords["SCHILY.xattr.security.capability"]}
		}
	}
	return all
}

func TestDeployImage(t *testing.T) {
	t.Parallel()
	e := needEngine(t)
	e.needImage(t)
	for _, image := range []string{"kagami:latest", "kagami:libpcap"} {
		t.Run(image, func(t *testing.T) { e.checkImage(t, image) })
	}
}

func (e *engine) checkImage(t *testing.T, image string) {
	all := e.files(t, image)
	const program = "/usr/local/bin/kagami"
	// Version 2, permitted without effective, NET_RAW (13) and nothing else.
	want := string([]byte{0, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	if got := all[program].capability; got != want {
		t.Errorf("%s has the capability %x, want %x (cap_net_raw+p)", program, got, want)
	}
	var size int64
	for path, f := range all {
		size += f.Size
		if base := filepath.Base(path); base == "sh" || base == "bash" || base == "busybox" {
			t.Errorf("a shell: %s", path)
		}
		if f.Mode&0o111 != 0 && f.Typeflag == tar.TypeReg && path != program {
			t.Errorf("another program: %s", path)
		}
	}
	if max := int64(25_000_000); size >= max {
		t.Errorf("%d bytes, want less than %d", size, max)
	}
	b, err := os.ReadFile(filepath.Join(root, "docs/deploy/docker.md"))
	if err != nil {
		t.Fatal(err)
	}
	if row := fmt.Sprintf("| `%s` \\| .* %.0f MB \\|", strings.TrimSuffix(image, ":latest"), float64(size)/1e6); !regexp.MustCompile(row).Match(b) {
		t.Errorf("%d bytes: docker.md has no row that fits %s", size, row)
	}
	if _, ok := all["/etc/ssl/certs/ca-certificates.crt"]; !ok {
		t.Error("no CA certificates")
	}
	if dir := all["/var/lib/kagami"]; dir.Header == nil || dir.Uid != 65532 {
		t.Errorf("/var/lib/kagami: %+v, want it to be the user's", dir.Header)
	}
	t.Logf("%s: %d files, %d bytes", image, len(all), size)
	about := e.docker(t, "inspect", "-f", `{{.Config.User}} {{index .Config.Labels "org.opencontainers.image.title"}} {{.Config.Healthcheck.Test}}`, image)
	if want := "65532:65532 kagami [CMD /usr/local/bin/kagami health]"; about != want {
		t.Errorf("image: %q, want %q", about, want)
	}
	version := e.docker(t, "run", "--rm", image, "--version")
	label := e.docker(t, "inspect", "-f", `{{index .Config.Labels "org.opencontainers.image.version"}}`, image)
	if !strings.HasPrefix(version, "kagami "+label+" ") || label == "devel" {
		t.Errorf("version %q, label %q", version, label)
	}
}

// TestDeployImageRuns does what the page says beside an nginx: a user without rights
// captures, is healthy, and drains when it is stopped.
func TestDeployImageRuns(t *testing.T) {
	t.Parallel()
	e := needEngine(t)
	e.needImage(t)
	e.needNginx(t)
	dir := t.TempDir()
	e.docker(t, "run", "-d", "--name", "nginx", "nginx")
	defer e.try("rm", "-f", "-v", "nginx", "kagami-listen")
	e.shell(t, dir, commandsOf(t, "docker.md", "capture"))
	e.waitHealthy(t, "kagami-listen")
	for i := range 20 {
		e.docker(t, "exec", "nginx", "curl", "-sf", fmt.Sprintf("http://127.0.0.1/%d", i))
	}
	said := e.shell(t, dir, commandsOf(t, "docker.md", "look"))
	if !strings.HasPrefix(said, "healthy\n") || strings.Count(said, "GET /") != 20 {
		t.Errorf("the page's commands say:\n%s", said)
	}
	if code := e.docker(t, "inspect", "-f", "{{.State.ExitCode}}", "kagami-listen"); code != "0" {
		t.Errorf("exit code %s after docker stop", code)
	}

	const nothing = "--security-opt=no-new-privileges"
	for name, run := range map[string]struct {
		args []string
		fine bool
	}{
		"only NET_RAW":                  {[]string{"--cap-drop=ALL", "--cap-add=NET_RAW", "--read-only", "kagami", "listen", "--input-raw", "lo:80"}, true},
		"root who may do nothing else":  {[]string{"--user=0", "--cap-drop=ALL", "--cap-add=NET_RAW", nothing, "kagami", "listen", "--input-raw", "lo:80"}, true},
		"no new privileges":             {[]string{"--cap-drop=ALL", "--cap-add=NET_RAW", nothing, "kagami", "listen", "--input-raw", "lo:80"}, false},
		"no capability":                 {[]string{"--cap-drop=ALL", "kagami", "listen", "--input-raw", "lo:80"}, false},
		"no capability, with libpcap":   {[]string{"--cap-drop=ALL", nothing, "kagami:libpcap", "listen", "--input-raw", "lo:80", "--input-raw-engine", "libpcap"}, false},
		"libpcap":                       {[]string{"kagami:libpcap", "listen", "--input-raw", "lo:80", "--input-raw-bpf-filter", "tcp port 80"}, true},
		"libpcap looks up a name":       {[]string{"kagami:libpcap", "listen", "--input-raw", "lo:80", "--input-raw-bpf-filter", "host localhost"}, true},
		"replayer without a capability": {[]string{"--cap-drop=ALL", nothing, "--read-only", "kagami", "replay", "--input-dummy", "x"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			said, err := e.try(slices.Concat([]string{"run", "--rm"}, run.args, []string{"--output-null", "--exit-after", "100ms"})...)
			if (err == nil) != run.fine || !run.fine && !strings.Contains(said, "permission denied") {
				t.Errorf("%v\n%s", err, said)
			}
		})
	}

	// What the doctor says is missing in a container, and what it is content with.
	for name, look := range map[string]struct {
		args []string
		code int
		says string
	}{
		"content":             {[]string{"--memory=96m", "kagami", "doctor"}, 0, `ok +capability`},
		"capability":          {[]string{"--cap-drop=ALL", "kagami", "doctor"}, 1, `FAIL +capability +NET_RAW is out of reach .*\n +→ docker run --cap-add NET_RAW`},
		"capability, mended":  {[]string{"--cap-drop=ALL", "--cap-add=NET_RAW", "kagami", "doctor"}, 0, `ok +capability`},
		"no new privileges":   {[]string{nothing, "kagami", "doctor"}, 1, `FAIL +capability .*no_new_privs.*\n +→ allow privilege escalation \(--security-opt no-new-privileges=false\)`},
		"little memory":       {[]string{"--memory=32m", "kagami", "doctor", "--memory-limit", "64mb"}, 1, `FAIL +memory +the control group may have 32 MiB.*\n +→ docker run --memory 96m`},
		"memory, mended":      {[]string{"--memory=96m", "kagami", "doctor", "--memory-limit", "64mb"}, 0, `ok +memory`},
		"without libpcap":     {[]string{"kagami", "doctor", "--input-raw-engine", "libpcap"}, 1, `FAIL +engine +libpcap.*\n +→ .*kagami:libpcap`},
		"libpcap, mended":     {[]string{"kagami:libpcap", "doctor", "--input-raw-engine", "libpcap"}, 0, `ok +engine +libpcap is built in`},
		"another's interface": {[]string{"kagami", "doctor", "--input-raw", "eth7:80"}, 1, `FAIL +interface +eth7 does not exist; there are .*eth0`},
	} {
		t.Run("doctor: "+name, func(t *testing.T) {
			cmd := e.command("docker", append([]string{"run", "--rm"}, look.args...)...)
			out, _ := cmd.CombinedOutput()
			if code := cmd.ProcessState.ExitCode(); code != look.code || !regexp.MustCompile(look.says).Match(out) {
				t.Errorf("exit code %d, want %d and %s:\n%s", code, look.code, look.says, out)
			}
		})
	}
}

// waitHealthy waits until a container's own check says that it is.
func (e *engine) waitHealthy(t testing.TB, container string) {
	t.Helper()
	e.waitFor(t, container+" to be healthy", func() bool {
		status, _ := e.try("inspect", "-f", "{{.State.Health.Status}}", container)
		return status == "healthy"
	})
}

// waitFor polls what other processes do.
func (e *engine) waitFor(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(testbed.Patience); !done(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			ps, _ := e.try("ps", "-a")
			t.Fatalf("waited in vain for %s\n%s", what, ps)
		}
	}
}
