package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"kagami"
	"kagami/internal/testbed"
)

// SIGHUP, again and again under load: targets, shares by connection (which the kernel takes), limits
// and filters change, and every request has the old treatment or the new one. None is lost, and
// none is sent twice.
func TestRootReload(t *testing.T) {
	h := testbed.NewHosts(t)
	production := testbed.StartNginx(t, h.Production, answer)
	one := testbed.StartNginx(t, h.Staging, answer)
	two := testbed.StartNginxOn(t, h.Staging, 8081, answer)
	dir := t.TempDir()
	config, all := filepath.Join(dir, "kagami.yaml"), filepath.Join(dir, "all.kgm")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(config, []byte("inputs: [{raw: ':8080'}]\n"+text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	target := func(port int, more string) string {
		return fmt.Sprintf("outputs:\n  - {file: %s, queue-messages: 100000, queue-bytes: 64mb}\n  - {http: 'http://%s:%d', queue-messages: 100000, queue-bytes: 64mb%s}\n", all, testbed.StagingIP, port, more)
	}
	write(target(8080, ""))
	k := testbed.StartKagami(t, h.Production, capturing, "listen", "--config", config, "--drain-timeout", "30s")
	reload := func(text string) {
		t.Helper()
		n := strings.Count(k.Stderr(), "the configuration is reloaded")
		write(text)
		k.Cmd.Process.Signal(syscall.SIGHUP)
		k.WaitUntil(func(stderr string) bool { return strings.Count(stderr, "the configuration is reloaded") > n })
	}
	load := testbed.In(h.Client, "wrk", "-t1", "-c32", "-d4s", "http://"+testbed.Addr(testbed.ProductionIP)+"/some/page?x=1")
	if err := load.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- load.Wait() }()
	for i, busy := 0, true; busy; i++ {
		reload([]string{target(8081, ""), target(8080, ", limit: 1000000/s"), target(8081, "") + "filters: {set-header: 'X-Mirrored: yes'}\n", target(8080, "")}[i%4])
		select {
		case err := <-ended:
			if busy = false; err != nil {
				t.Fatal(err)
			}
		default:
		}
	}
	production.Settle()

	// A file that is wrong changes nothing, and says where.
	write("outputs: [{htpp: 'http://a'}]\n")
	k.Cmd.Process.Signal(syscall.SIGHUP)
	k.WaitFor("the configuration was not reloaded")
	k.WaitFor("kagami.yaml:2")
	// What takes a restart is said, and the rest is done: now nothing is sent.
	reload(target(8080, ", filters: {allow-method: DELETE}") + "memory-limit: 100mb\n")
	k.WaitFor("memory-limit stays 64mb")
	one.Settle() // what was queued before
	before := len(one.Requests())
	testbed.Run(t, h.Client, "ab", "-q", "-n", "100", "-c", "10", "http://"+testbed.Addr(testbed.ProductionIP)+"/")
	// Half of the connections, in the kernel, and then all of them again.
	reload(strings.ReplaceAll(target(8080, ", share: 50%, sample-by: connection, filters: {allow-method: DELETE}"), "all.kgm,", "all.kgm, share: 50%, sample-by: connection,"))
	testbed.Run(t, h.Client, "ab", "-q", "-n", "1000", "-c", "10", "http://"+testbed.Addr(testbed.ProductionIP)+"/")
	reload(target(8080, ", filters: {allow-method: DELETE}"))
	testbed.Run(t, h.Client, "ab", "-q", "-n", "100", "-c", "10", "http://"+testbed.Addr(testbed.ProductionIP)+"/")
	st := k.Stop()
	if n := len(one.Requests()) - before; n != 0 {
		t.Errorf("%d requests sent that a filter forbids", n)
	}
	served := int64(len(production.Requests()))
	s, _ := st.Stage("capture", "", kagami.Messages)
	file, _ := st.Stage("output", all, kagami.Messages)
	ids := recorded(t, all)
	if file.Out != int64(len(ids)) || file.Out+file.Dropped[kagami.SampledOut] != s.Out {
		t.Errorf("%d captured, %d recorded, dropped %v, %d in the file", s.Out, file.Out, file.Dropped, len(ids))
	}
	if st.Bounded {
		t.Log("the kernel lost packets: this machine is too slow for the load")
	}
	sent := one.IDs()
	for id, n := range two.IDs() {
		sent[id] += n
	}
	missing, twice := 0, 0
	for _, id := range ids[:len(ids)-100] { // those sent before the filter
		switch n := sent[id.String()]; {
		case n == 0:
			missing++
		case n > 1:
			twice++
		}
	}
	// The 100 before the share, the half of 1000, and the 100 at the end were filtered at the target;
	// some of those were captured just before the kernel took the share, and are in no recording.
	filtered := int64(0)
	for _, stage := range st.Stages {
		filtered += stage.Dropped[kagami.Filtered]
	}
	if int64(missing) != filtered-100-file.Dropped[kagami.SampledOut] || twice != 0 || missing < 400 || missing > 800 {
		t.Errorf("%d requests missing (%d were filtered), %d sent twice", missing, filtered, twice)
	}
	if over := s.In - served; over > 64 {
		t.Errorf("%d more captured than nginx served", over)
	}
	t.Logf("nginx served %d, captured %d, sent %d, %d reloads", served, s.Out, len(sent), strings.Count(k.Stderr(), "the configuration is reloaded"))
}
