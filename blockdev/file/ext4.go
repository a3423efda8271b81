package file

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/lithify/lithify/blockdev"
)

// fileSystem makes one file system and fills it from its part of the tree.
func (d *disk) fileSystem(ctx context.Context, f *blockdev.FSPlan) (err error) {
	m := blockdev.Mke2fs{Profile: d.profile, Target: d.images[f.Disk], InImage: true, Time: d.tree.Time}
	if f.MountPoint == "" {
		return d.mke2fs(ctx, f, m)
	}
	v, err := d.newView(f.MountPoint)
	if v != nil {
		defer func() { err = errors.Join(err, v.undo.run()) }()
	}
	if err != nil {
		return fmt.Errorf("making a view of %s: %w", f.MountPoint, err)
	}
	m.Tree = v.dir
	if err := d.mke2fs(ctx, f, m); err != nil {
		return err
	}
	return d.mend(ctx, f, v.dir)
}

func (d *disk) mke2fs(ctx context.Context, f *blockdev.FSPlan, m blockdev.Mke2fs) error {
	args, env := blockdev.Mke2fsCommand(*f, m)
	d.o.Logger.Debug("making a file system", "command", append([]string{"mke2fs"}, args...))
	out, err := d.run(ctx, nil, env, "mke2fs", args...)
	if err == nil {
		return nil
	}
	if isFull(out) {
		return &blockdev.NoSpaceError{Node: f.Node, MountPoint: f.MountPoint, Size: f.Size, Explicit: f.Explicit, Err: syscall.ENOSPC}
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
	cmd := exec.CommandContext(ctx, program(name), args...)
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

// program finds tools of the sbin folders also where PATH has none.
func program(name string) string {
	if _, err := exec.LookPath(name); err == nil {
		return name
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if path := filepath.Join(dir, name); isFile(path) {
			return path
		}
	}
	return name
}

func isFile(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().IsRegular()
}

// quote writes a name for debugfs' command line, which takes "" for a quote
// within quotes; a line break it cannot take.
func quote(name string) (string, bool) {
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`, !strings.Contains(name, "\n")
}
