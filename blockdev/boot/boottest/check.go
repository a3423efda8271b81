package boottest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// Expect says what [CheckDebian] shall find. User, Key and RootLabel are needed.
type Expect struct {
	User      string     // logs in by Key, and has sudo without a password
	Key       ssh.Signer //
	RootLabel string     // label of the file system at /
	Size      int64      // bytes of the disk that / must have grown to; 0 leaves that out
	Disk      string     // the disk of /; "" means /dev/vda

	Release  string   // VERSION_CODENAME; "" leaves that out
	Firmware Firmware // what the guest must have been started by; "" means BIOS
	Unlocks  []Unlock // passphrases that are asked for at each start, in this order
	Sector   int      // bytes of the disk's logical sectors; 0 means 512
	Mounts   []Mount  // beside /
	Swap     int      // number of swap devices in use

	KeepsBoot bool // leave out update-grub, grub-install, update-initramfs and the second boot
	GrubOnly  bool // of these, do update-grub and grub-install alone
	OldInitrd bool // of these, leave out update-initramfs: many minutes on a busy machine

	BootLimit time.Duration // until login:, 0 means 6 minutes
	WorkLimit time.Duration // for each command of the second half, 0 means 30 minutes
	Logger    *slog.Logger  // told of each check and the time it took; may be nil
}

// Mount is a file system that must be mounted, with its line in /etc/fstab.
type Mount struct {
	Point, Type string
	Disk        string // where it lies; "" means the disk of /
}

func (e Expect) withDefaults() Expect {
	if e.Disk == "" {
		e.Disk = "/dev/vda"
	}
	if e.Sector == 0 {
		e.Sector = 512
	}
	if e.BootLimit == 0 {
		e.BootLimit = 6 * time.Minute
	}
	if e.WorkLimit == 0 {
		e.WorkLimit = 30 * time.Minute
	}
	if e.Logger == nil {
		e.Logger = slog.New(slog.DiscardHandler)
	}
	return e
}

// guest is a Debian guest that has come up, seen by ssh.
type guest struct {
	Expect
	vm *VM
	sh *Shell
}

// check is one thing that must hold.
type check struct {
	name string
	do   func(*guest, context.Context) error
}

// fresh is what must hold after a boot.
var fresh = []check{
	{"no failed unit", (*guest).units},
	{"release", (*guest).release},
	{"firmware", (*guest).firmware},
	{"sectors", (*guest).sectors},
	{"mounts and swap", (*guest).mounts},
	{"a default route and an address by DHCP", (*guest).network},
	{"label and fstab of the root", (*guest).rootLabel},
	{"root grown to the disk", (*guest).grown},
	{"GRUB's configuration", (*guest).grubConfig},
}

// grub and initramfs are what the owner of a machine does to its boot loader, in this order.
var (
	grub = []check{
		{"update-grub", (*guest).updateGrub},
		{"grub-install", (*guest).installGrub},
	}
	initramfs = []check{{"update-initramfs", (*guest).updateInitramfs}}
)

// CheckDebian waits for a started machine's login prompt and looks at
// everything that a fresh image must show; then it does what an owner does next
// (update-grub, grub-install, update-initramfs -u), reboots, and looks again. It
// needs sudo, util-linux and openssh-server in the guest. The error
// joins all that was wrong within a stage; a later stage needs the earlier.
func CheckDebian(ctx context.Context, vm *VM, e Expect) error {
	g := &guest{Expect: e.withDefaults(), vm: vm}
	defer g.close()
	if err := g.arrive(ctx); err != nil {
		return err
	}
	if err := g.all(ctx, fresh); err != nil || g.KeepsBoot {
		return err
	}
	if err := g.all(ctx, grub); err != nil || g.GrubOnly {
		return err
	}
	if !g.OldInitrd {
		if err := g.all(ctx, initramfs); err != nil {
			return err
		}
	}
	if err := g.reboot(ctx); err != nil {
		return err
	}
	return g.all(ctx, fresh)
}

func (g *guest) close() {
	if g.sh != nil {
		_ = g.sh.Close() // the machine is thrown away next
	}
}

// arrive waits for the prompt and logs in.
func (g *guest) arrive(ctx context.Context) error {
	begin := time.Now()
	for _, u := range g.Unlocks {
		if err := g.vm.Unlock(ctx, u, g.BootLimit); err != nil {
			return fmt.Errorf("booting %q: %w", g.vm.options.Image, err)
		}
		g.Logger.Info("passphrase typed", "for", u.By.Name, "took", time.Since(begin))
	}
	if err := g.vm.WaitBoot(ctx, g.BootLimit); err != nil {
		return err
	}
	g.Logger.Info("login prompt", "took", time.Since(begin))
	g.close()
	var err error
	if g.sh, err = g.vm.SSH(ctx, g.User, g.Key, g.BootLimit); err != nil {
		return err
	}
	g.Logger.Info("ssh", "took", time.Since(begin))
	return nil
}

