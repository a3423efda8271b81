package oci

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// layerTar writes files of a tree as an image layer: numeric owners, times in
// whole seconds, extended attributes as SCHILY.xattr records, deletions as empty
// files called .wh.NAME, so that equal trees give equal bytes.
//
// Source of the format: OCI image specification, layer.md; pax(1).
type layerTar struct {
	ctx   context.Context
	root  string
	w     *tar.Writer
	names map[inode]string // first names of files with several
	buf   []byte
}

const whiteout = ".wh."

// writeLayerTar writes entries of the tree below root to w.
func writeLayerTar(ctx context.Context, w io.Writer, root string, entries []deltaEntry) error {
	t := &layerTar{ctx: ctx, root: root, w: tar.NewWriter(w), names: map[inode]string{}, buf: make([]byte, 256<<10)}
	for _, e := range entries {
		if err := t.entry(e); err != nil {
			return err
		}
	}
	return t.w.Close()
}

func (t *layerTar) entry(e deltaEntry) error {
	if err := t.ctx.Err(); err != nil {
		return err
	}
	if strings.HasPrefix(filepath.Base(e.name), whiteout) {
		return fmt.Errorf("%q cannot be put into an image: names that begin with .wh. mean deletions there", "/"+e.name)
	}
	if e.gone {
		return t.deletion(e.name)
	}
	path := filepath.Join(t.root, e.name)
	st, err := lstat(path)
	if err != nil {
		return err
	}
	h, err := t.header(path, e.name, st)
	if err != nil || h == nil {
		return err
	}
	if err := t.w.WriteHeader(h); err != nil {
		return fmt.Errorf("archiving %q: %w", "/"+e.name, err)
	}
	if h.Typeflag == tar.TypeReg && h.Size > 0 {
		return t.content(path, h.Size)
	}
	return nil
}

func (t *layerTar) deletion(name string) error {
	dir, base := filepath.Split(name)
	h := &tar.Header{Format: tar.FormatPAX, Typeflag: tar.TypeReg, Name: dir + whiteout + base, ModTime: time.Unix(0, 0)}
	if err := t.w.WriteHeader(h); err != nil {
		return fmt.Errorf("archiving the deletion of %q: %w", "/"+name, err)
	}
	return nil
}

// header is nil for what a layer cannot hold.
func (t *layerTar) header(path, name string, st unix.Stat_t) (*tar.Header, error) {
	h := &tar.Header{
		Format: tar.FormatPAX, Name: name, Mode: int64(st.Mode & 0o7777),
		Uid: int(st.Uid), Gid: int(st.Gid), ModTime: time.Unix(st.Mtim.Sec, 0),
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
		if name == "" {
			h.Name = "./"
		}
	case unix.S_IFLNK:
		target, err := os.Readlink(path)
		if err != nil {
			return nil, err
		}
		h.Typeflag, h.Linkname = tar.TypeSymlink, target
	case unix.S_IFREG:
		h.Typeflag, h.Size = tar.TypeReg, st.Size
	case unix.S_IFCHR:
		h.Typeflag = tar.TypeChar
	case unix.S_IFBLK:
		h.Typeflag = tar.TypeBlock
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	default:
		return nil, nil
	}
	if h.Typeflag == tar.TypeChar || h.Typeflag == tar.TypeBlock {
		h.Devmajor, h.Devminor = int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
	}
	if t.again(h, name, st) {
		return h, nil
	}
	return h, addXattrs(h, path)
}

// again makes h a link when the file was written under another name.
func (t *layerTar) again(h *tar.Header, name string, st unix.Stat_t) bool {
	if isDir(st) || st.Nlink < 2 {
		return false
	}
	id := inode{uint64(st.Dev), st.Ino}
	first, ok := t.names[id]
	if !ok {
		t.names[id] = name
		return false
	}
	h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
	h.Devmajor, h.Devminor = 0, 0
	return true
}

func addXattrs(h *tar.Header, path string) error {
	attrs, err := imageXattrs(path)
	if err != nil {
		return err
	}
	for name, v := range attrs {
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords["SCHILY.xattr."+name] = string(v)
	}
	return nil
}

func (t *layerTar) content(path string, size int64) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	n, err := io.CopyBuffer(struct{ io.Writer }{t.w}, io.LimitReader(f, size), t.buf)
	if err == nil && n != size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("archiving %q: %w", path, err)
	}
	return nil
}
