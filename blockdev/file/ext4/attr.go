package ext4

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// attr is an extended attribute as it is on disk: the prefix of its name is a
// number.
type attr struct {
	index uint8
	name  string
	value []byte
}

const (
	attrMagic = 0xea020000
	attrHead  = 32   // of a block
	mostRefs  = 1024 // inodes that share a block
	aclIndex  = 2    // and 3: default ACLs
)

// attrPrefixes are those of Documentation/filesystems/ext4/attributes.rst. Whole
// names come first.
var attrPrefixes = []struct {
	prefix string
	index  uint8
	whole  bool
}{
	{"system.posix_acl_access", aclIndex, true},
	{"system.posix_acl_default", aclIndex + 1, true},
	{"user.", 1, false},
	{"trusted.", 4, false},
	{"security.", 6, false},
	{"system.", 7, false},
}

// newAttr translates an attribute; ok is false for a name that ext4 has no
// place for, such as one of another file system's own.
func newAttr(name string, value []byte) (a attr, ok bool, err error) {
	if strings.HasPrefix(name, "trusted.SGI_ACL_") { // xfs shows root its ACLs a second time
		return attr{}, false, nil
	}
	for _, p := range attrPrefixes {
		rest, found := strings.CutPrefix(name, p.prefix)
		if !found || p.whole != (rest == "") {
			continue
		}
		if p.whole {
			value, err = diskACL(value)
		}
		return attr{p.index, rest, value}, true, err
	}
	return attr{}, false, nil
}

// diskACL translates a POSIX ACL from the form of system calls (version 2, eight
// bytes an entry) to ext4's (version 1; entries without an id have four).
func diskACL(v []byte) ([]byte, error) {
	if len(v) < 4 || len(v)%8 != 4 || le.Uint32(v) != 2 {
		return nil, fmt.Errorf("ACL of %d bytes is none of version 2", len(v))
	}
	out := binary.LittleEndian.AppendUint32(nil, 1)
	for e := v[4:]; len(e) > 0; e = e[8:] {
		const namedUser, namedGroup = 2, 8
		if tag := le.Uint16(e); tag == namedUser || tag == namedGroup {
			out = append(out, e[:8]...)
		} else {
			out = append(out, e[:4]...)
		}
	}
	return out, nil
}

// attrOrder is the order in a block: the kernel searches it.
func attrOrder(a, b attr) int {
	return cmp.Or(cmp.Compare(a.index, b.index), cmp.Compare(len(a.name), len(b.name)), strings.Compare(a.name, b.name))
}

func (a *attr) entrySize() int { return (16 + len(a.name) + 3) &^ 3 }
func (a *attr) valueSize() int { return (len(a.value) + 3) &^ 3 }

// attrsSize is what they take, with the four zero bytes that end a list.
func attrsSize(all []attr) int {
	n := 4
	for i := range all {
		n += all[i].entrySize() + all[i].valueSize()
	}
	return n
}

// hash is the entry's, over its name and value. (Old kernels took the bytes of a
// name for signed; both ways are accepted.)
func (a *attr) hash() uint32 {
	h := uint32(0)
	for i := range len(a.name) {
		h = h<<5 ^ h>>27 ^ uint32(a.name[i])
	}
	padded := append(slices.Clone(a.value), 0, 0, 0)
	for i := 0; i < a.valueSize(); i += 4 {
		h = h<<16 ^ h>>16 ^ le.Uint32(padded[i:])
	}
	return h
}

// putAttrs writes a list into b, entries from at on and values from the end;
// values are found relative to base.
func putAttrs(b []byte, at, base int, all []attr) {
	end := len(b)
	for i := range all {
		a := &all[i]
		b[at], b[at+1] = uint8(len(a.name)), a.index
		if len(a.value) > 0 {
			end -= a.valueSize()
			copy(b[end:], a.value)
			le.PutUint16(b[at+2:], uint16(end-base))
		}
		le.PutUint32(b[at+8:], uint32(len(a.value)))
		le.PutUint32(b[at+12:], a.hash())
		copy(b[at+16:], a.name)
		at += a.entrySize()
	}
}

// setAttrs puts a file's attributes into its inode when all fit there; else into
// a block, which files with equal ones share; what is too much for the block
// goes into the inode.
func (v *volume) setAttrs(n *inode, all []attr) error {
	if len(all) == 0 {
		return nil
	}
	slices.SortFunc(all, attrOrder)
	inRoom := max(0, v.o.InodeSize-128-extraSize-4)
	if attrsSize(all) <= inRoom {
		n.attrs = inodeAttrs(all, inRoom)
		return nil
	}
	var block, rest []attr
	room := int(v.bs) - attrHead
	for _, a := range all {
		if attrsSize(append(block, a)) <= room {
			block = append(block, a)
		} else {
			rest = append(rest, a)
		}
	}
	if len(rest) > 0 && attrsSize(rest) > inRoom {
		return fmt.Errorf("extended attributes of %d bytes: allowed: %d in a block and %d in the inode", attrsSize(all), room, inRoom)
	}
	if len(rest) > 0 {
		n.attrs = inodeAttrs(rest, inRoom)
	}
	v.f.Compat |= ExtAttr
	n.attrBlock = v.attrs.block(block)
	n.blocks++
	return nil
}

func inodeAttrs(all []attr, room int) []byte {
	b := make([]byte, 4+room)
	le.PutUint32(b, attrMagic)
	putAttrs(b, 4, 4, all)
	return b
}

// attrBlocks are the blocks of attributes that further files may share. Their
// counts are known when they are written: at the end, or when there are many.
type attrBlocks struct {
	*space
	out   *output
	of    map[string]*attrBlock // by content
	order []*attrBlock
}

type attrBlock struct {
	at      int64
	refs    uint32
	content string
}

const mostAttrBlocks = 256

// block returns the block with these attributes, one more file using it.
func (s *attrBlocks) block(all []attr) int64 {
	b := make([]byte, s.bs)
	le.PutUint32(b, attrMagic)
	le.PutUint32(b[8:], 1) // blocks
	putAttrs(b, attrHead, 0, all)
	hash := uint32(0)
	for i := range all {
		h := all[i].hash()
		if h == 0 {
			hash = 0 // such a block is not to be shared by the kernel
			break
		}
		hash = hash<<16 ^ hash>>16 ^ h
	}
	le.PutUint32(b[12:], hash)
	if k := s.of[string(b)]; k != nil && k.refs < mostRefs {
		k.refs++
		return k.at
	}
	if len(s.order) == mostAttrBlocks {
		s.write(s.order[0])
		s.order = append(s.order[:0], s.order[1:]...)
	}
	k := &attrBlock{s.takeOne(), 1, string(b)}
	s.of[k.content] = k
	s.order = append(s.order, k)
	return k.at
}

func (s *attrBlocks) write(k *attrBlock) {
	if s.of[k.content] == k { // not one that took over when this was full
		delete(s.of, k.content)
	}
	b := []byte(k.content)
	le.PutUint32(b[4:], k.refs)
	if s.f.csum() {
		sum := crc32c(s.seed, le.AppendUint64(nil, uint64(k.at)))
		le.PutUint32(b[16:], crc32c(sum, b))
	}
	s.out.small(b, k.at*s.bs)
}

func (s *attrBlocks) flush() {
	for _, k := range s.order {
		s.write(k)
	}
	s.order = nil
}
