package oci

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// The kernel copies up one name of a hard-linked file and forgets the others:
// a chmod or rename of one name splits the pair, and nothing marks the copy.
// So, for every file with several names in a layer below:
//
//	names still shown: kept, copied (a regular file in this layer), gone
//	same    = copies with the lower file's size, mtime and content,
//	          and when names are gone, new files likewise (a rename)
//	newest  = the one of same that changed last: its mode and owner are the
//	          ones that a plain file system would show on all names
//	every kept name and every other of same becomes a link to newest
//
// A copy with other content or mtime may be an edit of the file (all names
// should see it) or a new file under the old name (none should): it is left.

// joiner joins the links of one container, through its mount.
type joiner struct {
	c      *container
	below  stack
	byTime map[fileKey][]string // regular files in the diff folder, made when needed
	joined bool
}

type fileKey struct {
	size int64
	mtim unix.Timespec
}

// copyOf is one name with its file in the diff folder.
type copyOf struct {
	name string
	st   unix.Stat_t
}

func (c *container) rejoin(ctx context.Context, sc *scan, below stack) (bool, error) {
	chain, err := c.s.chain(c.below)
	if err != nil {
		return false, err
	}
	j := &joiner{c: c, below: below}
	for _, id := range chain {
		info, err := c.s.info(ctx, id)
		if err != nil {
			return false, err
		}
		for _, names := range touchedGroups(info.Links, sc.covers) {
			if err := j.group(ctx, c.s.diffDir(id), names); err != nil {
				return false, fmt.Errorf("joining the hard links of %q: %w", names[0], err)
			}
		}
	}
	return j.joined, nil
}

// touchedGroups picks the groups that have a name at or below one of covers.
func touchedGroups(groups [][]string, covers []string) [][]string {
	if len(groups) == 0 || len(covers) == 0 {
		return nil
	}
	covered := make(map[string]bool, len(covers))
	for _, p := range covers {
		covered[p] = true
	}
	var hit [][]string
	for _, names := range groups {
		if slices.ContainsFunc(names, func(n string) bool { return underAny(n, covered) }) {
			hit = append(hit, names)
		}
	}
	return hit
}

func underAny(name string, covered map[string]bool) bool {
	for {
		if covered[name] {
			return true
		}
		i := strings.LastIndexByte(name, '/')
		if i < 0 {
			return false
		}
		name = name[:i]
	}
}

// group handles the names of one file of the layer whose diff folder is lower.
func (j *joiner) group(ctx context.Context, lower string, names []string) error {
	var kept, gone []string
	var copies []copyOf
	for _, name := range names {
		path, _, ok, err := j.below.find(name)
		if err != nil {
			return err
		}
		if !ok || path != filepath.Join(lower, name) {
			continue // a layer between had its way with this name
		}
		st, p, err := lookIn(j.c.Changes(), name)
		switch {
		case err != nil:
			return err
		case p == absent:
			kept = append(kept, name)
		case p == present && isRegular(st):
			copies = append(copies, copyOf{name, st})
		default:
			gone = append(gone, name)
		}
	}
	return j.joinGroup(ctx, filepath.Join(lower, names[0]), kept, gone, copies)
}

func (j *joiner) joinGroup(ctx context.Context, original string, kept, gone []string, copies []copyOf) error {
	if len(kept)+len(copies)+len(gone) < 2 {
		return nil
	}
	want, err := lstat(original)
	if err != nil {
		return err
	}
	if len(gone) > 0 && want.Size > 0 {
		renamed, err := j.newFilesLike(ctx, want)
		if err != nil {
			return err
		}
		copies = append(copies, renamed...)
	}
	var same []copyOf
	for _, c := range copies {
		equal, err := j.equals(c, original, want)
		if err != nil {
			return err
		}
		if equal {
			same = append(same, c)
		} else if len(kept) > 0 {
			j.c.s.log.Info("a hook changed one name of a hard-linked file: the names are separate files now",
				"changed", c.name, "other", kept[0])
		}
	}
	return j.join(same, kept)
}

// join links everything to the copy that changed last.
func (j *joiner) join(same []copyOf, kept []string) error {
	if len(same) == 0 {
		return nil
	}
	newest := slices.MaxFunc(same, func(a, b copyOf) int {
		return cmp.Compare(a.st.Ctim.Nano(), b.st.Ctim.Nano())
	})
	for _, c := range same {
		if c.st.Ino != newest.st.Ino {
			kept = append(kept, c.name)
		}
	}
	for _, name := range kept {
		if err := j.link(newest.name, name); err != nil {
			return err
		}
	}
	return nil
}

// link puts a link to file at name, through the mount, and leaves the time of
// the folder as it was.
func (j *joiner) link(file, name string) error {
	at := filepath.Join(j.c.dir, name)
	dir := filepath.Dir(at)
	st, err := lstat(dir)
	if err != nil {
		return err
	}
	temp := filepath.Join(dir, ".lithify-link-"+newID()[:12])
	if err := os.Link(filepath.Join(j.c.dir, file), temp); err != nil {
		return err
	}
	if err := os.Rename(temp, at); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	j.joined = true
	j.c.s.log.Debug("joined a hard link", "name", name, "with", file)
	return setTimes(dir, st)
}

// newFilesLike finds files of this layer that could be a lower file under a new
// name.
func (j *joiner) newFilesLike(ctx context.Context, want unix.Stat_t) ([]copyOf, error) {
	if j.byTime == nil {
		if err := j.indexFiles(ctx); err != nil {
			return nil, err
		}
	}
	var found []copyOf
	for _, name := range j.byTime[fileKey{want.Size, want.Mtim}] {
		_, old, ok, err := j.below.find(name)
		if err != nil {
			return nil, err
		}
		if ok && old.Size == want.Size && old.Mtim == want.Mtim {
			continue // it was there before: a copy of its own
		}
		st, err := lstat(filepath.Join(j.c.Changes(), name))
		if err != nil {
			return nil, err
		}
		found = append(found, copyOf{name, st})
	}
	return found, nil
}

func (j *joiner) indexFiles(ctx context.Context) error {
	j.byTime = map[fileKey][]string{}
	dir := j.c.Changes()
	return filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		st, err := lstat(path)
		if err == nil {
			k := fileKey{st.Size, st.Mtim}
			j.byTime[k] = append(j.byTime[k], path[len(dir)+1:])
		}
		return err
	})
}

func (j *joiner) equals(c copyOf, original string, want unix.Stat_t) (bool, error) {
	if c.st.Size != want.Size || c.st.Mtim != want.Mtim {
		return false, nil
	}
	return sameContent(filepath.Join(j.c.Changes(), c.name), original)
}

func sameContent(a, b string) (bool, error) {
	fa, err := os.Open(a)
	if err != nil {
		return false, err
	}
	defer fa.Close()
	fb, err := os.Open(b)
	if err != nil {
		return false, err
	}
	defer fb.Close()
	bufA, bufB := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		na, errA := io.ReadFull(fa, bufA)
		nb, errB := io.ReadFull(fb, bufB)
		if !bytes.Equal(bufA[:na], bufB[:nb]) {
			return false, nil
		}
		endA, endB := isEnd(errA), isEnd(errB)
		if errA != nil && !endA || errB != nil && !endB {
			return false, errors.Join(errA, errB)
		}
		if endA || endB {
			return endA == endB, nil
		}
	}
}

func isEnd(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}
