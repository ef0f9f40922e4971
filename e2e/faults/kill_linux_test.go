package faults

import (
	"math/rand/v2"
	"testing"
	"time"

	"kagami"
	"kagami/internal/testbed"
)

// settle is how long before a kill a request has to be sent to be in the spool for sure: the capture hands over
// what it has every 20 ms, and this is a busy machine.
const settle = 300 * time.Millisecond

// A siege is a chain under load whose processes are killed at random instants and started again.
type siege struct {
	*chain
	listenerArgs, replayerArgs []string
	load                       *testbed.Load
	random                     *rand.Rand
	streams                    int   // how often the listener is to have said that it streams
	from                       int64 // from this request on the listener captures

	sure, risky [][2]int64         // numbers of requests, from and to: that a listener had the time for, and the last before its end
	accepted    map[kagami.ID]bool // what was in the spool when a listener had died
}

// besiege starts both, and then the load.
func (c *chain) besiege(perSecond int, listenerArgs, replayerArgs []string) *siege {
	c.t.Helper()
	seed := uint64(time.Now().UnixNano())
	c.t.Logf("seed %d", seed)
	s := &siege{chain: c, listenerArgs: listenerArgs, replayerArgs: replayerArgs,
		random: rand.New(rand.NewPCG(seed, 0)), from: 1, accepted: map[kagami.ID]bool{}}
	s.startReplayer()
	s.chain.startListener(address(port), listenerArgs...)
	s.connected()
	s.load = c.startLoad(perSecond, nil)
	return s
}

func (s *siege) startReplayer() { s.chain.startReplayer(port, s.replayerArgs...) }

func (s *siege) startListener() {
	s.chain.startListener(address(port), s.listenerArgs...)
	s.from, s.streams = s.load.Next(), 0
}

// connected waits until the two stream, after one of them was started.
func (s *siege) connected() {
	s.t.Helper()
	s.streams++
	s.listener.WaitForTimes(streaming, s.streams)
}

// pause makes the next instant a random one.
func (s *siege) pause() { time.Sleep(time.Duration(s.random.IntN(int(300 * time.Millisecond)))) }

func (s *siege) killListener() {
	s.t.Helper()
	to := s.load.Sent()
	time.Sleep(settle) // it is measured what this time is enough for
	kill(s.listener)
	s.sure = append(s.sure, [2]int64{s.from, to})
	s.risky = append(s.risky, [2]int64{to, s.load.Sent()})
	for _, id := range s.spooled() {
		s.accepted[id] = true
	}
}

// end ends the load and the listener, and then the replayer.
func (s *siege) end() (listened, replayed kagami.Statement) {
	s.t.Helper()
	s.endLoad(s.load)
	listened = s.listener.Stop()
	return listened, s.replayer.Stop()
}

// checkOutput holds what the n-th staging server logged against the replayer's ledger, of all its runs together:
// what was captured arrived, or is dropped as in doubt and nothing else, and twice came only what is
// counted as sent again.
func (c *chain) checkOutput(n int, captured int64, replayed kagami.Statement) (doubt int64) {
	c.t.Helper()
	o := output(c.t, replayed, n)
	doubt = o.Dropped[kagami.InDoubt]
	if o.In != captured || o.Out+doubt != captured {
		c.t.Errorf("output %d: captured %d; in %d, out %d, dropped %v", n, captured, o.In, o.Out, o.Dropped)
	}
	c.staging[n].Settle()
	ids := c.staging[n].IDs()
	arrived, again := int64(len(ids)), int64(0)
	for _, times := range ids {
		again += int64(times - 1)
	}
	if arrived < o.Out || arrived > o.Out+doubt || again > o.Resent {
		c.t.Errorf("output %d: %d arrived, %d of them again; %d delivered, %d in doubt, %d sent again", n, arrived, again, o.Out, doubt, o.Resent)
	}
	c.t.Logf("output %d: captured %d, arrived %d, %d of them again; delivered %d, in doubt %d, sent again %d", n, captured, arrived, again, o.Out, doubt, o.Resent)
	return doubt
}

