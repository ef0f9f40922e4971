package check

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// commandsOf returns the commands of a page below docs/deploy that stand behind
// the mark <!-- run: name -->: an indented block.
func commandsOf(t *testing.T, page, name string) string {
	t.Helper()
	_, rest, ok := strings.Cut(string(read(t, page)), "<!-- run: "+name+" -->\n")
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

// A page is a copy of a folder of docs/deploy, where its commands are run, with programs of
// ours before those of the machine.
type page struct {
	t        *testing.T
	name     string
	dir, bin string
	env      []string
}

func openPage(t *testing.T, name string) *page {
	t.Helper()
	p := &page{t: t, name: name, dir: filepath.Join(t.TempDir(), name), bin: t.TempDir()}
	if err := os.CopyFS(p.dir, os.DirFS(filepath.Join(pages, name))); err != nil {
		t.Fatal(err)
	}
	return p
}

// program has the page's commands find a shell script under a name.
func (p *page) program(name, script string) {
	p.t.Helper()
	if err := os.WriteFile(filepath.Join(p.bin, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		p.t.Fatal(err)
	}
}

// run runs the commands behind a mark, one after the other until one fails.
func (p *page) run(mark string) (string, error) {
	p.t.Helper()
	cmd := exec.Command("sh", "-ec", commandsOf(p.t, p.name+"/README.md", mark))
	cmd.Dir = p.dir
	cmd.Env = append(append(os.Environ(), p.env...), "PATH="+p.bin+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// The commands of the page, by Amazon's own program, which knows what a service takes: sent to a
// stand-in for the services, for there is no account here. It reads what comes strictly into the
// SDK's types.
func TestDeployECSCommands(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("runs with those that need root")
	}
	if _, err := os.Stat(awsProgram); err != nil {
		t.Skip("needs awscli: run scripts/deps deploy")
	}
	var came []string
	var secret secretsmanager.CreateSecretInput
	services := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		into := map[string]any{
			"CreateSecret": &secret, "RegisterTaskDefinition": &ecs.RegisterTaskDefinitionInput{}, "CreateService": &ecs.CreateServiceInput{},
		}[operation]
		if into == nil {
			t.Errorf("asked for %q", operation)
		} else if err := decode(b, into); err != nil {
			t.Errorf("%s: %v: %s", operation, err, b)
		}
		what := operation
		switch in := into.(type) {
		case *ecs.RegisterTaskDefinitionInput:
			what += " " + *in.Family + " " + string(in.NetworkMode)
		case *ecs.CreateServiceInput:
			what += " " + *in.ServiceName + " " + string(in.SchedulingStrategy)
		}
		came = append(came, strings.TrimSpace(what))
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		io.WriteString(w, "{}")
	}))
	defer services.Close()
	p := openPage(t, "ecs")
	p.program("aws", "exec "+awsProgram+` --endpoint-url `+services.URL+` "$@"`)
	p.env = []string{"AWS_ACCESS_KEY_ID=x", "AWS_SECRET_ACCESS_KEY=x", "AWS_DEFAULT_REGION=eu-west-1", "AWS_PAGER=", "AWS_EC2_METADATA_DISABLED=true"}
	if err := os.WriteFile(filepath.Join(p.dir, "default.join"), []byte("address\ntoken\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// Debian 12's program is of 2022, and does not know this setting, as the page says.
	awsvpc := regexp.MustCompile(`(?m)^.*"restartPolicy".*\n`).ReplaceAll(read(t, "ecs/awsvpc.json"), nil)
	if err := os.WriteFile(filepath.Join(p.dir, "awsvpc.json"), awsvpc, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, mark := range []string{"awsvpc", "bridge"} {
		if out, err := p.run(mark); err != nil {
			t.Errorf("%s: %v\n%s", mark, err, out)
		}
	}
	want := []string{"CreateSecret", "RegisterTaskDefinition web awsvpc", "CreateService web", "RegisterTaskDefinition kagami-listen host", "CreateService kagami-listen DAEMON"}
	if !slices.Equal(came, want) {
		t.Errorf("asked for %q, want %q", came, want)
	}
	if secret.SecretString == nil || *secret.SecretString != "address\ntoken" {
		t.Errorf("the secret is %v", secret.SecretString)
	}

	// Amazon's program refuses what the service does not know: else this proves little.
	b := strings.Replace(string(read(t, "ecs/bridge.json")), "networkMode", "networkMod", 1)
	if err := os.WriteFile(filepath.Join(p.dir, "bridge.json"), []byte(b), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := p.run("bridge"); err == nil || !strings.Contains(out, "networkMod") {
		t.Errorf("a field that is misspelt is sent: %v\n%s", err, out)
	}
}

// awsProgram is Debian's.
const awsProgram = "/usr/bin/aws"

// The page's commands that ask no cluster, by Helm's own program.
func TestDeployHelmCommands(t *testing.T) {
	p := openPage(t, "helm")
	p.program("helm", `exec "`+helmProgram(t)+`" "$@"`)
	out, err := p.run("look")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(out, "1 chart(s) linted, 0 chart(s) failed") {
		t.Errorf("helm lint says:\n%s", out)
	}
	_, rendered, _ := strings.Cut(out, "---\n")
	kinds := map[string]int{}
	for _, o := range objects(t, "helm template", []byte(rendered)) {
		kinds[strings.SplitN(key(o), "/", 2)[0]]++
		checkObject(t, "helm template", o)
	}
	if kinds["StatefulSet"] != 1 || kinds["DaemonSet"] != 1 || kinds["Role"] != 1 || kinds["RoleBinding"] != 1 {
		t.Errorf("helm template makes %v:\n%s", kinds, rendered)
	}
	if err := os.WriteFile(filepath.Join(p.dir, "web.yaml"), []byte("listner: {enabled: true}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := p.run("look"); err == nil {
		t.Errorf("a value that there is not is taken:\n%s", out)
	}
}

// helmProgram is where the program is, kept from one run to the next. Without being told it takes
// the newest Kubernetes for 1.20.
func helmProgram(t *testing.T) string {
	t.Helper()
	dir, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "kagami-deploy", "helm")
	flags := "-s -w"
	for _, where := range []string{"chartutil", "lint/rules"} {
		flags += fmt.Sprintf(" -X helm.sh/helm/v3/pkg/%[1]s.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/%[1]s.k8sVersionMinor=37", where)
	}
	if out, err := exec.Command("go", "build", "-ldflags", flags, "-o", path, "helm.sh/helm/v3/cmd/helm").CombinedOutput(); err != nil {
		t.Fatalf("build helm: %v: %s", err, out)
	}
	return path
}
