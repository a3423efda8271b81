package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/lithify/lithify/rootfs/runner"
	"golang.org/x/sys/unix"
)

// A build for another architecture runs the image's programs in QEMU's user
// emulation, which the kernel starts for them; our own commands in the image
// are this machine's. What the host has registered with its kernel is taken as
// it is, and never changed: where it has nothing, the build registers its own,
// in a user namespace that only it is in.

// foreignError says that programs of the image cannot run here, and what to do.
type foreignError struct {
	arch, cause, cure string
	err               error
}

func (e *foreignError) Error() string {
	text := fmt.Sprintf("programs for %s do not run on this machine (%s): %s", e.arch, hostArch(), e.cause)
	if e.err != nil {
		text += ": " + e.err.Error()
	}
	return text + "\n" + e.cure
}

func (e *foreignError) Unwrap() error { return e.err }

// executes tries whether programs of the image run here, in a work folder that a
// later build removes should this one be killed.
func (o Options) executes() (runs bool, err error) {
	dir, remove, err := newWork(o.TmpDir)
	if err != nil {
		return false, err
	}
	runs, err = runner.Executes(o.Arch, dir)
	return runs, errors.Join(err, remove())
}

// needsEmulation says, before the session, whether it must have a user
// namespace: the image's programs need an emulator, which is there, and which
// the kernel does not know of. An ordinary user's session has one anyway.
func (o Options) needsEmulation() bool {
	if o.Arch == hostArch() || os.Geteuid() != 0 {
		return false
	}
	runs, err := o.executes()
	if err != nil || runs {
		return false // what is wrong is said by emulate
	}
	_, err = o.findEmulator()
	return err == nil
}

// emulate sees to it that programs of the image run, until the build ends. The
// error is a *foreignError where a person can do something.
func (j *job) emulate() error {
	if j.o.Arch == hostArch() {
		return nil
	}
	runs, err := j.o.executes()
	if err != nil || runs {
		return err
	}
	path, err := j.o.findEmulator()
	if err != nil {
		return err
	}
	e, err := runner.Emulate(j.o.Arch, path)
	if err != nil {
		return j.o.noRegistration(err)
	}
	j.undo = append(j.undo, e.Close)
	runs, err = j.o.executes()
	if err == nil && !runs {
		err = &foreignError{arch: j.o.Arch, cause: fmt.Sprintf("the kernel took %q for their emulator, and it does not run them", path),
			cure: "install another build of it: " + installEmulator()}
	}
	j.ui.Logger().Debug("programs of the image are emulated", "arch", j.o.Arch, "emulator", path)
	return err
}

// findEmulator looks for an emulator that works inside an image.
func (o Options) findEmulator() (string, error) {
	names, path := runner.EmulatorNames(o.Arch), hostPath(o.Environment["PATH"])
	var refused error
	for _, name := range names {
		found := findProgram(path, name)
		if found == "" {
			continue
		}
		found, err := filepath.Abs(found)
		if err == nil {
			err = runner.CheckEmulator(found)
		}
		if err == nil {
			return found, nil
		}
		refused = errors.Join(refused, err)
	}
	cause := fmt.Sprintf("the kernel knows no emulator for them, and there is neither %s in %s", strings.Join(names, " nor "), path)
	if refused != nil {
		cause = "the kernel knows no emulator for them"
	}
	return "", &foreignError{arch: o.Arch, cause: cause, err: refused, cure: "to install one: " + installEmulator()}
}

func installEmulator() string {
	return installCommand(os.Geteuid() == 0, "qemu-user-static")
}

// noRegistration explains why the kernel took no emulator for this build alone.
func (o Options) noRegistration(err error) error {
	var u unix.Utsname
	release := "of unknown release"
	if unix.Uname(&u) == nil {
		release = unix.ByteSliceToString(u.Release[:])
	}
	name := strings.TrimSuffix(runner.EmulatorNames(o.Arch)[0], "-static")
	return &foreignError{
		arch: o.Arch, err: err,
		cause: "the emulator is there, the kernel does not know it, and a build cannot have it alone (that needs Linux 6.7; this is " + release + ")",
		cure: "as root, register it for the whole machine: systemctl restart systemd-binfmt, or without systemd " +
			"update-binfmts --enable " + name + " (package binfmt-support)",
	}
}

// storeRoot is where the layers of this build are. Root's builds in a user
// namespace have a store of their own: overlay mounts there keep their books in
// other attributes (user.overlay.*) and do not read those of the usual layers.
func (o Options) storeRoot() string {
	root := storeRoot(o.Environment)
	if o.Arch != hostArch() && os.Geteuid() == 0 && runner.InUserNamespace() && runner.KeepsIDs() {
		return filepath.Join(root, "emulated")
	}
	return root
}
