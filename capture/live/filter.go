package live

import "golang.org/x/net/bpf"

// join returns a program that accepts what any of the programs accepts: where one
// would refuse a packet, the next one begins.
func join(programs [][]bpf.RawInstruction) []bpf.RawInstruction {
	const (
		returnConstant = 0x06 // BPF_RET|BPF_K
		jump           = 0x05 // BPF_JMP|BPF_JA
	)
	var all []bpf.RawInstruction
	for i, program := range programs {
		for j, in := range program {
			if in.Op == returnConstant && in.K == 0 && i < len(programs)-1 {
				in = bpf.RawInstruction{Op: jump, K: uint32(len(program) - j - 1)}
			}
			all = append(all, in)
		}
	}
	return all
}
