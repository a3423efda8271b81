package extread

import (
	"bytes"
	"fmt"
)

// Entry is a name in a folder.
type Entry struct {
	Name  string
	Inode uint32
}

// MostNames is how many names of one folder are read.
const MostNames = 2_000_000

// ReadDir reads a folder's names, without "." and "..", in the order of the disk.
// Indexed folders can be read like others: the blocks of their index look like
// empty ones.
func (f *FS) ReadDir(n *Inode) ([]Entry, error) {
	where := fmt.Sprintf("folder (inode %d)", n.Number)
	if n.Kind() != 0x4000 {
		return nil, wrong(where, "it is no folder")
	}
	if n.Flags&flagInline != 0 {
		return f.readInlineDir(where, n)
	}
	m, err := f.Map(n)
	if err != nil {
		return nil, err
	}
	var all []Entry
	for _, r := range m.Runs {
		for i := int64(0); i < r.N && (r.Logical+i)*f.BlockSize < n.Size; i++ {
			if r.Unwritten {
				continue
			}
			b, err := f.block(where, r.Physical+i)
			if err != nil {
				return nil, err
			}
			if all, err = f.entries(all, where, r.Physical+i, b); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// readInlineDir: the parent's inode, entries in the rest of the sixty bytes, more
// of them in an attribute.
func (f *FS) readInlineDir(where string, n *Inode) ([]Entry, error) {
	var c File
	if err := f.openInline(n, &c); err != nil {
		return nil, err
	}
	all, err := f.entries(nil, where, 0, c.inline[4:60])
	if err != nil || len(c.inline) == 60 {
		return all, err
	}
	return f.entries(all, where, 0, c.inline[60:])
}

// entries takes one block of a folder apart (directory.rst). block is 0 for one
// that is in an inode.
func (f *FS) entries(all []Entry, where string, block int64, b []byte) ([]Entry, error) {
	for at := 0; at < len(b); {
		begin := at
		bad := func(what string, found any) error {
			return wrong(where, "the entry at byte %d of block %d has %s %v", begin, block, what, found)
		}
		if len(b)-at < 8 {
			return nil, bad("no room:", len(b)-at)
		}
		e := b[at:]
		length := f.recordLength(le.Uint16(e[4:]))
		// The upper byte is the type where there is one, and else 0: no name is
		// longer than 255.
		ino, name := le.Uint32(e), int(e[6])
		if length < 8 || length%4 != 0 || length > len(e) {
			return nil, bad("length", length)
		}
		if at += length; ino == 0 {
			continue
		}
		if name == 0 || 8+name > length || bytes.ContainsAny(e[8:8+name], "/\x00") {
			return nil, bad("a name that cannot be, of length", name)
		}
		if s := string(e[8 : 8+name]); s != "." && s != ".." {
			if all = append(all, Entry{s, ino}); len(all) > MostNames {
				return nil, wrong(where, "it has more than %d names", MostNames)
			}
		}
	}
	return all, nil
}

// recordLength: sixteen bits do not hold 65536.
func (f *FS) recordLength(n uint16) int {
	if f.BlockSize < 65536 {
		return int(n)
	}
	if n == 0 || n == 65535 {
		return 65536
	}
	return int(n)&0xfffc | int(n)&3<<16
}

// shortLink says whether a link's target is in the inode.
func (n *Inode) shortLink() bool {
	return n.Flags&FlagExtents == 0 && n.Size < 60
}

// Link reads where a symbolic link leads.
func (f *FS) Link(n *Inode) (string, error) {
	if n.Kind() != 0xa000 {
		return "", wrong(nameOf(n.Number), "it is no symbolic link")
	}
	if n.Size > f.BlockSize {
		return "", wrong(nameOf(n.Number), "a symbolic link of %d bytes", n.Size)
	}
	if n.shortLink() && n.Flags&flagInline == 0 {
		return string(n.block[:n.Size]), nil
	}
	c, err := f.Open(n)
	if err != nil {
		return "", err
	}
	b := make([]byte, n.Size)
	if _, err := c.ReadAt(b, 0); err != nil && len(b) > 0 {
		return "", fmt.Errorf("%s: %w", nameOf(n.Number), err)
	}
	return string(b), nil
}
