package oci

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// A layer of an image is what one tree has otherwise than another. It is found
// by comparing two mounted trees, not by merging the diff folders between them:
// folds and steps that were made anew put other layers under a later tree, and
// equal pairs of trees shall give equal bytes, whatever they were made of.
//
//	walk both trees at once, by name:
//	    only in the old one: deleted
//	    only in the new one, of another type, or not the same: written
//	a file whose set of names differs is written, and where one name of a file
//	is written, all are: a link needs its file in the same layer
//	the folders above all that is written or deleted are written too: unpackers
//	make those that are missing with a mode of their own
//
// What an image never holds is invisible on both sides: what is in /proc, /sys,
// /dev and /lost+found, and sockets.
//
// Two mounts show one unchanged file with the same number and change time, as
// overlay gives those of the file below: then nothing else is looked at.

// deltaEntry is one entry of an image layer. The name is relative, "" for the
// root folder.
type deltaEntry struct {
	name string
	gone bool // deleted
}

// differ compares two trees.
type differ struct {
	ctx      context.Context
	old, new string // folders; old may be "", for nothing
	put      map[string]bool
	gone     map[string]bool
	oldLinks linkNames
	newLinks linkNames
}

// linkNames are the names of files that have several.
type linkNames struct {
	files map[inode][]string
	of    map[string]inode
}

func newLinkNames() linkNames { return linkNames{map[inode][]string{}, map[string]inode{}} }

func (l linkNames) add(name string, st unix.Stat_t) {
	if isDir(st) || st.Nlink < 2 {
		return
	}
	id := inode{uint64(st.Dev), st.Ino}
	l.files[id] = append(l.files[id], name)
	l.of[name] = id
}

// names gives all names of the file called name.
func (l linkNames) names(name string) []string {
	if id, many := l.of[name]; many {
		return l.files[id]
	}
	return []string{name}
}

// treeDelta lists the entries that turn tree old into tree new, folders before
// what is in them, siblings by name.
func treeDelta(ctx context.Context, old, new string) ([]deltaEntry, error) {
	d := &differ{ctx: ctx, old: old, new: new, put: map[string]bool{}, gone: map[string]bool{},
		oldLinks: newLinkNames(), newLinks: newLinkNames()}
	if err := d.pair("", old != ""); err != nil {
		return nil, err
	}
	d.wholeGroups()
	d.addParents()
	var all []deltaEntry
	for name := range d.put {
		all = append(all, deltaEntry{name: name})
	}
	for name := range d.gone {
		all = append(all, deltaEntry{name: name, gone: true})
	}
	slices.SortFunc(all, func(a, b deltaEntry) int { return comparePaths(a.name, b.name) })
	return all, nil
}

// comparePaths orders a folder before its entries and these before its next
// sibling, as a walk meets them.
func comparePaths(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		switch {
		case a[i] == b[i]:
		case a[i] == '/':
			return -1
		case b[i] == '/':
			return 1
		default:
			return cmp.Compare(a[i], b[i])
		}
	}
	return cmp.Compare(len(a), len(b))
}

// pair looks at a name that the new tree has, and the old one too when both.
func (d *differ) pair(name string, both bool) error {
	if err := d.ctx.Err(); err != nil {
		return err
	}
	now, err := lstat(filepath.Join(d.new, name))
	if err != nil {
		return err
	}
	d.newLinks.add(name, now)
	oldFolder := false
	if both {
		was, err := lstat(filepath.Join(d.old, name))
		if err != nil {
			return err
		}
		d.oldLinks.add(name, was)
		oldFolder = isDir(was)
		if both, err = d.same(name, was, now); err != nil {
			return err
		}
	}
	if !both {
		d.put[name] = true
	}
	if !isDir(now) {
		return nil
	}
	return d.folder(name, oldFolder)
}

func (d *differ) folder(name string, oldToo bool) error {
	now, err := visible(d.new, name)
	if err != nil {
		return err
	}
	var was map[string]bool
	if oldToo {
		if was, err = visible(d.old, name); err != nil {
			return err
		}
	}
	for _, n := range slices.Sorted(maps.Keys(now)) {
		if err := d.pair(filepath.Join(name, n), was[n]); err != nil {
			return err
		}
	}
	for n := range was {
		if !now[n] {
			d.gone[filepath.Join(name, n)] = true
		}
	}
	return nil
}

// visible lists what of a folder an image may hold.
func visible(root, name string) (map[string]bool, error) {
	names := map[string]bool{}
	switch name {
	case "proc", "sys", "dev", "lost+found":
		return names, nil
	}
	entries, err := os.ReadDir(filepath.Join(root, name))
	for _, e := range entries {
		if e.Type() != os.ModeSocket && (name != "" || e.Name() != "lost+found") {
			names[e.Name()] = true
		}
	}
	return names, err
}

// same tells whether an archive would hold the same for both.
func (d *differ) same(name string, was, now unix.Stat_t) (bool, error) {
	if !isDir(now) && was.Ino == now.Ino && was.Ctim == now.Ctim && was.Mtim == now.Mtim && was.Size == now.Size {
		return true, nil
	}
	if was.Mode != now.Mode || was.Uid != now.Uid || was.Gid != now.Gid || was.Mtim.Sec != now.Mtim.Sec ||
		was.Rdev != now.Rdev || !isDir(now) && was.Size != now.Size {
		return false, nil
	}
	a, b := filepath.Join(d.old, name), filepath.Join(d.new, name)
	attrs, err := imageXattrs(a)
	if err != nil {
		return false, err
	}
	others, err := imageXattrs(b)
	if err != nil || !sameXattrs(attrs, others) {
		return false, err
	}
	switch now.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return sameContent(a, b)
	case unix.S_IFLNK:
		to, err := os.Readlink(a)
		other, err2 := os.Readlink(b)
		return to == other, errors.Join(err, err2)
	}
	return true, nil
}

// imageXattrs are the attributes that an image holds: not the build host's
// SELinux label.
func imageXattrs(path string) (map[string][]byte, error) {
	attrs, err := xattrs(path)
	delete(attrs, "security.selinux")
	return attrs, err
}

// wholeGroups adds all names of a file of which one is written, or whose names
// are not the same as before.
func (d *differ) wholeGroups() {
	for _, names := range d.newLinks.files {
		if !slices.ContainsFunc(names, func(n string) bool { return d.put[n] || !slices.Equal(names, d.oldLinks.names(n)) }) {
			continue
		}
		for _, n := range names {
			d.put[n] = true
		}
	}
	// A name that lost all others in the new tree is a file of its own there.
	for _, names := range d.oldLinks.files {
		for _, n := range names {
			if _, still := d.newLinks.of[n]; !still && len(names) > 1 && !d.gone[n] && d.shows(n) {
				d.put[n] = true
			}
		}
	}
}

// shows tells whether the new tree has the name.
func (d *differ) shows(name string) bool {
	_, err := lstat(filepath.Join(d.new, name))
	return err == nil
}

func (d *differ) addParents() {
	for _, set := range []map[string]bool{maps.Clone(d.put), d.gone} {
		for name := range set {
			for name != "" {
				if name = filepath.Dir(name); name == "." {
					name = ""
				}
				if d.put[name] && name != "" {
					break // and so has all above it, or will have in its own turn
				}
				d.put[name] = true
			}
		}
	}
}
