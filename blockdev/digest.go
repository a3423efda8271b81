package blockdev

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev/sparse"
)

// Digest is a hash of all of a tree that goes into a file system: names, kinds,
// modes, owners, times of modification (later ones than latest are that), links,
// devices, extended attributes and content. It is the same for copies of the
// tree, whatever they lie on.
//
//	for each name, in the order of a walk with sorted names:
//	    name, mode, owner, time, device; the first name, for a further one of a file
//	    attributes, sorted; a link's path
//	    of a file: size, whether it has holes, then each MiB that is not all zero
func Digest(ctx context.Context, dir string, latest *time.Time) (string, error) {
	d := digester{top: dir, latest: latest, sum: sha256.New(), links: map[[2]uint64]string{}, buf: make([]byte, 1<<20)}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err == nil {
			err = context.Cause(ctx)
		}
		if err == nil {
			err = d.entry(path)
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("hashing %q: %w", dir, err)
	}
	return hex.EncodeToString(d.sum.Sum(nil)), nil
}

type digester struct {
	top    string
	latest *time.Time
	sum    hash.Hash
	links  map[[2]uint64]string
	buf    []byte
}

// add hashes values such that no two lists give the same text.
func (d *digester) add(values ...any) {
	for _, v := range values {
		fmt.Fprintf(d.sum, "%q;", fmt.Sprint(v))
	}
}

func (d *digester) entry(path string) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	inner, err := filepath.Rel(d.top, path)
	if err != nil {
		return err
	}
	mtime := time.Unix(st.Mtim.Unix())
	if d.latest != nil && mtime.After(*d.latest) {
		mtime = *d.latest
	}
	d.add(inner, st.Mode, st.Uid, st.Gid, mtime.UnixNano())
	key := [2]uint64{uint64(st.Dev), st.Ino}
	kind := st.Mode & unix.S_IFMT
	if kind != unix.S_IFDIR && st.Nlink > 1 {
		if first, again := d.links[key]; again {
			d.add("link", first)
			return nil
		}
		d.links[key] = inner
	}
	if err := d.attributes(path); err != nil {
		return err
	}
	switch kind {
	case unix.S_IFREG:
		return d.file(path)
	case unix.S_IFLNK:
		to, err := os.Readlink(path)
		d.add(to)
		return err
	case unix.S_IFCHR, unix.S_IFBLK:
		d.add(st.Rdev)
	}
	return nil
}

func (d *digester) attributes(path string) error {
	all, err := xattrs(path)
	if err != nil {
		return &fs.PathError{Op: "reading extended attributes of", Path: path, Err: err}
	}
	var names []string
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		d.add(name, all[name])
	}
	return nil
}

func (d *digester) file(path string) error {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return &fs.PathError{Op: "fstat", Path: path, Err: err}
	}
	has, err := sparse.Has(int(f.Fd()), &st)
	if err != nil {
		return &fs.PathError{Op: "seek", Path: path, Err: err}
	}
	d.add(st.Size, has)
	told, err := sparse.Told(int(f.Fd()), st.Size)
	if err != nil {
		return &fs.PathError{Op: "seek", Path: path, Err: err}
	}
	done := int64(0) // pieces of a buffer's length
	for _, r := range told {
		for piece := max(done, r.From/int64(len(d.buf))); piece*int64(len(d.buf)) < r.To; piece++ {
			n, err := f.ReadAt(d.buf[:min(int64(len(d.buf)), st.Size-piece*int64(len(d.buf)))], piece*int64(len(d.buf)))
			if err != nil {
				return err
			}
			d.piece(piece, d.buf[:n])
			done = piece + 1
		}
	}
	d.sum.Write(bytes.Repeat([]byte{0xff}, 16)) // no piece's head
	return nil
}

// piece leaves out zeros: whether they are a hole is not a matter of the content.
func (d *digester) piece(number int64, b []byte) {
	if sparse.Zero(b) {
		return
	}
	var head [16]byte
	binary.LittleEndian.PutUint64(head[:], uint64(number))
	binary.LittleEndian.PutUint64(head[8:], uint64(len(b)))
	d.sum.Write(head[:])
	d.sum.Write(b)
}

// xattrs reads the extended attributes of a file, not following links.
func xattrs(path string) (map[string]string, error) {
	n, err := unix.Llistxattr(path, nil)
	if n == 0 && err == nil || errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	list := make([]byte, 64<<10) // the kernel's limit, also for values
	if err == nil {
		n, err = unix.Llistxattr(path, list)
	}
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	value := make([]byte, 64<<10)
	for name := range strings.SplitSeq(strings.TrimRight(string(list[:n]), "\x00"), "\x00") {
		if strings.HasPrefix(name, "trusted.SGI_ACL_") { // xfs shows root its ACLs a second time
			continue
		}
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all[name] = string(value[:n])
	}
	return all, nil
}
