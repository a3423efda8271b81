package runner

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrHostNamespace says that Emulate would have changed the machine.
var ErrHostNamespace = errors.New("not in a user namespace: an emulator registered here would be every process's on this machine")

// EmulatorNames are the programs, of QEMU's user emulation, that run an
// architecture of Architectures: static by name first.
func EmulatorNames(arch string) []string {
	m, err := machineNamed(arch)
	if err != nil {
		return nil
	}
	return []string{"qemu-" + m.emulator + "-static", "qemu-" + m.emulator}
}

// CheckEmulator refuses a program that would not start in a tree: the kernel
// holds the program itself open, not the libraries it asks for.
func CheckEmulator(path string) error {
	f, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("looking at emulator %q: %w", path, err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("emulator %q is not static: in the image it would not find its libraries", path)
		}
	}
	return nil
}

// Emulation is a registration of Emulate.
type Emulation struct{ instance int }

// Close ends the emulation; programs that run go on.
func (e *Emulation) Close() error { return unix.Close(e.instance) }

// Emulate lets processes of this user namespace run programs of an
// architecture through an emulator, a static program on the host, wherever
// their root is. Only this namespace has it, and only until Close: since Linux
// 6.7 each user namespace may have a binfmt_misc of its own, which then stands
// in for the outer one's. In the first user namespace the error is
// ErrHostNamespace; an older kernel's is EPERM.
//
// The format of the registration is that of the kernel's
// admin-guide/binfmt-misc.rst. Flags: P passes argv[0] on (busybox goes by it),
// C lets set-user-id programs be it, F holds the emulator open from now on.
func Emulate(arch, emulator string) (*Emulation, error) {
	doing := func(err error) error {
		return fmt.Errorf("registering %q for %s programs in this user namespace: %w", emulator, arch, err)
	}
	m, err := machineNamed(arch)
	if err != nil {
		return nil, err
	}
	if !InUserNamespace() {
		return nil, doing(ErrHostNamespace)
	}
	line, err := m.registration(emulator)
	if err != nil {
		return nil, doing(err)
	}
	fd, err := newMount("binfmt_misc", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return nil, doing(err)
	}
	if err := writeAt(fd, "register", line); err != nil {
		return nil, doing(errors.Join(err, unix.Close(fd)))
	}
	return &Emulation{fd}, nil
}

// registration is the line :NAME:M:OFFSET:MAGIC:MASK:EMULATOR:FLAGS, with a
// character as delimiter that no path has.
func (m machine) registration(emulator string) ([]byte, error) {
	if !filepath.IsAbs(emulator) || strings.ContainsAny(emulator, "\x01\n") {
		return nil, errors.New("its path must be absolute, of usual characters")
	}
	magic, mask, err := m.magic()
	if err != nil {
		return nil, err
	}
	fields := []string{"", "qemu-" + m.emulator, "M", "0", escaped(magic), escaped(mask), emulator, "PCF"}
	return []byte(strings.Join(fields, "\x01")), nil
}

// magic are the first bytes of a program, from which the kernel tells whose it
// is, and those of their bits that count. Not the OS ABI: programs with ifuncs
// say GNU; and ET_DYN is as good as ET_EXEC, one bit from it.
func (m machine) magic() (magic, mask []byte, err error) {
	program, err := m.probe()
	if err != nil {
		return nil, nil, err
	}
	const end = 20 // of e_machine
	magic, mask = program[:end], bytes.Repeat([]byte{0xff}, end)
	mask[elf.EI_OSABI] = 0
	kind := elf.EI_NIDENT // the low byte of e_type
	if m.data == elf.ELFDATA2MSB {
		kind++
	}
	mask[kind] = 0xfe
	return magic, mask, nil
}

func escaped(b []byte) string {
	var s strings.Builder
	for _, c := range b {
		fmt.Fprintf(&s, `\x%02x`, c)
	}
	return s.String()
}

func writeAt(dir int, name string, data []byte) error {
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening %s: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}
