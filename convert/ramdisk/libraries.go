package ramdisk

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
)

// loader finds libraries as the target's ld.so does (ld.so(8)):
//
//	a name with a slash is a path
//	RPATH of the object, and of those that led to it, unless the object has a RUNPATH
//	RUNPATH of the object
//	the folders of /etc/ld.so.conf, from which ldconfig makes its cache
//	the loader's own folder, in /lib and in /usr/lib, /lib64, /usr/lib64, /lib, /usr/lib
//
// A library for another machine or word size is passed over. What has a name
// already is not looked for again. Variants for newer processors (glibc-hwcaps)
// are left alone: the plain one works everywhere.
type loader struct {
	t       *tree
	objects map[string]objectOrError // by path without links
	conf    []string                 // folders of /etc/ld.so.conf
	hasConf bool
	// home is the folder of the loader that programs of a kind name: a library names
	// none, and is opened by one of them.
	home map[kind]string
}

// kind is what must be the same of objects that go together.
type kind struct {
	class   elf.Class
	machine elf.Machine
}

type objectOrError struct {
	o   object
	err error
}

func newLoader(t *tree) *loader {
	return &loader{t: t, objects: map[string]objectOrError{}, home: map[kind]string{}}
}

// object reads the headers of the file that a path leads to, once.
func (l *loader) object(name string) (object, string, error) {
	f := l.t.follow(name)
	if f.err != nil {
		return object{}, "", f.err
	}
	if !f.info.Mode().IsRegular() {
		return object{}, f.real, errNotELF
	}
	known, ok := l.objects[f.real]
	if !ok {
		known.o, known.err = readObject(l.t.host(f.real))
		l.objects[f.real] = known
	}
	return known.o, f.real, known.err
}

// node is an object on its way into memory.
type node struct {
	object
	real string // its path without links, for $ORIGIN
	by   *node  // what needs it
}

// missingLibrary says that a program would not start.
type missingLibrary struct{ name, by string }

func (e *missingLibrary) Error() string {
	return fmt.Sprintf("library %q, which %q needs, is not in the image", e.name, e.by)
}

// closure gives the paths, as the loader would open them, of everything that is
// mapped for a program or library: the loader first. A file that is no object, or
// needs nothing, gives none.
func (l *loader) closure(name string) ([]string, error) {
	o, real, err := l.object(name)
	if errors.Is(err, errNotELF) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	first := &node{object: o, real: real}
	var found []string
	dirs, err := l.usualDirs(o, real)
	if err != nil {
		return nil, err
	}
	loaded := map[string]bool{}
	if o.interp != "" {
		if _, _, err := l.object(o.interp); err != nil {
			return nil, fmt.Errorf("looking at %q, the loader of %q: %w", o.interp, name, err)
		}
		found = append(found, o.interp)
		loaded[path.Base(o.interp)] = true
	}
	for queue := []*node{first}; len(queue) > 0; queue = queue[1:] {
		n := queue[0]
		for i, want := range slices.Concat(n.needed, n.wanted) {
			if loaded[want] {
				continue
			}
			at, next, err := l.find(want, n, dirs)
			if err != nil {
				return nil, err
			}
			if next == nil && i < len(n.needed) {
				return nil, &missingLibrary{want, n.real}
			}
			loaded[want] = true
			if next != nil {
				found = append(found, at)
				queue = append(queue, next)
			}
		}
	}
	return found, nil
}

// find looks for a library that n needs; nil when it is nowhere.
func (l *loader) find(want string, n *node, dirs []string) (string, *node, error) {
	if strings.Contains(want, "/") {
		return l.try(expand(want, n, dirs)[0], n)
	}
	var tried []string
	if len(n.runpath) == 0 {
		for at := n; at != nil; at = at.by {
			if len(at.runpath) == 0 {
				tried = append(tried, expandAll(at.rpath, at, dirs)...)
			}
		}
	}
	tried = append(tried, expandAll(n.runpath, n, dirs)...)
	for _, dir := range append(tried, dirs...) {
		if at, found, err := l.try(path.Join(dir, want), n); err != nil || found != nil {
			return at, found, err
		}
	}
	return "", nil, nil
}

