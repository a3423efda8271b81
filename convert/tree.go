package convert

import (
	"archive/tar"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// inlineSize is the largest file that is read ahead into memory; of larger
// ones the kernel is told to read ahead.
const inlineSize = 256 << 10

// inode tells files with several names from each other.
type inode struct{ dev, ino uint64 }

// treeEntry is one file of the tree on its way to the archive.
type treeEntry struct {
	path string // on this machine
	name string // in the archive

	inode  inode
	links  uint64
	header *tar.Header // nil for a socket
	data   []byte      // the content when it is small and has one name
	file   *os.File    // open for reading, when it is large

	done chan struct{} // closed when inspect has been called, whose error is
	err  error
}

// walker finds the entries below root in the order of their names' bytes.
type walker struct {
	root    string
	exclude []string
	found   func(*treeEntry) error
	// left, when set, hears what is left out for its nature: the content of a
	// folder, or a name with all below it.
	left func(name string, content bool)
}

func checkPatterns(patterns []string) error {
	for _, p := range patterns {
		if _, err := path.Match(p, ""); err != nil {
			return fmt.Errorf("pattern %q of what to leave out: %w", p, err)
		}
	}
	return nil
}

func (w *walker) walk() error {
	st, err := os.Stat(w.root)
	if err != nil {
		return fmt.Errorf("reading the tree: %w", err)
	}
	if !st.IsDir() {
		return fmt.Errorf("reading the tree: %q is no folder", w.root)
	}
	// The root itself may be named through a link.
	if err := w.found(&treeEntry{path: w.root + "/.", name: "./"}); err != nil {
		return err
	}
	return w.folder("", 0)
}

// folder walks what is in the folder rel. parent is the device of the folder
// above, 0 for the root's.
func (w *walker) folder(rel string, parent uint64) error {
	dir := filepath.Join(w.root, rel)
	st, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("reading the tree: %w", err)
	}
	dev := st.Sys().(*syscall.Stat_t).Dev
	if empty, err := keptEmpty(dir, rel, dev != parent); err != nil || empty {
		w.leave(rel, true)
		return err
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("reading the tree: %w", err)
	}
	for _, d := range list {
		name := path.Join(rel, d.Name())
		if w.excluded(name) {
			continue
		}
		if d.Name() == "lost+found" && d.IsDir() && dev != parent {
			w.leave(name, false)
			continue
		}
		e := &treeEntry{path: filepath.Join(dir, d.Name()), name: "./" + name}
		if !d.IsDir() {
			if err := w.found(e); err != nil {
				return err
			}
			continue
		}
		e.name += "/"
		if err := w.found(e); err != nil {
			return err
		}
		if err := w.folder(name, dev); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) leave(name string, content bool) {
	if w.left != nil {
		w.left(name, content)
	}
}

func (w *walker) excluded(name string) bool {
	for _, p := range w.exclude {
		if ok, _ := path.Match(p, name); ok { // checkPatterns has seen them
			return true
		}
	}
	return false
}

// inspect finds out all that the archive says of the file, and reads it if it
// is small.
func (e *treeEntry) inspect() error {
	var st unix.Stat_t
	if err := unix.Lstat(e.path, &st); err != nil {
		return fmt.Errorf("reading the tree: %w", &os.PathError{Op: "lstat", Path: e.path, Err: err})
	}
	e.inode, e.links = inode{st.Dev, st.Ino}, uint64(st.Nlink)
	h := &tar.Header{
		Format:  tar.FormatPAX,
		Name:    e.name,
		Mode:    int64(st.Mode & 07777),
		Uid:     int(st.Uid),
		Gid:     int(st.Gid),
		ModTime: time.Unix(st.Mtim.Unix()),
	}
	if !setKind(h, &st) {
		return nil
	}
	if h.Typeflag == tar.TypeSymlink {
		to, err := os.Readlink(e.path)
		if err != nil {
			return fmt.Errorf("reading the tree: %w", err)
		}
		h.Linkname = to
	}
	var err error
	if h.PAXRecords, err = xattrRecords(e.path); err != nil {
		return err
	}
	e.header = h
	return e.readAhead()
}

// setKind sets what the kind of file decides; false for one that an archive
// cannot hold.
func setKind(h *tar.Header, st *unix.Stat_t) bool {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		h.Typeflag, h.Size = tar.TypeReg, st.Size
	case unix.S_IFDIR:
		h.Typeflag = tar.TypeDir
	case unix.S_IFLNK:
		h.Typeflag = tar.TypeSymlink
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	case unix.S_IFCHR:
		h.Typeflag = tar.TypeChar
	case unix.S_IFBLK:
		h.Typeflag = tar.TypeBlock
	default:
		return false
	}
	if h.Typeflag == tar.TypeChar || h.Typeflag == tar.TypeBlock {
		h.Devmajor, h.Devminor = int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
	}
	return true
}

// readAhead spares files with several names: most of those names will not
// need the content.
func (e *treeEntry) readAhead() error {
	size := e.header.Size
	if size == 0 || e.links > 1 {
		return nil
	}
	f, err := e.open()
	if err != nil {
		return err
	}
	if size > inlineSize {
		_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_WILLNEED) // advice
		return nil
	}
	defer func() { f.Close(); e.file = nil }()
	data := make([]byte, size)
	if _, err := io.ReadFull(f, data); err != nil {
		return shorter(e, err)
	}
	e.data = data
	return nil
}

// xattrRecords gives the extended attributes of a file, links not followed, as
// PAX records. The encoding of the two bytes that a record's key cannot hold
// as they are is GNU tar's; ACLs are in their text form only, as GNU tar has it.
func xattrRecords(file string) (map[string]string, error) {
	list, err := xattr(func(b []byte) (int, error) { return unix.Llistxattr(file, b) })
	if err == unix.ENOTSUP || len(list) == 0 && err == nil {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing the extended attributes of %q: %w", file, err)
	}
	records := map[string]string{}
	key := strings.NewReplacer("%", "%25", "=", "%3D")
	for name := range strings.SplitSeq(strings.TrimRight(string(list), "\x00"), "\x00") {
		if strings.HasPrefix(name, "trusted.SGI_ACL_") { // xfs shows root its ACLs under this name, too
			continue
		}
		value, err := xattr(func(b []byte) (int, error) { return unix.Lgetxattr(file, name, b) })
		if err != nil {
			return nil, fmt.Errorf("reading extended attribute %q of %q: %w", name, file, err)
		}
		if acl := aclRecords[name]; acl != "" {
			if records[acl], err = aclText(value); err != nil {
				return nil, fmt.Errorf("reading extended attribute %q of %q: %w", name, file, err)
			}
			continue
		}
		records["SCHILY.xattr."+key.Replace(name)] = string(value)
	}
	return records, nil
}

// xattr calls get with a buffer that is large enough; 64 KiB is the kernel's
// limit, most are far smaller.
func xattr(get func([]byte) (int, error)) ([]byte, error) {
	b := make([]byte, 512)
	n, err := get(b)
	if err == unix.ERANGE {
		b = make([]byte, 64<<10)
		n, err = get(b)
	}
	if err != nil {
		return nil, err
	}
	return b[:n], nil
}
