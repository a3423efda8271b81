package compare

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// Options say how two images are compared. The zero value works.
type Options struct {
	// Max is how many differences a section shows; 0: 20, below 0: all.
	Max int
	// IgnoreTimes leaves out times of files and superblocks, and blocks of file
	// systems that no file's content or attribute shows.
	IgnoreTimes bool
	// TempDir is where contents of compressed and converted images go; "": the
	// system's. Files there have no names, and end with the process.
	TempDir string
	// Mount reads xfs, btrfs and squashfs; nil: their files are not compared.
	Mount Mounter

	level int // of contents in contents
}

func (o Options) max() int {
	switch {
	case o.Max == 0:
		return 20
	case o.Max < 0:
		return 1 << 30
	}
	return o.Max
}

// tempFile makes a file without a name.
func (o Options) tempFile() (*os.File, error) {
	dir := o.TempDir
	if dir == "" {
		dir = os.TempDir()
	}
	return temporary(dir)
}

// KindError says that two things are of kinds that have nothing to compare.
type KindError struct{ A, B string }

func (e *KindError) Error() string {
	return fmt.Sprintf("A is %s and B is %s; allowed: two disks, or two trees (archives, folders)", e.A, e.B)
}

// Images compares what is at two paths. The error means that one of them could not
// be read as what it is, or ctx has ended; what is wrong inside of a file system
// is in the report.
func Images(ctx context.Context, pathA, pathB string, o Options) (r *Report, err error) {
	r = &Report{A: pathA, B: pathB, Equal: true}
	a, err := openInput(pathA)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, a.close()) }()
	b, err := openInput(pathB)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	if err := inputs(ctx, a, b, r, o); err != nil {
		return nil, err
	}
	r.finish()
	return r, nil
}

func inputs(ctx context.Context, a, b *input, r *Report, o Options) error {
	var whole *difference
	if a.dir == "" && b.dir == "" && a.content.size == b.content.size {
		var err error
		if whole, err = equalFiles(ctx, a, b, o); err != nil {
			return err
		}
		if !whole.any() {
			r.Summary = "equal: all " + plural(a.content.size, "byte") + " are the same"
			return nil
		}
	}
	for _, in := range []*input{a, b} {
		if err := in.unwrap(ctx, o); err != nil {
			return fmt.Errorf("%s: %w", in.path, err)
		}
	}
	if a.isTree() != b.isTree() {
		return &KindError{a.what(), b.what()}
	}
	before := len(r.Sections)
	var err error
	if a.isTree() {
		err = treesOf(ctx, a, b, r, o)
	} else {
		err = disksOf(ctx, a, b, whole, r, o)
	}
	if err != nil {
		return err
	}
	return wrappers(ctx, a, b, r, o, before)
}

// equalFiles compares the files as they lie there. For disks in the raw it finds
// all that differs, else only whether.
func equalFiles(ctx context.Context, a, b *input, o Options) (*difference, error) {
	raw := a.wrapping() == "" && b.wrapping() == "" && !isTar(a.content) && !isTar(b.content)
	if raw {
		return differ(ctx, a.content, b.content, a.content.size)
	}
	return firstDifference(ctx, a.content, b.content, a.content.size)
}

// disksOf compares the disks that files hold. whole is their difference where that
// is known already.
func disksOf(ctx context.Context, a, b *input, whole *difference, r *Report, o Options) error {
	size := min(a.content.size, b.content.size)
	if whole == nil || len(a.layers) > 0 || len(b.layers) > 0 {
		var err error
		if whole, err = differ(ctx, a.content, b.content, size); err != nil {
			return err
		}
	}
	if !whole.any() {
		if longer, err := onlyRounded(ctx, a, b); err != nil || longer != "" {
			r.section("disk", o).note("%s", longer)
			return err
		}
	}
	if !whole.any() && a.content.size == b.content.size {
		return nil
	}
	d := &disks{ctx: ctx, o: o, r: r, a: a.content, b: b.content, diff: whole}
	if err := d.compare(); err != nil {
		return err
	}
	if r.found() == 0 && !o.IgnoreTimes { // no part has it: the bytes do
		d.bytes(r.section("disk", o), "", d.a, d.b, 0)
	}
	r.Equal = r.Equal && o.IgnoreTimes // finish tells whether differences were found
	return nil
}

// onlyRounded says by how much one of two formats rounds up: vhd counts in whole
// cylinders. It is "" where more than zeros follows, or the formats are the same.
func onlyRounded(ctx context.Context, a, b *input) (string, error) {
	short, long, name := a.content, b.content, "B"
	if a.content.size > b.content.size {
		short, long, name = b.content, a.content, "A"
	}
	more := long.size - short.size
	if more == 0 || more > 64<<20 || fmt.Sprint(a.layers) == fmt.Sprint(b.layers) {
		return "", nil
	}
	found, err := differ(ctx, long.part(short.size, more), zeroContent(more), more)
	if err != nil || found.any() {
		return "", err
	}
	return fmt.Sprintf("%s is longer by %d bytes, which are zero", name, more), nil
}

// zeroContent is so many bytes of zeros.
type zeroContent int64

func (z zeroContent) ReadAt(p []byte, _ int64) (int, error) {
	clear(p)
	return len(p), nil
}

func (z zeroContent) NextData(int64) (from, to int64, err error) { return int64(z), int64(z), nil }

// wrappers tells of containers around equal contents.
func wrappers(ctx context.Context, a, b *input, r *Report, o Options, before int) error {
	same := r.Equal
	for _, s := range r.Sections[before:] {
		same = same && s.found() == 0
	}
	if !same || a.dir != "" || b.dir != "" {
		return nil
	}
	if fmt.Sprint(a.layers, a.tar != nil) != fmt.Sprint(b.layers, b.tar != nil) {
		r.Summary = fmt.Sprintf("equal content: A is %s, B is %s", a.what(), b.what())
		return nil
	}
	if len(a.layers) == 0 && a.tar == nil || o.IgnoreTimes {
		return nil
	}
	s := r.section("file", o)
	s.change("", "size", bytesText(a.file.size), bytesText(b.file.size))
	s.note("the files differ, what is in them is equal")
	found, err := differ(ctx, a.file, b.file, min(a.file.size, b.file.size))
	if err == nil && found.any() {
		s.add(Difference{Item: "file", First: &found.first, Bytes: found.bytes,
			Changes: []Change{{What: theContent}}, Detail: excerpts(a.file, b.file, found.first, 0)})
	}
	return err
}

// firstDifference is differ that ends where it finds something.
func firstDifference(ctx context.Context, a, b region, size int64) (*difference, error) {
	const step = 64 << 20
	for at := int64(0); at < size; at += step {
		d, err := differ(ctx, a.part(at, step), b.part(at, step), min(step, size-at))
		if err != nil || d.any() {
			return d, err
		}
	}
	return &difference{first: -1}, nil
}
