package file

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/lithify/lithify/blockdev"
	"golang.org/x/sys/unix"
)

// mend puts right what mke2fs -d leaves behind, by one run of debugfs.
func (d *disk) mend(ctx context.Context, f *blockdev.FSPlan, target, tree string) error {
	device := fmt.Sprintf("%s?offset=%d", target, f.Offset)
	m := mender{disk: d, plan: f, device: device, tree: tree, links: map[uint64]*names{}}
	script, err := m.script(ctx)
	if err != nil {
		return fmt.Errorf("reading %q: %w", tree, err)
	}
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

// mender writes debugfs' commands for one file system.
type mender struct {
	*disk
	plan         *blockdev.FSPlan
	device, tree string
	out          bytes.Buffer
	links        map[uint64]*names // symbolic links with several names, by inode
}

// names are those of one symbolic link that are behind the walk.
type names struct {
	first string
	count int
}

func (m *mender) script(ctx context.Context) ([]byte, error) {
	if err := m.rootCommands(&m.out, m.plan, m.tree); err != nil {
		return nil, err
	}
	err := filepath.WalkDir(m.tree, func(p string, _ fs.DirEntry, err error) error {
		if err != nil || p == m.tree {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return m.entry(ctx, p)
	})
	return m.out.Bytes(), err
}

func (m *mender) entry(ctx context.Context, p string) error {
	var st unix.Stat_t
	if err := unix.Lstat(p, &st); err != nil {
		return err
	}
	late := m.clamp(st.Mtim) != st.Mtim
	st.Mtim = m.clamp(st.Mtim)
	name, plain := quote(strings.TrimPrefix(p, m.tree))
	if st.Mode&unix.S_IFMT == unix.S_IFLNK && st.Nlink > 1 && plain {
		m.link(name, st)
	}
	if st.Mtim.Nsec == 0 && st.Mtim.Sec == int64(int32(st.Mtim.Sec)) && m.disk.tree.Time == nil {
		return nil
	}
	if !plain {
		inode, err := m.inode(ctx, strings.TrimPrefix(p, m.tree))
		if err != nil {
			return err
		}
		name = inode
	}
	if late || st.Mtim.Sec != int64(int32(st.Mtim.Sec)) { // mke2fs 1.47.2 makes it 2038
		fmt.Fprintf(&m.out, "set_inode_field %s mtime @%d\n", name, int32(st.Mtim.Sec))
	}
	if late || st.Mtim.Nsec != 0 || st.Mtim.Sec != int64(int32(st.Mtim.Sec)) {
		fmt.Fprintf(&m.out, "set_inode_field %s mtime_extra %#x\n", name, extra(st.Mtim))
	}
	m.fixTimes(&m.out, name)
	return nil
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

// link joins the names of a symbolic link, of which mke2fs makes one link each.
// debugfs' ln leaves the count of names to its caller.
func (m *mender) link(name string, st unix.Stat_t) {
	n := m.links[st.Ino]
	if n == nil {
		m.links[st.Ino] = &names{name, 1}
		return
	}
	n.count++
	fmt.Fprintf(&m.out, "rm %s\nln %s %s\nset_inode_field %s links_count %d\n", name, n.first, name, name, n.count)
}

// inode finds the number of a file whose name debugfs' command line cannot
// take, as <number>, by listing the folders on the way to it. It is slow and
// rarely needed.
func (m *mender) inode(ctx context.Context, name string) (string, error) {
	at := "<2>"
	for _, part := range strings.Split(strings.Trim(name, "/"), "/") {
		out, err := m.run(ctx, nil, nil, "debugfs", "-R", "ls -p "+at, m.device)
		if err != nil {
			return "", fmt.Errorf("debugfs: %w: %s", err, bytes.TrimSpace(out))
		}
		found := ""
		for _, entry := range listed.FindAllSubmatch(out, -1) {
			if string(entry[2]) == part {
				found = "<" + string(entry[1]) + ">"
			}
		}
		if found == "" {
			return "", fmt.Errorf("debugfs lists no %q in %s", part, at)
		}
		at = found
	}
	return at, nil
}

// listed is a line of debugfs' ls -p: /inode/mode/uid/gid/name/size/. A name may
// hold any byte but a slash.
var listed = regexp.MustCompile(`(?s)/(\d+)/\d+/\d+/\d+/([^/]*)/\d*/\n`)

// extra is i_mtime_extra of ext4: two more bits of the seconds below thirty of
// nanoseconds (Documentation/filesystems/ext4/inodes.rst, "Inode Timestamps").
func extra(t unix.Timespec) uint32 {
	epoch := uint32((t.Sec - int64(int32(t.Sec))) >> 32 & 3)
	return epoch | uint32(t.Nsec)<<2
}

// ownsRoot says whether the options give the root folder an owner.
func ownsRoot(f *blockdev.FSPlan) bool {
	return slices.ContainsFunc(f.Options, func(w string) bool { return strings.Contains(w, "root_owner") })
}

// clamp makes a late time of modification the disk's, where that is wanted.
func (d *disk) clamp(t unix.Timespec) unix.Timespec {
	if d.tree.Clamp && d.tree.Time != nil && d.tree.Time.Before(time.Unix(t.Unix())) {
		return unix.NsecToTimespec(d.tree.Time.UnixNano())
	}
	return t
}

// rootCommands set the root folder's own inode like the tree's.
func (d *disk) rootCommands(b *bytes.Buffer, f *blockdev.FSPlan, tree string) error {
	var st unix.Stat_t
	if err := unix.Stat(tree, &st); err != nil {
		return err
	}
	st.Mtim = d.clamp(st.Mtim)
	set := func(field string, value any) { fmt.Fprintf(b, "set_inode_field <2> %s %v\n", field, value) }
	set("mode", fmt.Sprintf("0%o", st.Mode))
	if !ownsRoot(f) {
		set("uid", st.Uid)
		set("gid", st.Gid)
	}
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

// quote writes a name for debugfs' command line, which takes "" for a quote
// within quotes; a line break it cannot take.
func quote(name string) (string, bool) {
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`, !strings.Contains(name, "\n")
}
