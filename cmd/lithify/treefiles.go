package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/lithify/lithify/convert"
	"github.com/lithify/lithify/elements"
	"golang.org/x/sys/unix"
)

var extension = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)

// planTreeFiles adds the outputs that are plain files of the tree, a kernel for
// instance: an element asks for one in a file "output-files" at its top. Each
// line has an extension and the path of a file in the tree, which holds the
// path of the file wanted: which it is, a hook finds out.
func (j *job) planTreeFiles() error {
	for _, e := range j.elements {
		text, err := fs.ReadFile(e.FS, "output-files")
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("reading output-files of element %q: %w", e.Name, err)
		}
		if err := j.addTreeFiles(e, string(text)); err != nil {
			return err
		}
	}
	return nil
}

func (j *job) addTreeFiles(e elements.Element, text string) error {
	number := 0
	for line := range strings.Lines(text) {
		number++
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if len(fields) != 2 || !extension.MatchString(fields[0]) || !path.IsAbs(fields[1]) {
			return usagef("element %q: output-files, line %d: %q: an extension and an absolute path in the image are wanted, \"vmlinuz /etc/kernel-to-start\" for example",
				e.Name, number, strings.TrimSpace(line))
		}
		p := product{format: convert.Format{Name: fields[0], Extension: fields[0]}, base: j.o.Name, named: path.Clean(fields[1])}
		if slices.ContainsFunc(j.products, func(old product) bool { return old.path() == p.path() }) {
			return usagef("element %q asks for a copy as %q: another output has this name", e.Name, p.path())
		}
		j.products = append(j.products, p)
	}
	return nil
}

// writeTreeFile copies the file that p.named names. Links are followed as inside
// the image, never out of the tree.
func (j *job) writeTreeFile(_ context.Context, out *output, p product) (err error) {
	list, err := openInTree(j.tree, p.named)
	if err != nil {
		return fmt.Errorf("reading which file of the image it is: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(list, unix.PathMax))
	if err = errors.Join(err, list.Close()); err != nil {
		return fmt.Errorf("reading which file of the image it is: %w", err)
	}
	name := strings.TrimSpace(string(text))
	in, err := openInTree(j.tree, name)
	if err != nil {
		return fmt.Errorf("opening %q, which %s of the image names: %w", name, p.named, err)
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	info, err := in.Stat()
	if err != nil {
		return fmt.Errorf("looking at %q: %w", name, err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%q, which %s of the image names, is no plain file", name, p.named)
	}
	if _, err := io.Copy(out.File(), in); err != nil {
		return fmt.Errorf("copying %q: %w", name, err)
	}
	return nil
}

// openInTree opens a file as a program inside the image would: links lead to
// where they lead there. The caller closes it.
func openInTree(tree, name string) (*os.File, error) {
	root, err := unix.Open(tree, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: tree, Err: err}
	}
	defer unix.Close(root)
	how := unix.OpenHow{Flags: unix.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	for {
		fd, err := unix.Openat2(root, name, &how)
		switch {
		case errors.Is(err, unix.EAGAIN): // something was renamed meanwhile
		case err != nil:
			return nil, &fs.PathError{Op: "open", Path: name, Err: err}
		default:
			return os.NewFile(uintptr(fd), name), nil
		}
	}
}
