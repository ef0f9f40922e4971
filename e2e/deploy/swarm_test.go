package deploy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"kagami"
)

// port8080 is the port that the examples publish: one at a time has it.
var port8080 sync.Mutex

// TestDeploySwarm makes the engine a swarm of one node and deploys the stack with the page's
// commands: of what the published port is asked, staging gets the share.
func TestDeploySwarm(t *testing.T) {
	t.Parallel()
	e := needEngine(t)
	e.needImage(t)
	e.needNginx(t)
	port8080.Lock()
	t.Cleanup(port8080.Unlock)
	dir := filepath.Join(t.TempDir(), "swarm")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(root, "docs/deploy/swarm"))); err != nil {
		t.Fatal(err)
	}
	page := func(name string) string { t.Helper(); return commandsOf(t, "swarm/README.md", name) }
	conf, err := filepath.Abs(filepath.Join(root, "docs/deploy/compose/staging.conf"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(e.shell(t, dir, "docker service ps --no-trunc web_web web_listener; docker service logs --raw web_listener"))
		}
		e.try("stack", "rm", "web")
		e.try("swarm", "leave", "--force")
		e.try("rm", "-f", "-v", "replayer", "staging")
		e.try("network", "rm", "staging")
	})
	e.docker(t, "network", "create", "staging")
	e.docker(t, "run", "-d", "--name", "staging", "--network", "staging", "-v", conf+":/etc/nginx/conf.d/default.conf:ro", "nginx")
	e.docker(t, "swarm", "init", "--advertise-addr", "127.0.0.1")
	e.shell(t, dir, page("replayer"))
	e.shell(t, dir, page("deploy"))
	e.waitFor(t, "the stack to run", func() bool {
		out, _ := e.try("service", "ls", "--format", "{{.Replicas}}")
		return out == "1/1\n1/1" && strings.Contains(e.shell(t, dir, page("look")), `"streaming"`)
	})

	ab := e.command("ab", "-q", "-n", fmt.Sprint(perRun), "-c", "8", "http://127.0.0.1:8080/swarm")
	if out, err := ab.CombinedOutput(); err != nil || !strings.Contains(string(out), "Failed requests:        0") {
		t.Fatalf("ab: %v\n%s", err, out)
	}
	// When the stack goes, the listener sends what it has, and says what that was.
	var said bytes.Buffer
	follow := e.command("docker", "logs", "-f", e.docker(t, "ps", "-q", "--filter", "name=web_listener"))
	follow.Stdout, follow.Stderr = &said, &said
	if err := follow.Start(); err != nil {
		t.Fatal(err)
	}
	e.docker(t, "stack", "rm", "web")
	follow.Wait()
	all := strings.Split(strings.TrimSpace(said.String()), "\n")
	var last logLine
	if err := json.Unmarshal([]byte(all[len(all)-1]), &last); err != nil || last.Statement == nil || !last.Statement.Balanced {
		t.Fatalf("the listener does not end with a ledger that balances: %v\n%s", err, said.String())
	}
	o, _ := last.Statement.Stage("output", "", kagami.Messages)
	if o.In != perRun || o.Out < perRun/20 || o.Out > perRun*3/20 || o.DroppedTotal() != o.Dropped[kagami.SampledOut] {
		t.Errorf("a tenth of %d: %d in, %d out, dropped %v", perRun, o.In, o.Out, o.Dropped)
	}
	e.waitFor(t, fmt.Sprintf("%d requests at staging", o.Out), func() bool {
		return int64(strings.Count(e.docker(t, "logs", "staging"), " GET /swarm")) == o.Out
	})
}
