package compare

import (
	"context"
	"fmt"
	"io"
	"path"
	"strconv"
)

// cpioTree is a cpio archive of the "new" kind, as an initramfs has it.
type cpioTree struct{ tarTree }

// cpioRef is where a member's content lies.
type cpioRef struct {
	in side
	at int64
}

func (t *cpioTree) open(n *node) (content, error) {
	ref := n.ref.(cpioRef)
	return cpioContent{ref.in, ref.at, n.size}, nil
}

// cpioContent is a member's.
type cpioContent struct {
	in       side
	at, size int64
}

func (c cpioContent) ReadAt(p []byte, off int64) (int, error) {
	return io.NewSectionReader(c.in, c.at, c.size).ReadAt(p, off)
}

func (c cpioContent) NextData(off int64) (from, to int64, err error) {
	return min(off, c.size), c.size, nil
}

func (cpioContent) Close() error { return nil }
func (cpioContent) holeless()    {}

// cpioHead is the head of a member: thirteen numbers, and its name.
type cpioHead struct {
	ino, mode, uid, gid, links, mtime, size  int64
	major, minor, devMajor, devMinor, length int64
	name                                     string
	at, next                                 int64 // of its content, of what follows
}

const cpioHeadSize = 110

// readCpioHead reads the member at a byte of an archive that begins at from: both
// names and contents are filled up to four bytes, counted from there.
func readCpioHead(c side, from, at int64) (*cpioHead, error) {
	bad := func(what string) error { return fmt.Errorf("cpio, byte %d: %s", at, what) }
	b := make([]byte, cpioHeadSize)
	if err := fill(c, b, at, "cpio"); err != nil {
		return nil, err
	}
	if magic := string(b[:6]); magic != "070701" && magic != "070702" {
		return nil, bad("no member begins here")
	}
	h := &cpioHead{}
	for i, to := range []*int64{&h.ino, &h.mode, &h.uid, &h.gid, &h.links, &h.mtime, &h.size,
		&h.major, &h.minor, &h.devMajor, &h.devMinor, &h.length} {
		n, err := strconv.ParseUint(string(b[6+8*i:14+8*i]), 16, 32)
		if err != nil {
			return nil, bad(err.Error())
		}
		*to = int64(n)
	}
	if h.length == 0 || h.length > 4096 {
		return nil, bad(fmt.Sprintf("a name of %d bytes", h.length))
	}
	name := make([]byte, h.length)
	if err := fill(c, name, at+cpioHeadSize, "cpio"); err != nil {
		return nil, err
	}
	h.name = cString(name)
	h.at = from + (at-from+cpioHeadSize+h.length+3)&^3
	h.next = from + (h.at-from+h.size+3)&^3
	if h.at+h.size > c.size {
		return nil, bad(fmt.Sprintf("%q goes beyond the end", h.name))
	}
	return h, nil
}

// readCpio reads one archive up to its trailer (the kernel's
// Documentation/driver-api/early-userspace/buffer-format.rst), and gives its length.
func readCpio(ctx context.Context, c side, from int64) (tree, int64, error) {
	t := &cpioTree{tarTree{members: map[string]*node{}, below: map[string][]*node{}}}
	t.add(&node{path: "/", kind: kindFolder, ref: cpioRef{}})
	for at := from; ; {
		if err := context.Cause(ctx); err != nil {
			return nil, 0, err
		}
		h, err := readCpioHead(c, from, at)
		if err != nil {
			return nil, 0, err
		}
		if at = min(h.next, c.size); h.name == "TRAILER!!!" {
			t.join()
			return t, at - from, nil
		}
		if err := t.addMember(c, h); err != nil {
			return nil, 0, err
		}
	}
}

// addMember adds a member.
func (t *cpioTree) addMember(c side, h *cpioHead) error {
	p := path.Clean("/" + h.name)
	n := &node{name: path.Base(p), path: p, kind: kindOf(uint32(h.mode)), size: h.size, ref: cpioRef{c, h.at}}
	n.facts = append(ownerFacts(uint32(h.mode), uint32(h.uid), uint32(h.gid)), fact{"mtime", timeText(h.mtime, 0)},
		fact{"inode", fmt.Sprint(h.ino)}, fact{"links", fmt.Sprint(h.links)},
		fact{"on device", fmt.Sprintf("%d:%d", h.major, h.minor)})
	switch n.kind {
	case kindChar, kindBlock:
		n.facts = append(n.facts, fact{"device", fmt.Sprintf("%d:%d", h.devMajor, h.devMinor)})
	case kindLink:
		b := make([]byte, min(h.size, 64<<10))
		if err := fill(c, b, h.at, "cpio"); err != nil {
			return err
		}
		n.facts = append(n.facts, fact{"leads to", shown(string(b))})
	}
	t.order = append(t.order, p)
	t.add(n)
	return nil
}
