package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"kagami"
	"kagami/internal/gor"
)

// sessions writes a recording of clients that send a request each by turns.
func sessions(t *testing.T, clients, each int) string {
	t.Helper()
	var b []byte
	for n := range clients * each {
		client := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, 1}), uint16(40000+n%clients))
		id, err := kagami.IDFromBytes([]byte{byte(client.Port() >> 8), byte(client.Port()), 0, 80, 10, 0, 0, 1, 0, 0, byte(n >> 8), byte(n)})
		if err != nil {
			t.Fatal(err)
		}
		at := time.Unix(1_700_000_000, int64(n)*1000)
		b = gor.Append(b, &kagami.Message{Kind: kagami.Request, Proto: kagami.HTTP1, Start: at, End: at, Client: client,
			Raw:      fmt.Appendf(nil, "GET /%d/%d HTTP/1.1\r\nHost: a\r\n\r\n", client.Port(), n),
			Exchange: &kagami.Exchange{ID: id, Method: "GET"}})
	}
	path := filepath.Join(t.TempDir(), "sessions.gor")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// sessionTarget notes the requests of each client as they come.
func sessionTarget(t *testing.T) (url string, came func() map[string][]int) {
	var mu sync.Mutex
	order := map[string][]int{}
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var client, n int
		if _, err := fmt.Sscanf(r.URL.Path, "/%d/%d", &client, &n); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		order[fmt.Sprint(client)] = append(order[fmt.Sprint(client)], n)
	}))
	t.Cleanup(s.Close)
	return s.URL, func() map[string][]int { mu.Lock(); defer mu.Unlock(); return order }
}

// mirrorOf is the configuration of a command line that ends by itself.
func mirrorOf(t *testing.T, role Role, args ...string) Config {
	t.Helper()
	cfg := resolveLayers(t, mirrorCatalog(), role, parseArgs(t, mirrorCatalog(), args...))
	cfg.Console = Console{Stdout: io.Discard, Stderr: io.Discard, Log: slog.New(slog.DiscardHandler)}
	return cfg
}

func wantSessions(t *testing.T, came map[string][]int, clients, each int) {
	t.Helper()
	if len(came) != clients {
		t.Errorf("requests of %d clients, want %d", len(came), clients)
	}
	for client, order := range came {
		if len(order) != each || !slices.IsSorted(order) {
			t.Errorf("client %s: %v, want %d in order", client, order, each)
		}
	}
}

// --recognize-tcp-sessions keeps each client's order, from a recording as
// through a stream.
func TestSessionsKeepTheirOrder(t *testing.T) {
	const clients, each = 6, 50
	path := sessions(t, clients, each)
	t.Run("recording", func(t *testing.T) {
		url, came := sessionTarget(t)
		cfg := mirrorOf(t, RoleReplay, "input-file", path+"|max", "output-http", url, "recognize-tcp-sessions", "true")
		if err := runMirror(t.Context(), cfg); err != nil {
			t.Error(err)
		}
		wantSessions(t, came(), clients, each)
	})
	t.Run("stream", func(t *testing.T) {
		url, came := sessionTarget(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		replayer, err := newMirror(ctx, mirrorOf(t, RoleReplay, "input-tcp", "127.0.0.1:0", "output-http", url, "recognize-tcp-sessions", "true"))
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error)
		go func() { ended <- replayer.run(ctx) }()
		addr := replayer.inputs[0].input.(interface{ Addr() net.Addr }).Addr().String()
		if err := runMirror(t.Context(), mirrorOf(t, RoleKagami, "input-file", path+"|max", "output-tcp", addr)); err != nil {
			t.Error(err)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		wantSessions(t, came(), clients, each)
	})
}
