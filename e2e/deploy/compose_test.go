package deploy

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kagami"
)

// A project is docs/deploy/compose at work, in a directory of its own.
type project struct {
	*engine
	t   *testing.T
	dir string
}

const perRun = 1000

// TestDeployCompose starts what the page has with the page's commands, and asserts
// what staging received: while it runs, when nginx is started anew under it,
// and when listener and replayer are stopped right behind a load.
func TestDeployCompose(t *testing.T) {
	t.Parallel()
	e := needEngine(t)
	e.needImage(t)
	e.needNginx(t)
	port8080.Lock()
	t.Cleanup(port8080.Unlock)
	p := &project{engine: e, t: t, dir: filepath.Join(t.TempDir(), "compose")}
	if err := os.CopyFS(p.dir, os.DirFS(filepath.Join(root, "docs/deploy/compose"))); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(p.shell(t, p.dir, "docker compose ps; docker compose logs --no-color --tail 20"))
		}
		p.shell(t, p.dir, "docker compose down -v -t 1")
	})
	p.shell(t, p.dir, commandsOf(t, "compose/README.md", "start"))
	p.waitHealthy(t, p.id("listener"))
	p.waitHealthy(t, p.id("replayer"))
	p.waitStreaming()
	if out := p.shell(t, p.dir, commandsOf(t, "compose/README.md", "try")); !strings.Contains(out, "production\n") {
		t.Errorf("production answers %q", out)
	}
	p.waitReceived("/hello", 1)

	p.load("/first")
	p.waitReceived("/first", perRun)
	if n := len(p.received("staging2", "/first")); n < perRun*4/10 || n > perRun*6/10 {
		t.Errorf("the one who is to get half got %d of %d", n, perRun)
	}

	// nginx alone: the namespace that the listener sits in is dead.
	old := p.id("listener")
	p.shell(t, p.dir, "docker compose restart nginx")
	p.waitFor(t, "the listener to be started anew", func() bool {
		return p.docker(t, "inspect", "-f", "{{.RestartCount}} {{.State.Running}}", old) == "1 true"
	})
	if died := p.docker(t, "events", "--since", "10m", "--until", "0s", "--filter", "container="+old, "--filter", "event=die", "--format", "{{.Actor.Attributes.exitCode}}"); died != "1" {
		t.Errorf("the listener ended with %q, want once with 1", died)
	}
	p.waitCapturing(2)
	p.waitStreaming()
	p.load("/second")
	p.waitReceived("/second", perRun)

	// A load, and right behind it the two are stopped.
	p.load("/third")
	p.shell(t, p.dir, commandsOf(t, "compose/README.md", "stop"))
	for _, service := range []string{"listener", "replayer"} {
		if code := p.docker(t, "inspect", "-f", "{{.State.ExitCode}}", p.id(service)); code != "0" {
			t.Errorf("%s: exit code %s", service, code)
		}
		if st := p.lastLedger(service); !st.Balanced {
			t.Errorf("%s: the ledger does not balance: %v", service, st.Faults)
		} else if o, _ := st.Stage("output", "", kagami.Messages); o.Out == 0 || o.DroppedTotal() != o.Dropped[kagami.SampledOut] {
			t.Errorf("%s: %d out, dropped %v", service, o.Out, o.Dropped)
		}
	}
	if n := len(p.received("staging1", "/third")); n != perRun {
		t.Errorf("%d of %d arrived", n, perRun)
	}
}

func (p *project) id(service string) string {
	p.t.Helper()
	return p.docker(p.t, "ps", "-aq", "--filter", "label=com.docker.compose.project=compose", "--filter", "label=com.docker.compose.service="+service)
}

// load asks nginx, by the port that is published.
func (p *project) load(path string) {
	p.t.Helper()
	out, err := p.command("ab", "-q", "-n", fmt.Sprint(perRun), "-c", "8", "http://127.0.0.1:8080"+path).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "Failed requests:        0") {
		p.t.Fatalf("ab: %v\n%s", err, out)
	}
}

// received are the ids of the requests for a path that a staging server has logged,
// each of which may come once.
func (p *project) received(service, path string) map[string]bool {
	p.t.Helper()
	ids := map[string]bool{}
	for line := range strings.Lines(p.docker(p.t, "logs", p.id(service))) {
		if f := strings.Fields(line); len(f) == 3 && f[2] == path {
			if ids[f[0]] {
				p.t.Errorf("%s got %s twice", service, f[0])
			}
			ids[f[0]] = true
		}
	}
	return ids
}

func (p *project) waitReceived(path string, want int) {
	p.t.Helper()
	p.waitFor(p.t, fmt.Sprintf("%d requests for %s at staging1", want, path), func() bool { return len(p.received("staging1", path)) == want })
}

// waitStreaming waits until the listener's last run has said that it streams.
func (p *project) waitStreaming() {
	p.t.Helper()
	p.waitFor(p.t, "a stream to the replayer", func() bool {
		streaming := false
		for _, l := range p.log("listener") {
			streaming = l.Msg == "streaming" || streaming && l.Msg != "capturing"
		}
		return streaming
	})
}

// waitCapturing waits until the listener captures for the n-th time.
func (p *project) waitCapturing(n int) {
	p.t.Helper()
	p.waitFor(p.t, "the listener to capture again", func() bool {
		times := 0
		for _, l := range p.log("listener") {
			if l.Msg == "capturing" {
				times++
			}
		}
		return times == n
	})
}

// A logLine is one of Kagami's log, which is JSON, every line.
type logLine struct {
	Msg       string
	Statement *kagami.Statement
}

func (p *project) log(service string) (all []logLine) {
	p.t.Helper()
	cmd := p.command("docker", "logs", p.id(service))
	out, err := cmd.CombinedOutput()
	if err != nil {
		p.t.Fatalf("docker logs: %v\n%s", err, out)
	}
	lines := bufio.NewScanner(strings.NewReader(string(out)))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var l logLine
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			p.t.Fatalf("%s logs what is not JSON: %v: %s", service, err, lines.Text())
		}
		all = append(all, l)
	}
	return all
}

func (p *project) lastLedger(service string) kagami.Statement {
	p.t.Helper()
	all := p.log(service)
	if len(all) == 0 || all[len(all)-1].Statement == nil {
		p.t.Fatalf("the last line of %s is not its ledger", service)
	}
	return *all[len(all)-1].Statement
}
