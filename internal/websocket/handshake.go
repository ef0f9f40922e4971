package websocket

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"

	"kagami/internal/http1"
)

// acceptGUID is what a server puts behind the key (RFC 6455 §1.3).
const acceptGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// deflate is the one extension that changes frames (RFC 7692).
const deflate = "permessage-deflate"

// Asks reports whether a message that begins with raw is a request for a
// WebSocket (RFC 6455 §4.1): a GET of HTTP/1.1 whose Connection lists Upgrade and whose
// Upgrade lists websocket.
func Asks(raw []byte) bool {
	if !bytes.HasPrefix(raw, []byte("GET ")) || !hasUpgrade(raw) || !lists(raw, "Upgrade", "websocket") {
		return false
	}
	h, err := http1.ParseHead(raw, false)
	return err == nil && h.Upgrade && h.Major == 1 && h.Minor >= 1
}

// hasUpgrade reports whether a line of the head may be an Upgrade field. Every request is asked
// for that, so it looks at no more than it has to.
func hasUpgrade(raw []byte) bool {
	const name = "Upgrade"
	for {
		i := bytes.IndexByte(raw, '\n')
		if i < 0 || i+1 == len(raw) {
			return false
		}
		switch raw = raw[i+1:]; raw[0] {
		case '\r', '\n':
			return false
		case 'U', 'u':
			if len(raw) > len(name) && raw[len(name)] == ':' && http1.SameName(raw[:len(name)], name) {
				return true
			}
		}
	}
}

// An Agreement is what the two ends of a WebSocket have agreed on.
type Agreement struct {
	Protocol string // the subprotocol; empty is none
	Deflate  bool   // permessage-deflate: a message may be compressed
}

// Verify checks the answer 101 to a request as a client has to (RFC 6455 §4.1).
// request and answer begin with the heads as they were sent.
func Verify(request, answer []byte) (Agreement, error) {
	h, err := http1.ParseHead(answer, true)
	switch {
	case err != nil:
		return Agreement{}, err
	case h.Status != 101:
		return Agreement{}, fmt.Errorf("status %d, not 101", h.Status)
	case !h.Upgrade || !lists(answer, "Upgrade", "websocket"):
		return Agreement{}, errors.New("the answer 101 is not for a WebSocket")
	}
	key, _ := http1.Header(request, "Sec-WebSocket-Key")
	accept, _ := http1.Header(answer, "Sec-WebSocket-Accept")
	if string(bytes.TrimSpace(accept)) != AcceptKey(key) {
		return Agreement{}, errors.New("Sec-WebSocket-Accept is not that of the key")
	}
	var a Agreement
	for name := range extensions(answer) {
		if !extensions(request)[name] {
			return Agreement{}, fmt.Errorf("the extension %.40q was not asked for", name)
		}
		a.Deflate = a.Deflate || name == deflate
	}
	protocol, ok := http1.Header(answer, "Sec-WebSocket-Protocol")
	if a.Protocol = string(protocol); ok && !lists(request, "Sec-WebSocket-Protocol", a.Protocol) {
		return Agreement{}, fmt.Errorf("the subprotocol %.40q was not asked for", protocol)
	}
	return a, nil
}

// AcceptKey is the Sec-WebSocket-Accept that belongs to a Sec-WebSocket-Key (RFC 6455
// §4.2.2).
func AcceptKey(key []byte) string {
	sum := sha1.Sum(append(bytes.Clone(bytes.TrimSpace(key)), acceptGUID...))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// lists reports whether fields of that name list an item, in any letter case.
func lists(raw []byte, name, item string) (found bool) {
	http1.EachHeader(raw, func(n, value, _ []byte) bool {
		if http1.SameName(n, name) {
			for p := range bytes.SplitSeq(value, []byte{','}) {
				found = found || http1.SameName(bytes.TrimSpace(p), item)
			}
		}
		return !found
	})
	return found
}

// extensions are the names of those that Sec-WebSocket-Extensions lists (RFC 6455 §9.1).
func extensions(raw []byte) map[string]bool {
	names := map[string]bool{}
	http1.EachHeader(raw, func(n, value, _ []byte) bool {
		if http1.SameName(n, "Sec-WebSocket-Extensions") {
			for p := range bytes.SplitSeq(value, []byte{','}) {
				name, _, _ := bytes.Cut(p, []byte{';'})
				if name = bytes.ToLower(bytes.TrimSpace(name)); len(name) > 0 {
					names[string(name)] = true
				}
			}
		}
		return true
	})
	return names
}
