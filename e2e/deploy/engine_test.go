package deploy

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"kagami/internal/testbed"
)

func TestMain(m *testing.M) { os.Exit(withEngine(m.Run)) }

// root is the top of the repository, seen from here.
const root = "../.."

// An engine is dockerd in a network namespace of its own, so that neither its
// bridges nor its firewall rules touch this machine's. The images that others are
// built from are kept from one run to the next.
type engine struct {
	dir   string
	netns string
	cmd   *exec.Cmd
	ended chan struct{}
}

var (
	theEngine   *engine
	engineErr   error
	engineStart sync.Once
)

// withEngine calls run, and takes away the engine if a test started it.
func withEngine(run func() int) int {
	defer func() { theEngine.stop() }()
	return run()
}

// needRoot skips a test without root, or without one of the tools.
func needRoot(t testing.TB, tools ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s: run scripts/deps deploy", tool)
		}
	}
}

// needEngine returns the Docker engine, which is started for the first test that
// wants it.
func needEngine(t testing.TB) *engine {
	t.Helper()
	needRoot(t, "dockerd", "docker", "docker-compose", "ip", "nsenter", "iptables", "dpkg-query")
	engineStart.Do(func() {
		theEngine = &engine{netns: fmt.Sprintf("kagami-docker-%d", os.Getpid()), ended: make(chan struct{})}
		engineErr = theEngine.start()
	})
	if engineErr != nil {
		log, _ := os.ReadFile(theEngine.dir + "/log")
		t.Fatalf("no Docker engine: %v\n%s", engineErr, log)
	}
	return theEngine
}

func (e *engine) start() (err error) {
	if e.dir, err = os.MkdirTemp("", "kagami-docker-"); err != nil {
		return err
	}
	for _, args := range [][]string{{"netns", "add", e.netns}, {"-n", e.netns, "link", "set", "lo", "up"}} {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
		}
	}
	data, lock, err := dataRoot()
	if err != nil {
		return err
	}
	// Not ip netns exec: that hides the control groups.
	e.cmd = exec.Command("nsenter", "--net=/run/netns/"+e.netns, "dockerd", "--data-root", cmp.Or(data, e.dir+"/data"), "--exec-root", e.dir+"/exec",
		"--pidfile", e.dir+"/pid", "--host", e.socket())
	if lock != nil {
		e.cmd.ExtraFiles = []*os.File{lock} // it is locked for as long as this dockerd lives
		defer lock.Close()
	}
	log, err := os.Create(e.dir + "/log") // no pipe: what dockerd starts would hold it open
	if err != nil {
		return err
	}
	defer log.Close()
	e.cmd.Stdout, e.cmd.Stderr = log, log
	if err := e.cmd.Start(); err != nil {
		return err
	}
	go func() { e.cmd.Wait(); close(e.ended) }()
	for deadline := time.Now().Add(testbed.Patience); ; {
		if exec.Command("docker", "--host", e.socket(), "version").Run() == nil {
			break
		}
		select {
		case <-e.ended:
			return errors.New("dockerd ended")
		case <-time.After(100 * time.Millisecond): // polling another process
		}
		if time.Now().After(deadline) {
			return errors.New("dockerd does not answer")
		}
	}
	e.tidy() // what a run left that was killed
	// The pages say `docker compose`, which is a plugin of today's docker;
	// Debian 12 has the same as a program of its own.
	shim := "#!/bin/sh\nif [ \"$1\" = compose ]; then shift; exec docker-compose \"$@\"; fi\nexec " + dockerPath() + " \"$@\"\n"
	if err := os.Mkdir(e.dir+"/bin", 0o755); err != nil {
		return err
	}
	return os.WriteFile(e.dir+"/bin/docker", []byte(shim), 0o755)
}

// cacheDir is where what takes long to make is kept from one run to the next.
func cacheDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir = filepath.Join(dir, "kagami-deploy")
	return dir, os.MkdirAll(dir, 0o755)
}

