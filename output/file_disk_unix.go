//go:build linux || darwin

package output

import "golang.org/x/sys/unix"

// CanWatchDisk is whether FileConfig.MinFree can be asked for on this system.
const CanWatchDisk = true

// FreeDisk is how many bytes anybody may still write on the disk that the directory is on.
func FreeDisk(dir string) (int64, error) {
	var st unix.Statfs_t
	for {
		err := unix.Statfs(dir, &st)
		if err == unix.EINTR {
			continue
		}
		return int64(st.Bavail) * int64(st.Bsize), err
	}
}
