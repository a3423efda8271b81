package boot

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lithify/lithify/blockdev/guest"
)

// planName is where the stand-ins below read their layout.
const planName = "/dev/lithify/data/layout.json"

// TestMain makes the test binary a stand-in too: bound over grub-probe of a
// Debian tree, it is what lithify's own binary is in a build.
func TestMain(m *testing.M) {
	if strings.HasPrefix(filepath.Base(os.Args[0]), "grub") {
		os.Exit(standIn())
	}
	guest.OwnMounts()
	dir, err := os.MkdirTemp("", "boot-trees-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	trees = dir
	code := m.Run()
	_ = os.RemoveAll(dir) // scratch
	os.Exit(code)
}

// trees keeps what debianTree made for the other tests of this run.
var trees string

func standIn() int {
	name := filepath.Base(os.Args[0])
	text, err := os.ReadFile(planName)
	env := Env{Stdout: os.Stdout, Stderr: os.Stderr}
	if err == nil {
		err = json.Unmarshal(text, &env.Layout)
	}
	if err == nil {
		err = Run(context.Background(), name, env, os.Args[1:])
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: error: %v\n", name, err)
		return 1
	}
	return 0
}

// need skips on a machine without root or a tool, and fails there under CI=true.
func need(t *testing.T, root bool, tools ...string) {
	t.Helper()
	missing := ""
	if root && os.Geteuid() != 0 {
		missing = "root"
	}
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			missing = tool
		}
	}
	switch {
	case missing == "":
	case os.Getenv("CI") == "true":
		t.Fatalf("needs %s, and CI=true lets nothing be skipped", missing)
	default:
		t.Skipf("needs %s", missing)
	}
}
