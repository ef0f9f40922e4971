//go:build cgo && (darwin || freebsd || netbsd || openbsd)

package live

import (
	"errors"

	"golang.org/x/net/bpf"
)

const canAttach = false

func attach(int, []bpf.RawInstruction) error { return errors.New("only Linux can replace a filter") }
