package loop

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev/sparse"
)

// copier copies a folder's content and its own metadata into an empty file
// system: type, mode, owner, times to the nanosecond, extended attributes with
// ACLs and capabilities, hard links, holes, devices, fifos, sockets.
//
//	walk:    make folders (open to root alone), links, special files; hand files to workers
//	workers: copy data, then metadata
//	last:    hard links; then the folders' metadata, deepest first
//
// A folder's default ACL would reach its children and a child its time, so
// folders get theirs last.
type copier struct {
	ctx      context.Context
	from, to string
	leave    map[string]bool // folders in from whose content is another file system's
	workers  int
	plain    bool            // content, names and times alone, as of a vfat
	exist    map[string]bool // folders in to that are there already: subvolumes

	seen    map[inode]string // the first copy of a file with several names
	links   [][2]string      // old name, new name
	folders []job            // parents first
	jobs    chan job
	stop    context.CancelFunc
	once    sync.Once
	err     error
}

type inode struct{ dev, ino uint64 }

// job is one thing to copy.
type job struct {
	from, to string
	st       unix.Stat_t
}

func (c *copier) run() error {
	ctx, stop := context.WithCancel(c.ctx)
	defer stop()
	c.ctx, c.stop = ctx, stop
	c.seen, c.jobs = map[inode]string{}, make(chan job, 256)
	if c.workers <= 0 {
		c.workers = 2 * runtime.NumCPU()
	}
	var wg sync.WaitGroup
	for range c.workers {
		wg.Go(c.work)
	}
	root := job{from: c.from, to: c.to}
	err := lstat(c.from, &root.st)
	if err == nil {
		err = c.walk(root)
	}
	close(c.jobs)
	wg.Wait()
	// A worker's mistake ends the walk; it is the one that counts.
	if c.err != nil {
		return c.err
	}
	if err != nil {
		return err
	}
	return c.last()
}

func lstat(path string, st *unix.Stat_t) error {
	if err := unix.Lstat(path, st); err != nil {
		return &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	return nil
}

func (c *copier) fail(err error) {
	c.once.Do(func() { c.err = err; c.stop() })
}

func (c *copier) work() {
	buf := make([]byte, 256<<10)
	for j := range c.jobs {
		if c.ctx.Err() != nil {
			continue
		}
		if err := c.copyFile(j, buf); err != nil {
			c.fail(err)
		}
	}
}

func (c *copier) walk(dir job) error {
	c.folders = append(c.folders, dir)
	if c.leave[dir.from] {
		return nil
	}
	names, err := readNames(dir.from)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		j := job{from: filepath.Join(dir.from, name), to: filepath.Join(dir.to, name)}
		if err := lstat(j.from, &j.st); err != nil {
			return err
		}
		if err := c.entry(j); err != nil {
			return err
		}
	}
	return nil
}

