package boottest

import (
	"fmt"
	"os"
	"path/filepath"
)

// Firmware is what a machine starts by.
type Firmware string

// The firmwares. UEFI and SecureBoot are Debian's package ovmf, with variables of
// this machine alone: empty ones, or with Microsoft's keys enrolled and enforced.
const (
	BIOS       Firmware = "bios"
	UEFI       Firmware = "uefi"
	SecureBoot Firmware = "secure boot"
)

// image names the files of an EFI firmware in ovmf's folder.
type image struct{ code, vars string }

const ovmf = "/usr/share/OVMF"

var images = map[Firmware]image{
	UEFI:       {"OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"},
	SecureBoot: {"OVMF_CODE_4M.secboot.fd", "OVMF_VARS_4M.ms.fd"},
}

// NeedsFiles are the files of this host that the firmware needs, beside QEMU's own.
func (f Firmware) NeedsFiles() []string {
	if i, ok := images[f]; ok {
		return []string{filepath.Join(ovmf, i.code), filepath.Join(ovmf, i.vars)}
	}
	return nil
}

// install gives QEMU's options for the firmware; its variables are kept in dir,
// which may go once QEMU has them open.
func (f Firmware) install(dir string) ([]string, error) {
	i, ok := images[f]
	if !ok {
		return nil, nil
	}
	vars, err := os.ReadFile(filepath.Join(ovmf, i.vars))
	if err != nil {
		return nil, fmt.Errorf("reading the firmware's variables (package ovmf): %w", err)
	}
	copied := filepath.Join(dir, "vars.fd")
	if err := os.WriteFile(copied, vars, 0o600); err != nil {
		return nil, fmt.Errorf("copying the firmware's variables: %w", err)
	}
	args := []string{
		"-drive", "if=pflash,unit=0,readonly=on,format=raw,file=" + filepath.Join(ovmf, i.code),
		"-drive", "if=pflash,unit=1,format=raw,file=" + copied,
	}
	if f == SecureBoot { // only code in system management mode writes the keys
		args = append(args, "-global", "driver=cfi.pflash01,property=secure,value=on", "-global", "ICH9-LPC.disable_s3=1")
	}
	return args, nil
}

// cpu is QEMU's processor. Without erms and fsrm a kernel copies and clears by
// words, which QEMU emulates one by one, and not by bytes. With pages of five levels
// a guest under EFI once hung after a warm reboot, in the kernel's first steps.
func (f Firmware) cpu() string {
	const words = "max,erms=off,fsrm=off"
	if _, efi := images[f]; efi {
		return words + ",la57=off"
	}
	return words
}

// machine is QEMU's machine type that goes with the firmware.
func (f Firmware) machine() string {
	switch f {
	case UEFI:
		return "q35"
	case SecureBoot:
		return "q35,smm=on"
	}
	return "pc"
}
