package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kagami"
	"kagami/internal/testbed"
)

// blocksIn are the indented blocks of a page of the documentation, without the indentation.
func blocksIn(t *testing.T, page string) (all []string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "docs", page))
	if err != nil {
		t.Fatal(err)
	}
	inside := false
	for line := range strings.Lines(string(b)) {
		text, ok := strings.CutPrefix(line, "    ")
		switch {
		case ok && inside:
			all[len(all)-1] += text
		case ok:
			all = append(all, text)
		}
		inside = ok
	}
	return all
}

// The file of docs/config.md, and its commands, as they are written there: on a host where staging1
// and staging2 are names, and /var/lib/kagami is a directory.
func TestRootConfigDocs(t *testing.T) {
	h := testbed.NewHosts(t)
	production := testbed.StartNginx(t, h.Production, answer)
	one, two := testbed.StartNginx(t, h.Staging, "if ($http_x_mirrored != yes) { return 403; } "+answer), testbed.StartNginx(t, h.Client, answer)
	blocks := blocksIn(t, "config.md")
	if len(blocks) != 6 {
		t.Fatalf("%d blocks: %q", len(blocks), blocks)
	}
	file, check, complaint, schema, modeline, reload := blocks[0], blocks[1], blocks[2], blocks[3], blocks[4], blocks[5]

	dir := t.TempDir()
	config, summary := filepath.Join(dir, "kagami.yaml"), filepath.Join(dir, "summary.json")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(config, file)
	write(filepath.Join(dir, "hosts"), fmt.Sprintf("127.0.0.1 localhost\n%s staging1\n%s staging2\n", testbed.StagingIP, testbed.ClientIP))
	if err := os.MkdirAll(filepath.Join(dir, "lib/kagami"), 0o755); err != nil {
		t.Fatal(err)
	}
	there := func(line string) *exec.Cmd {
		return asTyped(t, h.Production, dir, "unshare --mount sh -ec 'mount --bind hosts /etc/hosts; mount --bind lib /var/lib; exec "+strings.TrimSpace(line)+"'")
	}

	if out, err := there(check).CombinedOutput(); err != nil || !strings.Contains(string(out), "keep-files: 24") || !strings.Contains(string(out), "memory-limit: ") {
		t.Errorf("%s: %v\n%s", check, err, out)
	}
	write(config, "inputs:\n  - raw: :80\noutputs:\n  - http: http://staging\n    timeuot: 2s\n")
	out, err := there(check).CombinedOutput()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.HasPrefix(string(out), complaint) {
		t.Errorf("%s: %v, %q, and the page says %q", check, err, out, complaint)
	}
	out, err = there(schema).Output()
	if published, perr := os.ReadFile("../docs/config.schema.json"); err != nil || perr != nil || string(out) != string(published) || !json.Valid(out) {
		t.Errorf("%s: %v, %v: %.100s…", schema, err, perr, out)
	}

	// It runs, with the line that editors look for before it as well.
	start, ok := strings.CutPrefix(strings.SplitN(file, "\n", 2)[0], "# ")
	if !ok {
		t.Fatalf("the file does not begin with the command: %q", file)
	}
	write(config, modeline+file)
	cmd := there(start)
	cmd.Env = append(cmd.Env, "KAGAMI_SUMMARY="+summary)
	k := testbed.Start(t, cmd)
	k.WaitFor("capturing")
	ask := func(path string, n int) {
		t.Helper()
		testbed.Run(t, h.Client, "ab", "-q", "-n", fmt.Sprint(n), "-c", "4", "http://"+testbed.Addr(testbed.ProductionIP)+path)
	}
	ask("/health", 50)
	ask("/page", 150) // which the bucket of staging2's limit holds
	two.WaitForRequests(150)

	// Another share, by the command of the page.
	write(config, strings.Replace(file, "share: 10%", "share: 100%", 1))
	kill := strings.Replace(strings.TrimSpace(reload), "PID", fmt.Sprint(cmd.Process.Pid), 1)
	if out, err := exec.Command("sh", "-c", kill).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", kill, err, out)
	}
	k.WaitFor("the configuration is reloaded")
	ask("/more", 40)
	production.Settle()
	if k.Cmd.Process.Signal(os.Interrupt); k.Wait() != 0 {
		t.Error("it did not end with 0")
	}
	st := readStatement(t, summary)
	recordings, err := filepath.Glob(filepath.Join(dir, "lib/kagami/cap-*.gor.gz"))
	if err != nil || len(recordings) == 0 {
		t.Fatalf("recordings: %v, %v", recordings, err)
	}
	var pages, more []kagami.ID
	for _, path := range recordings {
		for _, m := range messages(t, path) {
			if strings.HasPrefix(string(m.Raw), "GET /page ") {
				pages = append(pages, m.Exchange.ID)
			} else if strings.HasPrefix(string(m.Raw), "GET /more ") {
				more = append(more, m.Exchange.ID)
			}
		}
	}
	if s, _ := st.Stage("capture", "", kagami.Messages); len(pages) != 150 || len(more) != 40 || s.Out != 240 {
		t.Errorf("%d captured, %d and %d recorded", s.Out, len(pages), len(more))
	}
	want := chosen(pages, 10, 0)
	for _, id := range more {
		want[id.String()] = 1
	}
	if got := one.IDs(); !maps.Equal(got, want) {
		t.Errorf("%d came to staging1, want %d", len(got), len(want))
	}
	for _, r := range one.Requests() {
		if r.Status != "200" {
			t.Errorf("%+v: the header that is set has not come", r)
		}
	}
	if got := len(two.IDs()); got != 190 {
		t.Errorf("%d came to staging2, want 190", got)
	}
}
