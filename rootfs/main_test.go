package rootfs_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/lithify/lithify/oci"
	"github.com/lithify/lithify/rootfs/runner"
)

// TestMain runs the tests inside a session, as a build is: mounts are private
// and nothing outlives it.
func TestMain(m *testing.M) {
	runner.Main()
	if oci.Init() {
		return
	}
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			fmt.Fprintln(os.Stderr, "rootfs: these tests need root")
			os.Exit(1)
		}
		fmt.Println("skipped: these tests need root")
		return
	}
	code, inside, err := runner.Session{}.Enter(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if inside {
		code = m.Run()
	}
	os.Exit(code)
}
