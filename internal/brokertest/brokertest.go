// Package brokertest runs nats-server for tests and measurements: the real one,
// as processes on loopback, one or a cluster of them, that can be killed and
// started again. The server is the one that go.mod names as a tool.
package brokertest

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Patience is how long anything that should happen may take.
const Patience = 60 * time.Second

// Binary is the path of the server.
func Binary(t testing.TB) string {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Brokers are the servers of a test.
type Brokers struct {
	*Servers
	t testing.TB
}

// Start starts n servers, as [Launch] does. They end with the test.
func Start(t testing.TB, n int, more string, through ...string) *Brokers {
	t.Helper()
	s, err := Launch(t.TempDir(), n, more, through...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.KillAll()
		for i := range s.servers {
			if t.Failed() {
				t.Logf("nats-server %d:\n%s", i, s.Log(i))
			}
		}
	})
	return &Brokers{s, t}
}

// Restart starts a server that was killed.
func (b *Brokers) Restart(i int) {
	b.t.Helper()
	if err := b.Launch(i); err != nil {
		b.t.Fatal(err)
	}
}

// JetStream connects to the servers, and waits until JetStream works. options
// are for the connection.
func (b *Brokers) JetStream(options ...nats.Option) jetstream.JetStream {
	b.t.Helper()
	nc, js, err := b.Ready(Patience, options...)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(nc.Close)
	return js
}

// Leader is the number of the server that leads a stream, when one does.
func (b *Brokers) Leader(js jetstream.JetStream, stream string) int {
	b.t.Helper()
	for begun := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		s, err := js.Stream(b.t.Context(), stream)
		if err == nil && s.CachedInfo().Cluster != nil && s.CachedInfo().Cluster.Leader != "" {
			n, err := strconv.Atoi(strings.TrimPrefix(s.CachedInfo().Cluster.Leader, "n"))
			if err != nil {
				b.t.Fatal(err)
			}
			return n
		}
		if time.Since(begun) > Patience {
			b.t.Fatalf("no leader: %v", err)
		}
	}
}

// Ready connects to the servers, and waits until JetStream works.
func (b *Servers) Ready(patience time.Duration, options ...nats.Option) (*nats.Conn, jetstream.JetStream, error) {
	options = append([]nats.Option{nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(50 * time.Millisecond)}, options...)
	nc, err := nats.Connect(b.URL(), options...)
	if err != nil {
		return nil, nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, nil, err
	}
	for begun := time.Now(); ; {
		err := b.probe(js)
		if err == nil {
			return nc, js, nil
		}
		if time.Since(begun) > patience {
			nc.Close()
			return nil, nil, err
		}
	}
}

// probe reports an error while JetStream does not work. A cluster does when it
// places a stream on all its servers.
func (b *Servers) probe(js jetstream.JetStream) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if _, err := js.AccountInfo(ctx); err != nil || b.Len() == 1 {
		return err
	}
	_, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "probe", Subjects: []string{"probe"}, Replicas: b.Len()})
	if err != nil {
		return err
	}
	return js.DeleteStream(ctx, "probe")
}
