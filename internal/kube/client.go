package kube

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
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

// ServiceAccount is the folder in which a pod has its token and the API's certificate
// authority (https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/).
const ServiceAccount = "/var/run/secrets/kubernetes.io/serviceaccount"

// Config says whom to ask, and for what.
type Config struct {
	Server      string // the API's URL, as "https://10.96.0.1:443"
	Credentials string // a folder with the files token and ca.crt, as ServiceAccount
	Selection   Selection
	Node        string        // only pods on this node; "": on all
	Retry       time.Duration // how long to wait after an error, and twice as long after the next, up to 30 times that. Default: 1 s
	Failed      func(error)   // is told of each error while the pods are followed; nil: nobody is
}

const (
	// maxLine is how long an object may be, in bytes: etcd takes 1.5 MiB by default.
	maxLine = 4 << 20
	// maxPage is how long a page of a list may be, in bytes.
	maxPage = 64 << 20
	// page is how many pods are asked for at once.
	page = 200
	// watchFor is how long a watch goes on before the next, so that one that has died without a
	// word is not waited on for ever.
	watchFor = 4 * time.Minute
)

// A client asks the API.
type client struct {
	cfg  Config
	http *http.Client
}

func newClient(cfg Config) (*client, error) {
	u, err := url.Parse(cfg.Server)
	if err != nil || u.Host == "" || u.Scheme != "https" {
		return nil, fmt.Errorf("the API's address %q: want https://HOST:PORT", cfg.Server)
	}
	pem, err := os.ReadFile(filepath.Join(cfg.Credentials, "ca.crt"))
	if err != nil {
		return nil, fmt.Errorf("the API's certificate authority: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("no certificate in %s", filepath.Join(cfg.Credentials, "ca.crt"))
	}
	return &client{cfg: cfg, http: &http.Client{Transport: &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSClientConfig:       &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 30 * time.Second,
	}}}, nil
}

// errExpired is that what was known is too old to go on from: all is to be listed again.
var errExpired = errors.New("the API no longer knows what has changed since")

// get asks for pods; the answer's body is the caller's to close.
func (c *client) get(ctx context.Context, q url.Values) (io.ReadCloser, error) {
	// The token is replaced in its file long before it expires.
	token, err := os.ReadFile(filepath.Join(c.cfg.Credentials, "token"))
	if err != nil {
		return nil, fmt.Errorf("the service account's token: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(c.cfg.Server, "/")+c.cfg.Selection.path()+"?"+q.Encode(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	req.Header.Set("Accept", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	var s status
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	json.Unmarshal(b, &s) // else the code has to do
	return nil, refused(resp.StatusCode, s.Message)
}

// refused is the error for a code of the API's, and what to do about it.
func refused(code int, message string) error {
	if message == "" {
		message = http.StatusText(code)
	}
	switch code {
	case http.StatusGone:
		return errExpired
	case http.StatusUnauthorized:
		return fmt.Errorf("the API does not know the service account (401): %s", message)
	case http.StatusForbidden:
		return fmt.Errorf("%s: allow the service account to list and watch pods, with a Role and a RoleBinding", message)
	case http.StatusBadRequest:
		return fmt.Errorf("%s: is the selector well written?", message)
	}
	return fmt.Errorf("%s (%d)", message, code)
}

// list returns all pods there are, and the version of the list.
func (c *client) list(ctx context.Context) (pods []pod, version string, err error) {
	q := c.cfg.Selection.query(c.cfg.Node)
	q.Set("limit", fmt.Sprint(page))
	for {
		body, err := c.get(ctx, q)
		if err != nil {
			return nil, "", err
		}
		var l podList
		err = json.NewDecoder(io.LimitReader(body, maxPage)).Decode(&l)
		body.Close()
		if err != nil {
			return nil, "", fmt.Errorf("the list of pods: %w", err)
		}
		pods = append(pods, l.Items...)
		if l.Metadata.Continue == "" {
			return pods, l.Metadata.ResourceVersion, nil
		}
		q.Set("continue", l.Metadata.Continue)
	}
}

// watch hands over each change since a version, until the API ends the watch, and returns the
// version it came to.
func (c *client) watch(ctx context.Context, version string, changed func(deleted bool, p pod)) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, watchFor+time.Minute)
	defer cancel()
	q := c.cfg.Selection.query(c.cfg.Node)
	q.Set("watch", "1")
	q.Set("allowWatchBookmarks", "true")
	q.Set("resourceVersion", version)
	q.Set("timeoutSeconds", fmt.Sprint(int(watchFor/time.Second)))
	body, err := c.get(ctx, q)
	if err != nil {
		return version, err
	}
	defer body.Close()
	limited := &io.LimitedReader{R: body}
	for d := json.NewDecoder(limited); ; {
		limited.N = maxLine // beyond what is in the decoder's buffer
		var e event
		switch err := d.Decode(&e); {
		case errors.Is(err, io.EOF) && limited.N > 0:
			return version, nil
		case err != nil && ctx.Err() != nil:
			return version, ctx.Err()
		case err != nil:
			return version, fmt.Errorf("the watch of pods: %w", err)
		}
		if e.Type == "ERROR" {
			var s status
			json.Unmarshal(e.Object, &s) // else there is no code
			return version, refused(s.Code, s.Message)
		}
		var p pod
		if err := json.Unmarshal(e.Object, &p); err != nil {
			return version, fmt.Errorf("the watch of pods: %w", err)
		}
		if v := p.Metadata.ResourceVersion; v != "" {
			version = v
		}
		if e.Type != "BOOKMARK" {
			changed(e.Type == "DELETED", p)
		}
	}
}
