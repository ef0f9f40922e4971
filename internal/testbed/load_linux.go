package testbed

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A Load is a client that asks a server for different paths, at a steady rate,
// until it is told to end.
type Load struct {
	stop  context.CancelFunc
	wg    sync.WaitGroup
	asked atomic.Int64
	fails atomic.Int64
}

// loadConns is how many connections a Load has, which take turns: enough for replayers that share them to have some each.
const loadConns = 16

// StartLoad starts one in a namespace. body, if it is not nil, is read for the body of each request.
func StartLoad(t testing.TB, ns Netns, address string, perSecond int, body func() io.Reader) *Load {
	ctx, stop := context.WithCancel(context.Background())
	l := &Load{stop: stop}
	begin, every := time.Now(), time.Second/time.Duration(perSecond)
	for range loadConns {
		client := &http.Client{Timeout: Patience, Transport: &http.Transport{
			DialContext: func(context.Context, string, string) (net.Conn, error) {
				var conn net.Conn
				ns.Do(t, func() (err error) {
					conn, err = net.DialTimeout("tcp", address, Patience)
					return err
				})
				return conn, nil
			},
		}}
		l.wg.Go(func() {
			for ctx.Err() == nil {
				n := l.asked.Add(1)
				wait := time.Until(begin.Add(time.Duration(n) * every))
				if wait > 0 {
					time.Sleep(wait) // the rate, not a wait for anything
				}
				if !ask(client, fmt.Sprintf("http://%s/%d", address, n), body) {
					l.fails.Add(1)
				}
			}
		})
	}
	t.Cleanup(func() { l.End() })
	return l
}

func ask(client *http.Client, url string, body func() io.Reader) bool {
	method, content := http.MethodGet, io.Reader(nil)
	if body != nil {
		method, content = http.MethodPost, body()
	}
	req, err := http.NewRequest(method, url, content)
	if err != nil {
		return false
	}
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	return err == nil && resp.StatusCode == http.StatusOK
}

// End ends the load, and returns how many requests there were, and how many of
// them failed.
func (l *Load) End() (asked, failed int64) {
	l.stop()
	l.wg.Wait()
	return l.asked.Load(), l.fails.Load()
}
