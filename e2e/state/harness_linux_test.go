package state

import (
	"os"
	"path/filepath"
	"testing"

	"kagami"
	"kagami/internal/testbed"
)

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

const (
	answer    = "echo ok;"
	capturing = "capturing"
	listening = "listening"
	streaming = "streaming"
)

var replayerAddr = testbed.StagingIP + ":28020"

// A pair is a listener beside production and a replayer beside staging, which
// know each other by a join file.
type pair struct {
	t        *testing.T
	hosts    *testbed.Hosts
	trust    string // the replayer's directories
	state    string
	args     []string // the replayer's
	replayer *testbed.Process
	listener *testbed.Process
}

// startPair starts both; args are the replayer's.
func startPair(t *testing.T, h *testbed.Hosts, state string, args ...string) *pair {
	t.Helper()
	p := &pair{t: t, hosts: h, trust: t.TempDir(), state: state, args: args}
	p.startReplayer()
	p.listener = p.startListener()
	return p
}

func (p *pair) startReplayer() {
	p.t.Helper()
	args := append([]string{"replay", "--input-tcp", replayerAddr, "--tls-dir", p.trust, "--join-address", replayerAddr}, p.args...)
	if p.state != "" {
		args = append(args, "--state", p.state)
	}
	p.replayer = testbed.StartKagami(p.t, p.hosts.Staging, listening, args...)
}

func (p *pair) startListener(args ...string) *testbed.Process {
	p.t.Helper()
	l := testbed.StartKagami(p.t, p.hosts.Production, capturing, append([]string{"listen", "--input-raw", ":8080",
		"--output-tcp", replayerAddr, "--join-file", filepath.Join(p.trust, "default.join")}, args...)...)
	l.WaitFor(streaming)
	return l
}

// killReplayer ends the replayer with SIGKILL.
func (p *pair) killReplayer() {
	p.t.Helper()
	p.replayer.Cmd.Process.Kill()
	p.replayer.Wait()
}

// output is a statement's line of the n-th output.
func output(t *testing.T, st kagami.Statement, n int) kagami.StageStatement {
	t.Helper()
	for _, s := range st.Stages {
		if s.Stage == "output" {
			if n == 0 {
				return s
			}
			n--
		}
	}
	t.Fatalf("no such output in %+v", st)
	return kagami.StageStatement{}
}
