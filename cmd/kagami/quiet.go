package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"kagami/capture"
)

// quietAfter is how long an input may bring no message before it is said why.
const quietAfter = 10 * time.Second

// A quietInput is an input that can say why it brings nothing.
type quietInput struct {
	in  input
	why func() string
}

// explain logs, once, why no message came in the first ten seconds.
func (q quietInput) explain(ctx context.Context, log *slog.Logger) {
	timer := time.NewTimer(quietAfter)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return
	case <-timer.C:
	}
	stages := q.in.Stages()
	if _, out := stages[len(stages)-1].Count(); out == 0 {
		log.Warn("no message in ten seconds", "why", q.why())
	}
}

// explainCapture says why a capture has brought no message, as far as what it saw
// tells.
func explainCapture(d capture.Diagnosis, raw RawConfig) string {
	ports := "any port"
	if len(raw.Ports) > 0 {
		ports = "port " + joinPorts(raw.Ports)
	}
	switch {
	case d.Packets == 0:
		return fmt.Sprintf("no packet to %s was seen: is the server there, is this the interface (%s) its clients come in by, "+
			"and the network namespace it is in?", ports, cmp.Or(raw.Host, "any"))
	case d.TLS > 0:
		return fmt.Sprintf("the traffic on %s is encrypted (%d TLS connections): capture behind what ends TLS", ports, d.TLS)
	case d.OwnTraffic > 0 && d.BytesToServer == 0:
		return "all there is goes to the outputs' own targets; say --allow-self to capture it all the same"
	case d.Foreign > 0:
		return fmt.Sprintf("servers seen on %s are not this host's (%d times): to capture other hosts' traffic say --input-raw-promisc", ports, d.Foreign)
	case d.NotHTTP > 0:
		return fmt.Sprintf("what is spoken on %s is not HTTP/1 (%d connections)", ports, d.NotHTTP)
	case d.Upgraded > 0:
		return fmt.Sprintf("the connections on %s have left HTTP, as WebSockets do (%d)", ports, d.Upgraded)
	case d.BytesToServer == 0 && d.BytesToClient > 0:
		return "only answers were seen, no requests: these go another way, or the interface shows one direction"
	case d.Waiting > 0:
		return fmt.Sprintf("%d connections were joined in the middle, and no request has begun on them since", d.Waiting)
	case d.BytesToServer == 0:
		return fmt.Sprintf("connections to %s were opened, and nothing was sent on them", ports)
	case d.Gaps > 0:
		return fmt.Sprintf("packets are missing (%d gaps): the interface or the kernel loses them", d.Gaps)
	}
	return fmt.Sprintf("%d packets were seen on %s, and no whole request among them", d.Packets, ports)
}

func joinPorts(ports []uint16) string {
	names := make([]string, len(ports))
	for i, p := range ports {
		names[i] = strconv.Itoa(int(p))
	}
	return strings.Join(names, ", ")
}
