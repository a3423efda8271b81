package blockdev

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev/sparse"
)

// blockSize is what file systems of ours count in.
const blockSize = 4096

// MakeMountPoints makes the folders of mount points that a tree lacks, mode
// 0755, parents first, and keeps their parents' times. A step of the build does
// so once: then both back ends find the same tree.
func MakeMountPoints(root string, mountPoints []string) error {
	mps := slices.Clone(mountPoints)
	slices.SortFunc(mps, compareMountPoints)
	for _, mp := range mps {
		path := root
		for _, c := range components(mp) {
			parent := path
			path = filepath.Join(path, c)
			if err := makeFolder(parent, path); err != nil {
				return fmt.Errorf("mount point %s: %w", mp, err)
			}
		}
	}
	return nil
}

func makeFolder(parent, path string) error {
	st, err := os.Lstat(path)
	if err == nil {
		return folder(st)
	}
	var old unix.Stat_t
	if err := unix.Lstat(parent, &old); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o755); err != nil {
		return err
	}
	if err := os.Chmod(path, 0o755); err != nil { // whatever the umask
		return err
	}
	times := []unix.Timespec{old.Atim, old.Mtim}
	return errors.Join(
		unix.UtimesNanoAt(unix.AT_FDCWD, path, times, unix.AT_SYMLINK_NOFOLLOW),
		unix.UtimesNanoAt(unix.AT_FDCWD, parent, times, unix.AT_SYMLINK_NOFOLLOW))
}

func folder(st fs.FileInfo) error {
	if st.IsDir() {
		return nil
	}
	return fmt.Errorf("%s is a %s in the tree; a folder is wanted", st.Name(), kindOf(st.Mode()))
}

func kindOf(m fs.FileMode) string {
	switch {
	case m&fs.ModeSymlink != 0:
		return "symbolic link"
	case m.IsRegular():
		return "file"
	}
	return "special file"
}

// Measure walks the tree below root once and returns what each mount point's
// file system will hold; what lies below another mount point counts there. The
// figures do not depend on the file system that the tree is on. The tree has
// every mount point and nothing mounted in it.
func Measure(ctx context.Context, root string, mountPoints []string) (map[string]Content, error) {
	m := measurer{ctx: ctx, of: map[string]*Content{}, links: map[linkKey]bool{}}
	for _, mp := range mountPoints {
		if err := checkMountPoint(root, mp); err != nil {
			return nil, err
		}
		m.of[mp] = &Content{Inodes: 1, Dirs: 1} // its root folder
	}
	// Without a mount at / what lies outside mount points goes nowhere.
	top := m.of["/"]
	if top == nil {
		top = &Content{}
	}
	if err := m.dir(root, "/", top); err != nil {
		return nil, fmt.Errorf("measuring %s: %w", root, err)
	}
	all := map[string]Content{}
	for mp, c := range m.of {
		all[mp] = *c
	}
	return all, nil
}

func checkMountPoint(root, mp string) error {
	path := root
	for _, c := range components(mp) {
		path = filepath.Join(path, c)
		st, err := os.Lstat(path)
		if err == nil {
			err = folder(st)
		}
		if err != nil {
			return fmt.Errorf("mount point %s: %w", mp, err)
		}
	}
	return nil
}

type linkKey struct {
	dev, ino uint64
	in       *Content // two file systems cannot share an inode
}

type measurer struct {
	ctx   context.Context
	of    map[string]*Content
	links map[linkKey]bool
}

// dir measures what is in one folder; inner is its path in the tree. The
// folder's own inode is counted by its parent.
func (m *measurer) dir(path, inner string, c *Content) error {
	if err := m.ctx.Err(); err != nil {
		return err
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	c.Bytes += folderBytes(entries)
	if err := m.attributes(path, c); err != nil {
		return err
	}
	for _, e := range entries {
		if err := m.entry(filepath.Join(path, e.Name()), strings.TrimSuffix(inner, "/")+"/"+e.Name(), c); err != nil {
			return err
		}
	}
	return nil
}

func (m *measurer) entry(path, inner string, c *Content) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	if st.Nlink > 1 && !isDir {
		key := linkKey{uint64(st.Dev), st.Ino, c}
		if m.links[key] {
			return nil
		}
		m.links[key] = true
	}
	c.Inodes++
	if isDir {
		c.Dirs++
		if own := m.of[inner]; own != nil {
			c.Bytes += blockSize // the empty folder below the mount
			c = own
		}
		return m.dir(path, inner, c)
	}
	if err := m.attributes(path, c); err != nil {
		return err
	}
	return m.data(path, &st, c)
}

func (m *measurer) data(path string, st *unix.Stat_t, c *Content) error {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		if st.Size >= 60 { // shorter ones live in the inode
			c.Bytes += blockSize
			c.Inline += blockSize
		}
	case unix.S_IFREG:
		n, err := dataBytes(path, st)
		if err != nil {
			return err
		}
		c.Bytes += n
		c.Indirect += indirectBytes(n)
	}
	return nil
}

// lookForHoles is from what length on, in bytes, a file's holes are worth the
// calls. Whether there are some cannot be seen from stat: blocks are counted
// differently from file system to file system.
const lookForHoles = 64 << 10

// dataBytes counts the blocks of a file that hold data, where package sparse says
// that it has holes those that are not all zero.
func dataBytes(path string, st *unix.Stat_t) (n int64, err error) {
	if st.Size <= lookForHoles {
		return roundUp(st.Size, blockSize), nil
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0, err
	}
	defer f.Close() // only read
	has, err := sparse.Has(int(f.Fd()), st)
	if err != nil || !has {
		return roundUp(st.Size, blockSize), err
	}
	data, err := sparse.Data(int(f.Fd()), st.Size, blockSize)
	for _, r := range data {
		n += roundUp(r.To-r.From, blockSize)
	}
	return n, err
}

// indirectBytes is the cost of block maps: 12 blocks are named in the inode,
// 1024 in each further block, and those are named once more.
func indirectBytes(n int64) int64 {
	blocks := n/blockSize - 12
	if blocks <= 0 {
		return 0
	}
	maps := (blocks + 1023) / 1024
	if maps > 1 {
		maps += 1 + maps/1024
	}
	return maps * blockSize
}

// folderBytes is the size of an ext folder: entries of 8 bytes and the name, and
// beyond one block an index and leaves that are three quarters full.
func folderBytes(entries []os.DirEntry) int64 {
	n := int64(24) // . and ..
	for _, e := range entries {
		n += roundUp(8+int64(len(e.Name())), 4)
	}
	if n <= blockSize {
		return blockSize
	}
	return blockSize + roundUp(n*4/3, blockSize)
}

// attributes counts one block where there are extended attributes; small ones
// would fit into the inode. The names are read, not asked for their length:
// overlay counts its own in that, and so how a tree was layered.
func (m *measurer) attributes(path string, c *Content) error {
	var names [4096]byte
	n, err := unix.Llistxattr(path, names[:])
	if errors.Is(err, unix.ERANGE) { // there are many
		n, err = len(names), nil
	}
	if err != nil && !errors.Is(err, unix.ENOTSUP) {
		return &fs.PathError{Op: "llistxattr", Path: path, Err: err}
	}
	if n > 0 {
		c.Bytes += blockSize
		c.Inline += blockSize
	}
	return nil
}
