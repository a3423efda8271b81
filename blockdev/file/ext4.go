package file

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/file/ext4"
)

// ext makes an ext file system from a view: by package ext4, or, where the
// user's options ask for what that does not write, by mke2fs, and mends it.
func (d *disk) ext(ctx context.Context, f *blockdev.FSPlan, view string) error {
	o, err := d.extOptions(f)
	if err == nil {
		return d.writeExt(ctx, f, view, o)
	}
	d.o.Logger.Info("mke2fs fills a file system, which takes longer than writing it here", "file system", f.Node, "why", err)
	if f.Disk == "" {
		return d.throughFile(f, func(target *os.File) error { return d.extByTool(ctx, f, view, target.Name(), false) })
	}
	return d.extByTool(ctx, f, view, d.images[f.Disk], true)
}

func (d *disk) extByTool(ctx context.Context, f *blockdev.FSPlan, view, target string, inImage bool) error {
	m := blockdev.Mke2fs{Profile: d.profile, Target: target, InImage: inImage, Time: d.tree.Time, Tree: view, NotEmpty: inImage && d.notEmpty}
	if err := d.mke2fs(ctx, f, m); err != nil || view == "" {
		return err
	}
	return d.mend(ctx, f, target, view)
}

// extOptions reads the command line that mke2fs would get.
func (d *disk) extOptions(f *blockdev.FSPlan) (ext4.Options, error) {
	args, _ := blockdev.Mke2fsCommand(*f, blockdev.Mke2fs{InImage: true})
	o := ext4.Options{Size: f.Size, Time: d.tree.Time, Clamp: d.tree.Clamp, NotEmpty: d.notEmpty}
	err := ext4.ParseArgs(args[:len(args)-2], &o) // without target and size
	if err == nil {
		err = o.Check()
	}
	return o, err
}

func (d *disk) writeExt(ctx context.Context, f *blockdev.FSPlan, view string, o ext4.Options) error {
	o.NotEmpty = o.NotEmpty || d.plan.Scrambled(f.Base)
	err := d.onto(f, func(w io.WriterAt) error { return ext4.Write(ctx, w, view, o) })
	if e := (*ext4.FullError)(nil); errors.As(err, &e) {
		return full(f, err)
	}
	return err
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
