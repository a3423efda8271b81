package file

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/lithify/lithify/blockdev"
	"golang.org/x/sys/unix"
)

// mend puts right what mke2fs -d leaves behind, by one run of debugfs.
func (d *disk) mend(ctx context.Context, f *blockdev.FSPlan, tree string) error {
	script, err := d.script(ctx, tree)
	if err != nil {
		return fmt.Errorf("reading %q: %w", tree, err)
	}
	device := fmt.Sprintf("%s?offset=%d", d.images[f.Disk], f.Offset)
	env := []string{}
	if d.tree.Time != nil {
		env = append(env, fmt.Sprintf("E2FSPROGS_FAKE_TIME=%d", d.tree.Time.Unix()))
	}
	out, err := d.run(ctx, script, env, "debugfs", "-w", "-f", "-", device)
	if err != nil {
		return fmt.Errorf("debugfs: %w: %s", err, bytes.TrimSpace(out))
	}
	return complaints(out)
}

// complaints finds what debugfs, which exits 0 whatever happens, did not like.
// It echoes every command behind its prompt; nothing else is to be printed.
func complaints(out []byte) error {
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "debugfs") {
			return fmt.Errorf("debugfs: %s", line)
		}
	}
	return nil
}

// script writes debugfs' commands.
func (d *disk) script(ctx context.Context, tree string) ([]byte, error) {
	var b bytes.Buffer
	if err := d.rootCommands(&b, tree); err != nil {
		return nil, err
	}
	err := filepath.WalkDir(tree, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		name, ok := quote(strings.TrimPrefix(p, tree))
		if p == tree || !ok {
			return nil
		}
		if st.Mtim.Nsec != 0 {
			fmt.Fprintf(&b, "set_inode_field %s mtime_extra %#x\n", name, extra(st.Mtim))
		}
		d.fixTimes(&b, name)
		return nil
	})
	return b.Bytes(), err
}

// fixTimes takes the times that tell of the build, not of the content, out of
// an image that is to be equal to another one: mke2fs copies them from the tree.
func (d *disk) fixTimes(b *bytes.Buffer, name string) {
	if d.tree.Time == nil {
		return
	}
	for _, field := range []string{"atime", "ctime"} {
		fmt.Fprintf(b, "set_inode_field %s %s @%d\n", name, field, d.tree.Time.Unix())
	}
}

// extra is i_mtime_extra of ext4: two more bits of the seconds below thirty of
// nanoseconds (Documentation/filesystems/ext4/inodes.rst, "Inode Timestamps").
func extra(t unix.Timespec) uint32 {
	epoch := uint32((t.Sec - int64(int32(t.Sec))) >> 32 & 3)
	return epoch | uint32(t.Nsec)<<2
}

// rootCommands set the root folder's own inode like the tree's.
func (d *disk) rootCommands(b *bytes.Buffer, tree string) error {
	var st unix.Stat_t
	if err := unix.Stat(tree, &st); err != nil {
		return err
	}
	set := func(field string, value any) { fmt.Fprintf(b, "set_inode_field <2> %s %v\n", field, value) }
	set("mode", fmt.Sprintf("0%o", st.Mode))
	set("uid", st.Uid)
	set("gid", st.Gid)
	set("mtime", fmt.Sprintf("@%d", int32(st.Mtim.Sec)))
	set("mtime_extra", fmt.Sprintf("%#x", extra(st.Mtim)))
	d.fixTimes(b, "<2>")
	attrs, err := attributes(tree)
	if err != nil {
		return err
	}
	for name, value := range attrs {
		if err := d.setAttribute(b, name, value); err != nil {
			return err
		}
	}
	return nil
}

// setAttribute hands the value over in a file: it may be any bytes.
func (d *disk) setAttribute(b *bytes.Buffer, name string, value []byte) (err error) {
	f, err := os.CreateTemp(d.work, "attribute-")
	if err != nil {
		return err
	}
	d.undo.push(func() error { return os.Remove(f.Name()) })
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Write(value); err != nil {
		return err
	}
	fmt.Fprintf(b, "ea_set -f %s <2> %s\n", f.Name(), name)
	return nil
}
