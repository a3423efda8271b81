package extread

import (
	"cmp"
	"fmt"
	"slices"
)

// Attr is an extended attribute, named and valued as system calls have it.
type Attr struct {
	Name  string
	Value []byte
}

const (
	attrMagic = 0xea020000
	aclAccess = 2
	aclPreset = 3

	inlineName = "system.data"
	mostValue  = 64 << 10 // the kernel's limit
)

var attrPrefixes = map[uint8]string{
	0: "", 1: "user.", aclAccess: "system.posix_acl_access", aclPreset: "system.posix_acl_default",
	4: "trusted.", 6: "security.", 7: "system.", 8: "system.richacl", 9: "encryption.", 10: "hurd.",
}

// Attrs reads a file's extended attributes, by name.
func (f *FS) Attrs(n *Inode) ([]Attr, error) {
	all, err := f.attrs(n)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(a Attr) bool { return a.Name == inlineName }), nil
}

// AttrBlock is the block with further attributes, 0 when there is none.
func (n *Inode) AttrBlock() int64 { return n.attrBlock }

func (f *FS) attrs(n *Inode) ([]Attr, error) {
	var all []Attr
	var err error
	if b := n.raw; n.extra > 128 && n.extra+4 <= len(b) && le.Uint32(b[n.extra:]) == attrMagic {
		in := b[n.extra+4:]
		if all, err = f.attrList(all, nameOf(n.Number), in, in); err != nil {
			return nil, err
		}
	}
	if n.attrBlock != 0 {
		where := fmt.Sprintf("attributes of inode %d, block %d", n.Number, n.attrBlock)
		b, err := f.block(where, n.attrBlock)
		if err != nil {
			return nil, err
		}
		if le.Uint32(b) != attrMagic {
			return nil, wrong(where, "it begins with %#x", le.Uint32(b))
		}
		if all, err = f.attrList(all, where, b[32:], b); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(all, func(a, b Attr) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

// attrList reads entries up to four zero bytes (attributes.rst). Values lie in
// base.
func (f *FS) attrList(all []Attr, where string, b, base []byte) ([]Attr, error) {
	for len(b) >= 4 && le.Uint32(b) != 0 {
		if len(b) < 16 || len(b) < 16+int(b[0]) {
			return nil, wrong(where, "an entry goes beyond its end")
		}
		a, err := f.attr(where, b, base)
		if err != nil {
			return nil, err
		}
		all = append(all, a)
		b = b[min(len(b), (16+int(b[0])+3)&^3):]
	}
	return all, nil
}

func (f *FS) attr(where string, b, base []byte) (Attr, error) {
	prefix, known := attrPrefixes[b[1]]
	if !known {
		prefix = fmt.Sprintf("(prefix %d).", b[1])
	}
	a := Attr{Name: prefix + string(b[16:16+int(b[0])])}
	at, inode, size := int64(le.Uint16(b[2:])), le.Uint32(b[4:]), int64(le.Uint32(b[8:]))
	switch {
	case size > mostValue:
		return a, wrong(where, "attribute %q of %d bytes", a.Name, size)
	case inode != 0:
		value, err := f.attrInode(inode, size)
		if err != nil {
			return a, fmt.Errorf("%s: attribute %q: %w", where, a.Name, err)
		}
		a.Value = value
	case at+size > int64(len(base)):
		return a, wrong(where, "the value of attribute %q goes beyond its end", a.Name)
	default:
		a.Value = slices.Clone(base[at : at+size])
	}
	if b[1] == aclAccess || b[1] == aclPreset {
		a.Value = callACL(a.Value)
	}
	return a, nil
}

// attrInode reads a value that is a file of its own (feature ea_inode).
func (f *FS) attrInode(ino uint32, size int64) ([]byte, error) {
	n, err := f.Inode(ino)
	if err != nil {
		return nil, err
	}
	if n.Flags&flagEAInode == 0 || n.Kind() != 0x8000 || n.Flags&flagInline != 0 || n.Size != size {
		return nil, wrong(nameOf(ino), "it holds no attribute of %d bytes", size)
	}
	c, err := f.Open(n)
	if err != nil {
		return nil, err
	}
	b := make([]byte, size)
	if n, err := c.ReadAt(b, 0); n < len(b) {
		return nil, err
	}
	return b, nil
}

// callACL translates a POSIX ACL from ext4's form (version 1, entries without an
// id have four bytes) to that of system calls; what it cannot read it leaves.
func callACL(v []byte) []byte {
	if len(v) < 4 || le.Uint32(v) != 1 {
		return v
	}
	out := le.AppendUint32(nil, 2)
	for e := v[4:]; len(e) > 0; {
		const namedUser, namedGroup = 2, 8
		size := 4
		if len(e) >= 4 && (le.Uint16(e) == namedUser || le.Uint16(e) == namedGroup) {
			size = 8
		}
		if len(e) < size {
			return v
		}
		out = append(out, e[:size]...)
		if size == 4 {
			out = le.AppendUint32(out, ^uint32(0))
		}
		e = e[size:]
	}
	return out
}
