//go:build !unix

package journal

import (
	"errors"
	"os"
)

// lockFile takes the lock of f for as long as f is open.
func lockFile(*os.File) error {
	return errors.New("files cannot be locked on this system, so nothing would keep two processes apart")
}
