package state

import (
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"kagami"
	"kagami/internal/testbed"
)

const kills = 20

// underLoad kills the replayer at random instants while production is asked,
// and starts it again. It returns what the listener says in the end.
func (p *pair) underLoad(perSecond int) kagami.Statement {
	p.t.Helper()
	load := testbed.StartLoad(p.t, testbed.Netns(p.hosts.Client), testbed.Addr(testbed.ProductionIP), perSecond, nil)
	seed := uint64(time.Now().UnixNano())
	p.t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for i := range kills {
		p.listener.WaitForTimes(streaming, i+1)
		time.Sleep(time.Duration(random.IntN(int(300 * time.Millisecond)))) // the instant is what is random
		p.killReplayer()
		p.startReplayer()
	}
	p.listener.WaitForTimes(streaming, kills+1)
	asked, failed := load.End()
	if failed > 0 {
		p.t.Errorf("production failed %d of %d requests", failed, asked)
	}
	return p.listener.Stop()
}

// A replayer is killed at twenty random instants under load, and started again:
// nothing is lost but what it was sending at such an instant, and that is counted; nothing
// arrives twice at either of its targets.
func TestRootReplayerKilled(t *testing.T) {
	h := testbed.NewHosts(t)
	production := testbed.StartNginx(t, h.Production, answer)
	staging := []*testbed.Nginx{testbed.StartNginx(t, h.Staging, answer), testbed.StartNginxOn(t, h.Staging, 8081, "echo_sleep 0.005; echo ok;")}
	p := startPair(t, h, filepath.Join(t.TempDir(), "state"),
		"--output-http", "http://"+testbed.StagingIP+":8080", "--output-http", "http://"+testbed.StagingIP+":8081")
	listened := p.underLoad(1000)
	captured := int64(len(production.Requests()))
	if o := output(t, listened, 0); o.In != captured || o.Out != captured {
		t.Errorf("production served %d, the listener: in %d, out %d, dropped %v", captured, o.In, o.Out, o.Dropped)
	}
	replayed := p.replayer.Stop()
	for i, nginx := range staging {
		o := output(t, replayed, i)
		doubt := o.Dropped[kagami.InDoubt]
		if o.In != captured || o.Out+doubt != captured {
			t.Errorf("output %d: in %d, out %d, dropped %v; captured %d", i, o.In, o.Out, o.Dropped, captured)
		}
		ids := nginx.IDs()
		for id, n := range ids {
			if n != 1 {
				t.Errorf("output %d: %s arrived %d times", i, id, n)
			}
		}
		arrived := int64(len(ids))
		if arrived < o.Out || arrived > o.Out+doubt {
			t.Errorf("output %d: %d arrived, %d delivered and %d in doubt", i, arrived, o.Out, doubt)
		}
		t.Logf("output %d: captured %d, arrived %d; delivered %d, in doubt %d", i, captured, arrived, o.Out, doubt)
	}
}

// The same, where what is in doubt is sent again: all arrives, and twice only
// what is counted as sent again.
func TestRootReplayerKilledSendsAgain(t *testing.T) {
	h := testbed.NewHosts(t)
	production := testbed.StartNginx(t, h.Production, answer)
	staging := testbed.StartNginx(t, h.Staging, "echo_sleep 0.005; echo ok;")
	p := startPair(t, h, filepath.Join(t.TempDir(), "state"), "--in-doubt", "resend", "--output-http", "http://"+testbed.Addr(testbed.StagingIP))
	listened := p.underLoad(1000)
	captured := int64(len(production.Requests()))
	if o := output(t, listened, 0); o.In != captured || o.Out != captured {
		t.Errorf("production served %d, the listener: in %d, out %d, dropped %v", captured, o.In, o.Out, o.Dropped)
	}
	o := output(t, p.replayer.Stop(), 0)
	if o.In != captured || o.Out != captured {
		t.Errorf("captured %d; in %d, out %d, dropped %v", captured, o.In, o.Out, o.Dropped)
	}
	ids := staging.IDs()
	again := int64(0)
	for id, n := range ids {
		again += int64(n - 1)
		if n > kills {
			t.Errorf("%s arrived %d times", id, n)
		}
	}
	if int64(len(ids)) != captured || again > o.Resent {
		t.Errorf("%d of %d arrived, %d again; %d were sent again", len(ids), captured, again, o.Resent)
	}
	t.Logf("captured %d, arrived %d, %d of them again; sent again %d", captured, len(ids), again, o.Resent)
}
