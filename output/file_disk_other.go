//go:build !linux && !darwin

package output

import "errors"

// CanWatchDisk is whether FileConfig.MinFree can be asked for on this system.
const CanWatchDisk = false

// FreeDisk cannot tell.
func FreeDisk(string) (int64, error) { return 0, errors.ErrUnsupported }
