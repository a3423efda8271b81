package compare

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/lithify/lithify/blockdev/extread"
	"github.com/lithify/lithify/blockdev/fat"
)

// signatures tell what is on a partition or disk, by what lies at fixed places.
var signatures = []struct {
	at   int64
	text string
	kind string
}{
	{1024 + 0x38, "\x53\xef", "ext"}, {0, "XFSB", "xfs"}, {0x10040, "_BHRfS_M", "btrfs"}, {0, "hsqs", "squashfs"},
	{4086, "SWAPSPACE2", "swap"}, {0, "LUKS\xba\xbe", "LUKS"}, {512, "LABELONE", "LVM"}, {0, "LABELONE", "LVM"},
	{4096, "\xfc\x4e\x2b\xa9", "md"}, {32769, "CD001", "iso9660"},
}

// contentKind names a file system, "" when it is not known.
func contentKind(r region) string {
	for _, s := range signatures {
		if string(r.bytes(s.at, len(s.text))) == s.text {
			if s.kind == "ext" {
				return extKind(r)
			}
			return s.kind
		}
	}
	if _, err := fat.OpenImage(r, r.size); !errors.Is(err, fat.ErrNone) {
		return "fat"
	}
	return ""
}

// extKind: the three names differ by features alone.
func extKind(r region) string {
	b := r.bytes(1024, 0x100)
	const journal, newer = 0x4, 0x40 | 0x80 | 0x200 // extent, 64bit, flex_bg
	switch {
	case len(b) == 0x100 && le.Uint32(b[0x60:])&newer != 0:
		return "ext4"
	case len(b) == 0x100 && le.Uint32(b[0x5c:])&journal != 0:
		return "ext3"
	}
	return "ext2"
}

// fileSystem compares what two partitions, or two disks without a table, hold.
// Their bytes differ at spans, or in their length.
func (d *disks) fileSystem(item string, a, b region, spans []span) error {
	ka, kb := contentKind(a), contentKind(b)
	isExt := func(k string) bool { return len(k) == 4 && k[:3] == "ext" }
	if ka != kb && !(isExt(ka) && isExt(kb)) {
		s := d.r.section(item, d.o)
		s.change("", "holds", orUnknown(ka), orUnknown(kb))
		d.bytes(s, "", a, b, 0)
		return nil
	}
	s := d.r.section(item+" ("+orUnknown(ka)+")", d.o)
	if item != "disk" && a.size != b.size {
		s.note("sizes are %d and %d bytes", a.size, b.size)
	}
	p := &pair{d, s, item, a, b, spans}
	var err error
	switch {
	case isExt(ka):
		err = p.ext()
	case ka == "fat":
		err = p.fat()
	case ka == "xfs", ka == "btrfs", ka == "squashfs":
		err = p.mounted(ka)
	default:
		if ka == "swap" {
			compareFacts(s, "", swapFacts(a), swapFacts(b), d.o)
		}
		d.bytes(s, "", a, b, 0)
	}
	if err == nil || d.ctx.Err() != nil {
		return d.ctx.Err()
	}
	s.note("its files cannot be compared: %v", err)
	d.bytes(s, "", a, b, 0)
	return nil
}

func orUnknown(kind string) string {
	if kind == "" {
		return "no known file system"
	}
	return kind
}

// swapFacts are those of a swap area's header, for pages of 4096 bytes.
func swapFacts(r region) []fact {
	b := r.bytes(1024, 0x50)
	if len(b) < 0x50 {
		return nil
	}
	return []fact{{"version", fmt.Sprint(le.Uint32(b))}, {"last page", fmt.Sprint(le.Uint32(b[4:]))},
		{"UUID", fmt.Sprintf("%x", b[12:28])}, {"label", fmt.Sprintf("%q", cString(b[28:44]))}}
}

func cString(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}

// pair is two file systems of one kind.
type pair struct {
	*disks
	s     *Section
	item  string
	a, b  region
	spans []span
}

