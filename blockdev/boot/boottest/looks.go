package boottest

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// units waits until systemd has started everything.
func (g *guest) units(ctx context.Context) error {
	if _, err := g.output(ctx, "sudo -n true"); err != nil {
		return err
	}
	state, err := g.sh.Run(ctx, "systemctl is-system-running --wait", g.BootLimit)
	if err != nil {
		return err
	}
	if state.Exit == 0 && strings.TrimSpace(state.Stdout) == "running" {
		return nil
	}
	why, err := g.sh.Run(ctx, "systemctl --failed --no-legend --plain; "+
		"for u in $(systemctl --failed --no-legend --plain | cut -d' ' -f1); do sudo journalctl -b -n 20 --no-pager -u $u; done", stepLimit)
	return errors.Join(fmt.Errorf("the system is %q:\n%s", strings.TrimSpace(state.Stdout), why.Stdout), err)
}

// leased is an address of QEMU's own network: nobody in a guest knows it but by
// its DHCP server.
var leased = regexp.MustCompile(`\b10\.0\.2\.\d+\b`)

// gateway is 10.0.2.2, QEMU's, as /proc/net/route writes it. A small image has
// no ip to ask.
const gateway = "0202000A"

func (g *guest) network(ctx context.Context) error {
	route, err := g.output(ctx, `awk '$2 == "00000000" { print $3 }' /proc/net/route`)
	if err != nil {
		return err
	}
	if route != gateway {
		return fmt.Errorf("gateway of the default route: found %q, QEMU's %s expected", route, gateway)
	}
	addresses, err := g.output(ctx, "hostname -I")
	if err != nil {
		return err
	}
	if !leased.MatchString(addresses) {
		return fmt.Errorf("addresses: found %q, a leased one of 10.0.2.0/24 expected", addresses)
	}
	return nil
}

func (g *guest) rootLabel(ctx context.Context) error {
	label, err := g.output(ctx, "sudo lsblk -ndo LABEL $(findmnt -nvo SOURCE /)")
	if err != nil {
		return err
	}
	if label != g.RootLabel {
		return fmt.Errorf("label of /: found %q, %q expected", label, g.RootLabel)
	}
	line, err := g.output(ctx, `awk '$2 == "/" { print $1 }' /etc/fstab`)
	if err != nil {
		return err
	}
	if line != "LABEL="+g.RootLabel {
		return fmt.Errorf("/etc/fstab's device of /: found %q, %q expected", line, "LABEL="+g.RootLabel)
	}
	// findmnt is the judge of the other lines; its exit code tells of errors.
	_, err = g.output(ctx, "sudo findmnt --verify")
	return err
}

// grown compares the ends of disk and partition, and partition and file system.
// An ext4 with an inode for each 4 KiB and a journal shows less than nine tenths
// of its partition to df.
func (g *guest) grown(ctx context.Context) error {
	if g.Size == 0 {
		return nil
	}
	disk, err1 := g.number(ctx, "lsblk -bndo SIZE "+g.Disk)
	part, err2 := g.number(ctx, "lsblk -bndo SIZE $(findmnt -nvo SOURCE /)")
	root, err3 := g.number(ctx, "df -B1 --output=size / | tail -n 1")
	// The kernel counts in sectors of 512 bytes here, whatever the disk has.
	start, err4 := g.number(ctx, "cat /sys/class/block/$(basename $(findmnt -nvo SOURCE /))/start")
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return err
	}
	if disk != g.Size || start*512+part < disk-disk/50 || root < part/10*8 {
		return fmt.Errorf("disk of %d bytes, partition of / to byte %d, its file system %d of %d; a disk of %d is expected, and about as much for the others",
			disk, start*512+part, root, part, g.Size)
	}
	return nil
}

