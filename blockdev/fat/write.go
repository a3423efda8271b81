package fat

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Unwrap makes errors.Is(err, syscall.ENOSPC) hold.
func (e *FullError) Unwrap() error { return syscall.ENOSPC }

// volume is a file system being written.
type volume struct {
	o    Options // complete
	l    *layout
	w    io.WriterAt
	tree string
	top  *node
	runs []int64 // lengths, in clusters, from cluster 2 on
	used int64   // their sum
	buf  []byte
}

// Write makes a file system of o.Size bytes at o.Offset of w and puts the tree
// (a folder; "": nothing) into it. Names and room are checked before anything is
// written, and the boot sector is written last: after an error there is no file
// system, or the one that was there, damaged. What does not fit is a *FullError.
//
// The tree's metadata are read first, then each file once. A file that changes
// its length meanwhile is an error.
func Write(ctx context.Context, w io.WriterAt, tree string, o Options) error {
	if err := write(ctx, w, tree, o); err != nil {
		return fmt.Errorf("writing a FAT file system: %w", err)
	}
	return nil
}

func write(ctx context.Context, w io.WriterAt, tree string, o Options) error {
	v := &volume{w: w, tree: tree, buf: make([]byte, 1<<20)}
	var err error
	if v.o, err = o.complete(); err != nil {
		return err
	}
	if v.l, err = newLayout(v.o); err != nil {
		return err
	}
	if v.top, err = readTree(ctx, tree, o.Skip); err != nil {
		return err
	}
	if err := v.l.check(contentOf(v.top), v.o.labels()); err != nil {
		return err
	}
	if err := v.allocate(); err != nil {
		return err
	}
	if err := v.content(ctx, v.top, 0); err != nil {
		return err
	}
	if err := v.fats(ctx); err != nil {
		return fmt.Errorf("the FAT: %w", err)
	}
	return v.head()
}

// allocate gives every node its run of clusters.
func (v *volume) allocate() error {
	if v.l.bits == 32 {
		entries := v.top.folderEntries() + v.o.labels()
		v.take(v.top, max(1, (entries*entrySize+v.l.cluster()-1)/v.l.cluster()))
	}
	return v.top.walk(func(n *node) error {
		v.take(n, n.clusters(v.l.cluster()))
		return nil
	})
}

func (v *volume) take(n *node, count int64) {
	if n.count = count; count > 0 {
		n.first = v.used + 2
		v.used += count
		v.runs = append(v.runs, count)
	}
}

func (v *volume) rootCluster() int64 { return v.top.first }

// content writes a folder and everything below.
func (v *volume) content(ctx context.Context, n *node, parent int64) error {
	if err := v.putFolder(n, parent); err != nil {
		return fmt.Errorf("folder %q: %w", n.path, err)
	}
	own := n.first
	if n.path == "" {
		own = 0
	}
	for _, c := range n.children {
		var err error
		if c.dir {
			err = v.content(ctx, c, own)
		} else if err = v.putFile(ctx, c); err != nil {
			err = fmt.Errorf("file %q: %w", c.path, err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (v *volume) putFolder(n *node, parent int64) error {
	b := v.folder(n, parent)
	at, size := v.l.offset(n.first), n.count*v.l.cluster()
	if n.path == "" && v.l.bits != 32 {
		at, size = (v.l.dataStart-v.l.root)*v.l.sector, v.l.root*v.l.sector
	}
	return errors.Join(v.put(b, at), v.zeros(at+int64(len(b)), at+size))
}

// putFile copies a file's content.
func (v *volume) putFile(ctx context.Context, n *node) (err error) {
	if n.size == 0 {
		return nil
	}
	f, err := os.OpenFile(filepath.Join(v.tree, n.path), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() || st.Size() != n.size {
		return errChanged(st)
	}
	if err := v.copyFrom(ctx, f, n); err != nil {
		return err
	}
	if st, err = f.Stat(); err == nil && st.Size() != n.size {
		err = errChanged(st)
	}
	return err
}

func (v *volume) copyFrom(ctx context.Context, f io.Reader, n *node) error {
	at := v.l.offset(n.first)
	for left := n.size; left > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		b := v.buf[:min(left, int64(len(v.buf)))]
		if _, err := io.ReadFull(f, b); err != nil {
			return fmt.Errorf("with %d bytes left: %w", left, err)
		}
		if err := v.put(b, at); err != nil {
			return err
		}
		at += int64(len(b))
		left -= int64(len(b))
	}
	return v.zeros(at, v.l.offset(n.first+n.count))
}

func errChanged(st fs.FileInfo) error {
	return fmt.Errorf("it was changed meanwhile: now a %s of %d bytes", kindOf(st.Mode()), st.Size())
}

// head writes what is before the FATs, the boot sector last.
func (v *volume) head() error {
	if err := v.zeros(v.l.sector, v.l.reserved*v.l.sector); err != nil {
		return err
	}
	boot := v.bootSector()
	if v.l.bits == 32 {
		for _, at := range []int64{infoSector, backupSector + infoSector} {
			if err := v.put(v.info(), at*v.l.sector); err != nil {
				return err
			}
		}
		if err := v.put(boot, backupSector*v.l.sector); err != nil {
			return err
		}
	}
	return v.put(boot, 0)
}

// piece is the unit of holes.
const piece = 4096

var nothing [piece]byte

// put writes at an offset from the file system's start, without the pieces that
// are zero already.
func (v *volume) put(b []byte, at int64) error {
	at += v.o.Offset
	if v.o.NotEmpty {
		return v.writeAt(b, at)
	}
	from := 0 // where what is to be written begins
	for i := 0; i < len(b); {
		n := min(len(b)-i, int(piece-(at+int64(i))%piece))
		if bytes.Equal(b[i:i+n], nothing[:n]) {
			if err := v.writeAt(b[from:i], at+int64(from)); err != nil {
				return err
			}
			from = i + n
		}
		i += n
	}
	return v.writeAt(b[from:], at+int64(from))
}

func (v *volume) writeAt(b []byte, at int64) error {
	if len(b) == 0 {
		return nil
	}
	_, err := v.w.WriteAt(b, at)
	return err
}

// zeros fills a range where the target may hold something else.
func (v *volume) zeros(from, to int64) error {
	if !v.o.NotEmpty {
		return nil
	}
	b := make([]byte, min(max(0, to-from), 1<<18))
	for from < to {
		b = b[:min(to-from, int64(len(b)))]
		if err := v.writeAt(b, v.o.Offset+from); err != nil {
			return err
		}
		from += int64(len(b))
	}
	return nil
}
