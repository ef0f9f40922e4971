//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"kagami/bench/report"
)

// delay is the time from a request's sending to its copy's arrival at staging, at a
// steady rate far below what production can serve.
func delay(b *bed) error {
	for _, m := range []mode{oneProcess, tcpByRequest} {
		if err := b.delayOf(m); err != nil {
			return err
		}
	}
	return nil
}

func (b *bed) delayOf(m mode) error {
	const perSecond, seconds = 500, 5
	l, err := b.begin(m, 100)
	if err != nil {
		return err
	}
	arrived := &clock{}
	back, err := b.inStagingsPlace(arrived)
	if err != nil {
		return err
	}
	err = b.paced(perSecond, seconds)
	time.Sleep(settle)
	delays := arrived.take()
	back()
	if err != nil {
		return err
	}
	if _, err := b.end(l); err != nil {
		return err
	}
	if len(delays) == 0 {
		return fmt.Errorf("%s: no copy arrived", m.name)
	}
	b.out.Add("delay", m.name, 100, "p50 ms", report.Quantile(delays, 0.5))
	b.out.Add("delay", m.name, 100, "p99 ms", report.Quantile(delays, 0.99))
	b.out.Add("delay", m.name, 100, "max ms", report.Quantile(delays, 1))
	b.out.Add("delay", m.name, 100, "arrived", float64(len(delays))/(perSecond*seconds))
	return nil
}

// A clock takes staging's place: requests have in their query when they were sent.
type clock struct {
	mu     sync.Mutex
	delays []float64 // ms
}

// inStagingsPlace serves where staging's nginx listens, which is ended meanwhile. back ends
// that, and nginx is back.
func (b *bed) inStagingsPlace(h http.Handler) (back func(), err error) {
	b.staging.kill()
	server := &http.Server{Handler: h}
	err = inside(b.hosts.staging, func() error {
		l, err := net.Listen("tcp4", fmt.Sprintf(":%d", port))
		if err == nil {
			go server.Serve(l)
		}
		return err
	})
	back = func() {
		server.Close()
		b.restartStaging()
	}
	if err != nil {
		back()
	}
	return back, err
}

func (c *clock) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	sent, err := strconv.ParseInt(r.URL.Query().Get("sent"), 10, 64)
	if err != nil {
		return // a request of something else
	}
	d := time.Since(time.Unix(0, sent))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.delays = append(c.delays, d.Seconds()*1000)
}

func (c *clock) take() []float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.delays
}

// restartStaging puts nginx back where it was.
func (b *bed) restartStaging() {
	n, err := startNginx(start, b.dir+"/staging", b.hosts.staging, otherCPU, stagingServers(port))
	if err != nil {
		b.out.Note("staging did not come back: %v", err)
		return
	}
	b.staging = n
}

// paced sends requests to production at a rate, over one keep-alive connection.
func (b *bed) paced(perSecond, seconds int) error {
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, address string) (c net.Conn, err error) {
		err = inside(b.client, func() (err error) {
			c, err = (&net.Dialer{}).DialContext(ctx, network, address)
			return err
		})
		return c, err
	}}}
	defer client.CloseIdleConnections()
	tick := time.NewTicker(time.Second / time.Duration(perSecond))
	defer tick.Stop()
	for range perSecond * seconds {
		<-tick.C
		resp, err := client.Get(url(port, tiny) + "?sent=" + strconv.FormatInt(time.Now().UnixNano(), 10))
		if err != nil {
			return err
		}
		buf := make([]byte, 64)
		for err == nil {
			_, err = resp.Body.Read(buf)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return errors.New(resp.Status)
		}
	}
	return nil
}
