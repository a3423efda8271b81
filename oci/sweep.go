package oci

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/containers/storage"
	"golang.org/x/sys/unix"
)

// format is the version of what lies below ROOT/lithify. Raise it when an older
// program would misread it.
const format = 1

// checkFormat writes the version into a new store. A store of an older format
// loses its records, which makes all its layers left-over work that the sweep
// removes: nothing in a store is more than a saved rebuild.
func (s *Store) checkFormat(ctx context.Context) error {
	l, err := waitLock(ctx, s.lockPath("format", "check"), unix.LOCK_EX)
	if err != nil {
		return err
	}
	defer l.release()
	path := filepath.Join(s.dir, "version")
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return s.startFormat(path)
	}
	if err != nil {
		return err
	}
	have, err := strconv.Atoi(strings.TrimSpace(string(data)))
	switch {
	case err != nil || have < 1:
		return fmt.Errorf("%q holds %q, want a number: the store is damaged; remove the folder %q", path, data, s.root)
	case have > format:
		return fmt.Errorf("the store has format %d and this program knows formats up to %d: use the newer lithify, or another folder", have, format)
	case have < format:
		return s.dropOldFormat(path, have)
	}
	return nil
}

// startFormat refuses a graph root that somebody else made, podman for example.
func (s *Store) startFormat(path string) error {
	if _, err := os.Stat(filepath.Join(s.root, "overlay-layers")); err == nil {
		return fmt.Errorf("%q is a container store of another program: name another folder", s.root)
	}
	return writeSynced(path, []byte(strconv.Itoa(format)+"\n"))
}

func (s *Store) dropOldFormat(path string, have int) error {
	if run := s.someRun(); run != "" {
		return fmt.Errorf("the store has the older format %d and a build of that format is running (%s): try again when it is done", have, run)
	}
	s.log.Info("the store has an older format: its layers are dropped and will be built anew", "have", have, "want", format)
	for _, d := range []string{"records", "folds", "info", "blobs", "builds"} {
		full := filepath.Join(s.dir, d)
		if err := errors.Join(os.RemoveAll(full), os.Mkdir(full, 0o700)); err != nil {
			return err
		}
	}
	return writeSynced(path, []byte(strconv.Itoa(format)+"\n"))
}

