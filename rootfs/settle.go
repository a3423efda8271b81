package rootfs

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// settle puts right, where the image has a time of its own, what a step wrote
// that would be other bytes in the next build of the same inputs, though nobody
// reads it in the image: the last hooks take all of it out of the tree, but the
// layers of a container image would still hold it.
//
//	logs          are emptied
//	aux-cache     of ldconfig, numbers and times of inodes: removed
//	apt's caches  of what its lists say, in any order: removed
//	machine-id    made by chance: one that follows from the key below the step
//	times         no younger than the image's
func (w *bench) settle(key Key) (err error) {
	t, err := w.tree()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	changed, err := os.OpenRoot(w.c.Changes())
	if err != nil {
		return fmt.Errorf("opening what the step changed: %w", err)
	}
	defer func() { err = errors.Join(err, changed.Close()) }()
	for _, deed := range []func(t, changed *os.Root) error{emptyLogs, removeCaches, func(t, changed *os.Root) error { return settleMachineID(t, changed, key) }} {
		if err := deed(t, changed); err != nil {
			return fmt.Errorf("settling what the step wrote: %w", err)
		}
	}
	return clampTimes(w.c.Changes(), w.c.Dir(), *w.o.Epoch)
}

// wrote says whether the step made or changed a regular file that has content.
func wrote(changed *os.Root, name string) bool {
	info, err := changed.Lstat(name)
	return err == nil && info.Mode().IsRegular() && info.Size() > 0
}

func emptyLogs(t, changed *os.Root) error {
	return walk(changed, "var/log", func(name string, d fs.DirEntry) error {
		if !d.Type().IsRegular() || !wrote(changed, name) {
			return nil
		}
		return truncate(t, name)
	})
}

func removeCaches(t, changed *os.Root) error {
	for _, cache := range []string{"var/cache/ldconfig/aux-cache", "var/cache/apt/pkgcache.bin", "var/cache/apt/srcpkgcache.bin"} {
		if !wrote(changed, cache) {
			continue
		}
		if err := t.Remove(cache); err != nil {
			return err
		}
	}
	return nil
}

// settleMachineID gives the tree another id than chance did. D-Bus keeps a copy.
func settleMachineID(t, changed *os.Root, key Key) error {
	const file, copied = "etc/machine-id", "var/lib/dbus/machine-id"
	if !wrote(changed, file) {
		return nil
	}
	old, err := t.ReadFile(file)
	if err != nil || !isMachineID(old) {
		return err
	}
	sum := sha256.Sum256([]byte("lithify machine id 1 " + string(key)))
	id := []byte(hex.EncodeToString(sum[:16]) + "\n")
	if wrote(changed, copied) {
		if have, err := t.ReadFile(copied); err != nil || bytes.Equal(have, old) {
			if err := errors.Join(err, rewrite(t, copied, id)); err != nil {
				return err
			}
		}
	}
	return rewrite(t, file, id)
}

func isMachineID(text []byte) bool {
	id, err := hex.DecodeString(string(bytes.TrimSpace(text)))
	return err == nil && len(id) == 16
}

// rewrite changes a file's content and nothing else of it.
func rewrite(t *os.Root, name string, data []byte) error {
	f, err := t.OpenFile(name, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

func truncate(t *os.Root, name string) error { return rewrite(t, name, nil) }
