package boottest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Options say which machine to start. Only Image is needed.
type Options struct {
	Image    string // the disk that is booted
	Format   string // raw, qcow2, vpc …; "" means raw
	Writable bool   // the guest writes into Image itself
	Size     int64  // bytes the guest's disk has, beyond the image's end zeros; 0 leaves it as it is. Not with Writable
	Bus      string // "virtio" (/dev/vda, the default) or "sata" (/dev/sda)
	Sector   int    // bytes of the logical sectors of all disks; 0 means 512

	ExtraDisks []Disk // never written either; /dev/vdb and on

	Memory  int    // MiB; 0 means 1024
	CPUs    int    // 0 means 2
	Machine string // "" means "pc" for BIOS and "q35" for EFI
	Accel   string // QEMU's -accel; "" means "tcg,thread=multi". See [ProbeKVM]

	Firmware Firmware // "" means BIOS
	Restarts bool     // VM.Restart will be called: files are kept until Close

	QEMU string   // "" means qemu-system-x86_64
	Args []string // handed to QEMU after all others
	Dir  string   // where the overlay takes its room; "" means the system's temporary folder
}

// VM is a running machine. Its methods are for one goroutine.
type VM struct {
	console  *console
	options  Options
	firmware []string // QEMU's options for it
	disks    []disk   // the boot disk first
	dir      string   // kept for Restart; "" where it is gone already
	port     int
	process  *os.Process
	exited   chan struct{} // closed after QEMU has gone
	stderr   *bytes.Buffer // to be read after exited
	shells   int
}

// Start starts a machine and returns at once, long before the guest is up. It
// is ended by the context too; Close must be called all the same.
func Start(ctx context.Context, o Options) (*VM, error) {
	vm := &VM{options: o.withDefaults()}
	dir, err := os.MkdirTemp(vm.options.Dir, "boottest-")
	if err != nil {
		return nil, fmt.Errorf("starting a machine: %w", err)
	}
	if vm.options.Restarts {
		vm.dir = dir
	} else {
		// QEMU holds the overlay open; without a name it is gone with QEMU, however that dies.
		defer os.RemoveAll(dir)
	}
	if vm.firmware, err = vm.options.Firmware.install(dir); err == nil {
		err = vm.addDisks(ctx, dir)
	}
	if err == nil {
		err = vm.launchFree(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, vm.Close())
	}
	return vm, nil
}

// Restart starts the machine again, with its disks and its firmware's variables,
// once the guest has powered off. Options.Restarts must be set.
func (vm *VM) Restart(ctx context.Context, limit time.Duration) error {
	if vm.dir == "" {
		return errors.New("restarting a machine that was not started with Restarts")
	}
	select {
	case <-vm.exited:
		return vm.launchFree(ctx)
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(limit):
		return fmt.Errorf("the guest did not power off within %s", limit)
	}
}

// launchFree launches QEMU on a port that is really free.
func (vm *VM) launchFree(ctx context.Context) error {
	// The port may be taken between our look and QEMU's: another one then.
	for try := 0; ; try++ {
		err := vm.launch(ctx)
		if err == nil || try == 4 || !strings.Contains(err.Error(), "forwarding rule") {
			return err
		}
	}
}

func (o Options) withDefaults() Options {
	set := func(s *string, value string) {
		if *s == "" {
			*s = value
		}
	}
	set(&o.Format, "raw")
	set(&o.Bus, "virtio")
	set(&o.Machine, o.Firmware.machine())
	set(&o.Accel, "tcg,thread=multi")
	set(&o.QEMU, "qemu-system-x86_64")
	if o.Memory == 0 {
		o.Memory = 1024
	}
	if o.CPUs == 0 {
		o.CPUs = 2
	}
	if o.Sector == 0 {
		o.Sector = 512
	}
	return o
}

