package oci

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// stack is the diff folders under an overlay mount, highest first.
type stack []string

// presence is what one diff folder says about a path.
type presence int

const (
	absent  presence = iota // nothing: ask the folder below
	present                 // here it is
	hidden                  // not here, and what lies below is hidden
)

func (s *Store) stackOf(id string) (stack, error) {
	chain, err := s.chain(id)
	if err != nil {
		return nil, err
	}
	return s.diffDirs(chain), nil
}

// diffDirs turns layer IDs, lowest first, into a stack.
func (s *Store) diffDirs(chain []string) stack {
	var st stack
	for _, id := range slices.Backward(chain) {
		st = append(st, s.diffDir(id))
	}
	return st
}

// find returns where the file that a mount of the stack shows at rel lies.
func (st stack) find(rel string) (path string, at unix.Stat_t, ok bool, err error) {
	for _, dir := range st {
		at, p, err := lookIn(dir, rel)
		if err != nil || p == hidden {
			return "", at, false, err
		}
		if p == present {
			return filepath.Join(dir, rel), at, true, nil
		}
	}
	return "", at, false, nil
}

// lookIn asks one diff folder about a path. A folder that is there may still
// show entries of folders below.
func lookIn(dir, rel string) (unix.Stat_t, presence, error) {
	st, err := lstat(filepath.Join(dir, rel))
	switch {
	case err == nil && isWhiteout(st):
		return st, hidden, nil
	case err == nil:
		return st, present, nil
	case errors.Is(err, unix.ENOTDIR):
		return st, hidden, nil
	case !errors.Is(err, os.ErrNotExist):
		return st, absent, err
	}
	for up := filepath.Dir(rel); up != "."; up = filepath.Dir(up) {
		full := filepath.Join(dir, up)
		if at, err := lstat(full); err == nil && (isWhiteout(at) || isOpaque(full)) {
			return st, hidden, nil
		}
	}
	return st, absent, nil
}

// isWhiteout tells a deletion mark: a character device 0:0.
func isWhiteout(st unix.Stat_t) bool {
	return st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0
}

func isDir(st unix.Stat_t) bool     { return st.Mode&unix.S_IFMT == unix.S_IFDIR }
func isRegular(st unix.Stat_t) bool { return st.Mode&unix.S_IFMT == unix.S_IFREG }

// layerInfo is what is remembered about the diff folder of a finished layer.
type layerInfo struct {
	Bytes int64      // on disk
	Links [][]string // names of one regular file each, at least two, relative to the diff folder
}

// scan is what a walk over a diff folder found.
type scan struct {
	info    layerInfo
	folders []string // relative; "." is the root
	covers  []string // paths that hide what lies below: all but folders, and opaque folders
}

// scanDiff walks a diff folder.
func scanDiff(ctx context.Context, dir string) (*scan, error) {
	sc := &scan{}
	links := map[uint64][]string{}
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		st, err := lstat(path)
		if err != nil {
			return err
		}
		rel := strings.TrimPrefix(path[len(dir):], "/")
		sc.add(path, rel, st, links)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("walking the changes in %q: %w", dir, err)
	}
	for _, names := range links {
		if len(names) > 1 {
			sc.info.Links = append(sc.info.Links, names)
		}
	}
	slices.SortFunc(sc.info.Links, slices.Compare)
	return sc, nil
}

func (sc *scan) add(path, rel string, st unix.Stat_t, links map[uint64][]string) {
	many := st.Nlink > 1 && isRegular(st)
	if !many || links[st.Ino] == nil {
		sc.info.Bytes += st.Blocks * 512
	}
	if many {
		links[st.Ino] = append(links[st.Ino], rel)
	}
	if isDir(st) {
		sc.folders = append(sc.folders, filepath.Clean(rel))
	}
	if !isDir(st) || isOpaque(path) {
		sc.covers = append(sc.covers, rel)
	}
}

// changed tells whether the scanned diff folder changes what a mount of below
// shows. Folders that were only copied up do not count.
func (sc *scan) changed(dir string, below stack) (bool, error) {
	if len(sc.covers) > 0 {
		return true, nil
	}
	for _, rel := range sc.folders {
		lower, _, ok, err := below.find(rel)
		if err != nil {
			return false, err
		}
		if !ok {
			return true, nil
		}
		same, err := sameFolder(filepath.Join(dir, rel), lower)
		if err != nil || !same {
			return true, err
		}
	}
	return false, nil
}

// sameFolder compares mode, owner, mtime and attributes.
func sameFolder(a, b string) (bool, error) {
	as, err := lstat(a)
	if err != nil {
		return false, err
	}
	bs, err := lstat(b)
	if err != nil {
		return false, err
	}
	if as.Mode != bs.Mode || as.Uid != bs.Uid || as.Gid != bs.Gid || as.Mtim != bs.Mtim {
		return false, nil
	}
	ax, err := xattrs(a)
	if err != nil {
		return false, err
	}
	bx, err := xattrs(b)
	return sameXattrs(ax, bx), err
}
