package file

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev"
)

// ext makes an ext file system from a view, and mends it.
func (d *disk) ext(ctx context.Context, f *blockdev.FSPlan, view string) error {
	m := blockdev.Mke2fs{Profile: d.profile, Target: d.images[f.Disk], InImage: true, Time: d.tree.Time, Tree: view}
	if err := d.mke2fs(ctx, f, m); err != nil || view == "" {
		return err
	}
	return d.mend(ctx, f, view)
}

func (d *disk) mke2fs(ctx context.Context, f *blockdev.FSPlan, m blockdev.Mke2fs) error {
	args, env := blockdev.Mke2fsCommand(*f, m)
	d.o.Logger.Debug("making a file system", "command", append([]string{"mke2fs"}, args...))
	out, err := d.run(ctx, nil, env, "mke2fs", args...)
	if err == nil {
		return nil
	}
	if host := d.hostFull(f); host != nil {
		return host
	}
	if isFull(out) {
		return full(f, unix.ENOSPC)
	}
	return fmt.Errorf("mke2fs: %w: %s", err, bytes.TrimSpace(out))
}

// isFull knows mke2fs' words for a file system that its content does not fit:
// the texts of EXT2_ET_BLOCK_ALLOC_FAIL, EXT2_ET_INODE_ALLOC_FAIL and of the
// calls that fill a folder.
func isFull(out []byte) bool {
	for _, text := range []string{"Could not allocate block", "Could not allocate inode", "No free space in the directory", "No space left on device"} {
		if bytes.Contains(out, []byte(text)) {
			return true
		}
	}
	return false
}

func (d *disk) run(ctx context.Context, stdin []byte, env []string, name string, args ...string) ([]byte, error) {
	path, err := blockdev.FindTool(name)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(append(os.Environ(), "LC_ALL=C"), env...)
	if stdin != nil {
		cmd.Stdin = bytes.NewReader(stdin)
	}
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return out, context.Cause(ctx)
	}
	return out, err
}
