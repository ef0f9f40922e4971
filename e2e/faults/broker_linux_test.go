package faults

import (
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"kagami"
	"kagami/internal/brokertest"
	"kagami/internal/testbed"
)

// The node of a broker that leads the stream is killed under load, and comes back. Listener, brokers and replayer
// are processes on one host. All that production served arrives, once. With KAGAMI_TEST_KILLS=20 so is the one that
// leads by then, and so on.
func TestRootBrokerKilled(t *testing.T) {
	t.Parallel()
	c := newChain(t, answer)
	here := testbed.Netns(c.hosts.Production)
	brokers := brokertest.Start(t, 3, "", "ip", "netns", "exec", c.hosts.Production)
	js := brokers.JetStream(nats.SetCustomDialer(inNamespace{t, here}))
	url := brokers.URL() + "/traffic"
	c.listener = testbed.StartKagami(t, c.hosts.Production, capturing, "listen", "--input-raw", "10.77.0.2:8080",
		"--output-nats", url, "--output-nats-replicas", "3", "--drain-timeout", c.drain, "--log-format", "text")
	c.listener.WaitFor("msg=publishing")
	c.replayer = testbed.StartKagami(t, c.hosts.Production, "waiting", "replay", "--input-nats", url,
		"--output-http", c.targets[0], "--drain-timeout", c.drain, "--log-format", "text")
	load := c.startLoad(300, nil)
	arrived := func(more int) {
		c.staging[0].WaitForRequests(len(c.staging[0].Requests()) + more)
	}
	arrived(600)
	for range killCount(t, 1) {
		leader := brokers.Leader(js, "traffic")
		brokers.Kill(leader)
		arrived(600) // with two of three
		brokers.Restart(leader)
		arrived(600)
	}
	c.endLoad(load)
	listened := c.listener.Stop()
	captured := int64(len(c.production.Requests()))
	if o := output(t, listened, 0); o.In != captured || o.Out != captured {
		t.Errorf("production served %d, the listener: in %d, out %d, dropped %v", captured, o.In, o.Out, o.Dropped)
	}
	await(t, "all arrives", func() bool { return int64(len(c.staging[0].IDs())) >= captured })
	replayed := c.replayer.Stop()
	in, _ := replayed.Stage("broker", "", kagami.Messages)
	once, never, again := c.count()
	t.Logf("production served %d: %d arrived once, %d never, %d more than once; the replayer took in %d", captured, once, never, again, in.In)
	if never > 0 || again > 0 || in.In != captured || in.Out != captured {
		t.Errorf("%d arrived once, %d never, %d more than once; the broker's stage: %+v", once, never, again, in)
	}
}

// inNamespace connects from a namespace.
type inNamespace struct {
	t  *testing.T
	ns testbed.Netns
}

func (d inNamespace) Dial(network, address string) (conn net.Conn, err error) {
	d.ns.Do(d.t, func() error {
		conn, err = net.DialTimeout(network, address, 2*time.Second)
		return nil // a server that is not there is no fault of the test
	})
	return conn, err
}