func (vm *VM) args() []string {
	o := vm.options
	args := []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-machine", o.Machine + ",graphics=off",
		"-accel", o.Accel, "-cpu", o.Firmware.cpu(), "-smp", fmt.Sprint(o.CPUs), "-m", fmt.Sprint(o.Memory),
		"-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
		"-netdev", fmt.Sprintf("user,id=net,hostfwd=tcp:127.0.0.1:%d-:22", vm.port),
		"-device", "virtio-net-pci,netdev=net,romfile=", "-device", "virtio-rng-pci",
	}
	args = append(args, vm.firmware...)
	for i, d := range vm.disks {
		if !d.gone {
			args = append(args, o.attach(i, d.drive())...)
		}
	}
	return append(args, o.Args...)
}

// launch runs QEMU once on a free port and waits until it has opened everything.
func (vm *VM) launch(ctx context.Context) error {
	var err error
	if vm.port, err = freePort(); err != nil {
		return fmt.Errorf("starting a machine: %w", err)
	}
	cmd := exec.CommandContext(ctx, vm.options.QEMU, vm.args()...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 5 * time.Second
	vm.stderr = &bytes.Buffer{}
	cmd.Stderr = vm.stderr
	vm.console = newConsole()
	cmd.Stdout = vm.console
	input, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("starting a machine: %w", err)
	}
	vm.console.input = input
	if err := vm.spawn(cmd); err != nil {
		return fmt.Errorf("starting %q: %w", vm.options.QEMU, err)
	}
	// The overlays may be removed once QEMU has them open. A wrong option or a taken
	// port shows shortly after, or else later as a machine that is gone.
	for end := time.Now().Add(time.Minute); !vm.hasDisks() && time.Now().Before(end); {
		select {
		case <-vm.exited:
			return vm.gone()
		case <-time.After(10 * time.Millisecond):
		}
	}
	select {
	case <-vm.exited:
		return vm.gone()
	case <-time.After(300 * time.Millisecond):
		return nil
	}
}

// spawn starts QEMU from a thread that lives as long as QEMU does: the
// parent-death signal follows the thread that started the child.
func (vm *VM) spawn(cmd *exec.Cmd) error {
	started := make(chan error, 1)
	exited := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			// How QEMU ends says nothing of the guest; its messages are in stderr.
			_ = cmd.Wait()
		}
		vm.console.close()
		close(exited)
	}()
	vm.exited = exited
	if err := <-started; err != nil {
		<-exited
		return err
	}
	vm.process = cmd.Process
	return nil
}

// gone is the error for a QEMU that ended by itself.
func (vm *VM) gone() error {
	return fmt.Errorf("QEMU ended: %s", bytes.TrimSpace(vm.stderr.Bytes()))
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

// Exited is closed once QEMU has gone, as it does when the guest powers off.
func (vm *VM) Exited() <-chan struct{} { return vm.exited }

// Log is all that the serial console has shown, control characters taken out.
func (vm *VM) Log() string { return vm.console.text() }

// SSHAddress is where the guest's port 22 is found on this host.
func (vm *VM) SSHAddress() string { return fmt.Sprintf("127.0.0.1:%d", vm.port) }

// Close kills QEMU and removes what it worked with; it may be called again.
func (vm *VM) Close() error {
	err := vm.kill()
	if vm.dir != "" {
		err = errors.Join(err, os.RemoveAll(vm.dir))
	}
	return err
}

func (vm *VM) kill() error {
	if vm.exited == nil {
		return nil
	}
	select {
	case <-vm.exited:
		return nil
	default:
	}
	err := vm.process.Kill()
	<-vm.exited
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// ProbeKVM tells whether o's guest comes up to its login prompt under KVM within
// limit. Nothing less counts: /dev/kvm may open and hang every stock kernel.
func ProbeKVM(ctx context.Context, o Options, limit time.Duration) bool {
	o.Accel = "kvm"
	vm, err := Start(ctx, o)
	if err != nil {
		return false
	}
	defer vm.Close()
	return vm.WaitBoot(ctx, limit) == nil
}
