package output_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"kagami"
	"kagami/output"
)

// An authority signs certificates for tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	a := &authority{}
	a.cert, a.key = sign(t, nil, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	return a
}

// sign makes a certificate that a signs, or that signs itself.
func sign(t testing.TB, a *authority, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := template, key
	if a != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// issue makes a certificate for a server with these names, or for a client.
func (a *authority) issue(t testing.TB, names ...string) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "test"},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	cert, key := sign(t, a, template)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// tlsServer is a net/http server with a configuration of its own.
func tlsServer(t testing.TB, cfg *tls.Config, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(handler)
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that fail on purpose
	s.EnableHTTP2 = true
	s.TLS = cfg
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func TestHTTPTLSNames(t *testing.T) {
	ours, other := newAuthority(t, "ours"), newAuthority(t, "other")
	var asked atomic.Value
	s := tlsServer(t, &tls.Config{Certificates: []tls.Certificate{ours.issue(t, "staging.example.com")}},
		func(_ http.ResponseWriter, r *http.Request) { asked.Store(r.TLS.ServerName + " " + r.Host) })
	host := s.Listener.Addr().String()
	for _, c := range []struct {
		name string
		cfg  output.HTTPConfig
		want error // an example of its type; nil: delivered
	}{
		{"the name of the certificate", output.HTTPConfig{RootCAs: ours.pool(), ServerName: "staging.example.com"}, nil},
		{"the URL's address, which it does not have", output.HTTPConfig{RootCAs: ours.pool()}, x509.HostnameError{}},
		{"a name that it does not have", output.HTTPConfig{RootCAs: ours.pool(), ServerName: "www.example.com"}, x509.HostnameError{}},
		{"another authority", output.HTTPConfig{RootCAs: other.pool(), ServerName: "staging.example.com"}, x509.UnknownAuthorityError{}},
		{"the system's authorities", output.HTTPConfig{ServerName: "staging.example.com"}, x509.UnknownAuthorityError{}},
		{"any certificate", output.HTTPConfig{SkipVerify: true, ServerName: "staging.example.com"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var told error
			c.cfg.URL, c.cfg.Connections = s.URL, 1
			c.cfg.Notify = func(err error) { told = err; cancel() }
			h := newHTTP(t, c.cfg)
			seen := watch(t)
			b := kagami.Batch{Messages: requests(1), Settle: seen.settle}
			if err := h.Write(ctx, b); err != nil {
				t.Fatal(err)
			}
			seen.await(1)
			switch c.want.(type) {
			case nil:
				seen.want(kagami.Delivered)
				if got := asked.Load(); got != "staging.example.com "+host {
					t.Errorf("asked for %q, want the name to be the certificate's and Host the URL's", got)
				}
			case x509.HostnameError:
				if e := (x509.HostnameError{}); !errors.As(told, &e) {
					t.Errorf("told %v, want that the name is wrong", told)
				}
			case x509.UnknownAuthorityError:
				if e := (x509.UnknownAuthorityError{}); !errors.As(told, &e) {
					t.Errorf("told %v, want that nobody known has signed it", told)
				}
			}
		})
	}
}

func TestHTTPTLSClientCertificates(t *testing.T) {
	ours, other := newAuthority(t, "ours"), newAuthority(t, "other")
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		s := tlsServer(t, &tls.Config{
			Certificates: []tls.Certificate{ours.issue(t, "127.0.0.1")}, MaxVersion: version,
			ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ours.pool(),
		}, func(w http.ResponseWriter, r *http.Request) {
			if len(r.TLS.PeerCertificates) == 0 {
				t.Error("a request without a certificate")
			}
		})
		for _, c := range []struct {
			name  string
			certs []tls.Certificate
			want  kagami.Reason
		}{
			{"a good one", []tls.Certificate{ours.issue(t)}, kagami.Delivered},
			{"the one of two that the server knows", []tls.Certificate{other.issue(t), ours.issue(t)}, kagami.Delivered},
			{"none", nil, kagami.SendError},
			{"a stranger's", []tls.Certificate{other.issue(t)}, kagami.SendError},
		} {
			t.Run(tls.VersionName(version)+"/"+c.name, func(t *testing.T) {
				h := newHTTP(t, output.HTTPConfig{URL: s.URL, RootCAs: ours.pool(), Certificates: c.certs, Timeout: 300 * time.Millisecond})
				seen := watch(t)
				write(t, h, seen, request(1))
				seen.await(1)
				seen.want(c.want)
			})
		}
	}
}

// A connection that is made anew takes up the session of the one before.
func TestHTTPTLSResumes(t *testing.T) {
	ours := newAuthority(t, "ours")
	var full, resumed atomic.Int64
	s := tlsServer(t, &tls.Config{Certificates: []tls.Certificate{ours.issue(t, "127.0.0.1")}}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		if r.TLS.DidResume {
			resumed.Add(1)
		} else {
			full.Add(1)
		}
	})
	h := newHTTP(t, output.HTTPConfig{URL: s.URL, RootCAs: ours.pool(), Connections: 1})
	for range 5 {
		seen := watch(t)
		write(t, h, seen, request(1))
		seen.await(1)
		seen.want(kagami.Delivered)
	}
	if full.Load() != 1 || resumed.Load() != 4 {
		t.Errorf("%d full handshakes, %d resumed, want 1 and 4", full.Load(), resumed.Load())
	}
}

func TestHTTPTLSRefusesHalfACertificate(t *testing.T) {
	cert := newAuthority(t, "ours").issue(t)
	cert.PrivateKey = nil
	_, err := output.NewHTTP(output.HTTPConfig{URL: "https://staging", Certificates: []tls.Certificate{cert}})
	if err == nil || !strings.Contains(err.Error(), "and its key") {
		t.Errorf("error %v, want that the key is missing", err)
	}
}