func writeSynced(path string, data []byte) error {
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// someRun names a run of another process, "" when there is none.
func (s *Store) someRun() string {
	locks, _ := filepath.Glob(s.runLockPath("*"))
	for _, path := range locks {
		l, err := tryLock(path, unix.LOCK_EX)
		if errors.Is(err, errLocked) {
			return strings.TrimSuffix(filepath.Base(path), ".lock")
		}
		if err == nil {
			l.release()
		}
	}
	return ""
}

// sweep removes what dead builds left.
func (s *Store) sweep(ctx context.Context) error {
	if err := s.sweepRuns(); err != nil {
		return fmt.Errorf("removing the work of dead builds: %w", err)
	}
	if err := s.sweepContainers(); err != nil {
		return fmt.Errorf("removing the containers of dead builds: %w", err)
	}
	if _, err := s.sweepLayers(ctx); err != nil {
		return fmt.Errorf("removing unsealed layers: %w", err)
	}
	return nil
}

func (s *Store) sweepRuns() error {
	names, err := os.ReadDir(filepath.Join(s.dir, "run"))
	if err != nil {
		return err
	}
	seen := map[string]bool{s.run: true}
	for _, n := range names {
		run := strings.TrimSuffix(n.Name(), ".lock")
		if seen[run] {
			continue
		}
		seen[run] = true
		l, err := tryLock(s.runLockPath(run), unix.LOCK_EX)
		if errors.Is(err, errLocked) {
			continue
		}
		if err != nil {
			return err
		}
		s.log.Info("removing the work of a dead build", "run", run)
		if err := errors.Join(os.RemoveAll(filepath.Join(s.dir, "run", run)), l.remove()); err != nil {
			return err
		}
	}
	return nil
}

// sweepContainers removes buildah's working containers of dead builds. Their
// names carry the run.
func (s *Store) sweepContainers() error {
	all, err := s.st.Containers()
	if err != nil {
		return err
	}
	for _, c := range all {
		if len(c.Names) == 0 || s.runLives(c.Names[0]) {
			continue
		}
		s.log.Info("removing a container of a dead build", "name", c.Names[0])
		if err := s.st.DeleteContainer(c.ID); err != nil && !errors.Is(err, storage.ErrContainerUnknown) {
			return err
		}
	}
	return nil
}

// runLives tells whether the store that made a container called NAME-RUN is open.
func (s *Store) runLives(container string) bool {
	run := container[strings.LastIndexByte(container, '-')+1:]
	if run == s.run {
		return true
	}
	l, err := tryLock(s.runLockPath(run), unix.LOCK_EX)
	if err != nil {
		return true
	}
	l.remove()
	return false
}

// sweepLayers removes all layers that nobody holds and that no record, fold,
// image or the base keeps, highest first, and returns how many.
func (s *Store) sweepLayers(ctx context.Context) (int, error) {
	removed := 0
	for {
		loose, err := s.looseLeaves(ctx)
		if err != nil {
			return removed, err
		}
		progress := false
		for _, id := range loose {
			gone, err := s.removeLoose(ctx, id)
			if err != nil {
				return removed, err
			}
			if gone {
				removed++
				progress = true
			}
		}
		if !progress {
			return removed, nil
		}
	}
}

// looseLeaves lists the layers without children that nothing keeps.
func (s *Store) looseLeaves(ctx context.Context) ([]string, error) {
	// Layers before records: a layer that is sealed in between is then seen as
	// kept, not the other way round.
	all, err := s.st.Layers()
	if err != nil {
		return nil, err
	}
	kept, err := s.kept(ctx)
	if err != nil {
		return nil, err
	}
	for _, l := range all {
		kept[l.Parent] = true
	}
	var loose []string
	for _, l := range all {
		if !kept[l.ID] {
			loose = append(loose, l.ID)
		}
	}
	return loose, nil
}

// kept collects the layers that are named on disk by something other than a
// layer above.
func (s *Store) kept(ctx context.Context) (map[string]bool, error) {
	kept := map[string]bool{}
	recs, err := s.records(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range recs {
		kept[r.Layer] = true
	}
	if id, err := s.readBase(); err == nil {
		kept[id] = true
	}
	if err := s.keepFolds(kept); err != nil {
		return nil, err
	}
	images, err := s.st.Images()
	if err != nil {
		return nil, err
	}
	for _, i := range images {
		kept[i.TopLayer] = true
	}
	containers, err := s.st.Containers()
	if err != nil {
		return nil, err
	}
	for _, c := range containers {
		kept[c.LayerID] = true
	}
	return kept, nil
}

// removeLoose removes one layer unless somebody holds it or a look under the
// lock shows that it was sealed meanwhile.
func (s *Store) removeLoose(ctx context.Context, id string) (bool, error) {
	if !s.hasLock(id) { // made by a library: perhaps at this moment
		all, err := tryLock(s.lockPath("builders", "all"), unix.LOCK_EX)
		if errors.Is(err, errLocked) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		defer all.release()
	}
	l, err := tryLock(s.lockPath("layer", id), unix.LOCK_EX)
	if errors.Is(err, errLocked) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	kept, err := s.kept(ctx)
	if err != nil || kept[id] {
		return false, errors.Join(err, l.release())
	}
	return s.removeLocked(id, l)
}

// hasLock tells a layer that this package made from one that a library made.
func (s *Store) hasLock(id string) bool {
	_, err := os.Lstat(s.lockPath("layer", id))
	return err == nil
}

// removeLocked removes a layer whose exclusive lock l is held, and lets l go.
// A layer that gained a child meanwhile stays.
func (s *Store) removeLocked(id string, l *lock) (bool, error) {
	err := s.takeOut(id)
	switch {
	case errors.Is(err, storage.ErrLayerHasChildren), errors.Is(err, storage.ErrLayerUsedByImage),
		errors.Is(err, storage.ErrLayerUsedByContainer):
		return false, l.release()
	case errors.Is(err, storage.ErrNotALayer), errors.Is(err, storage.ErrLayerUnknown):
		return false, l.remove()
	case err != nil:
		return false, errors.Join(fmt.Errorf("removing layer %q: %w", id, err), l.release())
	}
	s.log.Debug("removed a layer", "layer", id)
	err = s.dropInfo(id)
	s.mu.Lock()
	delete(s.chains, id)
	s.mu.Unlock()
	return true, errors.Join(err, l.remove())
}

// takeOut is storage's DeleteLayer, which writes the list of layers anew before
// it removes anything. On a full disk what the layer holds has to make room for
// that, if nothing stands on it: the library may have failed before it looked.
func (s *Store) takeOut(id string) error {
	err := s.st.DeleteLayer(id)
	if errors.Is(err, unix.ENOSPC) && s.isLeaf(id) {
		err = errors.Join(emptyFolder(s.diffDir(id)), s.st.DeleteLayer(id))
	}
	return err
}

func (s *Store) isLeaf(id string) bool {
	all, err := s.st.Layers()
	return err == nil && !slices.ContainsFunc(all, func(l storage.Layer) bool { return l.Parent == id })
}

// full says whether the disk of the store has no room for even a list of layers.
func (s *Store) full() bool {
	var fs unix.Statfs_t
	return unix.Statfs(s.root, &fs) == nil && int64(fs.Bavail)*fs.Bsize < 1<<20
}

// emptyFolder removes what is in a folder, all that it can.
func emptyFolder(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}
