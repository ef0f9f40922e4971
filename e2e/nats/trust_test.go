package nats

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"kagami"
	"kagami/internal/broker"
	"kagami/internal/brokertest"
	"kagami/output"
	"kagami/replay"
)

// certificate writes a self-signed certificate for this host, and its key.
func certificate(t *testing.T, name string) (certFile, keyFile string, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(certFile, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600); err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	return certFile, keyFile, pool
}

// firstTold is what an output says first of its broker.
func firstTold(t *testing.T, cfg broker.Config) error {
	t.Helper()
	told := make(chan error, 100)
	out, err := output.NewNATS(output.NATSConfig{Broker: cfg, Notify: func(err error) {
		select {
		case told <- err:
		default:
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	select {
	case err := <-told:
		return err
	case <-time.After(brokertest.Patience):
		t.Fatal("it says nothing")
		return nil
	}
}

// A broker with TLS is known by its certificate, and knows us by ours.
func TestNATSOverTLS(t *testing.T) {
	cert, key, pool := certificate(t, "broker")
	ours, ourKey, _ := certificate(t, "kagami")
	pair, err := tls.LoadX509KeyPair(ours, ourKey)
	if err != nil {
		t.Fatal(err)
	}
	b := brokertest.Start(t, 1, fmt.Sprintf("tls { cert_file: %q, key_file: %q, ca_file: %q, verify: true }", cert, key, ours))
	b.JetStream(nats.Secure(&tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}}))
	cfg := address(t, b)
	if err := firstTold(t, cfg); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("with neither an authority nor a certificate: %v", err)
	}
	cfg.RootCAs = pool
	if err := firstTold(t, cfg); err == nil {
		t.Error("taken without a certificate")
	}
	cfg.Certificates = []tls.Certificate{pair}
	if err := firstTold(t, cfg); err != nil {
		t.Errorf("with both: %v", err)
	}
}

// tls:// demands TLS of a broker that has none.
func TestNATSWithoutTLS(t *testing.T) {
	b := brokertest.Start(t, 1, "")
	b.JetStream()
	a, err := broker.ParseAddress(strings.Replace(b.URL(), "nats:", "tls:", 1))
	if err != nil {
		t.Fatal(err)
	}
	if err := firstTold(t, broker.Config{Address: a}); err == nil || !strings.Contains(err.Error(), "--insecure") {
		t.Errorf("told %v", err)
	}
}

// A user's file of JWT and key, as nsc writes it, is enough to get in.
func TestNATSCreds(t *testing.T) {
	pair := func(create func() (nkeys.KeyPair, error)) (nkeys.KeyPair, string) {
		k, err := create()
		if err != nil {
			t.Fatal(err)
		}
		public, err := k.PublicKey()
		if err != nil {
			t.Fatal(err)
		}
		return k, public
	}
	sign := func(text string, err error) string {
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	operator, operatorID := pair(nkeys.CreateOperator)
	_, accountID := pair(nkeys.CreateAccount)
	_, systemID := pair(nkeys.CreateAccount)
	oc := jwt.NewOperatorClaims(operatorID)
	oc.SystemAccount = systemID
	account, accountKey := jwt.NewAccountClaims(accountID), jwt.NewAccountClaims(systemID)
	account.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}
	signer, signerID := pair(nkeys.CreateAccount)
	account.SigningKeys.Add(signerID)
	user, userID := pair(nkeys.CreateUser)
	uc := jwt.NewUserClaims(userID)
	uc.IssuerAccount = accountID
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	creds, err := jwt.FormatUserConfig(sign(uc.Encode(signer)), seed)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "kagami.creds")
	if err := os.WriteFile(path, creds, 0o600); err != nil {
		t.Fatal(err)
	}
	b := brokertest.Start(t, 1, fmt.Sprintf("operator: %s\nsystem_account: %s\nresolver: MEMORY\nresolver_preload { %s: %s, %s: %s }\n",
		sign(oc.Encode(operator)), systemID, accountID, sign(account.Encode(operator)), systemID, sign(accountKey.Encode(operator))))
	b.JetStream(nats.UserCredentials(path))
	cfg := address(t, b)
	if err := firstTold(t, cfg); !broker.Unauthorized(err) || !strings.Contains(err.Error(), "--nats-creds") {
		t.Errorf("without the file: %v", err)
	}
	cfg.CredsFile = path
	out := publisher(t, b, func(c *output.NATSConfig) { c.Broker = cfg })
	var f fates
	write(t, out, &f, 0, 100, 10)
	if err := out.Close(); err != nil {
		t.Error(err)
	}
	if f.by[kagami.Delivered].Load() != 100 {
		t.Error("not delivered with the file")
	}
}

// What docs/nats.md says a listener and a replayer must be allowed is enough.
func TestNATSPermissions(t *testing.T) {
	b := brokertest.Start(t, 1, `authorization { users: [
	{ user: admin, password: a }
	{ user: listener, password: l, permissions: {
		publish: ["traffic.>", "$JS.API.STREAM.INFO.traffic", "$JS.API.STREAM.CREATE.traffic"], subscribe: "_INBOX.>" } }
	{ user: replayer, password: r, permissions: {
		publish: ["$JS.API.>", "$JS.ACK.>", "$KV.traffic-replayers.>"], subscribe: "_INBOX.>" } }
] }`)
	b.JetStream(nats.UserInfo("admin", "a"))
	as := func(user string) broker.Config {
		a, err := broker.ParseAddress(strings.Replace(b.URL(), "nats://", "nats://"+user+"@", 1) + "/traffic")
		if err != nil {
			t.Fatal(err)
		}
		return broker.Config{Address: a}
	}
	const n = 1000
	out := publisher(t, b, func(c *output.NATSConfig) { c.Broker = as("listener:l") })
	g := newTarget()
	c := consume(t, b, g, func(c *replay.NATSConfig) {
		c.Broker = as("replayer:r")
		c.Notify = func(err error) {
			if broker.Unauthorized(err) {
				t.Error(err)
			}
		}
	})
	var f fates
	write(t, out, &f, 0, n, 50)
	if err := out.Close(); err != nil {
		t.Error(err)
	}
	g.await(t, n)
	c.stop(nil)
	// And what they took is given back: another has it all at once.
	again := consume(t, b, g, func(c *replay.NATSConfig) { c.Broker = as("replayer:r") })
	again.awaitShards(broker.DefaultShards)
	again.stop(nil)
	if g.twice() > 0 {
		t.Errorf("%d arrived twice", g.twice())
	}
}
