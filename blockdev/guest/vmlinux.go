package guest

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// image is what QEMU is given: the kernel's ELF file, which it enters by its PVH
// note. To emulate the unpacking of Debian's vmlinuz costs as much as the rest of
// its start; here it is done once. Where the packing is another one, vmlinuz serves.
func (k *DebianKernel) image(t testing.TB) string {
	t.Helper()
	packed, unpacked := filepath.Join(k.dir, "vmlinuz"), filepath.Join(k.dir, "vmlinux")
	if _, err := os.Stat(unpacked); err == nil {
		return unpacked
	}
	data, err := os.ReadFile(packed)
	if err != nil {
		t.Fatal(err)
	}
	elf := unpackImage(t, payload(data))
	if !bytes.HasPrefix(elf, []byte("\x7fELF")) {
		return packed
	}
	// Another test process may write it too: each under a name of its own.
	f, err := os.CreateTemp(k.dir, "unpacking-")
	if err == nil {
		_, err = f.Write(elf)
	}
	if err == nil {
		err = f.Close()
	}
	if err == nil {
		err = os.Rename(f.Name(), unpacked)
	}
	if err != nil {
		t.Fatal(err)
	}
	return unpacked
}

// payload is the packed kernel in a bzImage; nil where there is none. Linux's
// Documentation/arch/x86/boot.rst gives the fields: setup_sects at 0x1f1,
// payload_offset and payload_length at 0x248.
func payload(image []byte) []byte {
	if len(image) < 0x250 || string(image[0x202:0x206]) != "HdrS" {
		return nil
	}
	start := (uint64(image[0x1f1])+1)*512 + uint64(binary.LittleEndian.Uint32(image[0x248:]))
	end := start + uint64(binary.LittleEndian.Uint32(image[0x24c:]))
	if start > end || end > uint64(len(image)) {
		return nil
	}
	return image[start:end]
}

// unpackImage unpacks xz, as in bookworm, and zstd, as in later releases. The
// kernel's makefiles append the unpacked size, of four bytes.
func unpackImage(t testing.TB, packed []byte) []byte {
	t.Helper()
	for magic, command := range map[string][]string{
		"\xfd7zXZ\x00":     {"xz", "-dc", "--single-stream"},
		"\x28\xb5\x2f\xfd": {"zstd", "-dcq"},
	} {
		if !bytes.HasPrefix(packed, []byte(magic)) {
			continue
		}
		Need(t, command[0])
		if command[0] == "zstd" {
			packed = packed[:len(packed)-4]
		}
		cmd := exec.Command(command[0], command[1:]...)
		var said bytes.Buffer
		cmd.Stdin, cmd.Stderr = bytes.NewReader(packed), &said
		elf, err := cmd.Output()
		if err != nil {
			t.Fatalf("unpacking the kernel: %v: %s", err, &said)
		}
		return elf
	}
	return nil
}
