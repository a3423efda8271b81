package compare

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

const (
	mostInside = 1 << 30 // bytes of a content that are looked into
	mostLevels = 3
	insideMax  = 10 // lines
)

// lookInside says more about two contents that differ, where they are compressed
// or archives: a line each; none when there is nothing to say.
func lookInside(ctx context.Context, a, b side, o Options) ([]string, error) {
	if a.size > mostInside || b.size > mostInside || o.level == mostLevels {
		return nil, nil
	}
	o.level++
	pa, pb := insideOf(ctx, a, o), insideOf(ctx, b, o)
	defer pa.close()
	defer pb.close()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	if pa.kinds() != pb.kinds() || pa.kinds() == "" {
		return nil, nil
	}
	lines := []string{"both are " + pa.kinds()}
	for i := range pa.parts {
		more, err := comparePart(ctx, pa.parts[i], pb.parts[i], o)
		if err != nil {
			return append(lines, err.Error()), nil
		}
		if len(pa.parts) > 1 && len(more) > 0 {
			more[0] = fmt.Sprintf("part %d: %s", i+1, more[0])
		}
		lines = append(lines, more...)
	}
	if len(lines) == 1 {
		lines = append(lines, "what is in them is equal: only the wrapping differs")
	}
	return lines, nil
}

// inside is a content taken apart: pieces one behind the other, as an initramfs
// has them.
type inside struct {
	parts []part
	open  []io.Closer
}

type part struct {
	kind    string // gzip, zstd, xz, bzip2, cpio, tar
	content side   // of what was compressed
	tree    tree
}

func (in *inside) close() {
	for _, c := range in.open {
		c.Close() // only read
	}
}

func (in *inside) kinds() string {
	var all []string
	for _, p := range in.parts {
		all = append(all, p.kind)
	}
	return strings.Join(all, " + ")
}

// insideOf takes a content apart. What cannot be read has no parts.
func insideOf(ctx context.Context, c side, o Options) *inside {
	in := &inside{}
	for at := int64(0); at < c.size && len(in.parts) < 8; {
		n, err := in.next(ctx, c, at, o)
		if err != nil || n == 0 {
			return in
		}
		at += n
	}
	return in
}

// next reads the part that begins at a byte, and gives its length.
func (in *inside) next(ctx context.Context, c side, at int64, o Options) (int64, error) {
	head := make([]byte, 512)
	k, _ := c.ReadAt(head, at)
	head = head[:k]
	switch {
	case len(head) == 0:
		return 0, nil
	case bytes.HasPrefix(head, []byte("07070")):
		t, n, err := readCpio(ctx, c, at)
		if err == nil {
			in.parts = append(in.parts, part{kind: "cpio", tree: t})
		}
		return n, err
	case at > 0 && head[0] == 0:
		return zeros(c, at)
	case len(head) > 262 && string(head[257:262]) == "ustar":
		return c.size - at, in.tar(ctx, c, o)
	}
	for _, z := range compressions {
		if bytes.HasPrefix(head, []byte(z.magic)) {
			return c.size - at, in.decompress(ctx, z.name, z.open, c, at, o)
		}
	}
	return 0, nil
}

// zeros is how many follow.
func zeros(c side, at int64) (int64, error) {
	b := make([]byte, 64<<10)
	for from := at; ; {
		n, err := c.ReadAt(b, at)
		for _, x := range b[:n] {
			if x != 0 {
				return at - from, nil
			}
			at++
		}
		if err != nil {
			return at - from, nil
		}
	}
}

func (in *inside) temp(o Options) (*os.File, error) {
	f, err := o.tempFile()
	if err == nil {
		in.open = append(in.open, f)
	}
	return f, err
}

func (in *inside) decompress(ctx context.Context, kind string, open func(io.Reader) (io.Reader, error), c side, at int64, o Options) error {
	r, err := open(cancelled{ctx, io.NewSectionReader(c, at, c.size-at)})
	if err != nil {
		return err
	}
	out, err := in.temp(o)
	if err != nil {
		return err
	}
	n, err := copySparse(out, 0, io.LimitReader(r, mostInside+1))
	if err == nil && n > mostInside {
		err = fmt.Errorf("more than %d bytes", mostInside)
	}
	if err == nil {
		in.parts = append(in.parts, part{kind: kind, content: side{plain{region{out, 0, n}}, n}})
	}
	return errors.Join(err, out.Truncate(n))
}

// plain is content whose holes mean nothing.
type plain struct{ region }

func (plain) holeless() {}

// tar copies an archive to a file, as it is read by places.
func (in *inside) tar(ctx context.Context, c side, o Options) error {
	out, err := in.temp(o)
	if err != nil {
		return err
	}
	n, err := copySparse(out, 0, cancelled{ctx, io.NewSectionReader(c, 0, c.size)})
	if err == nil {
		err = out.Truncate(n)
	}
	if err != nil {
		return err
	}
	t, err := openTar(region{out, 0, n}, func() (*os.File, error) { return in.temp(o) })
	if err == nil {
		in.parts = append(in.parts, part{kind: "tar", tree: t})
	}
	return err
}

// comparePart compares two parts of one kind.
func comparePart(ctx context.Context, a, b part, o Options) ([]string, error) {
	if a.tree == nil {
		d := Difference{}
		if err := compareContents(ctx, a.content, b.content, &d, o); err != nil {
			return nil, err
		}
		if len(d.Changes) == 0 {
			return nil, nil
		}
		return append([]string{"uncompressed: " + d.text()}, d.Detail...), nil
	}
	s := &Section{max: insideMax}
	if err := compareTrees(ctx, a.tree, b.tree, s, o, nil); err != nil {
		return nil, err
	}
	s.finish()
	var lines []string
	for _, d := range s.Differences {
		lines = append(lines, shown(d.Item)+": "+d.text())
		for _, l := range d.Detail {
			lines = append(lines, "    "+l)
		}
	}
	if s.More > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", s.More))
	}
	return lines, nil
}
