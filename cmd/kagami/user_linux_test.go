package main

import (
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// The filter refuses what it should, by number and by ABI, and nothing else.
func TestRefusedCalls(t *testing.T) {
	vm, err := bpf.NewVM(refusalOf(unix.AUDIT_ARCH_X86_64, refused))
	if err != nil {
		t.Fatal(err)
	}
	const eperm = unix.SECCOMP_RET_ERRNO | int(unix.EPERM)
	for _, c := range []struct {
		name         string
		number, arch uint32
		want         int
	}{
		{"read", unix.SYS_READ, unix.AUDIT_ARCH_X86_64, unix.SECCOMP_RET_ALLOW},
		{"socket", unix.SYS_SOCKET, unix.AUDIT_ARCH_X86_64, unix.SECCOMP_RET_ALLOW},
		{"capset", unix.SYS_CAPSET, unix.AUDIT_ARCH_X86_64, unix.SECCOMP_RET_ALLOW},
		{"clone3", unix.SYS_CLONE3, unix.AUDIT_ARCH_X86_64, unix.SECCOMP_RET_ALLOW},
		{"the first refused", refused[0], unix.AUDIT_ARCH_X86_64, eperm},
		{"the last refused", refused[len(refused)-1], unix.AUDIT_ARCH_X86_64, eperm},
		{"x32", x32Bit | unix.SYS_READ, unix.AUDIT_ARCH_X86_64, eperm},
		{"32 bit", 11, unix.AUDIT_ARCH_I386, eperm},
	} {
		// struct seccomp_data, in the byte order of the machine that is pretended: bpf.VM reads big endian.
		data := []byte{byte(c.number >> 24), byte(c.number >> 16), byte(c.number >> 8), byte(c.number),
			byte(c.arch >> 24), byte(c.arch >> 16), byte(c.arch >> 8), byte(c.arch)}
		if got, err := vm.Run(data); err != nil || got != c.want {
			t.Errorf("%s: %#x, %v: want %#x", c.name, got, err, c.want)
		}
	}
}

// A user who is not in the list has a group of the same number; a name has to be there.
func TestLookUpUser(t *testing.T) {
	if id, err := lookUpUser("54321"); err != nil || id.uid != 54321 || id.gid != 54321 {
		t.Errorf("%+v, %v", id, err)
	}
	if id, err := lookUpUser("root"); err != nil || id.uid != 0 || id.name != "root" {
		t.Errorf("%+v, %v", id, err)
	}
	_, err := lookUpUser("no-such-user")
	wrongError(t, err, "useradd --system no-such-user")
}

// What kagami doctor makes of figures that not every host has.
func TestFindings(t *testing.T) {
	cfg := &Config{MemoryLimit: 64 << 20}
	for _, c := range []struct {
		name string
		got  finding
		want verdict
	}{
		{"clock synchronised", clockFinding(unix.TIME_OK, &unix.Timex{}), fine},
		{"clock by itself", clockFinding(unix.TIME_ERROR, &unix.Timex{}), unwell},
		{"clock unsynchronised", clockFinding(unix.TIME_OK, &unix.Timex{Status: unix.STA_UNSYNC}), unwell},
		{"memory without a group", examineMemory(cfg, 0), fine},
		{"enough memory", examineMemory(cfg, 80<<20), fine},
		{"little memory", examineMemory(cfg, 64<<20), unwell},
		{"too little memory", examineMemory(cfg, 32<<20), missing},
		{"no limit of memory", examineMemory(&Config{}, 0), unwell},
		{"enough files", filesFinding(192, 1024), fine},
		{"too few files", filesFinding(192, 100), missing},
	} {
		if c.got.verdict != c.want || c.want != fine && c.got.fix == "" {
			t.Errorf("%s: %+v, want %s and what mends it", c.name, c.got, c.want)
		}
	}
}
