package deploy

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

var releaseOnce sync.Once

// needRelease makes the release, as the page says.
func needRelease(t testing.TB) {
	t.Helper()
	releaseOnce.Do(func() {
		cmd := exec.Command("sh", "-ec", commandsOf(t, "packages/README.md", "release"))
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	})
}

// oneFile is the one that fits a pattern below dist.
func oneFile(t testing.TB, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(root, "dist", pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: %v, %v, want one file", pattern, found, err)
	}
	path, err := filepath.Abs(found[0])
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func lines(t testing.TB, name string, args ...string) []string {
	t.Helper()
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		t.Fatalf("%s %v: %v", name, args, err)
	}
	return strings.Fields(string(out))
}

// Each architecture has an archive, a .deb and an .rpm, with its own program in it.
func TestDeployPackages(t *testing.T) {
	t.Parallel()
	needRoot(t, "rpm", "rpm2cpio", "cpio", "dpkg-deb")
	needRelease(t)
	for _, arch := range []struct {
		name, rpm string
		machine   elf.Machine
	}{{"amd64", "x86_64", elf.EM_X86_64}, {"arm64", "aarch64", elf.EM_AARCH64}} {
		t.Run(arch.name, func(t *testing.T) {
			archive, deb, rpm := oneFile(t, "*_linux_"+arch.name+".tar.gz"), oneFile(t, "*_"+arch.name+".deb"), oneFile(t, "*."+arch.rpm+".rpm")
			unpack := map[string]string{
				"archive": `tar -xzf "$1" --strip-components=1`, "deb": `dpkg-deb -x "$1" .`, "rpm": `rpm2cpio "$1" | cpio -id --quiet --no-absolute-filenames`,
			}
			for form, path := range map[string]string{"archive": archive, "deb": deb, "rpm": rpm} {
				dir := t.TempDir()
				cmd := exec.Command("sh", "-ec", unpack[form], "sh", path)
				cmd.Dir = dir
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%s: %v\n%s", form, err, out)
				}
				program, units := "usr/bin/kagami", "usr/lib/systemd/system"
				switch form {
				case "archive":
					program, units = "kagami", "docs/deploy/systemd"
				case "deb":
					units = "lib/systemd/system"
				}
				f, err := elf.Open(filepath.Join(dir, program))
				if err != nil {
					t.Fatalf("%s: %v", form, err)
				}
				if libs, _ := f.ImportedLibraries(); f.Machine != arch.machine || len(libs) > 0 {
					t.Errorf("%s: %v, needs %v", form, f.Machine, libs)
				}
				f.Close()
				for _, unit := range []string{"kagami-listen.service", "kagami-replay.service"} {
					if _, err := os.Stat(filepath.Join(dir, units, unit)); err != nil {
						t.Errorf("%s: %v", form, err)
					}
				}
			}
			if got := lines(t, "dpkg-deb", "-f", deb, "Architecture"); !slices.Equal(got, []string{arch.name}) {
				t.Errorf(".deb is for %v", got)
			}
			if got := lines(t, "rpm", "-qp", "--qf", "%{ARCH} %{NAME}", rpm); !slices.Equal(got, []string{arch.rpm, "kagami"}) {
				t.Errorf(".rpm is for %v", got)
			}
			listed, config := lines(t, "rpm", "-qlp", rpm), lines(t, "rpm", "-qcp", rpm)
			if want := []string{"/etc/kagami/listen.env", "/etc/kagami/replay.env"}; !slices.Contains(listed, "/usr/bin/kagami") || !slices.Equal(config, want) {
				t.Errorf(".rpm has %v, of them configuration %v", listed, config)
			}
		})
	}
}
