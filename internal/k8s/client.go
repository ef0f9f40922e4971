package k8s

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	maxPage  = 32 << 20 // of a list of a hundred pods; one is 1.5 MiB at most in etcd
	maxEvent = 4 << 20
)

// A Config is where the API server is, and how to be let in.
type Config struct {
	URL       string // https://10.96.0.1:443
	TokenFile string // read anew for each request, for the kubelet replaces it; "" for none
	CAFile    string // certificates to trust; "" is the system's
}

// ServiceAccount is where a pod finds what it may do, by default.
const ServiceAccount = "/var/run/secrets/kubernetes.io/serviceaccount"

// InCluster is the Config of a process in a pod: getenv is its environment.
func InCluster(getenv func(string) string) (Config, error) {
	host, port := getenv("KUBERNETES_SERVICE_HOST"), getenv("KUBERNETES_SERVICE_PORT")
	if host == "" || port == "" {
		return Config{}, errors.New("not in a pod of Kubernetes: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set")
	}
	return Config{
		URL:       "https://" + net.JoinHostPort(host, port),
		TokenFile: filepath.Join(ServiceAccount, "token"),
		CAFile:    filepath.Join(ServiceAccount, "ca.crt"),
	}, nil
}

type client struct {
	cfg  Config
	http *http.Client
}

func newClient(cfg Config) (*client, error) {
	transport := &http.Transport{
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 30 * time.Second,
		IdleConnTimeout:       90 * time.Second,
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if cfg.CAFile != "" {
		pem, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return nil, fmt.Errorf("%w; does the pod have a service account (automountServiceAccountToken)?", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: no certificate in it", cfg.CAFile)
		}
		transport.TLSClientConfig.RootCAs = pool
	}
	return &client{cfg: cfg, http: &http.Client{Transport: transport}}, nil
}

// get returns the body of an answer that is fine.
func (c *client) get(ctx context.Context, path string, q url.Values) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.cfg.URL+path+"?"+q.Encode(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "kagami")
	if c.cfg.TokenFile != "" {
		token, err := os.ReadFile(c.cfg.TokenFile)
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	switch resp.StatusCode {
	case http.StatusGone:
		return nil, errGone
	case http.StatusUnauthorized, http.StatusForbidden:
		return nil, fmt.Errorf("%s: %s: the service account needs the verbs list and watch on pods: %s", path, resp.Status, bytes.TrimSpace(said))
	}
	return nil, fmt.Errorf("%s: %s: %s", path, resp.Status, bytes.TrimSpace(said))
}

// lines reads events, which stand a line each, and refuses one that is too long.
func lines(r io.Reader) *bufio.Scanner {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 0, 64<<10), maxEvent)
	return s
}