// try gives the object at a path when it is one that can go with n.
func (l *loader) try(name string, n *node) (string, *node, error) {
	if !l.t.isFile(name) {
		return "", nil, nil
	}
	o, real, err := l.object(name)
	if err != nil && !errors.Is(err, errNotELF) && errors.Is(err, os.ErrPermission) {
		return "", nil, err
	}
	if err != nil || o.class != n.class || o.machine != n.machine {
		return "", nil, nil
	}
	return name, &node{object: o, real: real, by: n}, nil
}

func expandAll(all []string, n *node, dirs []string) (out []string) {
	for _, p := range all {
		out = append(out, expand(p, n, dirs)...)
	}
	return out
}

// expand puts in what $ORIGIN and $LIB stand for. What $LIB is, a loader knows of
// itself: the folders that are usual for it are tried.
func expand(p string, n *node, dirs []string) []string {
	for _, token := range []string{"${ORIGIN}", "$ORIGIN"} {
		p = strings.ReplaceAll(p, token, path.Dir(n.real))
	}
	p = strings.ReplaceAll(p, "${LIB}", "$LIB")
	if !strings.Contains(p, "$LIB") {
		return []string{p}
	}
	var out []string
	for _, d := range dirs {
		d = strings.TrimPrefix(strings.TrimPrefix(d, "/usr"), "/")
		out = append(out, strings.ReplaceAll(p, "$LIB", d))
	}
	return out
}

// usualDirs are the folders that every object of the kind of o is looked for in.
func (l *loader) usualDirs(o object, real string) ([]string, error) {
	if strings.HasPrefix(path.Base(o.interp), "ld-musl-") {
		return l.muslDirs(o.interp)
	}
	if err := l.readConf(); err != nil {
		return nil, err
	}
	dirs := slices.Clone(l.conf)
	k := kind{o.class, o.machine}
	if f := l.t.follow(o.interp); o.interp != "" && f.err == nil {
		l.home[k] = path.Dir(f.real)
	}
	home := l.home[k]
	if home == "" {
		home = path.Dir(real)
	}
	home = strings.TrimPrefix(home, "/usr")
	return append(dirs, home, "/usr"+home, "/lib64", "/usr/lib64", "/lib", "/usr/lib"), nil
}

// muslDirs: musl's loader reads a file of its own, or has three folders.
func (l *loader) muslDirs(interp string) ([]string, error) {
	name := strings.TrimSuffix(path.Base(interp), ".so.1")
	text, err := l.t.read("/etc/" + name + ".path")
	if err != nil || text != nil {
		return strings.FieldsFunc(string(text), func(r rune) bool { return r == ':' || r == '\n' }), err
	}
	return []string{"/lib", "/usr/local/lib", "/usr/lib"}, nil
}

// readConf reads /etc/ld.so.conf with all that it includes, once.
func (l *loader) readConf() error {
	if l.hasConf {
		return nil
	}
	l.hasConf = true
	return l.include("/etc/ld.so.conf", 0)
}

func (l *loader) include(file string, depth int) error {
	if depth > 8 {
		return fmt.Errorf("reading %q of the image: includes nest too deep", file)
	}
	text, err := l.t.read(file)
	if err != nil {
		return fmt.Errorf("reading %q of the image: %w", file, err)
	}
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		words := strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \t\n:,", r) })
		if len(words) == 0 || words[0] == "hwcap" {
			continue
		}
		if words[0] != "include" {
			l.conf = append(l.conf, words...)
			continue
		}
		for _, pattern := range words[1:] {
			if !path.IsAbs(pattern) {
				pattern = path.Join(path.Dir(file), pattern)
			}
			files, err := l.t.glob(pattern)
			if err != nil {
				return err
			}
			for _, f := range files {
				if err := l.include(f, depth+1); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