func (g *guest) all(ctx context.Context, checks []check) error {
	var errs []error
	for _, c := range checks {
		begin := time.Now()
		err := c.do(g, ctx)
		g.Logger.Info(c.name, "took", time.Since(begin), "error", err)
		if err != nil {
			errs = append(errs, fmt.Errorf("checking %s: %w", c.name, err))
		}
	}
	return errors.Join(errs...)
}

func (g *guest) output(ctx context.Context, command string) (string, error) {
	return g.sh.Output(ctx, command, stepLimit)
}

// number runs a command that prints one number.
func (g *guest) number(ctx context.Context, command string) (int64, error) {
	out, err := g.output(ctx, command)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("running %q: a number is expected: %w", command, err)
	}
	return n, nil
}

// updateGrub also compares: what the build wrote must be what the guest's own
// tools write, or the first kernel update would change how the machine boots.
func (g *guest) updateGrub(ctx context.Context) error {
	command := "sudo cp /boot/grub/grub.cfg /tmp/built.cfg && sudo update-grub"
	if strings.HasPrefix(g.Disk, "/dev/vd") { // for others GRUB adds hints where the disk may be
		// The entry that leads into the firmware's own menu is there where the
		// firmware has one.
		command += " && sudo cp /boot/grub/grub.cfg /tmp/guest.cfg && sudo sed -i '/BEGIN.*uefi-firmware/,/END.*uefi-firmware/d' /tmp/*.cfg" +
			" && sudo diff -u /tmp/built.cfg /tmp/guest.cfg"
	}
	_, err := g.sh.Output(ctx, command, g.WorkLimit)
	return err
}

// installGrub is what an owner types: a device where a BIOS starts it, nothing
// where EFI does.
func (g *guest) installGrub(ctx context.Context) error {
	device := g.Disk
	if firstOf(g.Firmware, BIOS) != BIOS {
		device = ""
	}
	_, err := g.sh.Output(ctx, "sudo grub-install "+device, g.WorkLimit)
	// The core image that grub-install makes asks once and ends in the rescue
	// shell; ours asks three times.
	g.Unlocks = slices.Clone(g.Unlocks)
	for i := range g.Unlocks {
		if g.Unlocks[i].By == ByGRUB {
			g.Unlocks[i].Wrong = ""
		}
	}
	return err
}

// updateInitramfs makes the initramfs anew, with the modules of this machine
// only (MODULES=dep, as owners set it): with all of them it is tens of thousands
// of processes, half an hour under emulation on a busy machine.
func (g *guest) updateInitramfs(ctx context.Context) error {
	_, err := g.sh.Output(ctx, "echo MODULES=dep | sudo tee /etc/initramfs-tools/conf.d/modules >/dev/null && "+
		"sudo update-initramfs -u && sudo sync", g.WorkLimit)
	return err
}

// startAgain ends this boot and begins the next. Where the machine can be started
// again it is switched off in between: under emulation a warm reboot by EFI at
// times stops in the kernel's first steps.
func (g *guest) startAgain(ctx context.Context) error {
	g.vm.forget()
	how := "reboot"
	if g.vm.options.Restarts {
		how = "poweroff"
	}
	// The connection may end before the command's exit code arrives.
	_, _ = g.sh.Run(ctx, "sudo systemctl "+how, stepLimit)
	if how == "reboot" {
		return nil
	}
	return g.vm.Restart(ctx, stepLimit)
}

// reboot restarts the guest and makes sure that it is another boot that answers.
func (g *guest) reboot(ctx context.Context) error {
	const id = "cat /proc/sys/kernel/random/boot_id"
	before, err := g.output(ctx, id)
	if err != nil {
		return err
	}
	if err := g.startAgain(ctx); err != nil {
		return fmt.Errorf("rebooting: %w", err)
	}
	if err := g.arrive(ctx); err != nil {
		return fmt.Errorf("rebooting: %w", err)
	}
	after, err := g.output(ctx, id)
	if err == nil && after == before {
		err = errors.New("the same boot answers again")
	}
	if err != nil {
		return fmt.Errorf("rebooting: %w", err)
	}
	return nil
}
