package main

import (
	"os"
	"runtime"
	"runtime/debug"
)

const (
	// guestProcs is on how many processors a listener works at the same time. More
	// would help it little, and Go's collector would take a quarter of all there are.
	guestProcs = 2
	// guestGC is how far the heap may grow between two collections, in percent of
	// what is alive. What is alive is little: at Go's own 100 it would be collected many times
	// a second. The heap's limit bounds it.
	guestGC = 400
	// connectionSize is what a connection takes in the table of a capture, in bytes, with its
	// place in the map.
	connectionSize = 400
	// ownMemory is what the program's own variables and libraries take outside of Go's
	// heap, in bytes.
	ownMemory = 3 << 20
	// programMemory is how much of the program's file is in memory, where that is not known.
	programMemory = 16 << 20
	// leastHeap: with less the collector would do nothing but collect.
	leastHeap = 16 << 20
)

// behave makes the process a good guest of the host that it captures on. What the
// user has set by GOMAXPROCS and GOGC stays.
func (m *mirror) behave() {
	m.obeyContainer()
	if m.cfg.captures() {
		if os.Getenv("GOMAXPROCS") == "" {
			// The default is the number of processors, or what a container may have of them.
			runtime.GOMAXPROCS(min(runtime.GOMAXPROCS(0), guestProcs))
		}
		yieldOften()
	}
	if os.Getenv("GOGC") == "" && m.cfg.MemoryLimit > 0 {
		debug.SetGCPercent(guestGC)
	}
	if m.heap = m.heapLimit(); m.heap > 0 {
		debug.SetMemoryLimit(m.heap)
	}
}

// captures reports whether live traffic is captured.
func (c *Config) captures() bool {
	for _, in := range c.Inputs {
		if in.Kind == InputRaw && in.Raw.Engine != enginePcapFile {
			return true
		}
	}
	return false
}

// obeyContainer lowers --memory-limit to what a container may have, less a tenth: at that
// the kernel would end the process.
func (m *mirror) obeyContainer() {
	limit := cgroupMemory("/")
	if limit <= 0 {
		return
	}
	limit -= limit / 10
	if m.cfg.MemoryLimit == 0 || m.cfg.MemoryLimit > limit {
		m.log.Info("--memory-limit is lowered to what the container may have, less a tenth", "bytes", limit, "was", m.cfg.MemoryLimit)
		m.cfg.MemoryLimit = limit
	}
}

// heapLimit is how much of --memory-limit Go's heap may have: the kernel's capture buffer and
// the program itself are the rest. It is 0 where there is no limit. The program is measured
// before anything is open: a ring that is mapped counts as the program's.
func (m *mirror) heapLimit() int64 {
	limit := m.cfg.MemoryLimit
	if limit <= 0 {
		return 0
	}
	for _, in := range m.cfg.Inputs {
		if in.Kind == InputRaw && in.Raw.atInterfaces() {
			limit -= min(in.Raw.BufferSize, m.memoryPart(16))
		}
	}
	return max(limit-ownMemory-fileMemory(), leastHeap)
}

// unfinished is how much of --memory-limit is for what is being put together: at most half
// of the heap, or the collector would do nothing but collect when it is all used.
func (m *mirror) unfinished() int64 { return min(m.memoryPart(24), m.heap/2) }

// unacknowledged is how much of an output's window, in bytes, the heap has room for beside its queue: a
// sixth, or, while the other end is away, the collector would do little but look at what waits.
func (m *mirror) unacknowledged(window int64) int64 {
	if m.heap == 0 {
		return window
	}
	return min(window, m.heap/6)
}

// memoryPart is so many 64ths of --memory-limit, the whole process's: 16 are the
// kernel's capture buffer, 24 at most what is being put together, 4 what was put
// together and waits for the filters, 4 the table of connections; queues, the program
// itself and the heap have the rest. It is 0, which stands for a default, where
// there is no limit.
func (m *mirror) memoryPart(of64 int64) int64 {
	return max(m.cfg.MemoryLimit, 0) / 64 * of64
}
