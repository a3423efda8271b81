package oci

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// packer writes the diff folders of a run of layers as one archive, merged as
// merger does, without copying anything. The archive is a pax tar of the diff
// folder that would result, in lexical order, with times in nanoseconds, so that
// equal changes give equal bytes:
//
//	deletion          a character device 0:0, as overlay has it: no tree can
//	                  hold a real one
//	LITHIFY.opaque    "y" on a folder that hides the one below
//	LITHIFY.socket    "y" on a pipe that is a socket
//	LITHIFY.data      of a file with holes: its size and where its data lies,
//	                  "SIZE OFFSET+LENGTH …"; the archive holds the data alone
//	SCHILY.xattr.*    extended attributes, without overlay's own and SELinux's
type packer struct {
	ctx   context.Context
	w     *tar.Writer
	below stack
	names map[inode]string // first names of files with several
	buf   []byte
}

const (
	paxOpaque = "LITHIFY.opaque"
	paxSocket = "LITHIFY.socket"
	paxData   = "LITHIFY.data"
	paxXattr  = "SCHILY.xattr."
)

// pack writes parts, highest first, which lie on below.
func pack(ctx context.Context, w io.Writer, parts, below stack) error {
	p := &packer{ctx: ctx, w: tar.NewWriter(w), below: below, names: map[inode]string{}, buf: make([]byte, 256<<10)}
	if err := p.folder(".", parts, false, false); err != nil {
		return err
	}
	return p.w.Close()
}

// folder writes the folders parts, which all show rel, as one.
func (p *packer) folder(rel string, parts []string, cut, opaque bool) error {
	if err := p.ctx.Err(); err != nil {
		return err
	}
	st, err := lstat(parts[0])
	if err != nil {
		return err
	}
	h := &tar.Header{Typeflag: tar.TypeDir, Name: rel + "/"}
	if opaque {
		h.PAXRecords = map[string]string{paxOpaque: "y"}
	}
	if err := p.header(h, parts[0], st); err != nil {
		return err
	}
	first := map[string]int{} // the highest part that has the name
	for i, part := range parts {
		names, err := os.ReadDir(part)
		if err != nil {
			return err
		}
		for _, n := range names {
			if _, seen := first[n.Name()]; !seen {
				first[n.Name()] = i
			}
		}
	}
	for _, name := range sortedNames(first) {
		if err := p.entry(filepath.Join(rel, name), parts[first[name]:], cut || opaque); err != nil {
			return err
		}
	}
	return nil
}

func sortedNames(m map[string]int) []string {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

func (p *packer) entry(rel string, parts []string, cut bool) error {
	name := filepath.Base(rel)
	from := filepath.Join(parts[0], name)
	st, err := lstat(from)
	if err != nil {
		return err
	}
	if isWhiteout(st) {
		if _, _, deletes, err := p.below.find(rel); err != nil || cut || !deletes {
			return err
		}
		return p.write(&tar.Header{Typeflag: tar.TypeChar, Name: rel, ModTime: time.Unix(0, 0)})
	}
	if !isDir(st) {
		return p.file(rel, from, st)
	}
	merged, opaque, err := foldersNamed(parts, name)
	if err != nil {
		return err
	}
	// What lies below all parts is hidden by a folder that is in it anew, too.
	return p.folder(rel, merged, cut, opaque && !cut)
}

func (p *packer) file(rel, from string, st unix.Stat_t) error {
	id := inode{uint64(st.Dev), st.Ino}
	if st.Nlink > 1 {
		if first := p.names[id]; first != "" {
			return p.write(&tar.Header{Typeflag: tar.TypeLink, Name: rel, Linkname: first, ModTime: time.Unix(0, 0)})
		}
		p.names[id] = rel
	}
	h := &tar.Header{Name: rel}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return p.regular(h, from, st)
	case unix.S_IFLNK:
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		h.Typeflag, h.Linkname = tar.TypeSymlink, target
	case unix.S_IFCHR:
		h.Typeflag = tar.TypeChar
	case unix.S_IFBLK:
		h.Typeflag = tar.TypeBlock
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	case unix.S_IFSOCK:
		h.Typeflag, h.PAXRecords = tar.TypeFifo, map[string]string{paxSocket: "y"}
	}
	h.Devmajor, h.Devminor = int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
	return p.header(h, from, st)
}

// header adds the owner, mode, times and attributes and writes it.
func (p *packer) header(h *tar.Header, from string, st unix.Stat_t) error {
	h.Mode, h.Uid, h.Gid, h.ModTime = int64(st.Mode&0o7777), int(st.Uid), int(st.Gid), time.Unix(st.Mtim.Unix())
	attrs, err := imageXattrs(from)
	if err != nil {
		return err
	}
	for name, v := range attrs {
		if isOverlays(name) {
			continue
		}
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords[paxXattr+name] = string(v)
	}
	return p.write(h)
}

// isOverlays tells attributes with which overlay mounts keep their books, of
// root's or of a user's: they may point anywhere.
func isOverlays(name string) bool {
	return strings.HasPrefix(name, "trusted.overlay.") || strings.HasPrefix(name, "user.overlay.")
}

func (p *packer) write(h *tar.Header) error {
	h.Format = tar.FormatPAX
	if err := p.w.WriteHeader(h); err != nil {
		return fmt.Errorf("archiving %q: %w", "/"+h.Name, err)
	}
	return nil
}

// extent is a run of data in a file.
type extent struct{ offset, length int64 }

// maxExtents bounds what a header says of a file's holes.
const maxExtents = 1000

func (p *packer) regular(h *tar.Header, from string, st unix.Stat_t) (err error) {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	data := []extent{{0, st.Size}}
	if st.Blocks*512 < st.Size {
		if data, err = extents(f, st.Size); err != nil {
			return fmt.Errorf("looking for the holes of %q: %w", from, err)
		}
	}
	h.Typeflag = tar.TypeReg
	text := strconv.FormatInt(st.Size, 10)
	for _, e := range data {
		h.Size += e.length
		text += fmt.Sprintf(" %d+%d", e.offset, e.length)
	}
	if h.Size < st.Size {
		h.PAXRecords = map[string]string{paxData: text}
	}
	if err := p.header(h, from, st); err != nil {
		return err
	}
	for _, e := range data {
		n, err := io.CopyBuffer(struct{ io.Writer }{p.w}, struct{ io.Reader }{io.NewSectionReader(f, e.offset, e.length)}, p.buf)
		if err == nil && n != e.length {
			err = io.ErrUnexpectedEOF
		}
		if err == nil {
			err = p.ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("archiving %q: %w", from, err)
		}
	}
	return nil
}

// extents lists where a file has data; all of it when that is in too many
// pieces.
func extents(f *os.File, size int64) (all []extent, err error) {
	for at := int64(0); at < size; {
		data, err := f.Seek(at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break
		}
		if err != nil {
			return nil, err
		}
		end, err := f.Seek(data, unix.SEEK_HOLE)
		if err != nil {
			return nil, err
		}
		all = append(all, extent{data, end - data})
		at = end
	}
	if len(all) > maxExtents {
		return []extent{{0, size}}, nil
	}
	return all, nil
}
