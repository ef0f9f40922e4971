package output

import (
	"context"
	"time"

	"kagami"
)

// beforeRetry is how long until Before is asked again.
const beforeRetry = 100 * time.Millisecond

// before waits until m may be sent, or ctx is done, and then returns its error.
// waited says that Before did not allow it at once.
func (h *HTTP) before(ctx context.Context, m *kagami.Message) (waited bool, err error) {
	if h.cfg.Before == nil {
		return false, nil
	}
	for h.cfg.Before([]*kagami.Message{m}) != nil {
		waited = true
		select {
		case <-time.After(beforeRetry):
		case <-ctx.Done():
			return true, ctx.Err()
		}
	}
	return waited, nil
}
