package runner

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// machine is what a kernel calls an architecture, and the smallest program for it.
type machine struct {
	name     string // Debian's
	class    elf.Class
	data     elf.Data
	number   elf.Machine
	flags    uint32 // e_flags: the ABI, where the kernel or the emulator asks for it
	code     string // hexadecimal: exit(probeCode)
	emulator string // QEMU's word
}

// probeCode is what a probe exits with: nothing that a shell, a kernel or an
// emulator says by itself.
const probeCode = 77

// machines are the architectures that can be tried. The code loads the number
// of exit and 77 into the registers of the kernel's calling convention
// (syscall(2), "Architecture calling conventions") and traps.
var machines = []machine{
	{"amd64", elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_X86_64, 0, "b83c000000bf4d0000000f05", "x86_64"},
	{"arm64", elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_AARCH64, 0, "a00980d2a80b80d2010000d4", "aarch64"},
	{"armel", elf.ELFCLASS32, elf.ELFDATA2LSB, elf.EM_ARM, 0x05000200, "4d00a0e30170a0e3000000ef", "arm"},
	{"armhf", elf.ELFCLASS32, elf.ELFDATA2LSB, elf.EM_ARM, 0x05000400, "4d00a0e30170a0e3000000ef", "arm"},
	{"i386", elf.ELFCLASS32, elf.ELFDATA2LSB, elf.EM_386, 0, "b801000000bb4d000000cd80", "i386"},
	{"powerpc", elf.ELFCLASS32, elf.ELFDATA2MSB, elf.EM_PPC, 0, "380000013860004d44000002", "ppc"},
	{"ppc64", elf.ELFCLASS64, elf.ELFDATA2MSB, elf.EM_PPC64, 2, "380000013860004d44000002", "ppc64"},
	{"ppc64el", elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_PPC64, 2, "010000384d00603802000044", "ppc64le"},
	{"riscv64", elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_RISCV, 5, "1305d0049308d00573000000", "riscv64"},
	{"s390x", elf.ELFCLASS64, elf.ELFDATA2MSB, elf.EM_S390, 0, "a729004d0a01", "s390x"},
}

// Architectures are those that Executes knows, by Debian's names, sorted.
func Architectures() []string {
	var names []string
	for _, m := range machines {
		names = append(names, m.name)
	}
	return names
}

func machineNamed(arch string) (machine, error) {
	for _, m := range machines {
		if m.name == arch {
			return m, nil
		}
	}
	return machine{}, fmt.Errorf("unknown architecture %q; known are %q", arch, Architectures())
}

// probe is an ELF file of one segment that does nothing but exit.
//
//	file header · program header · code, all mapped at the start of one page
func (m machine) probe() ([]byte, error) {
	code, err := hex.DecodeString(m.code)
	if err != nil {
		return nil, err
	}
	const base = 0x400000
	ident := [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(m.class), byte(m.data), byte(elf.EV_CURRENT)}
	var order binary.ByteOrder = binary.LittleEndian
	if m.data == elf.ELFDATA2MSB {
		order = binary.BigEndian
	}
	var parts []any
	if m.class == elf.ELFCLASS32 {
		const heads = 52 + 32
		size := uint32(heads + len(code))
		parts = []any{
			elf.Header32{Ident: ident, Type: uint16(elf.ET_EXEC), Machine: uint16(m.number), Version: 1, Entry: base + heads,
				Phoff: 52, Flags: m.flags, Ehsize: 52, Phentsize: 32, Phnum: 1},
			elf.Prog32{Type: uint32(elf.PT_LOAD), Vaddr: base, Paddr: base, Filesz: size, Memsz: size, Flags: uint32(elf.PF_R | elf.PF_X), Align: 0x10000},
		}
	} else {
		const heads = 64 + 56
		size := uint64(heads + len(code))
		parts = []any{
			elf.Header64{Ident: ident, Type: uint16(elf.ET_EXEC), Machine: uint16(m.number), Version: 1, Entry: base + heads,
				Phoff: 64, Flags: m.flags, Ehsize: 64, Phentsize: 56, Phnum: 1},
			elf.Prog64{Type: uint32(elf.PT_LOAD), Vaddr: base, Paddr: base, Filesz: size, Memsz: size, Flags: uint32(elf.PF_R | elf.PF_X), Align: 0x10000},
		}
	}
	var b bytes.Buffer
	for _, p := range append(parts, code) {
		if err := binary.Write(&b, order, p); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

// Executes says whether programs of an architecture run in a tree on this
// machine, by the processor or by an emulator that the kernel starts for them.
// It is tried: a program that only exits is written below the folder work and
// run with nothing else in its root, so an emulator counts that the kernel
// holds open (binfmt_misc's flag F), not one that the tree would need a copy
// of. The caller must be allowed to chroot. The architecture is one of
// Architectures.
func Executes(arch, work string) (bool, error) {
	m, err := machineNamed(arch)
	if err != nil {
		return false, err
	}
	program, err := m.probe()
	if err != nil {
		return false, fmt.Errorf("making a program for %s: %w", arch, err)
	}
	dir, err := os.MkdirTemp(work, "lithify-probe-")
	if err != nil {
		return false, fmt.Errorf("trying a program for %s: %w", arch, err)
	}
	ran, err := runProbe(dir, program)
	if err = errors.Join(err, os.RemoveAll(dir)); err != nil {
		return false, fmt.Errorf("trying a program for %s: %w", arch, err)
	}
	return ran, nil
}

func runProbe(dir string, program []byte) (bool, error) {
	if err := os.WriteFile(filepath.Join(dir, "probe"), program, 0o755); err != nil {
		return false, err
	}
	runtime.LockOSThread() // the death signal is that of the thread
	defer runtime.UnlockOSThread()
	var process *os.Process
	err := whileBusy(func() (err error) {
		process, err = os.StartProcess("/probe", []string{"/probe"}, &os.ProcAttr{
			Env: []string{}, Dir: "/", Sys: &syscall.SysProcAttr{Chroot: dir, Pdeathsig: syscall.SIGKILL},
		})
		return err
	})
	switch {
	// ENOENT: an emulator is registered whose program is not in the root.
	case errors.Is(err, unix.ENOEXEC), errors.Is(err, unix.ENOENT), errors.Is(err, unix.ELIBBAD):
		return false, nil
	case err != nil:
		return false, err
	}
	state, err := process.Wait()
	if err != nil {
		return false, err
	}
	return state.ExitCode() == probeCode, nil
}
