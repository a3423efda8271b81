package blockdevtest_test

import (
	"fmt"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/blockdevtest"
	"github.com/lithify/lithify/blockdev/file"
	"github.com/lithify/lithify/blockdev/loop"
)

// TestMain gives the tests a mount namespace: the file back end binds.
func TestMain(m *testing.M) {
	runtime.LockOSThread()
	if os.Geteuid() == 0 {
		if err := unshareMounts(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// unshareMounts starts this process, whose threads are made later, again in a
// mount namespace of its own.
func unshareMounts() error {
	if os.Getenv("LITHIFY_TEST_MOUNTS") != "" {
		return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	return unix.Exec("/proc/self/exe", os.Args, append(os.Environ(), "LITHIFY_TEST_MOUNTS=1"))
}

func TestPairs(t *testing.T) {
	if err := loop.Available(); err != nil {
		blockdevtest.NeedRoot(t)
		blockdevtest.Missing(t, err.Error())
	}
	blockdevtest.Pairs(t,
		func(_ testing.TB, dir string) blockdev.Backend { return loop.New(loop.Options{WorkDir: dir}) },
		func(_ testing.TB, dir string) blockdev.Backend { return file.New(file.Options{WorkDir: dir}) })
}
