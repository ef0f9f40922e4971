package results

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// The defaults of an AlertConfig.
const (
	DefaultAlertTimeout  = 5 * time.Second
	DefaultAlertAttempts = 3
	DefaultAlertBackoff  = time.Second
	DefaultAlertPause    = time.Minute
)

// An AlertConfig says where messages go. A zero field is its default.
type AlertConfig struct {
	// URL is the webhook, http or https. It is a secret: whoever has it can write
	// there. It stands in no error.
	URL string
	// Timeout bounds an attempt (5 s).
	Timeout time.Duration
	// Attempts is how often a message is posted at most (3), Backoff how long after
	// the first the second attempt is made; each next waits twice as long (1 s).
	Attempts int
	Backoff  time.Duration
	// Pause is how long after a message was given up the next is tried (1 min).
	Pause time.Duration
	// Transport makes the connections; nil is http.DefaultTransport.
	Transport http.RoundTripper
}

// An Alert posts messages to a webhook, as Slack, and what is compatible with
// it, takes them: {"text": "…"}.
type Alert struct {
	cfg    AlertConfig
	host   string // which may be said
	client http.Client
}

// NewAlert returns an alert that posts to cfg.URL. Nothing is looked up or
// connected to yet.
func NewAlert(cfg AlertConfig) (*Alert, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		// What is wrong with it would show it.
		return nil, errors.New("want a URL that begins with https:// or http:// (it is not shown here, for it is a secret)")
	}
	cfg.setDefaults()
	a := &Alert{cfg: cfg, host: u.Host}
	a.client.Transport = cfg.Transport
	a.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return a, nil
}

func (c *AlertConfig) setDefaults() {
	if c.Timeout <= 0 {
		c.Timeout = DefaultAlertTimeout
	}
	if c.Attempts <= 0 {
		c.Attempts = DefaultAlertAttempts
	}
	if c.Backoff <= 0 {
		c.Backoff = DefaultAlertBackoff
	}
	if c.Pause <= 0 {
		c.Pause = DefaultAlertPause
	}
}

// String is the webhook's host, which is no secret.
func (a *Alert) String() string { return a.host }

// Post posts a message. It tries again where that may help: after an error of the
// network, a 429 and a 5xx. It ends after Attempts, or with ctx.
func (a *Alert) Post(ctx context.Context, text string) error {
	body, err := json.Marshal(struct {
		Text string `json:"text"`
	}{escape(text)})
	if err != nil {
		return err
	}
	wait := a.cfg.Backoff
	for n := 1; ; n++ {
		again, err := a.post(ctx, body)
		if err == nil {
			return nil
		}
		err = fmt.Errorf("webhook at %s: %w", a.host, err)
		if !again || n >= a.cfg.Attempts {
			return err
		}
		if !pause(ctx, wait) {
			return errors.Join(err, ctx.Err())
		}
		wait *= 2
	}
}

// escape does as Slack says: these three are its own.
func escape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// post makes one attempt.
func (a *Alert) post(ctx context.Context, body []byte) (again bool, err error) {
	attempt, cancel := context.WithTimeout(ctx, a.cfg.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(attempt, http.MethodPost, a.cfg.URL, bytes.NewReader(body))
	if err != nil {
		return false, withoutURL(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "kagami")
	resp, err := a.client.Do(req)
	if err != nil {
		return ctx.Err() == nil, withoutURL(err)
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, 4<<10) // so that the connection can be used again
	switch code := resp.StatusCode; {
	case code >= 200 && code < 300:
		return false, nil
	case code == http.StatusTooManyRequests || code >= 500:
		return true, fmt.Errorf("status %d", code)
	default:
		return false, fmt.Errorf("status %d: is the URL right?", code)
	}
}

// withoutURL takes the URL out of an error of net/http.
func withoutURL(err error) error {
	var u *url.Error
	for errors.As(err, &u) {
		err = u.Err
	}
	return err
}