// checkListener holds what became of what killed listeners had captured against production's log: what they had a moment
// for, and what was seen in their spool, arrived, but for what the replayer dropped as in doubt; and nothing did twice but
// what it sent again.
func (s *siege) checkListener(listened, replayed kagami.Statement) {
	s.t.Helper()
	o := output(s.t, replayed, 0)
	excused := o.Dropped[kagami.InDoubt]
	var b books
	b.left = carriedOf(listened) // by processes that could not say so
	b.add(s.t, listened)
	if b.left != 0 || b.drops() != 0 {
		s.t.Errorf("%d left in the spool, dropped %v", b.left, b.dropped)
	}
	once, never, again := s.count()
	ids, lost := s.staging[0].IDs(), 0
	for id := range s.accepted {
		if ids[id.String()] == 0 {
			lost++
		}
	}
	had, missing := s.missing(s.sure)
	atRisk, gone := s.missing(s.risky)
	s.t.Logf("production served %d, and %d arrived once, %d more than once; of %d seen in the spool at a kill %d are missing; "+
		"of %d captured %v before a kill %d, of %d captured later %d",
		once+never+again, once, again, len(s.accepted), lost, had, settle, missing, atRisk, gone)
	if int64(lost) > excused || int64(missing) > excused || int64(again) > o.Resent {
		s.t.Errorf("the spool did not hold what it took in, or sent it twice: %d and %d are missing, and %d in doubt", lost, missing, excused)
	}
	if len(s.accepted) == 0 || had == 0 {
		s.t.Error("nothing was proved")
	}
}

func carriedOf(st kagami.Statement) int64 {
	s, _ := st.Stage("carried", "", kagami.Messages)
	return s.In
}

// A listener is killed at random instants under load, and started again: whatever had come into its
// spool arrives, and so does all that it had had a moment for; nothing arrives twice. What it has in memory is lost, as is
// what production is asked while no listener runs.
func TestRootSpoolListenerKilled(t *testing.T) {
	t.Parallel()
	inEachWay(t, func(t *testing.T, c *chain, args []string) {
		s := c.besiege(400, args, nil)
		for range killCount(t, 20) {
			s.pause()
			s.killListener()
			s.startListener()
		}
		listened, replayed := s.end()
		s.checkListener(listened, replayed)
		s.checkOutput(0, streamed(replayed), replayed)
	})
}

// streamed is how many messages a replayer has taken in.
func streamed(st kagami.Statement) int64 {
	s, _ := st.Stage("stream", "", kagami.Messages)
	return s.In
}

// doubts are what a replayer may be told to do with what is in doubt.
var doubts = map[string][]string{"dropped": nil, "sent again": {"--in-doubt", "resend"}}

// A replayer is killed at random instants under load, and started again: nothing is lost but what it was
// sending at such an instant, and that is counted; and nothing arrives twice at either of its targets. Or, where
// what is in doubt is sent again, nothing is lost, and twice comes only what is counted as sent again.
func TestRootReplayerKilled(t *testing.T) {
	t.Parallel()
	for name, args := range doubts {
		t.Run(name, func(t *testing.T) {
			c := newChain(t, answer, "echo_sleep 0.005; echo ok;").withState()
			s := c.besiege(1000, nil, args)
			for range killCount(t, 20) {
				s.pause()
				kill(s.replayer)
				s.startReplayer()
				s.connected()
			}
			listened, replayed := s.end()
			captured := int64(len(c.production.Requests()))
			if o := output(t, listened, 0); o.In != captured || o.Out != captured {
				t.Errorf("production served %d, the listener: in %d, out %d, dropped %v", captured, o.In, o.Out, o.Dropped)
			}
			for i := range c.staging {
				if doubt := c.checkOutput(i, captured, replayed); args != nil && doubt != 0 {
					t.Errorf("%d were dropped that were to be sent again", doubt)
				}
			}
		})
	}
}

// Listener and replayer are killed in turn at random instants under load, either before the other is back or after it, and
// started again: all that listeners had a moment for arrives, but for what a replayer was sending at such an instant, and that
// is counted; nothing arrives twice. Or, where what is in doubt is sent again, all of it arrives, and twice comes
// only what is counted as sent again. KAGAMI_TEST_KILLS=20 is the full measure.
func TestRootBothKilled(t *testing.T) {
	t.Parallel()
	for name, args := range doubts {
		t.Run(name, func(t *testing.T) {
			c := newChain(t, "echo_sleep 0.005; echo ok;").withSpool().withState()
			s := c.besiege(400, []string{"--output-tcp-compress", "zstd"}, args)
			for range killCount(t, 6) / 2 {
				s.pause()
				kill(s.replayer)
				back := s.random.IntN(2) == 0
				if back {
					s.startReplayer()
				}
				s.pause()
				s.killListener()
				s.startListener()
				if !back {
					s.startReplayer()
				}
				s.connected()
			}
			listened, replayed := s.end()
			if doubt := s.checkOutput(0, streamed(replayed), replayed); args != nil && doubt != 0 {
				t.Errorf("%d were dropped that were to be sent again", doubt)
			}
			s.checkListener(listened, replayed)
		})
	}
}