// dataRoot is where the engine keeps its images, and a file that is locked while it
// does; "" where another run's engine has it.
func dataRoot() (string, *os.File, error) {
	dir, err := cacheDir()
	if err != nil {
		return "", nil, err
	}
	lock, err := os.Create(dir + "/lock")
	if err != nil {
		return "", nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return "", nil, lock.Close()
	}
	return dir + "/docker", lock, nil
}

// dockerPath is Debian's client before others: it fits the engine, and builds with
// BuildKit without a plugin.
func dockerPath() string {
	if _, err := os.Stat("/usr/bin/docker"); err == nil {
		return "/usr/bin/docker"
	}
	path, _ := exec.LookPath("docker")
	return path
}

func (e *engine) socket() string { return "unix://" + e.dir + "/docker.sock" }

// stop ends the engine, and with it all containers.
func (e *engine) stop() {
	if e == nil {
		return
	}
	if e.cmd != nil && e.cmd.Process != nil {
		e.tidy()
		e.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-e.ended:
		case <-time.After(testbed.Patience):
			e.cmd.Process.Kill()
			<-e.ended
		}
	}
	exec.Command("ip", "netns", "del", e.netns).Run()
	os.RemoveAll(e.dir)
}

// tidy takes away all but images, and of these the ones without a name.
func (e *engine) tidy() {
	exec.Command("docker", "--host", e.socket(), "swarm", "leave", "--force").Run()
	out, _ := exec.Command("docker", "--host", e.socket(), "ps", "-aq").Output()
	if ids := strings.Fields(string(out)); len(ids) > 0 {
		exec.Command("docker", append([]string{"--host", e.socket(), "rm", "-f", "-v"}, ids...)...).Run()
	}
	exec.Command("docker", "--host", e.socket(), "system", "prune", "-f", "--volumes").Run()
}

// command returns a command that sees this engine, from its network namespace.
func (e *engine) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command("nsenter", append([]string{"--net=/run/netns/" + e.netns, name}, args...)...)
	cmd.Env = append(os.Environ(), "DOCKER_HOST="+e.socket(), "DOCKER_BUILDKIT=1", "BUILDKIT_PROGRESS=plain",
		"PATH="+e.dir+"/bin:"+os.Getenv("PATH"))
	return cmd
}

// docker runs the client and returns what it printed on standard output.
func (e *engine) docker(t testing.TB, args ...string) string {
	t.Helper()
	out, err := e.try(args...)
	if err != nil {
		t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// try is docker for what may fail; then it returns all that was said.
func (e *engine) try(args ...string) (string, error) {
	cmd := e.command("docker", args...)
	var out, diag bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &diag
	if err := cmd.Run(); err != nil {
		return out.String() + diag.String(), err
	}
	return strings.TrimSpace(out.String()), nil
}

// shell runs commands of a page, as a user would: one after the other in a
// directory, until one fails.
func (e *engine) shell(t testing.TB, dir, script string, env ...string) string {
	t.Helper()
	cmd := e.command("sh", "-ec", script)
	cmd.Dir = dir
	cmd.Env = append(cmd.Env, env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s\n%v\n%s", script, err, out)
	}
	return string(out)
}

// commandsOf returns the commands of a page below docs/deploy that stand behind
// the mark <!-- run: name -->: an indented block, without what is printed
// there as an example.
func commandsOf(t testing.TB, page, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, "docs/deploy", page))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(b), "<!-- run: "+name+" -->\n")
	if !ok {
		t.Fatalf("%s has no commands marked %q", page, name)
	}
	var script strings.Builder
	for line := range strings.Lines(strings.TrimLeft(rest, "\n")) {
		code, ok := strings.CutPrefix(line, "    ")
		if !ok {
			break
		}
		script.WriteString(code)
	}
	if script.Len() == 0 {
		t.Fatalf("%s: no indented block behind the mark %q", page, name)
	}
	return script.String()
}
