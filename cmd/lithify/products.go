package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/convert"
	"golang.org/x/sys/unix"
)

// product is one output that a build makes: a format of a disk or of the tree,
// or a file of the tree.
type product struct {
	format convert.Format
	disk   string // the node; "" for formats of the tree
	base   string // the file's path without a dot and the extension
	place  string // the same, absolute and without links
	named  string // the file in the tree that names the one to copy; "" for formats
	part   string // of a ramdisk; "" for others
}

// path is the product's file as the user knows it; "" where there is none.
func (p product) path() string {
	if p.format.Extension == "" {
		return ""
	}
	return p.base + "." + p.format.Extension
}

// planProducts lists what is to be made: each format of the tree once, each
// format of a disk for every disk.
func (j *job) planProducts() error {
	j.products = nil
	for _, f := range j.formats {
		if !f.NeedsDisk {
			j.products = append(j.products, product{format: f, base: j.o.Name})
			continue
		}
		root, err := j.graph.RootDisk()
		if err != nil {
			return usagef("%w", err)
		}
		for _, d := range j.graph.Disks() {
			if d.Device != "" {
				continue // it is the product
			}
			base, err := j.baseOf(d, d == root)
			if err != nil {
				return err
			}
			j.products = append(j.products, product{format: f, disk: d.Name(), base: base})
		}
	}
	j.planRamdisk()
	if err := j.planTreeFiles(); err != nil {
		return err
	}
	for i := range j.products {
		var err error
		if j.products[i].place, err = placeOf(j.products[i].base); err != nil {
			return err
		}
	}
	return j.checkPaths()
}

// placeOf tells where a file is, however its folder is named: "web" and the
// absolute path of it are one.
func placeOf(base string) (string, error) {
	dir, err := filepath.Abs(filepath.Dir(base))
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return "", fmt.Errorf("finding the folder of output %q: %w", base, err)
	}
	return filepath.Join(dir, filepath.Base(base)), nil
}

// baseOf is NAME for the disk that carries /, NAME-NODE for others; a disk may
// name a folder of its own.
func (j *job) baseOf(d *blockdev.LocalLoop, root bool) (string, error) {
	base := j.o.Name
	if !root {
		base += "-" + d.Name()
	}
	if d.Directory == "" {
		return base, nil
	}
	if err := needFolder(fmt.Sprintf("the directory of disk %q", d.Name()), d.Directory); err != nil {
		return "", err
	}
	return filepath.Join(d.Directory, filepath.Base(base)), nil
}

// checkPaths refuses two outputs of one name, which odd names of nodes can bring
// about.
func (j *job) checkPaths() error {
	seen := map[string]product{}
	for _, p := range j.products {
		if p.path() == "" {
			continue
		}
		file := p.place + "." + p.format.Extension
		if old, ok := seen[file]; ok {
			return usagef("format %q of disk %q and format %q of disk %q would both be %q; rename one of the disks",
				old.format.Name, old.disk, p.format.Name, p.disk, p.path())
		}
		seen[file] = p
	}
	return nil
}

// openFolders takes the names of all outputs: that of NAME, which also holds the
// manifests, and one for each base elsewhere. All builds take them in the order
// of their places, so none waits for another in a circle.
func (j *job) openFolders(ctx context.Context) error {
	place, err := placeOf(j.o.Name)
	if err != nil {
		return err
	}
	bases := map[string]string{place: j.o.Name}
	for _, p := range j.products {
		bases[p.place] = p.base
	}
	j.folders = map[string]*outputFolder{}
	for _, at := range slices.Sorted(maps.Keys(bases)) {
		f, err := openOutputs(ctx, bases[at], j.o.Overwrite, func() { j.ui.Warn("another build makes outputs of this name: waiting for it") })
		if err != nil {
			return err
		}
		j.folders[at] = f
		j.undo = append(j.undo, f.Close)
	}
	j.own = j.folders[place]
	return nil
}

// writeProduct writes one product beside its final name.
func (j *job) writeProduct(ctx context.Context, i int, p product) error {
	if p.format.Name == "docker" {
		return j.pushImage(ctx, i)
	}
	out, err := j.folders[p.place].New("." + p.format.Extension)
	if err != nil {
		return err
	}
	j.made[i] = out
	write := j.writeTree
	switch {
	case p.part != "":
		write = j.writeRamdisk
	case p.named != "":
		write = j.writeTreeFile
	case p.disk != "":
		write = j.writeDisk
	}
	if err := write(ctx, out, p); err != nil {
		return fmt.Errorf("writing %q: %w", out.Path(), err)
	}
	info, err := out.File().Stat()
	if err != nil {
		return err
	}
	j.files[i] = OutputFile{Path: out.Path(), Format: p.format.Name, Disk: p.disk, Size: info.Size()}
	return nil
}

func (j *job) writeTree(ctx context.Context, out *output, p product) error {
	o := convert.TreeOptions{Format: j.format, Logger: j.ui.Logger()}
	if j.ui.Live() {
		total, err := j.treeBytes()
		if err != nil {
			return err
		}
		o.Progress = j.progressOf(out, total)
	}
	if j.o.Epoch != nil {
		o.Time = *j.o.Epoch
	}
	return convert.Tree(ctx, p.format, out.File(), j.tree, o)
}

// treeBytes counts the bytes of the tree's files, each once, so that progress
// has a total. It looks at each file's inode, which the writers do anyway.
func (j *job) treeBytes() (int64, error) {
	j.measureTree.Do(func() { j.treeSize, j.treeErr = bytesBelow(j.tree) })
	return j.treeSize, j.treeErr
}

func bytesBelow(root string) (total int64, err error) {
	seen := map[uint64]bool{}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return fmt.Errorf("looking at %q: %w", path, err)
		}
		if st.Nlink == 1 || !seen[st.Ino] {
			total += st.Size
		}
		if st.Nlink > 1 {
			seen[st.Ino] = true
		}
		return nil
	})
	return total, err
}

func (j *job) writeDisk(ctx context.Context, out *output, p product) (err error) {
	image, err := os.Open(j.disks.Images()[p.disk])
	if err != nil {
		return fmt.Errorf("opening disk %q: %w", p.disk, err)
	}
	defer func() { err = errors.Join(err, image.Close()) }()
	src, err := convert.FileSource(image)
	if err != nil {
		return err
	}
	o := convert.Options{Compress: !j.o.Uncompressed, Format: j.format, Logger: j.ui.Logger(), Progress: j.progressOf(out, 0)}
	if j.o.Epoch != nil {
		o.Time = *j.o.Epoch
	}
	return convert.Disk(ctx, p.format, out.File(), src, o)
}

// progressOf hands progress on; total stands in where the writer knows none.
func (j *job) progressOf(out *output, total int64) func(done, total int64) {
	return func(done, known int64) {
		if known > 0 {
			total = known
		}
		j.ui.Progress(out.Path(), done, max(total, done))
	}
}