// ext compares superblocks, trees, and the blocks behind them.
func (p *pair) ext() error {
	fa, errA := extread.Open(p.a, p.a.size)
	fb, errB := extread.Open(p.b, p.b.size)
	if err := sideErrors(errA, errB); err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		f    *extread.FS
	}{{"A", fa}, {"B", fb}} {
		if f.f.Dirty() {
			p.s.note("%s was not unmounted: what waits in its journal is not seen", f.name)
		}
	}
	compareFacts(p.s, "superblock", extFacts(fa), extFacts(fb), p.o)
	if err := compareTrees(p.ctx, newExtTree(fa), newExtTree(fb), p.s, p.o, p.sameExt(fa, fb)); err != nil {
		return err
	}
	if p.o.IgnoreTimes {
		return nil
	}
	return p.extBlocks(fa, fb)
}

func extFacts(f *extread.FS) []fact {
	var all []fact
	for _, x := range f.Facts() {
		all = append(all, fact{x.Name, x.Value})
	}
	return all
}

// sameExt spares reading files that lie at the same blocks, none of which differ.
func (p *pair) sameExt(fa, fb *extread.FS) func(a, b *node) bool {
	if fa.BlockSize != fb.BlockSize {
		return nil
	}
	return func(a, b *node) bool {
		if a.place == "" || a.place != b.place || a.size != b.size {
			return false
		}
		ia := a.ref.(*extread.Inode)
		if ia.Flags != b.ref.(*extread.Inode).Flags {
			return false
		}
		m, err := fa.Map(ia)
		if err != nil {
			return false
		}
		for _, r := range m.Runs {
			if touches(p.spans, r.Physical*fa.BlockSize, (r.Physical+r.N)*fa.BlockSize) {
				return false
			}
		}
		for _, at := range m.Meta {
			if touches(p.spans, at*fa.BlockSize, (at+1)*fa.BlockSize) {
				return false
			}
		}
		return true
	}
}

// fat is ext for FAT.
func (p *pair) fat() error {
	va, errA := fat.OpenImage(p.a, p.a.size)
	vb, errB := fat.OpenImage(p.b, p.b.size)
	if err := sideErrors(errA, errB); err != nil {
		return err
	}
	compareFacts(p.s, "boot sector", fatFacts(va), fatFacts(vb), p.o)
	if err := compareTrees(p.ctx, newFATTree(va), newFATTree(vb), p.s, p.o, nil); err != nil {
		return err
	}
	if p.o.IgnoreTimes {
		return nil
	}
	return p.fatBlocks(va)
}

func fatFacts(v *fat.Image) []fact {
	var all []fact
	for _, x := range v.Facts() {
		all = append(all, fact{x.Name, x.Value})
	}
	return all
}

// errNoMount says that nothing can mount.
var errNoMount = errors.New("without root nothing can be mounted")

// mounted compares trees that the kernel reads.
func (p *pair) mounted(kind string) error {
	if p.o.Mount == nil {
		return fmt.Errorf("%s is read by the kernel, and %w", kind, errNoMount)
	}
	var trees [2]tree
	for i, r := range []region{p.a, p.b} {
		dir, closeIt, err := p.o.Mount(p.ctx, r.f, r.off, r.size, kind)
		if err != nil {
			return fmt.Errorf("%c: mounting it: %w", 'A'+i, err)
		}
		defer closeIt()
		trees[i] = dirTree{dir, true}
	}
	if err := compareTrees(p.ctx, trees[0], trees[1], p.s, p.o, nil); err != nil {
		return err
	}
	if p.s.found() == 0 && !p.o.IgnoreTimes {
		p.s.note("its files are equal")
		p.disks.bytes(p.s, "", p.a, p.b, 0)
	}
	return nil
}

// Mounter mounts a part of an image for reading, where nobody else sees it. It
// gives a path and what ends the mount.
type Mounter func(ctx context.Context, image *os.File, off, size int64, fsType string) (dir string, unmount func() error, err error)
