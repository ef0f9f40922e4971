package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"kagami"
	"kagami/internal/testbed"
)

// The commands of docs/record.md do what it says.
func TestRootRecordDocs(t *testing.T) {
	h := testbed.NewHosts(t)
	testbed.StartNginxOn(t, h.Production, 80, answer)
	commands := commandsIn(t, "record.md")
	if len(commands) != 3 {
		t.Fatalf("%d commands, this test knows 3: %q", len(commands), commands)
	}
	dir := t.TempDir()
	summary := filepath.Join(t.TempDir(), "summary.json")
	record := func(line string) kagami.Statement {
		cmd := asTyped(t, h.Production, dir, line)
		cmd.Env = append(cmd.Env, "KAGAMI_SUMMARY="+summary)
		p := testbed.Start(t, cmd)
		p.WaitFor(capturing)
		testbed.Run(t, h.Client, "ab", "-q", "-n", "1000", "-c", "10", "http://"+testbed.ProductionIP+"/")
		cmd.Process.Signal(syscall.SIGINT)
		if code := p.Wait(); code != 0 {
			t.Fatalf("exit code %d:\n%s", code, p.Stderr())
		}
		return readStatement(t, summary)
	}
	expectOut(t, record(commands[0]), "output", "", 1000)
	shown := asTyped(t, h.Production, dir, commands[1])
	out, err := shown.Output()
	if n := strings.Count(string(out), "\n"); err != nil || n != 1000 {
		t.Errorf("%s: %d lines, %v", commands[1], n, err)
	}
	names, _ := filepath.Glob(filepath.Join(dir, "*"))
	if form := regexp.MustCompile(`/cap-\d{8}-\d{6}\.gor\.gz$`); len(names) != 1 || !form.MatchString(names[0]) {
		t.Errorf("files %v", names)
	}
	expectOut(t, record(commands[2]), "output", "", 1000)
	if names, _ = filepath.Glob(filepath.Join(dir, "cap-*_0.gor.gz")); len(names) != 1 || len(recorded(t, names[0])) != 1000 {
		t.Errorf("files %v", names)
	}
}

// A recording that is as large as it may be is an end, not an error; so is --exit-after.
func TestRootRecordingEnds(t *testing.T) {
	h := testbed.NewHosts(t)
	testbed.StartNginx(t, h.Production, answer)
	file := filepath.Join(t.TempDir(), "cap.gor.gz")
	k := testbed.StartKagami(t, h.Production, capturing, "listen", "--input-raw", ":8080", "--output-file", file, "--max-size", "8kb", "--exit-after", "10m")
	ab(t, h)
	if code := k.Wait(); code != 0 {
		t.Errorf("exit code %d at --max-size", code)
	}
	k.WaitFor("a recording is complete")
	st := k.Statement()
	s, _ := st.Stage("output", "", kagami.Messages)
	if n := int64(len(recorded(t, file))); n != s.Out || n == 0 || s.In != n+s.Dropped[kagami.SizeLimit] || s.Dropped[kagami.SizeLimit] == 0 {
		t.Errorf("%d in the file; the ledger: %+v", n, s)
	}
	if info, err := os.Stat(file); err != nil || info.Size() > 9<<10 {
		t.Errorf("%d bytes, %v", info.Size(), err)
	}
	k = testbed.StartKagami(t, h.Production, capturing, "listen", "--input-raw", ":8080", "--output-null", "--exit-after", "200ms")
	if code := k.Wait(); code != 0 {
		t.Errorf("exit code %d at --exit-after", code)
	}
}

// On a disk that is full a recording ends, whole; the process says so and ends with 1, and production and other outputs do not notice.
func TestRootDiskFull(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		disk string // its size
		only bool   // there is no other output
		more []string
	}{
		{"cap.gor", "1m", false, []string{"--min-free-disk", "0"}},
		{"cap.gor.gz", "64k", false, []string{"--min-free-disk", "0", "--output-file-flush-interval", "20ms"}},
		{"cap.kgm", "1m", false, []string{"--min-free-disk", "0", "--output-file-sync", "flush"}},
		{"cap.gor", "1m", true, []string{"--min-free-disk", "0"}},
		{"cap.gor", "1m", true, []string{"--min-free-disk", "512kb"}},
		{"cap.gor.gz", "1m", false, []string{"--min-free-disk", "960kb", "--output-file-queue-limit", "1000", "--output-file-flush-interval", "20ms"}},
	} {
		t.Run(fmt.Sprint(c.name, c.only, c.more), func(t *testing.T) {
			h := testbed.NewHosts(t)
			production := testbed.StartNginx(t, h.Production, answer)
			disk := t.TempDir()
			holder := testbed.Start(t, testbed.In(h.Production, "unshare", "--mount", "--propagation", "private", "sh", "-c",
				"mount -t tmpfs -o size="+c.disk+" tmpfs "+disk+" && echo mounted >&2 && exec sleep infinity"))
			holder.WaitFor("mounted")
			inside := fmt.Sprintf("/proc/%d/root%s", holder.Cmd.Process.Pid, disk)
			args := []string{"-t", fmt.Sprint(holder.Cmd.Process.Pid), "-m", testbed.Binary, "listen", "--input-raw", ":8080", "--output-file", filepath.Join(disk, c.name)}
			if !c.only {
				args = append(args, "--output-null")
			}
			k := testbed.StartBinary(t, "nsenter", nil, h.Production, capturing, append(args, c.more...)...)
			ab(t, h) // production serves all of it
			if n := len(production.Requests()); n != total {
				t.Errorf("nginx served %d requests of %d", n, total)
			}
			k.WaitFor("an output broke")
			if !c.only {
				k.Cmd.Process.Signal(syscall.SIGTERM)
			}
			if code := k.Wait(); code != 1 {
				t.Errorf("exit code %d, want 1", code)
			}
			st := k.Statement()
			if !c.only {
				expectOut(t, st, "output", "null", total)
			}
			var kept int
			names, _ := filepath.Glob(filepath.Join(inside, "*"))
			for _, name := range names {
				kept += len(recorded(t, name))
				if code, _, diag := testbed.RunKagami(t, h.Production, "cat", name); code != 0 {
					t.Errorf("kagami cat: exit code %d: %s", code, diag)
				}
			}
			s, _ := st.Stage("output", filepath.Join(disk, c.name), kagami.Messages)
			if s.Out != int64(kept) || kept == 0 || s.Dropped[kagami.DiskFull] == 0 || s.In != s.Out+s.Dropped[kagami.DiskFull] {
				t.Errorf("%d in the files %v; the ledger: %+v", kept, names, s)
			}
			var free syscall.Statfs_t
			if err := syscall.Statfs(inside, &free); err != nil {
				t.Fatal(err)
			}
			if least := c.more[1]; least == "512kb" && free.Bavail*uint64(free.Bsize) < 512<<10 {
				t.Errorf("%d bytes are free", free.Bavail*uint64(free.Bsize))
			}
		})
	}
}
