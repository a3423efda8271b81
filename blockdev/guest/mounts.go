package guest

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

const ownMounts = "LITHIFY_TEST_MOUNTS"

// OwnMounts is for TestMain of tests that mount: it starts the test program again
// in a mount namespace of its own. A namespace that somebody else makes while a
// file system is mounted has a copy of the mount, and the file system is not
// written out when the test unmounts it. The tests of other packages, which run
// at the same time, make namespaces by the dozen. It does nothing for others than
// root. Where it cannot, it ends the program: TestMain has nobody to tell.
func OwnMounts() {
	if os.Geteuid() != 0 {
		return
	}
	if err := unshareMounts(); err != nil {
		fmt.Fprintln(os.Stderr, "a mount namespace for the tests:", err)
		os.Exit(1)
	}
}

func unshareMounts() error {
	if os.Getenv(ownMounts) != "" {
		return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	}
	runtime.LockOSThread() // the thread that leaves is the one that starts the program
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	return unix.Exec("/proc/self/exe", os.Args, append(os.Environ(), ownMounts+"=1"))
}
