package oci

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// unpacker fills a fresh diff folder from what packer wrote, or a registry says
// it did. Nothing outside the folder can be reached: every name is clean and
// relative, comes once, and lies in a folder that the same archive made before,
// so no link is ever followed; a hard link goes to a file that the same archive
// made. With an empty root everything is checked and nothing written.
type unpacker struct {
	ctx     context.Context
	root    string
	folders map[string]bool
	files   map[string]bool // what may be linked to
	done    []folderMeta    // set last: what is put into a folder changes its time
	buf     []byte
}

type folderMeta struct {
	name  string
	st    unix.Stat_t
	attrs map[string][]byte
}

// unpack reads an archive into the folder root, which is empty. It reads to the
// end of r.
func unpack(ctx context.Context, root string, r io.Reader) error {
	u := &unpacker{ctx: ctx, root: root, folders: map[string]bool{}, files: map[string]bool{}, buf: make([]byte, 256<<10)}
	t := tar.NewReader(r)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = u.entry(h, t)
		}
		if err != nil {
			return err
		}
	}
	if !u.folders["."] {
		return errors.New("the archive has no root folder")
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return err
	}
	return u.finish()
}

func (u *unpacker) finish() error {
	for i := len(u.done) - 1; i >= 0 && u.root != ""; i-- {
		if err := setMeta(u.at(u.done[i].name), u.done[i].st, u.done[i].attrs); err != nil {
			return err
		}
	}
	return nil
}

func (u *unpacker) at(name string) string { return filepath.Join(u.root, name) }

func (u *unpacker) entry(h *tar.Header, r io.Reader) error {
	if err := u.ctx.Err(); err != nil {
		return err
	}
	name, err := u.name(h)
	if err != nil {
		return err
	}
	attrs, err := archivedXattrs(h)
	if err != nil {
		return err
	}
	st, err := archivedStat(h)
	if err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return u.folder(name, h, folderMeta{name, st, attrs})
	case tar.TypeLink:
		return u.link(name, h.Linkname)
	}
	u.files[name] = true
	if _, _, err := dataOf(h); err != nil {
		return fmt.Errorf("the archive holds %q: %w", h.Name, err)
	}
	if u.root == "" {
		return nil
	}
	if err := u.make(name, h, st, r); err != nil {
		return fmt.Errorf("unpacking %q: %w", "/"+name, err)
	}
	if isWhiteout(st) {
		return nil
	}
	return setMeta(u.at(name), st, attrs)
}

// name checks and notes the name of an entry.
func (u *unpacker) name(h *tar.Header) (string, error) {
	name := h.Name
	if h.Typeflag == tar.TypeDir {
		name = strings.TrimSuffix(name, "/")
	}
	switch {
	case name == "." && h.Typeflag == tar.TypeDir && !u.folders["."]:
		return name, nil
	case name == "." || name != path.Clean(name) || path.IsAbs(name) || name == ".." || strings.HasPrefix(name, "../") || strings.Contains(name, "\x00"):
		return "", fmt.Errorf("the archive holds %q, which is no plain relative name", h.Name)
	case u.folders[name] || u.files[name]:
		return "", fmt.Errorf("the archive holds %q twice", h.Name)
	case !u.folders[path.Dir(name)]:
		return "", fmt.Errorf("the archive holds %q before the folder that it lies in", h.Name)
	}
	return name, nil
}

func (u *unpacker) folder(name string, h *tar.Header, meta folderMeta) error {
	u.folders[name] = true
	u.done = append(u.done, meta)
	if u.root == "" {
		return nil
	}
	if name != "." {
		if err := os.Mkdir(u.at(name), 0o700); err != nil {
			return err
		}
	}
	if h.PAXRecords[paxOpaque] == "" || name == "." {
		return nil
	}
	if err := unix.Lsetxattr(u.at(name), overlayPrefix()+"opaque", []byte("y"), 0); err != nil {
		return fmt.Errorf("marking %q opaque: %w", "/"+name, err)
	}
	return nil
}

func (u *unpacker) link(name, to string) error {
	if !u.files[to] {
		return fmt.Errorf("the archive links %q to %q, which is no file that it holds", name, to)
	}
	u.files[name] = true
	if u.root == "" {
		return nil
	}
	return os.Link(u.at(to), u.at(name))
}