func readNames(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

func (c *copier) entry(j job) error {
	kind := j.st.Mode & unix.S_IFMT
	if kind == unix.S_IFDIR {
		if err := os.Mkdir(j.to, 0o700); err != nil && !(c.exist[j.to] && errors.Is(err, fs.ErrExist)) {
			return err
		}
		return c.walk(j)
	}
	if j.st.Nlink > 1 {
		key := inode{uint64(j.st.Dev), j.st.Ino}
		if first, ok := c.seen[key]; ok {
			c.links = append(c.links, [2]string{first, j.to})
			return nil
		}
		c.seen[key] = j.to
	}
	if kind == unix.S_IFREG {
		select {
		case c.jobs <- j:
			return nil
		case <-c.ctx.Done():
			return c.ctx.Err()
		}
	}
	if err := makeSpecial(j, kind); err != nil {
		return err
	}
	return c.metadata(j)
}

func makeSpecial(j job, kind uint32) error {
	if kind == unix.S_IFLNK {
		target, err := os.Readlink(j.from)
		if err != nil {
			return err
		}
		return os.Symlink(target, j.to)
	}
	if err := unix.Mknod(j.to, kind|0o600, int(j.st.Rdev)); err != nil {
		return &fs.PathError{Op: "mknod", Path: j.to, Err: err}
	}
	return nil
}

func (c *copier) last() error {
	for _, l := range c.links {
		if err := os.Link(l[0], l[1]); err != nil {
			return err
		}
	}
	for i := len(c.folders) - 1; i >= 0; i-- {
		if err := c.metadata(c.folders[i]); err != nil {
			return err
		}
	}
	return nil
}

// copyFile copies one regular file.
func (c *copier) copyFile(j job, buf []byte) error {
	in, err := os.OpenFile(j.from, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(j.to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := copyData(in, out, &j.st, buf); err != nil {
		return errors.Join(&fs.PathError{Op: "copy", Path: j.from, Err: err}, out.Close())
	}
	if err := out.Close(); err != nil {
		return err
	}
	return c.metadata(j)
}

// copyData copies the data and leaves the holes, both as package sparse has them:
// sizes were computed with that.
func copyData(in, out *os.File, st *unix.Stat_t, buf []byte) error {
	has, err := sparse.Has(int(in.Fd()), st)
	if err != nil {
		return err
	}
	if !has {
		return copyRange(in, out, 0, st.Size, buf)
	}
	data, err := sparse.Data(int(in.Fd()), st.Size, 4096)
	if err != nil {
		return err
	}
	for _, r := range data {
		if err := copyRange(in, out, r.From, r.To-r.From, buf); err != nil {
			return err
		}
	}
	return out.Truncate(st.Size)
}

func copyRange(in, out *os.File, pos, n int64, buf []byte) error {
	for n > 0 {
		got, err := in.ReadAt(buf[:min(n, int64(len(buf)))], pos)
		if got == 0 {
			return err // io.EOF: the file became shorter while it was read
		}
		if err := writeAt(out, buf[:got], pos); err != nil {
			return err
		}
		pos, n = pos+int64(got), n-int64(got)
	}
	return nil
}

// writeAt writes, and once more after a sync where the file system is full: ext
// file systems keep blocks back for files that are being written, which are the
// last ones of one whose size was computed.
func writeAt(out *os.File, b []byte, pos int64) error {
	n, err := out.WriteAt(b, pos)
	if !errors.Is(err, unix.ENOSPC) {
		return err
	}
	if err := unix.Syncfs(int(out.Fd())); err != nil {
		return fmt.Errorf("syncing: %w", err)
	}
	_, err = out.WriteAt(b[n:], pos+int64(n))
	return err
}

// metadata gives the copy everything but its content. The order matters: chown
// clears set-id bits and capabilities, an ACL is part of the mode, and all of
// them come before the times.
func (c *copier) metadata(j job) error {
	if c.plain {
		return plainMetadata(j)
	}
	if err := unix.Lchown(j.to, int(j.st.Uid), int(j.st.Gid)); err != nil {
		return &fs.PathError{Op: "chown", Path: j.to, Err: err}
	}
	if j.st.Mode&unix.S_IFMT != unix.S_IFLNK {
		if err := unix.Chmod(j.to, j.st.Mode&0o7777); err != nil {
			return &fs.PathError{Op: "chmod", Path: j.to, Err: err}
		}
	}
	if err := attributes(j); err != nil {
		return err
	}
	return setTimes(j)
}

// plainMetadata gives what a mounted vfat shows.
func plainMetadata(j job) error {
	if j.st.Mode&unix.S_IFMT != unix.S_IFLNK {
		if err := unix.Chmod(j.to, 0o755); err != nil {
			return &fs.PathError{Op: "chmod", Path: j.to, Err: err}
		}
	}
	return setTimes(j)
}

func setTimes(j job) error {
	times := []unix.Timespec{j.st.Atim, j.st.Mtim}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, j.to, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &fs.PathError{Op: "utimensat", Path: j.to, Err: err}
	}
	return nil
}

// attributes copies extended attributes; ACLs and capabilities are some.
func attributes(j job) error {
	list, err := getAttribute(func(b []byte) (int, error) { return unix.Llistxattr(j.from, b) })
	if err != nil || len(list) == 0 {
		return attributeError("llistxattr", j.from, err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list), "\x00"), "\x00") {
		if strings.HasPrefix(name, "trusted.SGI_ACL_") { // xfs shows an ACL under this name, too
			continue
		}
		v, err := getAttribute(func(b []byte) (int, error) { return unix.Lgetxattr(j.from, name, b) })
		if err != nil {
			return attributeError("lgetxattr "+name, j.from, err)
		}
		if err := unix.Lsetxattr(j.to, name, v, 0); err != nil {
			return &fs.PathError{Op: "lsetxattr " + name, Path: j.to, Err: err}
		}
	}
	return nil
}

func attributeError(op, path string, err error) error {
	if err == nil || errors.Is(err, unix.ENOTSUP) { // the tree's file system has none
		return nil
	}
	return &fs.PathError{Op: op, Path: path, Err: err}
}

// getAttribute calls get with a buffer that is large enough.
func getAttribute(get func([]byte) (int, error)) ([]byte, error) {
	n, err := get(nil)
	if err != nil || n == 0 {
		return nil, err
	}
	buf := make([]byte, n)
	n, err = get(buf)
	if err != nil {
		return nil, err
	}
	return buf[:n], nil
}
