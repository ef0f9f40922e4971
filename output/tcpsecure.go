package output

import (
	"context"
	"errors"
	"fmt"
	"net"

	"kagami/internal/stream"
	"kagami/internal/trust"
)

// secure begins TLS over conn, if there is something to trust, and returns the
// token for the hello. It closes conn if it fails.
func (t *TCP) secure(ctx context.Context, conn net.Conn) (net.Conn, string, error) {
	if t.cfg.Trust == nil {
		return conn, "", nil
	}
	secured, token, err := t.cfg.Trust.Handshake(ctx, conn, t.cfg.Address)
	if err == nil {
		return secured, token, nil
	}
	conn.Close()
	switch {
	case errors.Is(err, trust.ErrUntrusted):
		// To whom we would not talk is as if it would not talk to us.
		err = &stream.Refusal{Code: stream.CodeUnauthorized, Text: err.Error()}
	case ctx.Err() == context.DeadlineExceeded:
		err = fmt.Errorf("no answer within %v", t.cfg.Handshake)
	}
	return nil, "", err
}