func (u *unpacker) make(name string, h *tar.Header, st unix.Stat_t, r io.Reader) error {
	switch h.Typeflag {
	case tar.TypeReg:
		return u.regular(u.at(name), h, r)
	case tar.TypeSymlink:
		return os.Symlink(h.Linkname, u.at(name))
	}
	return unix.Mknod(u.at(name), st.Mode, int(st.Rdev))
}

func (u *unpacker) regular(at string, h *tar.Header, r io.Reader) (err error) {
	size, data, err := dataOf(h)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(at, os.O_CREATE|os.O_EXCL|os.O_WRONLY|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for _, e := range data {
		w := io.NewOffsetWriter(f, e.offset)
		n, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{io.LimitReader(r, e.length)}, u.buf)
		if err == nil && n != e.length {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
	}
	return f.Truncate(size)
}

// dataOf says how large a file is and where the archived bytes go.
func dataOf(h *tar.Header) (size int64, data []extent, err error) {
	text, sparse := h.PAXRecords[paxData]
	if !sparse {
		return h.Size, []extent{{0, h.Size}}, nil
	}
	bad := fmt.Errorf("its holes are not ones that a file can have")
	first, rest, _ := strings.Cut(text, " ")
	if size, err = strconv.ParseInt(first, 10, 64); err != nil || size < 0 {
		return 0, nil, bad
	}
	var sum, end int64
	for _, word := range strings.Fields(rest) {
		offset, length, _ := strings.Cut(word, "+")
		var e extent
		var err2 error
		e.offset, err = strconv.ParseInt(offset, 10, 64)
		e.length, err2 = strconv.ParseInt(length, 10, 64)
		if err != nil || err2 != nil || e.offset < end || e.length <= 0 || e.length > size-e.offset {
			return 0, nil, bad
		}
		end = e.offset + e.length
		sum += e.length
		data = append(data, e)
	}
	if sum != h.Size {
		return 0, nil, bad
	}
	return size, data, nil
}

// archivedXattrs are the attributes of an entry; those of overlay mounts could
// make a file show what lies elsewhere.
func archivedXattrs(h *tar.Header) (map[string][]byte, error) {
	var attrs map[string][]byte
	for record, v := range h.PAXRecords {
		if strings.HasPrefix(record, "GNU.sparse") { // a few bytes that unpack to any size
			return nil, fmt.Errorf("the archive holds %q in a form that packers of layers do not write", h.Name)
		}
		name, ok := strings.CutPrefix(record, paxXattr)
		if !ok {
			continue
		}
		if isOverlays(name) {
			return nil, fmt.Errorf("the archive gives %q the attribute %q, which is overlay's own", h.Name, name)
		}
		if attrs == nil {
			attrs = map[string][]byte{}
		}
		attrs[name] = []byte(v)
	}
	return attrs, nil
}

var archivedTypes = map[byte]uint32{
	tar.TypeReg: unix.S_IFREG, tar.TypeDir: unix.S_IFDIR, tar.TypeSymlink: unix.S_IFLNK, tar.TypeChar: unix.S_IFCHR,
	tar.TypeBlock: unix.S_IFBLK, tar.TypeFifo: unix.S_IFIFO, tar.TypeLink: 0,
}

func archivedStat(h *tar.Header) (st unix.Stat_t, err error) {
	kind, ok := archivedTypes[h.Typeflag]
	if !ok {
		return st, fmt.Errorf("the archive holds %q of type %q, which no layer has", h.Name, h.Typeflag)
	}
	if h.PAXRecords[paxSocket] != "" && h.Typeflag == tar.TypeFifo {
		kind = unix.S_IFSOCK
	}
	st.Mode = kind | uint32(h.Mode&0o7777)
	st.Uid, st.Gid = uint32(h.Uid), uint32(h.Gid)
	st.Rdev = unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))
	st.Mtim = unix.Timespec{Sec: h.ModTime.Unix(), Nsec: int64(h.ModTime.Nanosecond())}
	st.Atim = st.Mtim
	return st, nil
}
