package file_test

import (
	"fmt"
	"os"
	"runtime"
	"testing"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/blockdevtest"
	"github.com/lithify/lithify/blockdev/file"
	"golang.org/x/sys/unix"
)

// TestMain gives the tests a mount namespace: the back end binds.
func TestMain(m *testing.M) {
	if os.Getenv(childTree) != "" {
		os.Exit(child())
	}
	if parts := os.Getenv(guestParts); parts != "" {
		os.Exit(compareInGuest(parts))
	}
	runtime.LockOSThread()
	if os.Geteuid() == 0 {
		if err := unshareMounts(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// unshareMounts moves this process, whose threads are made later, into a mount
// namespace of its own by starting it there again.
func unshareMounts() error {
	if os.Getenv("LITHIFY_TEST_MOUNTS") != "" {
		return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	return unix.Exec("/proc/self/exe", os.Args, append(os.Environ(), "LITHIFY_TEST_MOUNTS=1"))
}

func TestConformance(t *testing.T) {
	blockdevtest.NeedRoot(t)
	newBackend := func(_ testing.TB, dir string) blockdev.Backend { return file.New(file.Options{WorkDir: dir}) }
	blockdevtest.Run(t, newBackend, blockdevtest.Capabilities{})
}
