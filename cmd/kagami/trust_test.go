package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"kagami"
	"kagami/replay"
)

// A lines is a log that several goroutines write, and a test reads.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// until waits until f holds.
func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// A trustingReplayer is a replayer that runs, and its log.
type trustingReplayer struct {
	*mirror
	addr string
	log  *lines
	came func() map[string][]int
}

func (r *trustingReplayer) server() *replay.Server { return r.inputs[0].input.(*replay.Server) }

// dropped is how many connections ended for a reason.
func (r *trustingReplayer) dropped(reason kagami.Reason) int64 {
	return r.server().Stages()[0].Dropped(reason)
}

func startTrusting(t *testing.T, args ...string) *trustingReplayer {
	t.Helper()
	url, came := sessionTarget(t)
	r := &trustingReplayer{log: &lines{}, came: came}
	cfg := mirrorOf(t, RoleReplay, append([]string{"input-tcp", "127.0.0.1:0", "output-http", url}, args...)...)
	cfg.Console.Log = slog.New(slog.NewTextHandler(r.log, nil))
	if err := checkTrust(&cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var err error
	if r.mirror, err = newMirror(ctx, cfg); err != nil {
		cancel()
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- r.run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if st := r.ledger.Statement(); !st.Balanced {
			t.Errorf("unbalanced: %v", st.Faults)
		}
	})
	r.addr = r.server().Addr().String()
	return r
}

// stream sends a recording to the replayer and returns what the listener says.
// One that is not let in gives up after a moment.
func (r *trustingReplayer) stream(t *testing.T, path string, args ...string) (st kagami.Statement, log string) {
	t.Helper()
	cfg := mirrorOf(t, RoleKagami, append([]string{"input-file", path, "output-tcp", r.addr}, args...)...)
	var out lines
	cfg.Console.Log = slog.New(slog.NewTextHandler(&out, nil))
	m, err := newMirror(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	// An error is that not all was acknowledged, which the ledger says too.
	if err := m.run(ctx); err != nil {
		out.Write([]byte(err.Error()))
	}
	return m.ledger.Statement(), out.String()
}

func wantUnauthorized(t *testing.T, r *trustingReplayer, st kagami.Statement, log, says string) {
	t.Helper()
	last := st.Stages[len(st.Stages)-1]
	if last.Out != 0 || last.Dropped[kagami.Unauthorized] != last.In || last.In == 0 || !st.Balanced {
		t.Errorf("%+v: want all unauthorized", last)
	}
	if !strings.Contains(log, says) {
		t.Errorf("the listener says\n%s\nwant %q", log, says)
	}
	if n := len(r.came()); n != 0 {
		t.Errorf("requests of %d clients were sent", n)
	}
	if in, _ := r.server().Stages()[1].Count(); in != 0 {
		t.Errorf("%d records were taken in", in)
	}
}

func token(t *testing.T, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), append([]string{"kagami", "token"}, args...), nil, &stdout, &stderr); code != 0 {
		t.Fatalf("kagami token %v: exit %d: %s", args, code, &stderr)
	}
	return stdout.String()
}

// From the first start to the stream, as docs/trust.md says.
func TestJoin(t *testing.T) {
	path, dir := sessions(t, 3, 20), filepath.Join(t.TempDir(), "tls")
	r := startTrusting(t, "tls-dir", dir)
	join := filepath.Join(dir, "default.join")
	if said := r.log.String(); !strings.Contains(said, "copy its join file") || !strings.Contains(said, join) || !strings.Contains(said, "--output-tcp "+r.addr+" --join-file default.join") {
		t.Errorf("the replayer says\n%s", said)
	}
	for _, name := range []string{"replayer.pem", "default.join", "tokens/default"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v; want 0600", name, info, err)
		}
	}
	if st, log := r.stream(t, path, "join-file", join); !st.Balanced {
		t.Errorf("%+v\n%s", st, log)
	}
	wantSessionsInAnyOrder(t, r.came(), 3, 20)

	text, err := os.ReadFile(join)
	if err != nil {
		t.Fatal(err)
	}
	r.stream(t, path, "join", string(text)) // as KAGAMI_JOIN
	wantSessionsInAnyOrder(t, r.came(), 3, 40)
	hash, err := os.ReadFile(filepath.Join(dir, "tokens/default"))
	if err != nil {
		t.Fatal(err)
	}
	secret := strings.Split(string(text), "token default:")[1]
	if strings.Contains(string(hash), strings.TrimSpace(secret)) {
		t.Error("the replayer keeps the token")
	}
}

