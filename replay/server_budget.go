package replay

import "sync"

// A budget bounds how many bytes are held at once. Who asks first gets first.
type budget struct {
	mu      sync.Mutex
	limit   int64
	used    int64
	waiting []*claim
}

type claim struct {
	n       int64
	granted chan struct{} // closed when it is granted
}

func newBudget(limit int64) *budget { return &budget{limit: limit} }

// acquire takes n bytes, at most the whole budget, and waits until they are
// there. It reports false if stop is closed first.
func (b *budget) acquire(stop <-chan struct{}, n int64) bool {
	n = min(n, b.limit)
	b.mu.Lock()
	if len(b.waiting) == 0 && b.used+n <= b.limit {
		b.used += n
		b.mu.Unlock()
		return true
	}
	c := &claim{n: n, granted: make(chan struct{})}
	b.waiting = append(b.waiting, c)
	b.mu.Unlock()
	select {
	case <-c.granted:
		return true
	case <-stop:
		b.withdraw(c)
		return false
	}
}

// release gives back what acquire took.
func (b *budget) release(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used -= min(n, b.limit)
	b.grant()
}

// withdraw ends a claim, granted or not.
func (b *budget) withdraw(c *claim) {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-c.granted:
		b.used -= c.n
	default:
		for i := range b.waiting {
			if b.waiting[i] == c {
				b.waiting = append(b.waiting[:i], b.waiting[i+1:]...)
				break
			}
		}
	}
	b.grant()
}

func (b *budget) grant() {
	for len(b.waiting) > 0 && b.used+b.waiting[0].n <= b.limit {
		b.used += b.waiting[0].n
		close(b.waiting[0].granted)
		b.waiting = b.waiting[1:]
	}
}
