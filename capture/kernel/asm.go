package kernel

import (
	"fmt"

	"golang.org/x/net/bpf"
)

// MaxInstructions is the length of a program that kernels take (BPF_MAXINSNS).
const MaxInstructions = 4096

// An op is an instruction, or a jump to a label, or a place that has one.
type op struct {
	ins    bpf.Instruction
	target string // of a jump
	cond   bpf.JumpTest
	k      uint32
	withX  bool // compares with X, not k
	always bool
	mark   string // the label of this place
	long   bool   // the target is beyond 255 instructions
}

// size is how many instructions an op becomes.
func (o op) size() int {
	switch {
	case o.mark != "":
		return 0
	case o.long:
		return 2
	}
	return 1
}

// An asm puts a program together. Jumps lead forward to labels; conditional
// ones reach 255 instructions far, and get help where that is not enough.
type asm struct{ ops []op }

func (a *asm) do(ins ...bpf.Instruction) {
	for _, in := range ins {
		a.ops = append(a.ops, op{ins: in})
	}
}

func (a *asm) label(name string) { a.ops = append(a.ops, op{mark: name}) }

func (a *asm) jump(to string) { a.ops = append(a.ops, op{target: to, always: true}) }

// when jumps if the condition holds of A and k.
func (a *asm) when(cond bpf.JumpTest, k uint32, to string) {
	a.ops = append(a.ops, op{target: to, cond: cond, k: k})
}

// whenX jumps if the condition holds of A and X.
func (a *asm) whenX(cond bpf.JumpTest, to string) {
	a.ops = append(a.ops, op{target: to, cond: cond, withX: true})
}

// places returns where the labels are, and whether all jumps reach them.
func (a *asm) places() (map[string]int, bool) {
	at, places := 0, map[string]int{}
	for _, o := range a.ops {
		if o.mark != "" {
			places[o.mark] = at
		}
		at += o.size()
	}
	reached := true
	at = 0
	for i := range a.ops {
		o := &a.ops[i]
		at += o.size()
		if o.target != "" && !o.always && !o.long && places[o.target]-at > 255 {
			o.long, reached = true, false
		}
	}
	return places, reached
}

// assemble returns the program.
func (a *asm) assemble() ([]bpf.RawInstruction, error) {
	places, reached := a.places()
	for !reached {
		places, reached = a.places()
	}
	var program []bpf.Instruction
	for _, o := range a.ops {
		if o.mark != "" {
			continue
		}
		skip := uint32(places[o.target] - len(program) - o.size())
		switch {
		case o.target == "":
			program = append(program, o.ins)
		case o.always:
			program = append(program, bpf.Jump{Skip: skip})
		case o.long:
			program = append(program, o.branch(0, 1), bpf.Jump{Skip: skip})
		default:
			program = append(program, o.branch(uint8(skip), 0))
		}
	}
	if len(program) > MaxInstructions {
		return nil, fmt.Errorf("the filter has %d instructions, of which the kernel takes %d: name fewer ports, VLANs or samples", len(program), MaxInstructions)
	}
	return bpf.Assemble(program)
}

func (o op) branch(yes, no uint8) bpf.Instruction {
	if o.withX {
		return bpf.JumpIfX{Cond: o.cond, SkipTrue: yes, SkipFalse: no}
	}
	return bpf.JumpIf{Cond: o.cond, Val: o.k, SkipTrue: yes, SkipFalse: no}
}
