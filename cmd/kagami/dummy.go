package main

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"kagami"
)

// A dummy is an input that makes up a request each second, to try out what
// stands behind it.
type dummy struct {
	stage *kagami.Stage
}

func newDummy() *dummy {
	return &dummy{stage: &kagami.Stage{Name: "dummy", Unit: kagami.Messages}}
}

func (d *dummy) Stages() []*kagami.Stage { return []*kagami.Stage{d.stage} }

// Run emits until ctx is done.
func (d *dummy) Run(ctx context.Context, emit func(context.Context, kagami.Batch) error) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	client := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 40000)
	server := netip.AddrPortFrom(client.Addr(), 80)
	for n := uint32(0); ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			raw := fmt.Appendf(nil, "GET /dummy?n=%d HTTP/1.1\r\nHost: dummy.invalid\r\nUser-Agent: kagami\r\n\r\n", n)
			m := &kagami.Message{
				Kind: kagami.Request, Proto: kagami.HTTP1, Start: now, End: now,
				Client: client, Server: server, Raw: raw, WireLen: len(raw),
				Exchange: &kagami.Exchange{ID: kagami.MakeID(client, server, n, 0, now.Unix()), Method: "GET"},
			}
			d.stage.In(1)
			if err := emit(ctx, kagami.Batch{Messages: []*kagami.Message{m}}); err != nil {
				return err
			}
			d.stage.Out(1)
		}
	}
}