func wantSessionsInAnyOrder(t *testing.T, came map[string][]int, clients, each int) {
	t.Helper()
	if len(came) != clients {
		t.Errorf("requests of %d clients, want %d", len(came), clients)
	}
	for client, n := range came {
		if len(n) != each {
			t.Errorf("client %s: %d requests, want %d", client, len(n), each)
		}
	}
}

// Nobody streams without the right credentials, nor to the wrong replayer.
func TestJoinRefused(t *testing.T) {
	path := sessions(t, 2, 5)
	dir := t.TempDir()
	other := filepath.Join(t.TempDir(), "other")
	token(t, "add", "default", "--tls-dir", other, "--join-address", "127.0.0.1:1")
	r := startTrusting(t, "tls-dir", dir)
	good, err := os.ReadFile(filepath.Join(dir, "default.join"))
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := os.ReadFile(filepath.Join(other, "default.join"))
	if err != nil {
		t.Fatal(err)
	}
	line := func(text []byte, word string) string {
		for l := range strings.Lines(string(text)) {
			if strings.HasPrefix(l, word) {
				return l
			}
		}
		return ""
	}
	for _, test := range []struct {
		name, join, says string
		counted          int64 // as unauthorized, at least
	}{
		{"wrong fingerprint", strings.Replace(string(good), line(good, "fingerprint"), line(stranger, "fingerprint"), 1), "this is another replayer", 0},
		{"wrong token", strings.Replace(string(good), line(good, "token"), line(stranger, "token"), 1), "the token is not valid", 1},
		{"unknown token", strings.Replace(string(good), "token default:", "token nobody:", 1), "the token is not valid", 1},
		{"in clear", "", "over TLS alone", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			var args []string
			if test.join != "" {
				args = []string{"join", test.join}
			}
			before := r.dropped(kagami.Unauthorized)
			st, log := r.stream(t, path, args...)
			wantUnauthorized(t, r, st, log, test.says)
			if n := r.dropped(kagami.Unauthorized) - before; n < test.counted {
				t.Errorf("%d counted as unauthorized, want %d", n, test.counted)
			}
		})
	}
	if n := strings.Count(r.log.String(), "a listener's stream ended"); n != 1 {
		t.Errorf("the replayer said %d times that a peer failed, want once:\n%s", n, r.log.String())
	}
}

// Tokens come and go while the replayer runs.
func TestTokensWhileRunning(t *testing.T) {
	path, dir := sessions(t, 2, 5), t.TempDir()
	r := startTrusting(t, "tls-dir", dir)
	file := filepath.Join(t.TempDir(), "edge.join")
	token(t, "add", "edge", "--tls-dir", dir, "--join-address", r.addr, "--join-out", file)
	if list := token(t, "list", "--tls-dir", dir); strings.Count(list, " valid\n") != 2 || !strings.Contains(list, "edge") {
		t.Errorf("the list is\n%s", list)
	}
	token(t, "revoke", "default", "--tls-dir", dir)
	if _, err := os.Stat(filepath.Join(dir, "default.join")); !os.IsNotExist(err) {
		t.Errorf("the join file of a revoked token: %v", err)
	}
	r.stream(t, path, "join-file", file)
	wantSessionsInAnyOrder(t, r.came(), 2, 5)

	// A stream that runs is cut off.
	until(t, "the end of the first", func() bool { return r.server().Stats().Connected == 0 })
	cfg := mirrorOf(t, RoleKagami, "input-dummy", "x", "output-tcp", r.addr, "join-file", file)
	var out lines
	cfg.Console.Log = slog.New(slog.NewTextHandler(&out, nil))
	m, err := newMirror(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- m.run(ctx) }()
	until(t, "the stream", func() bool { return r.server().Stats().Connected == 1 })
	token(t, "revoke", "edge", "--tls-dir", dir)
	until(t, "the end of the stream", func() bool {
		return r.server().Stats().Connected == 0 && strings.Contains(out.String(), "was revoked") && strings.Contains(out.String(), "the token is not valid")
	})
	cancel()
	<-ended
}

