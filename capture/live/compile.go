//go:build cgo && (linux || darwin || freebsd || netbsd || openbsd)

package live

/*
#include <stdlib.h>
#include "shim.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"strings"
	"unsafe"

	"golang.org/x/net/bpf"

	"kagami/capture/kernel"
)

// filter installs the filter. libpcap itself sees to packets that the kernel
// had taken before: it runs the filter on them.
func (s *Source) filter(cfg Config) error {
	if strings.TrimSpace(cfg.Filter) == "" {
		return nil
	}
	program, err := compile(s.handle, cfg.Filter)
	if err != nil {
		return err
	}
	if len(program) > kernel.MaxInstructions {
		return fmt.Errorf("the filter has %d instructions, of which the kernel takes %d: name fewer ports, or ranges of ports", len(program), kernel.MaxInstructions)
	}
	c := (*C.struct_bpf_insn)(C.calloc(C.size_t(len(program)), C.sizeof_struct_bpf_insn))
	defer C.free(unsafe.Pointer(c))
	for i, in := range program {
		unsafe.Slice(c, len(program))[i] = C.struct_bpf_insn{
			code: C.u_short(in.Op), jt: C.u_char(in.Jt), jf: C.u_char(in.Jf), k: C.bpf_u_int32(in.K)}
	}
	p := (*C.struct_bpf_program)(C.calloc(1, C.sizeof_struct_bpf_program))
	defer C.free(unsafe.Pointer(p))
	p.bf_len, p.bf_insns = C.u_int(len(program)), c
	if C.pcap_setfilter(s.handle, p) != 0 {
		return fmt.Errorf("filter: %s", s.lastError())
	}
	if C.kgm_kernel_filter(s.handle) == 0 {
		s.warn("the kernel does not run the filter: every packet is copied")
	}
	return nil
}

// compile turns an expression, or several on a line each, into a program.
func compile(p *C.pcap_t, expression string) ([]bpf.RawInstruction, error) {
	var programs [][]bpf.RawInstruction
	for line := range strings.Lines(expression) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		program, err := compileLine(p, line)
		if err != nil {
			return nil, err
		}
		programs = append(programs, program)
	}
	return join(programs), nil
}

func compileLine(p *C.pcap_t, expression string) ([]bpf.RawInstruction, error) {
	text := C.CString(expression)
	defer C.free(unsafe.Pointer(text))
	c := (*C.struct_bpf_program)(C.calloc(1, C.sizeof_struct_bpf_program))
	defer C.free(unsafe.Pointer(c))
	if C.pcap_compile(p, c, text, 1, C.PCAP_NETMASK_UNKNOWN) != 0 {
		return nil, fmt.Errorf("filter %q: %s", expression, C.GoString(C.pcap_geterr(p)))
	}
	defer C.pcap_freecode(c)
	program := make([]bpf.RawInstruction, 0, c.bf_len)
	for _, in := range unsafe.Slice(c.bf_insns, c.bf_len) {
		program = append(program, bpf.RawInstruction{Op: uint16(in.code), Jt: uint8(in.jt), Jf: uint8(in.jf), K: uint32(in.k)})
	}
	return program, nil
}

// Compile returns the program that Open would have the kernel run for a filter, on
// packets of a link-layer header type. It needs no permission.
func Compile(filter string, link uint16) ([]bpf.RawInstruction, error) {
	p := C.pcap_open_dead(C.int(link), maxSnaplen)
	if p == nil {
		return nil, errors.New("compile a filter: out of memory")
	}
	defer C.pcap_close(p)
	return compile(p, filter)
}
