package compare

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// tarTree is the tree of an archive: its members by path, contents where they lie.
type tarTree struct {
	r       region
	spool   *os.File // contents of sparse members, written out
	spooled int64
	members map[string]*node
	below   map[string][]*node
	order   []string // of the members
	format  tar.Format
	tmp     func() (*os.File, error)
}

// tarRef is what a node of an archive has of its own.
type tarRef struct {
	content region
	target  string
}

// openTar reads the heads of all members.
func openTar(r region, tmp func() (*os.File, error)) (*tarTree, error) {
	t := &tarTree{r: r, members: map[string]*node{}, below: map[string][]*node{}, tmp: tmp}
	t.add(&node{path: "/", kind: kindFolder, ref: &tarRef{}})
	at := io.NewSectionReader(r, 0, r.size)
	tr := tar.NewReader(at)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("archive, near byte %d: %w", here(at), err)
		}
		if err := t.head(h, tr, here(at)); err != nil {
			return nil, fmt.Errorf("archive: %q: %w", h.Name, err)
		}
	}
	t.join()
	return t, nil
}

// join puts members into their folders.
func (t *tarTree) join() {
	for _, n := range t.members {
		if n.path != "/" {
			dir := path.Dir(n.path)
			t.below[dir] = append(t.below[dir], n)
		}
	}
}

func here(s *io.SectionReader) int64 {
	at, _ := s.Seek(0, io.SeekCurrent) // of a section it cannot fail
	return at
}

// add gives a path its node; the last member of a path counts. Folders that are no
// members come to be.
func (t *tarTree) add(n *node) {
	t.members[n.path] = n
	for dir := path.Dir(n.path); dir != "/" && dir != "." && t.members[dir] == nil; dir = path.Dir(dir) {
		t.members[dir] = &node{name: path.Base(dir), path: dir, kind: kindFolder}
	}
}

func (t *tarTree) head(h *tar.Header, content io.Reader, at int64) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	p := path.Clean("/" + h.Name)
	n := &node{name: path.Base(p), path: p, size: h.Size, kind: tarKinds[h.Typeflag]}
	if p == "/" {
		n.name = ""
	}
	ref := &tarRef{target: h.Linkname, content: t.r.part(at, h.Size)}
	n.ref = ref
	n.facts = append(ownerFacts(uint32(h.Mode), uint32(h.Uid), uint32(h.Gid)),
		fact{"mtime", timeText(h.ModTime.Unix(), int64(h.ModTime.Nanosecond()))},
		fact{"owner's names", fmt.Sprintf("%q:%q", h.Uname, h.Gname)})
	for name, v := range h.PAXRecords {
		if attr, ok := strings.CutPrefix(name, "SCHILY.xattr."); ok {
			n.attrs = append(n.attrs, fact{attr, v})
		}
	}
	switch n.kind {
	case "":
		n.kind = kindUnknown
	case kindChar, kindBlock:
		n.facts = append(n.facts, fact{"device", fmt.Sprintf("%d:%d", h.Devmajor, h.Devminor)})
	case kindLink:
		n.facts = append(n.facts, fact{"leads to", shown(h.Linkname)})
	}
	if h.Typeflag == tar.TypeLink {
		t.hardLink(n, h)
	}
	t.order = append(t.order, p)
	t.add(n)
	if h.Typeflag == tar.TypeGNUSparse || h.PAXRecords["GNU.sparse.major"] != "" {
		return t.spoolOut(ref, content, h.Size)
	}
	return nil
}

var tarKinds = map[byte]kind{
	tar.TypeReg: kindFile, 0: kindFile, tar.TypeCont: kindFile, tar.TypeGNUSparse: kindFile, tar.TypeLink: kindFile,
	tar.TypeSymlink: kindLink, tar.TypeDir: kindFolder, tar.TypeFifo: kindFIFO, tar.TypeChar: kindChar, tar.TypeBlock: kindBlock,
}

// hardLink makes n another name of a member that came before.
func (t *tarTree) hardLink(n *node, h *tar.Header) {
	first := t.members[path.Clean("/"+h.Linkname)]
	if first == nil {
		n.facts = append(n.facts, fact{"hard link of", shown(h.Linkname) + ", which is not there"})
		return
	}
	if first.id == 0 {
		first.id = uint64(len(t.order) + 1)
	}
	n.id, n.kind, n.size, n.ref = first.id, first.kind, first.size, first.ref
	n.attrs = first.attrs
	for _, f := range first.facts {
		if !slices.ContainsFunc(n.facts, func(g fact) bool { return g.name == f.name }) {
			n.facts = append(n.facts, f)
		}
	}
}

// spoolOut writes a sparse member's content to a file of ours, holes left out.
func (t *tarTree) spoolOut(ref *tarRef, content io.Reader, size int64) (err error) {
	if t.spool == nil {
		if t.spool, err = t.tmp(); err != nil {
			return err
		}
	}
	from := t.spooled
	if _, err := copySparse(t.spool, from, content); err != nil {
		return err
	}
	t.spooled += (size + 4095) &^ 4095
	if err := t.spool.Truncate(t.spooled); err != nil {
		return err
	}
	ref.content = region{t.spool, from, size}
	return nil
}

func (t *tarTree) root() (*node, error) { return t.members["/"], nil }

func (t *tarTree) list(n *node) ([]*node, error) { return t.below[n.path], nil }

func (t *tarTree) fill(*node) error { return nil }

func (t *tarTree) open(n *node) (content, error) {
	return memberContent{n.ref.(*tarRef).content}, nil
}

// memberContent is a part of an archive; holes are zeros there.
type memberContent struct{ region }

func (memberContent) Close() error { return nil }
func (memberContent) holeless()    {}

// copySparse copies to a place of a file, zeros left out, and says how much it was.
func copySparse(f *os.File, at int64, from io.Reader) (n int64, err error) {
	b := make([]byte, 256<<10)
	for {
		k, rerr := readFull(from, b)
		for i := 0; i < k; i += 4096 {
			p := b[i:min(k, i+4096)]
			if allZero(p) {
				continue
			}
			if _, err := f.WriteAt(p, at+n+int64(i)); err != nil {
				return n, err
			}
		}
		n += int64(k)
		switch {
		case rerr == io.EOF:
			return n, nil
		case rerr != nil:
			return n, rerr
		}
	}
}

// readFull is io.ReadFull's that leaves the reader's own error: compressed data
// that ends too soon is no end.
func readFull(r io.Reader, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var k int
		k, err = r.Read(b[n:])
		n += k
	}
	return n, err
}

func allZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}

// temporary makes a file without a name, which ends with its last descriptor.
func temporary(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err == nil {
		return os.NewFile(uintptr(fd), dir+"/(temporary)"), nil
	}
	f, err := os.CreateTemp(dir, "lithify-compare-")
	if err != nil {
		return nil, err
	}
	return f, os.Remove(f.Name())
}
