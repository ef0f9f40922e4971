package report

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// A Machine is what was measured on.
type Machine struct {
	CPU    string            `json:"cpu"`
	Cores  int               `json:"cores"`
	Kernel string            `json:"kernel"`
	System string            `json:"system"`
	Go     string            `json:"go"`
	Tools  map[string]string `json:"tools,omitempty"`
}

// ThisMachine describes the machine it runs on.
func ThisMachine() Machine {
	return Machine{
		CPU:    field("/proc/cpuinfo", "model name"),
		Cores:  runtime.NumCPU(),
		Kernel: firstLine("uname", "-r"),
		System: strings.Trim(field("/etc/os-release", "PRETTY_NAME"), `"`),
		Go:     runtime.Version(),
		Tools:  map[string]string{"nginx": firstLine("nginx", "-v"), "ab": firstLine("ab", "-V"), "wrk": firstLine("wrk", "-v")},
	}
}

// field is what stands behind a name and ":" or "=" in a file, or "".
func field(path, name string) string {
	b, _ := os.ReadFile(path)
	for line := range strings.Lines(string(b)) {
		if i := strings.IndexAny(line, ":="); i >= 0 && strings.TrimSpace(line[:i]) == name {
			return strings.TrimSpace(line[i+1:])
		}
	}
	return ""
}

// firstLine is the first line of what a command prints, or "": some exit with 1 after
// they said their version.
func firstLine(name string, args ...string) string {
	out, _ := exec.Command(name, args...).CombinedOutput()
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line
}