// grubConfig looks for what a build host leaves behind.
func (g *guest) grubConfig(ctx context.Context) error {
	config, err := g.output(ctx, "sudo cat /boot/grub/grub.cfg")
	if err != nil {
		return err
	}
	uuid, err := g.output(ctx, "sudo blkid -p -s UUID -o value $(findmnt -nvo SOURCE --target /boot)")
	if err != nil {
		return err
	}
	var errs []error
	for _, bad := range []string{"/dev/loop", "/dev/mapper", "overlay"} {
		if strings.Contains(config, bad) {
			errs = append(errs, fmt.Errorf("grub.cfg names %q of the build host", bad))
		}
	}
	if !strings.Contains(config, "--fs-uuid --set=root "+uuid) {
		errs = append(errs, fmt.Errorf("grub.cfg does not search for the file system %s of /boot", uuid))
	}
	line, err := g.output(ctx, "cat /proc/cmdline")
	if !strings.Contains(line, "root=LABEL="+g.RootLabel) && !strings.Contains(line, "root=UUID=") {
		errs = append(errs, fmt.Errorf("kernel command line %q: root= by label or UUID expected", line))
	}
	return errors.Join(append(errs, err)...)
}

func (g *guest) release(ctx context.Context) error {
	name, err := g.output(ctx, ". /etc/os-release && echo $VERSION_CODENAME")
	if err == nil && g.Release != "" && name != g.Release {
		err = fmt.Errorf("found %q, %q expected", name, g.Release)
	}
	return err
}

// secureBoot prints the last byte of the firmware's variable, of its global GUID.
const secureBoot = "od -An -tu1 -j4 -N1 /sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c | tr -d ' '"

// firmware asks the kernel, whose own word on Secure Boot also says that it
// keeps to it.
func (g *guest) firmware(ctx context.Context) error {
	found := BIOS
	efi, err := g.output(ctx, "if [ -d /sys/firmware/efi ]; then echo yes; fi")
	if err != nil {
		return err
	}
	if efi == "yes" {
		found = UEFI
		secure, err := g.output(ctx, secureBoot)
		if err != nil {
			return err
		}
		locked, err := g.output(ctx, "sudo cat /sys/kernel/security/lockdown")
		if err != nil {
			return err
		}
		switch {
		case secure == "1" && strings.Contains(locked, "[none]"):
			return fmt.Errorf("the firmware is locked, the kernel is not: %q", locked)
		case secure == "1":
			found = SecureBoot
		}
	}
	if want := firstOf(g.Firmware, BIOS); found != want {
		return fmt.Errorf("started by %s, %s expected", found, want)
	}
	return nil
}

func firstOf(a, b Firmware) Firmware {
	if a != "" {
		return a
	}
	return b
}

func (g *guest) sectors(ctx context.Context) error {
	size, err := g.number(ctx, "cat /sys/block/$(basename "+g.Disk+")/queue/logical_block_size")
	if err == nil && size != int64(g.Sector) {
		err = fmt.Errorf("sectors of %d bytes, %d expected", size, g.Sector)
	}
	return err
}

// mounts looks at what is mounted and written to: a mount that the kernel made
// read-only after an error is no success.
func (g *guest) mounts(ctx context.Context) error {
	var errs []error
	for _, m := range g.Mounts {
		out, err := g.output(ctx, "findmnt -nrvo FSTYPE,SOURCE --mountpoint "+m.Point+
			" && grep -q '[[:space:]]"+m.Point+"[[:space:]]' /etc/fstab && sudo touch "+m.Point+"/.written && sudo rm "+m.Point+"/.written")
		if err != nil {
			errs = append(errs, err)
			continue
		}
		disk := m.Disk
		if disk == "" {
			disk = g.Disk
		}
		if fsType, device, _ := strings.Cut(out, " "); fsType != m.Type || !strings.HasPrefix(device, disk) {
			errs = append(errs, fmt.Errorf("%s: found %q, a %s on %s expected", m.Point, out, m.Type, disk))
		}
	}
	swaps, err := g.number(ctx, "tail -n +2 /proc/swaps | wc -l")
	if err == nil && swaps != int64(g.Swap) {
		err = fmt.Errorf("%d swap devices in use, %d expected", swaps, g.Swap)
	}
	return errors.Join(append(errs, err)...)
}
