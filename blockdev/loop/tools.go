package loop

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/lithify/lithify/blockdev"
)

// run starts a tool of the host; what it says becomes part of the error.
func run(ctx context.Context, env []string, name string, args ...string) error {
	_, err := call{env: env}.run(ctx, name, args...)
	return err
}

// call is how a tool is started.
type call struct {
	env   []string  // beside this process's
	stdin io.Reader // for secrets: a command line is everybody's to read
	lock  *os.File  // stays locked while the tool works
}

// run starts a tool and gives what it says.
func (c call) run(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), c.env...)
	cmd.Stdin = c.stdin
	if c.lock != nil {
		cmd.ExtraFiles = []*os.File{c.lock}
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", filepath.Base(name), strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return string(out), nil
}

// withoutUdev has the libraries of LVM, cryptsetup and mdadm make nodes in /dev
// themselves and not wait for udev, which containers have not. A mapping made so
// is, to udev's rules, none that it should look into or activate.
var withoutUdev = []string{"DM_DISABLE_UDEV=1", "MDADM_NO_UDEV=1", "LVM_SUPPRESS_FD_WARNINGS=1", "LC_ALL=C"}

// volumeTool starts a program that makes or ends a volume, and gives what it says.
func (d *disk) volumeTool(ctx context.Context, c call, name string, args ...string) (string, error) {
	path, err := blockdev.FindTool(name)
	if err != nil {
		return "", err
	}
	c.env, c.lock = append(c.env, withoutUdev...), d.journal.file
	said, err := c.run(ctx, path, args...)
	d.journal.deed()
	return said, err
}
