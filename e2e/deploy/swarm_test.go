package deploy

import (
	"os/exec"
	"strings"
	"testing"
)

// docker-compose knows the schema of stacks, and refuses what is not in it.
func TestDeploySwarm(t *testing.T) {
	needRoot(t, "docker-compose")
	config := func(stdin string, args ...string) (string, error) {
		cmd := exec.Command("docker-compose", append(args, "config")...)
		cmd.Dir = root + "/docs/deploy/swarm"
		cmd.Stdin = strings.NewReader(stdin)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	out, err := config("", "-f", "stack.yaml")
	if err != nil || !strings.Contains(out, "KAGAMI_INPUT_RAW: docker_gwbridge:80") {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := config("version: '3.8'\nservices: {x: {image: y, deploy: {mod: global}}}\n", "-f", "-"); err == nil {
		t.Errorf("what is misspelt is taken:\n%s", out)
	}
}
