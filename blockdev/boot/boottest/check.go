package boottest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
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
	Disk      string     // "" means /dev/vda

	KeepsBoot bool // leave out update-grub, grub-install, update-initramfs and the second boot

	BootLimit time.Duration // until login:, 0 means 6 minutes
	WorkLimit time.Duration // for each command of the second half, 0 means 30 minutes
	Logger    *slog.Logger  // told of each check and the time it took; may be nil
}

func (e Expect) withDefaults() Expect {
	if e.Disk == "" {
		e.Disk = "/dev/vda"
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
	{"a default route and an address by DHCP", (*guest).network},
	{"label and fstab of the root", (*guest).rootLabel},
	{"root grown to the disk", (*guest).grown},
	{"GRUB's configuration", (*guest).grubConfig},
}

// owner is what the owner of a machine does to its boot loader, in this order.
var owner = []check{
	{"update-grub", (*guest).updateGrub},
	{"grub-install", (*guest).installGrub},
	{"update-initramfs", (*guest).updateInitramfs},
}

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
	if err := g.all(ctx, owner); err != nil {
		return err
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

// grown compares disk, partition and file system. An ext4 with an inode for each
// 4 KiB and a journal shows less than nine tenths of its partition to df.
func (g *guest) grown(ctx context.Context) error {
	if g.Size == 0 {
		return nil
	}
	disk, err1 := g.number(ctx, "lsblk -bndo SIZE "+g.Disk)
	part, err2 := g.number(ctx, "lsblk -bndo SIZE $(findmnt -nvo SOURCE /)")
	root, err3 := g.number(ctx, "df -B1 --output=size / | tail -n 1")
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	if disk != g.Size || part < disk-disk/50 || root < part/10*8 {
		return fmt.Errorf("disk %d bytes, partition of / %d, its file system %d; %d expected for the disk, about as much for the others", disk, part, root, g.Size)
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

// updateGrub also compares: what the build wrote must be what the guest's own
// tools write, or the first kernel update would change how the machine boots.
func (g *guest) updateGrub(ctx context.Context) error {
	command := "sudo cp /boot/grub/grub.cfg /tmp/built.cfg && sudo update-grub"
	if strings.HasPrefix(g.Disk, "/dev/vd") { // for others GRUB adds hints where the disk may be
		command += " && sudo diff -u /tmp/built.cfg /boot/grub/grub.cfg"
	}
	_, err := g.sh.Output(ctx, command, g.WorkLimit)
	return err
}

func (g *guest) installGrub(ctx context.Context) error {
	_, err := g.sh.Output(ctx, "sudo grub-install "+g.Disk, g.WorkLimit)
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

// reboot restarts the guest and makes sure that it is another boot that answers.
func (g *guest) reboot(ctx context.Context) error {
	const id = "cat /proc/sys/kernel/random/boot_id"
	before, err := g.output(ctx, id)
	if err != nil {
		return err
	}
	g.vm.forget()
	// The connection may end before the command's exit code arrives.
	_, _ = g.sh.Run(ctx, "sudo systemctl reboot", stepLimit)
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
