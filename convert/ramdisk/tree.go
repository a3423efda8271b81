package ramdisk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// tree is the root file system of the target. Paths in it are as a program there
// has them, and links lead where they lead there, never out of it.
type tree struct {
	dir   string
	found map[string]followed
}

func newTree(dir string) *tree { return &tree{dir: dir, found: map[string]followed{}} }

// host is where a path without links is on this host.
func (t *tree) host(real string) string { return filepath.Join(t.dir, real) }

// link is a symbolic link that was met on the way to a file. Both paths are
// absolute and have no link in their folders' names.
type link struct{ at, to string }

// followed is where a path leads.
type followed struct {
	real  string // without links
	links []link // in the order in which they were met
	info  fs.FileInfo
	err   error
}

// mostLinks is the kernel's limit.
const mostLinks = 40

// follow finds out where name leads. What is missing gives fs.ErrNotExist, with the
// links that led there.
func (t *tree) follow(name string) followed {
	name = path.Clean("/" + name)
	if f, ok := t.found[name]; ok {
		return f
	}
	f := t.walk(name)
	t.found[name] = f
	return f
}

func (t *tree) walk(name string) (f followed) {
	f.real = "/"
	left := strings.Split(name[1:], "/")
	for len(left) > 0 {
		part := left[0]
		left = left[1:]
		if part == "" || part == "." {
			continue
		}
		at := path.Join(f.real, part) // ".." of the root is the root
		if f.info, f.err = os.Lstat(t.host(at)); f.err != nil {
			f.real = at
			f.err = &fs.PathError{Op: "open", Path: name, Err: errors.Unwrap(f.err)}
			return f
		}
		if f.info.Mode()&fs.ModeSymlink == 0 {
			f.real = at
			continue
		}
		to, err := os.Readlink(t.host(at))
		if err != nil || len(f.links) == mostLinks {
			f.err = fmt.Errorf("following the links of %q: %w", name, errors.Join(err, errLinks))
			return f
		}
		f.links = append(f.links, link{at, path.Join(f.real, to)})
		if path.IsAbs(to) {
			f.links[len(f.links)-1].to = path.Clean(to)
			f.real = "/"
		}
		left = append(strings.Split(to, "/"), left...)
	}
	if f.info == nil {
		f.info, f.err = os.Lstat(t.dir)
	}
	return f
}

var errLinks = errors.New("too many levels of symbolic links")

// isFile says whether a path leads to a plain file.
func (t *tree) isFile(name string) bool {
	f := t.follow(name)
	return f.err == nil && f.info.Mode().IsRegular()
}

// read gives the content of a file; nil without an error when there is none.
func (t *tree) read(name string) ([]byte, error) {
	f := t.follow(name)
	if errors.Is(f.err, fs.ErrNotExist) {
		return nil, nil
	}
	if f.err != nil {
		return nil, f.err
	}
	return os.ReadFile(t.host(f.real))
}

// glob lists the paths that match, sorted. Folders in the pattern may be links.
func (t *tree) glob(pattern string) ([]string, error) {
	dir, last := path.Split(path.Clean("/" + pattern))
	if _, err := path.Match(last, ""); err != nil {
		return nil, fmt.Errorf("pattern %q: %w", pattern, err)
	}
	dirs := []string{dir}
	if strings.ContainsAny(dir, `*?[\`) {
		var err error
		if dirs, err = t.glob(dir); err != nil {
			return nil, err
		}
	}
	var found []string
	for _, d := range dirs {
		f := t.follow(d)
		if f.err != nil || !f.info.IsDir() {
			continue
		}
		entries, err := os.ReadDir(t.host(f.real))
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if ok, _ := path.Match(last, e.Name()); ok {
				found = append(found, path.Join(d, e.Name()))
			}
		}
	}
	return found, nil
}

// merged are the folders that are one in the ramdisk.
var merged = []struct{ from, to string }{
	{"bin", "usr/bin"}, {"sbin", "usr/bin"}, {"usr/sbin", "usr/bin"},
	{"lib", "usr/lib"}, {"lib32", "usr/lib32"}, {"lib64", "usr/lib64"}, {"libx32", "usr/libx32"},
}

// place is where a path is in the ramdisk, without a slash in front.
func place(name string) string {
	name = clean(name)
	for _, m := range merged {
		if name == m.from {
			return m.to
		}
		if rest, ok := strings.CutPrefix(name, m.from+"/"); ok {
			return m.to + "/" + rest
		}
	}
	return name
}
