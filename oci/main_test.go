package oci

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMain re-executes the tests in a mount namespace of their own, so that no
// mount survives them, however they end.
func TestMain(m *testing.M) {
	if Init() {
		return
	}
	switch {
	case os.Getenv("OCI_TEST_HELPER") != "":
		os.Exit(helperMain(os.Getenv("OCI_TEST_HELPER")))
	case os.Geteuid() == 0 && os.Getenv("OCI_TEST_NS") == "":
		os.Exit(enterNamespace())
	case os.Geteuid() == 0:
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			fmt.Fprintln(os.Stderr, "making mounts private:", err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

func enterNamespace() int {
	runtime.LockOSThread() // the death signal follows the thread
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), "OCI_TEST_NS=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	if err != nil && cmd.ProcessState == nil {
		fmt.Fprintln(os.Stderr, "entering a mount namespace:", err)
		return 1
	}
	return cmd.ProcessState.ExitCode()
}

// needRoot skips on a laptop and fails under CI=true.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	missing(t, "this test needs root")
}

func needTool(t testing.TB, names ...string) {
	t.Helper()
	for _, n := range names {
		if _, err := exec.LookPath(n); err != nil {
			missing(t, "this test needs the tool "+n)
		}
	}
}

func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what + ", and CI=true")
	}
	t.Skip(what)
}