// A token is replaced under load: nothing is lost, and nothing comes twice.
func TestTokenIsReplaced(t *testing.T) {
	const clients, each = 10, 300
	path, dir := sessions(t, clients, each), t.TempDir()
	r := startTrusting(t, "tls-dir", dir)
	file := filepath.Join(t.TempDir(), "edge.join")
	token(t, "add", "edge", "--tls-dir", dir, "--join-address", r.addr, "--join-out", file)
	token(t, "add", "edge-2", "--tls-dir", dir, "--join-address", r.addr, "--join-out", file+".new")

	ended := make(chan kagami.Statement)
	go func() {
		st, log := r.stream(t, path, "join-file", file, "rate", "1500/s")
		if !strings.Contains(log, "was revoked") {
			t.Errorf("the listener was not cut off:\n%s", log)
		}
		ended <- st
	}()
	taken := func() int64 { in, _ := r.server().Stages()[1].Count(); return in }
	until(t, "some requests", func() bool { return taken() > 300 })
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
	token(t, "revoke", "edge", "--tls-dir", dir)
	st := <-ended
	if last := st.Stages[len(st.Stages)-1]; last.Out != clients*each || !st.Balanced {
		t.Errorf("%+v", last)
	}
	if n := r.server().Stats().Accepted; n != 2 {
		t.Errorf("%d connections, want two", n)
	}
	wantSessionsInAnyOrder(t, r.came(), clients, each)
}

// An authority makes certificates.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.sign("ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil, nil)
	return a
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

func (a *authority) sign(name string, template, parent *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template.SerialNumber, template.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: name}
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(time.Hour)
	}
	template.NotBefore = template.NotAfter.Add(-2 * time.Hour)
	template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	if parent == nil {
		parent, by = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{name + ".crt": {Type: "CERTIFICATE", Bytes: der}, name + ".key": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(a.path(file), pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	return cert, key
}

// leaf makes a certificate for one side.
func (a *authority) leaf(name string, usage x509.ExtKeyUsage, notAfter time.Time) {
	a.t.Helper()
	a.sign(name, &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{usage}, NotAfter: notAfter}, a.cert, a.key)
}

// flags are those of a side that knows ca.
func (a *authority) flags(ca *authority, name string) []string {
	return []string{"tls-ca", ca.path("ca.crt"), "tls-cert", a.path(name + ".crt"), "tls-key", a.path(name + ".key")}
}

func TestMutualCertificates(t *testing.T) {
	path := sessions(t, 2, 5)
	ours, theirs := newAuthority(t), newAuthority(t)
	ours.leaf("replayer", x509.ExtKeyUsageServerAuth, time.Time{})
	ours.leaf("edge", x509.ExtKeyUsageClientAuth, time.Time{})
	ours.leaf("expired", x509.ExtKeyUsageClientAuth, time.Now().Add(-time.Minute))
	theirs.leaf("edge", x509.ExtKeyUsageClientAuth, time.Time{})
	r := startTrusting(t, ours.flags(ours, "replayer")...)
	for _, test := range []struct {
		name, says string
		flags      []string
	}{
		{"expired", "it has expired", ours.flags(ours, "expired")},
		{"of another authority", "an authority that the replayer does not know", theirs.flags(ours, "edge")},
		{"replayer of another authority", "the replayer's certificate", ours.flags(theirs, "edge")},
		{"a server's", "not one for clients", ours.flags(ours, "replayer")},
	} {
		t.Run(test.name, func(t *testing.T) {
			st, log := r.stream(t, path, test.flags...)
			wantUnauthorized(t, r, st, log, test.says)
		})
	}
	if st, log := r.stream(t, path, ours.flags(ours, "edge")...); !st.Balanced {
		t.Errorf("%+v\n%s", st, log)
	}
	wantSessionsInAnyOrder(t, r.came(), 2, 5)

	// The authority is replaced, and read again: who was let in is not any more.
	ca, err := os.ReadFile(ours.path("ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	theirCA, err := os.ReadFile(theirs.path("ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	for path, b := range map[string][]byte{ours.path("old-ca.crt"): ca, ours.path("ca.crt"): append(theirCA, '\n')} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	flags := theirs.flags(ours, "edge")
	flags[1] = ours.path("old-ca.crt")
	r.stream(t, path, flags...)
	wantSessionsInAnyOrder(t, r.came(), 2, 10)
	flags = ours.flags(ours, "edge")
	flags[1] = ours.path("old-ca.crt")
	_, log := r.stream(t, path, flags...)
	if !strings.Contains(log, "an authority that the replayer does not know") {
		t.Errorf("the listener says\n%s", log)
	}
	wantSessionsInAnyOrder(t, r.came(), 2, 10)
}
