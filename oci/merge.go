package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// merger copies the diff folders of a run of layers into one diff folder that
// does the same to what lies below:
//
//	folder(parts, highest first):
//	    for each part, for each entry whose name was not seen in a higher part:
//	        deletion: kept where it deletes something that lies below all parts:
//	                  in a folder that merges with nothing, the kernel would list it
//	        folder:   merge it with the folders of that name in the lower parts,
//	                  down to the first that is opaque, or that has something
//	                  else or a deletion there: then the result is opaque
//	        else:     copied; a second name of a file already copied becomes a link
//	    owner, mode, times, attributes: those of the highest part
//
// Whiteouts and opaque marks: the kernel's Documentation/filesystems/overlayfs.
// Contents are cloned where the file system can, else copied. They are not
// linked: a program in the tree would see the link count (gzip and xz refuse
// files with several names, cron ignores such tables).
type merger struct {
	ctx   context.Context
	below stack            // what the result goes on top of
	made  map[inode]string // copied files with several names
}

type inode struct{ dev, ino uint64 }

// mergeDiffs fills the empty folder to, which goes on top of below, with parts,
// highest first.
func mergeDiffs(ctx context.Context, to string, parts, below stack) error {
	m := &merger{ctx: ctx, below: below, made: map[inode]string{}}
	return m.folder(to, ".", parts, false)
}

// folder merges the folders parts, which all show rel. cut means that rel is
// inside an opaque folder.
func (m *merger) folder(to, rel string, parts []string, cut bool) error {
	seen := map[string]bool{}
	for i, part := range parts {
		if err := m.ctx.Err(); err != nil {
			return err
		}
		names, err := os.ReadDir(part)
		if err != nil {
			return err
		}
		for _, n := range names {
			if seen[n.Name()] {
				continue
			}
			seen[n.Name()] = true
			if err := m.entry(filepath.Join(to, n.Name()), filepath.Join(rel, n.Name()), parts[i:], cut); err != nil {
				return err
			}
		}
	}
	return copyFolderMeta(parts[0], to)
}

func (m *merger) entry(to, rel string, parts []string, cut bool) error {
	name := filepath.Base(rel)
	from := filepath.Join(parts[0], name)
	st, err := lstat(from)
	if err != nil {
		return err
	}
	if isWhiteout(st) {
		if _, _, deletes, err := m.below.find(rel); err != nil || cut || !deletes {
			return err
		}
	}
	if !isDir(st) {
		return m.file(to, from, st)
	}
	merged, opaque, err := foldersNamed(parts, name)
	if err != nil {
		return err
	}
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	if err := m.folder(to, rel, merged, cut || opaque); err != nil {
		return err
	}
	if !opaque || cut {
		return nil
	}
	if err := unix.Lsetxattr(to, overlayPrefix()+"opaque", []byte("y"), 0); err != nil {
		return fmt.Errorf("marking %q opaque: %w", to, err)
	}
	return nil
}

// foldersNamed lists the folders that merge under one name, highest first, and
// tells whether they hide what lies below all parts.
func foldersNamed(parts []string, name string) (merged []string, opaque bool, err error) {
	for _, part := range parts {
		path := filepath.Join(part, name)
		st, err := lstat(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, false, err
		}
		if !isDir(st) {
			return merged, true, nil
		}
		merged = append(merged, path)
		if isOpaque(path) {
			return merged, true, nil
		}
	}
	return merged, false, nil
}

func (m *merger) file(to, from string, st unix.Stat_t) error {
	id := inode{uint64(st.Dev), st.Ino}
	many := st.Nlink > 1 && !isWhiteout(st)
	if first := m.made[id]; many && first != "" {
		return os.Link(first, to)
	}
	if many {
		m.made[id] = to
	}
	attrs, err := xattrs(from)
	if err != nil {
		return err
	}
	if err := makeFile(m.ctx, to, from, st); err != nil {
		return fmt.Errorf("copying %q: %w", from, err)
	}
	return setMeta(to, st, attrs)
}

func makeFile(ctx context.Context, to, from string, st unix.Stat_t) error {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return copyContent(ctx, to, from, st.Size)
	case unix.S_IFLNK:
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(target, to)
	default:
		return unix.Mknod(to, st.Mode, int(st.Rdev))
	}
}

// copyContent clones or copies a regular file, holes kept.
func copyContent(ctx context.Context, to, from string, size int64) (err error) {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	if unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())) == nil {
		return nil
	}
	if err := dst.Truncate(size); err != nil {
		return err
	}
	return copyData(ctx, dst, src, size)
}

func copyData(ctx context.Context, dst, src *os.File, size int64) error {
	for at := int64(0); at < size; {
		data, err := src.Seek(at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil // a hole up to the end
		}
		if err != nil {
			return err
		}
		end, err := src.Seek(data, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		if _, err := dst.Seek(data, io.SeekStart); err != nil {
			return err
		}
		if _, err := src.Seek(data, io.SeekStart); err != nil {
			return err
		}
		for data < end {
			if err := ctx.Err(); err != nil {
				return err
			}
			n, err := io.CopyN(dst, src, min(end-data, 64<<20))
			if err != nil {
				return err
			}
			data += n
		}
		at = end
	}
	return nil
}
