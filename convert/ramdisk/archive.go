package ramdisk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Archive is what a ramdisk will hold. The content of its files is read when it is
// written. It is for one goroutine.
type Archive struct {
	entries map[string]*entry // by path without a slash in front
}

// entry is a file of any kind.
type entry struct {
	mode         uint32 // type and permissions, as stat(2) has them
	uid, gid     uint32
	file         string // of the host; "" where data holds the content
	size         int64
	data         []byte // or where a link leads
	major, minor uint32
	// same is the same for the names of one file, zero where there is one name.
	same fileID
}

type fileID struct{ device, inode uint64 }

// NewArchive gives an archive with nothing in it.
func NewArchive() *Archive { return &Archive{entries: map[string]*entry{}} }

// Has says whether a path is there.
func (a *Archive) Has(name string) bool { return a.entries[clean(name)] != nil }

// clean is a path of the ramdisk as the archive has it; "" is the root.
func clean(name string) string { return path.Clean("/" + name)[1:] }

// Dir adds a folder, and those above it. What is there already stays.
func (a *Archive) Dir(name string, mode fs.FileMode) {
	name = clean(name)
	if name == "" || a.entries[name] != nil {
		return
	}
	a.Dir(path.Dir(name), 0o755)
	a.entries[name] = &entry{mode: unix.S_IFDIR | uint32(mode.Perm()) | sticky(mode)}
}

// specialBits are the bits beside the permissions, as Go and stat(2) have them.
var specialBits = map[fs.FileMode]uint32{fs.ModeSetuid: unix.S_ISUID, fs.ModeSetgid: unix.S_ISGID, fs.ModeSticky: unix.S_ISVTX}

func sticky(mode fs.FileMode) (bits uint32) {
	for flag, bit := range specialBits {
		if mode&flag != 0 {
			bits |= bit
		}
	}
	return bits
}

// put adds an entry with the folders above it, in the place of what is there.
func (a *Archive) put(name string, e *entry) {
	name = clean(name)
	a.Dir(path.Dir(name), 0o755)
	a.entries[name] = e
}

// Data adds a file with this content, root's.
func (a *Archive) Data(name string, mode fs.FileMode, data []byte) {
	a.put(name, &entry{mode: unix.S_IFREG | uint32(mode.Perm()) | sticky(mode), data: data, size: int64(len(data))})
}

// Link adds a symbolic link that leads to to.
func (a *Archive) Link(name, to string) {
	a.put(name, &entry{mode: unix.S_IFLNK | 0o777, data: []byte(to), size: int64(len(to))})
}

// Char adds the node of a character device.
func (a *Archive) Char(name string, mode fs.FileMode, major, minor uint32) {
	a.put(name, &entry{mode: unix.S_IFCHR | uint32(mode.Perm()), major: major, minor: minor})
}

// Without is what a has and b has not, by path.
func (a *Archive) Without(b *Archive) *Archive {
	rest := NewArchive()
	for name, e := range a.entries {
		if b.entries[name] == nil {
			rest.entries[name] = e
		}
	}
	return rest
}

// Move puts what is below the folder from below the folder to.
func (a *Archive) Move(from, to string) {
	for _, name := range a.Names() {
		if rest, ok := strings.CutPrefix(name, from+"/"); ok {
			e := a.entries[name]
			delete(a.entries, name)
			a.put(path.Join(to, rest), e)
		}
	}
}

// Remove takes a file out.
func (a *Archive) Remove(name string) { delete(a.entries, clean(name)) }

// IsDir says whether there is a folder at a path, and not a link to one.
func (a *Archive) IsDir(name string) bool {
	e := a.entries[clean(name)]
	return e != nil && e.mode&unix.S_IFMT == unix.S_IFDIR
}

// Files is the number of entries, and how many bytes of content they have.
func (a *Archive) Files() (count int, size int64) {
	for _, e := range a.entries {
		size += e.size
	}
	return len(a.entries), size
}

// Names are the paths of the archive, sorted, without a slash in front.
func (a *Archive) Names() []string { return slices.Sorted(maps.Keys(a.entries)) }

// ReadTree gives an archive of everything below dir: owners, modes, links and
// nodes as they are. Sockets are left out. Names of one file stay so.
func ReadTree(dir string) (*Archive, error) {
	a := NewArchive()
	err := filepath.WalkDir(dir, func(file string, _ fs.DirEntry, err error) error {
		if err != nil || file == dir {
			return err
		}
		e, err := readEntry(file)
		if err != nil || e == nil {
			return err
		}
		name, err := filepath.Rel(dir, file)
		a.entries[name] = e
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the ramdisk's tree %q: %w", dir, err)
	}
	return a, nil
}

func readEntry(file string) (*entry, error) {
	var st unix.Stat_t
	if err := unix.Lstat(file, &st); err != nil {
		return nil, &fs.PathError{Op: "lstat", Path: file, Err: err}
	}
	e := &entry{mode: st.Mode, uid: st.Uid, gid: st.Gid}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		e.file, e.size = file, st.Size
		if st.Nlink > 1 {
			e.same = fileID{st.Dev, st.Ino}
		}
	case unix.S_IFLNK:
		to, err := os.Readlink(file)
		if err != nil {
			return nil, err
		}
		e.data, e.size = []byte(to), int64(len(to))
	case unix.S_IFCHR, unix.S_IFBLK:
		e.major, e.minor = unix.Major(st.Rdev), unix.Minor(st.Rdev)
	case unix.S_IFSOCK:
		return nil, nil
	}
	return e, nil
}

