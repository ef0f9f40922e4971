package capture

import "math/bits"

const (
	// leastKept is the smallest buffer that is kept, in bytes; larger ones are so
	// many times twice that.
	leastKept  = 64 << 10
	keptGrades = 9
)

// keptBuffers are large buffers of messages that were given up, or that outgrew them, for
// others to use. In a flood of uploads Go's collector would not keep up with taking them away.
type keptBuffers struct {
	free  [keptGrades][][]byte // of leastKept << index
	bytes int64
	most  int64
}

// gradeOf is the grade of the smallest buffer for size bytes: from 0 on, and keptGrades or
// more if none is kept that is so large.
func gradeOf(size int) int { return bits.Len(uint(max(size-1, 0)) / leastKept) }

// get returns an empty buffer for size bytes.
func (k *keptBuffers) get(size int) []byte {
	if g := gradeOf(size); g < keptGrades && size == leastKept<<g && len(k.free[g]) > 0 {
		last := len(k.free[g]) - 1
		p := k.free[g][last]
		k.free[g][last] = nil
		k.free[g] = k.free[g][:last]
		k.bytes -= int64(size)
		return p
	}
	return make([]byte, 0, size)
}

// put takes a buffer that nobody uses any more.
func (k *keptBuffers) put(p []byte) {
	size := cap(p)
	if size < leastKept || k.bytes+int64(size) > k.most {
		return
	}
	if g := gradeOf(size); g < keptGrades && size == leastKept<<g {
		k.free[g] = append(k.free[g], p[:0])
		k.bytes += int64(size)
	}
}
