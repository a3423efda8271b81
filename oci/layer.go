package oci

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/containers/storage"
	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/rootfs"
)

// layer is a held layer.
type layer string

func (l layer) ID() string { return string(l) }

func (s *Store) lockPath(kind, name string) string {
	return filepath.Join(s.dir, "locks", kind+"-"+name)
}

// diffDir is where containers/storage's overlay driver keeps a layer's own
// changes.
func (s *Store) diffDir(id string) string {
	return filepath.Join(s.root, "overlay", id, "diff")
}

// hold takes the shared lock of a layer until the store is closed. The layer
// may not exist (any more): whoever holds an existing one looks again after.
func (s *Store) hold(ctx context.Context, id string) error {
	s.mu.Lock()
	held := s.holds[id] != nil
	s.mu.Unlock()
	if held {
		return nil
	}
	l, err := waitLock(ctx, s.lockPath("layer", id), unix.LOCK_SH)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.holds[id] != nil {
		return l.release()
	}
	s.holds[id] = l
	return nil
}

// letGo releases the hold of a layer that is gone.
func (s *Store) letGo(id string) error {
	s.mu.Lock()
	l := s.holds[id]
	delete(s.holds, id)
	delete(s.chains, id)
	s.mu.Unlock()
	if l == nil {
		return nil
	}
	return l.remove()
}

func (s *Store) releaseHolds() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for id, l := range s.holds {
		errs = append(errs, l.release())
		delete(s.holds, id)
	}
	return errors.Join(errs...)
}

// chain returns the IDs of a layer's stack, lowest first, the layer last.
func (s *Store) chain(id string) ([]string, error) {
	s.mu.Lock()
	known := s.chains[id]
	s.mu.Unlock()
	if known != nil {
		return known, nil
	}
	var ids []string
	for at := id; at != ""; {
		l, err := s.st.Layer(at)
		if err != nil {
			return nil, fmt.Errorf("looking up layer %q: %w", at, err)
		}
		ids = append(ids, l.ID)
		at = l.Parent
	}
	slices.Reverse(ids)
	s.mu.Lock()
	s.chains[id] = ids
	s.mu.Unlock()
	return ids, nil
}

func (s *Store) exists(id string) bool {
	_, err := s.st.Layer(id)
	return err == nil
}

// Find implements rootfs.Store.
func (s *Store) Find(ctx context.Context, k rootfs.Key) (rootfs.Layer, rootfs.Record, error) {
	rec, err := s.find(ctx, k)
	if err != nil {
		return nil, rec, fmt.Errorf("finding the layer of step %.12s: %w", k, err)
	}
	now := time.Now()
	if err := os.Chtimes(s.recordPath(k), now, now); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.log.Debug("noting a record's use", "key", k, "err", err) // only pruning is less clever
	}
	return layer(rec.Layer), rec, nil
}

func (s *Store) find(ctx context.Context, k rootfs.Key) (rootfs.Record, error) {
	if err := checkKey(k); err != nil {
		return rootfs.Record{}, err
	}
	rec, err := s.usable(k)
	if err != nil {
		return rec, err
	}
	if err := s.hold(ctx, rec.Layer); err != nil {
		return rec, err
	}
	again, err := s.usable(k) // pruned or replaced before we held it?
	if err == nil && again.Layer != rec.Layer {
		return s.find(ctx, k)
	}
	return again, err
}

// usable reads a record that may be reused, or returns rootfs.ErrNotFound.
func (s *Store) usable(k rootfs.Key) (rootfs.Record, error) {
	rec, err := s.readRecord(k)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return rec, rootfs.ErrNotFound
	case err != nil:
		return rec, err
	case rec.MaxAge > 0 && time.Since(rec.Made) > rec.MaxAge:
		return rec, fmt.Errorf("%w: older than %v", rootfs.ErrNotFound, rec.MaxAge)
	case !s.exists(rec.Layer):
		s.log.Warn("a record's layer is missing", "key", k, "layer", rec.Layer)
		return rec, rootfs.ErrNotFound
	}
	return rec, nil
}

// createLayer makes an empty, held layer on parent ("" for none).
func (s *Store) createLayer(ctx context.Context, id, parent string) error {
	if err := s.hold(ctx, id); err != nil {
		return err
	}
	if _, err := s.st.CreateLayer(id, parent, nil, "", true, nil); err != nil {
		return errors.Join(err, s.letGo(id))
	}
	if parent == "" {
		return nil
	}
	// The driver gives the new root folder its parent's mode and owner only.
	if err := copyFolderMeta(s.diffDir(parent), s.diffDir(id)); err != nil {
		return errors.Join(err, s.deleteLayer(id))
	}
	return nil
}

// deleteLayer removes a layer that only this store knows. One that others stand
// on gives storage.ErrLayerHasChildren.
func (s *Store) deleteLayer(id string) error {
	err := s.takeOut(id)
	if errors.Is(err, storage.ErrNotALayer) || errors.Is(err, storage.ErrLayerUnknown) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("removing layer %q: %w", id, err)
	}
	return errors.Join(s.dropInfo(id), s.letGo(id))
}