// Options rule how an archive is written. The zero value works.
type Options struct {
	Time     time.Time         // of every file; 1970 when zero
	Progress func(bytes int64) // hears how much content has been written
}

// Write writes the archive: names sorted, inode numbers counted from one, every
// file with the one time that is given. Equal archives give equal bytes.
func (a *Archive) Write(ctx context.Context, w io.Writer, o Options) error {
	c := &cpioWriter{w: w}
	var seconds int64
	if !o.Time.IsZero() {
		seconds = o.Time.Unix()
	}
	links := a.links()
	inodes := map[fileID]uint32{}
	var done int64
	for i, name := range a.Names() {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		e := a.entries[name]
		h := header{name: name, inode: uint32(i + 1), mode: e.mode, uid: e.uid, gid: e.gid, links: 1, time: seconds, size: e.size, major: e.major, minor: e.minor}
		if e.mode&unix.S_IFMT == unix.S_IFDIR {
			h.links = 2
		}
		if of := links[e.same]; e.same != (fileID{}) && of.count > 1 {
			if inodes[e.same] == 0 {
				inodes[e.same] = h.inode
			}
			h.inode, h.links = inodes[e.same], of.count
			if name != of.last { // the content is with the last name
				h.size = 0
			}
		}
		if err := writeEntry(c, h, e); err != nil {
			return fmt.Errorf("writing %q to the ramdisk: %w", name, err)
		}
		if done += h.size; o.Progress != nil {
			o.Progress(done)
		}
	}
	if err := c.end(); err != nil {
		return fmt.Errorf("ending the ramdisk: %w", err)
	}
	return nil
}

// group tells of the names of one file.
type group struct {
	count uint32
	last  string
}

func (a *Archive) links() map[fileID]group {
	groups := map[fileID]group{}
	for name, e := range a.entries {
		if e.same != (fileID{}) {
			g := groups[e.same]
			groups[e.same] = group{g.count + 1, max(g.last, name)}
		}
	}
	return groups
}

func writeEntry(c *cpioWriter, h header, e *entry) error {
	if err := c.begin(h); err != nil {
		return err
	}
	if h.size == 0 {
		return nil
	}
	if e.file == "" {
		if _, err := c.Write(e.data); err != nil {
			return err
		}
		return c.fill(4)
	}
	if err := writeFile(c, h, e.file); err != nil {
		return err
	}
	return c.fill(4)
}

func writeFile(c *cpioWriter, h header, file string) (err error) {
	f, err := os.OpenFile(file, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	n, err := io.Copy(c, io.LimitReader(f, h.size))
	if err == nil && n < h.size {
		err = fmt.Errorf("%q has %d bytes, and had %d when it was looked at: %w", file, n, h.size, io.ErrUnexpectedEOF)
	}
	return err
}

// Extract lays the archive out in the empty folder dir, for programs that want to
// change it. All files are the caller's; nodes of devices are left out.
func (a *Archive) Extract(ctx context.Context, dir string) (err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("opening the ramdisk's folder: %w", err)
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	names := a.Names()
	for _, name := range names { // a folder comes before what is in it
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := a.entries[name].extract(root, name); err != nil {
			return fmt.Errorf("laying out %q of the ramdisk: %w", name, err)
		}
	}
	for _, name := range slices.Backward(names) { // when nothing more is written below
		if e := a.entries[name]; e.mode&unix.S_IFMT == unix.S_IFDIR {
			if err := root.Chmod(name, fileMode(e.mode)); err != nil {
				return err
			}
		}
	}
	return nil
}

func fileMode(mode uint32) fs.FileMode {
	m := fs.FileMode(mode & 0o777)
	for flag, bit := range specialBits {
		if mode&bit != 0 {
			m |= flag
		}
	}
	return m
}

func (e *entry) extract(root *os.Root, name string) error {
	switch e.mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return root.Mkdir(name, 0o755)
	case unix.S_IFLNK:
		return root.Symlink(string(e.data), name)
	case unix.S_IFREG:
		return e.extractFile(root, name)
	}
	return nil
}

func (e *entry) extractFile(root *os.Root, name string) (err error) {
	out, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	var in io.Reader = strings.NewReader(string(e.data))
	if e.file != "" {
		f, err := os.OpenFile(e.file, os.O_RDONLY|unix.O_NOFOLLOW, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.Chmod(fileMode(e.mode))
}
