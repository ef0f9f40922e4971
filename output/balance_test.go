package output_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"kagami"
	"kagami/internal/stream"
	"kagami/output"
)

// A balancing is a Balance and its replayers, played by the test.
type balancing struct {
	out       *output.Balance
	replayers []*tcpReplayer
	lines     []*tcpLine
}

// clientOf gives the messages of b a client each.
func clientOf(b kagami.Batch, port int) kagami.Batch {
	for _, m := range b.Messages {
		m.Client = netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1}), uint16(port))
	}
	return b
}

// startBalancing starts n replayers that know what is in doubt, or not.
func startBalancing(t *testing.T, n int, spool bool, features stream.Features, failover time.Duration) *balancing {
	b := &balancing{}
	dir := t.TempDir()
	var members []*output.TCP
	for i := range n {
		r := newTCPReplayer(t)
		b.replayers = append(b.replayers, r)
		members = append(members, r.output(func(c *output.TCPConfig) {
			c.Address = fmt.Sprintf("replayer%d:1", i)
			if spool {
				c.Spool = &output.TCPSpool{Dir: filepath.Join(dir, fmt.Sprint(i))}
			}
		}))
	}
	b.out = output.NewBalance(output.BalanceConfig{FailoverAfter: failover}, members...)
	for _, r := range b.replayers {
		b.lines = append(b.lines, r.accept(stream.Answer{Features: features}))
	}
	return b
}

// port is a client's port whose messages go to the k-th of two replayers.
func (b *balancing) port(k int) int {
	for port := 40_000; ; port++ {
		h := kagami.Salt(0).Connection(netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1}), uint16(port)))
		if int(uint32(h)%2) == k {
			return port
		}
	}
}

func (b *balancing) down(k int) {
	b.replayers[k].mu.Lock()
	b.replayers[k].down = errors.New("no route to host")
	b.replayers[k].mu.Unlock()
	b.lines[k].conn.Close()
}

func TestBalanceByConnection(t *testing.T) {
	tcpTest(t, func(t *testing.T, _ *tcpReplayer, fates *tcpFates) {
		b := startBalancing(t, 2, false, 0, 0)
		tcpBalance(t, b, clientOf(fates.batch(0, "01", "02"), b.port(0)))
		tcpBalance(t, b, clientOf(fates.batch(0, "03"), b.port(1)))
		b.lines[0].expectBatch(1, 2, "01 02")
		b.lines[1].expectBatch(1, 1, "03")
		if n := b.out.InFlight(); n != 3 {
			t.Errorf("%d in flight", n)
		}
		b.lines[1].ack(1)
		synctest.Wait()
		fates.expect("03 delivered")
		// One that is away keeps its share, for as long as it is.
		b.down(0)
		ctx, cancel := context.WithCancel(context.Background())
		got := make(chan string, 10)
		go b.lines[1].deliver(ctx, got)
		time.Sleep(time.Hour)
		tcpBalance(t, b, clientOf(fates.batch(0, "04"), b.port(0)))
		tcpBalance(t, b, clientOf(fates.batch(0, "05"), b.port(1)))
		if id := <-got; id != "05" {
			t.Errorf("the other got %s", id)
		}
		fates.expect("03 delivered, 05 delivered")
		b.replayers[0].mu.Lock()
		b.replayers[0].down = nil
		b.replayers[0].mu.Unlock()
		l := b.replayers[0].accept(stream.Answer{})
		l.expectBatch(1, 2, "01 02")
		l.expectBatch(3, 3, "04")
		l.ack(3)
		closed := make(chan error, 1)
		go func() { closed <- b.out.Close() }()
		l.end()
		if err := <-closed; err != nil {
			t.Error(err)
		}
		cancel()
		fates.expect("01 delivered, 02 delivered, 03 delivered, 04 delivered, 05 delivered")
	})
}

func tcpBalance(t *testing.T, b *balancing, batch kagami.Batch) {
	t.Helper()
	if err := b.out.Write(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
}

// What was sent to a replayer that is gone, and what was not, goes to the other; the former in doubt.
func TestBalanceFailsOver(t *testing.T) {
	for _, test := range []struct {
		name     string
		spool    bool
		features stream.Features
		want     []string // ids that the other gets, with ? where it is in doubt
		fates    string
	}{
		{"in memory", false, stream.FeatureInDoubt, []string{"01?", "02", "03", "04"}, "01 delivered, 02 delivered, 03 delivered, 04 delivered"},
		{"in memory, older replayer", false, 0, []string{"02", "03", "04"}, "01 in-doubt, 02 delivered, 03 delivered, 04 delivered"},
		{"spool", true, stream.FeatureInDoubt, []string{"01?", "02", "03", "04"}, "01 delivered, 02 delivered, 03 delivered, 04 delivered"},
		{"spool, older replayer", true, 0, []string{"02", "03", "04"}, "01 delivered, 02 delivered, 03 delivered, 04 delivered"},
	} {
		t.Run(test.name, func(t *testing.T) {
			tcpTest(t, func(t *testing.T, _ *tcpReplayer, fates *tcpFates) {
				b := startBalancing(t, 2, test.spool, test.features, 10*time.Second)
				tcpBalance(t, b, clientOf(fates.batch(0, "01"), b.port(0)))
				b.lines[0].expectBatch(1, 1, "01")
				b.down(0)
				synctest.Wait()
				tcpBalance(t, b, clientOf(fates.batch(0, "02"), b.port(0)))
				got := make(chan string, 10)
				ctx, cancel := context.WithCancel(context.Background())
				go b.lines[1].deliver(ctx, got)
				time.Sleep(9 * time.Second)
				if len(got) > 0 {
					t.Errorf("%s moved too early", <-got)
				}
				time.Sleep(2 * time.Second)
				tcpBalance(t, b, clientOf(fates.batch(0, "03"), b.port(0))) // where it went to, this does too
				tcpBalance(t, b, clientOf(fates.batch(0, "04"), b.port(1)))
				var all []string
				for range test.want {
					all = append(all, <-got)
				}
				if !slices.Equal(all, test.want) {
					t.Errorf("the other got %v, want %v", all, test.want)
				}
				synctest.Wait()
				fates.expect(test.fates)
				if test.spool {
					st := b.out.Failover().Statement()
					if st.In != 2 || st.Missing() != 0 || st.Out+st.Dropped[kagami.InDoubt] != 2 {
						t.Errorf("failover %+v", st)
					}
					members := b.out.Members()
					expectSpool(t, members[0], 2, 0, 0, map[kagami.Reason]int64{kagami.FailedOver: 2})
				}
				cancel()
				if err := b.out.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// deliver acknowledges what comes, until ctx is done and the listener says goodbye.
func (l *tcpLine) deliver(ctx context.Context, got chan<- string) {
	go func() {
		for {
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return
			}
			if _, err := l.conn.Write(stream.AppendFrame(nil, stream.Frame{Type: stream.FrameAlive})); err != nil {
				return
			}
		}
	}()
	for {
		f, err := stream.ReadFrame(l.r, stream.Limits{})
		if err != nil || f.Type == stream.FrameEnd {
			return
		}
		if f.Type != stream.FrameBatch {
			continue
		}
		body, err := f.Batch.ReadBody(l.r, nil)
		if err != nil {
			return
		}
		messages, _, err := f.Batch.Messages(body, stream.Limits{})
		if err != nil {
			l.t.Error(err)
			return
		}
		for _, m := range messages {
			id := m.Exchange.ID.String()
			if m.Flags&kagami.Doubtful != 0 {
				id += "?"
			}
			got <- id
		}
		l.ack(f.Batch.Last())
	}
}
