package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A certificate that is not accepted can be helped by a flag, which the error names.
func TestHinted(t *testing.T) {
	s := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(s.Close)
	known := x509.NewCertPool()
	known.AddCert(s.Certificate())
	for want, cfg := range map[string]*tls.Config{
		"--output-http-ca":          {ServerName: "example.com", RootCAs: x509.NewCertPool()},
		"--output-http-server-name": {ServerName: "other.test", RootCAs: known},
	} {
		c, err := tls.Dial("tcp", s.Listener.Addr().String(), cfg)
		if err == nil {
			c.Close()
			t.Fatal("the certificate was accepted")
		}
		if got := hinted(fmt.Errorf("connect: %w", err)); !errors.Is(got, err) || !strings.Contains(got.Error(), want) {
			t.Errorf("%v: want %s in it", got, want)
		}
	}
	if err := errors.New("refused"); hinted(err) != err {
		t.Error("a hint that is none")
	}
}
