//go:build !linux

package output

import "net/netip"

// httpLoop is for Linux alone: elsewhere each connection has a goroutine.
type httpLoop struct{}

type loopConn struct{}

func newHTTPLoop(*HTTP) (*httpLoop, error) { return nil, nil }

func (*httpLoop) work()                     {}
func (*httpLoop) close()                    {}
func (*httpLoop) abort(*httpConn, int)      {}
func (*loopConn) localAddr() netip.AddrPort { return netip.AddrPort{} }
