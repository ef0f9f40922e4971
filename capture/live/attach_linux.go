//go:build cgo

package live

import (
	"golang.org/x/net/bpf"

	"kagami/capture/kernel"
)

const canAttach = true

func attach(fd int, program []bpf.RawInstruction) error { return kernel.Attach(fd, program) }
