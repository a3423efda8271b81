package blockdev

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// MeasureUnprepared is Measure of a tree that may lack mount points, as if
// MakeMountPoints had made them: it changes nothing.
func MeasureUnprepared(ctx context.Context, root string, mountPoints []string) (map[string]Content, error) {
	var there, missing []string
	for _, mp := range mountPoints {
		_, err := os.Lstat(filepath.Join(root, mp))
		switch {
		case err == nil:
			there = append(there, mp)
		case errors.Is(err, fs.ErrNotExist):
			missing = append(missing, mp)
		default:
			return nil, err
		}
	}
	all, err := Measure(ctx, root, there)
	if err != nil {
		return nil, err
	}
	for _, mp := range missing {
		all[mp] = Content{Inodes: 1, Dirs: 1, Bytes: blockSize}
	}
	made := map[string]bool{}
	for _, mp := range missing {
		path := ""
		for _, c := range components(mp) {
			path += "/" + c
			if _, err := os.Lstat(filepath.Join(root, path)); err == nil || made[path] {
				continue
			}
			made[path] = true
			if owner := ownerOf(path, mountPoints); owner != "" {
				c := all[owner]
				c.add(Content{Inodes: 1, Dirs: 1, Bytes: blockSize})
				all[owner] = c
			}
		}
	}
	return all, nil
}

// ownerOf is the mount point whose file system holds the folder at a path, "" for
// none. A mount point's own folder lies in the file system above it.
func ownerOf(path string, mountPoints []string) string {
	var above []string
	for _, mp := range mountPoints {
		if mp != path && strings.HasPrefix(path, strings.TrimSuffix(mp, "/")+"/") {
			above = append(above, mp)
		}
	}
	if len(above) == 0 {
		return ""
	}
	return slices.MaxFunc(above, func(a, b string) int { return len(a) - len(b) })
}
