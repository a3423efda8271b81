package oci

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containers/storage"
	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/rootfs"
)

// claim implements rootfs.Claim.
type claim struct {
	s    *Store
	key  rootfs.Key
	lock *lock // nil when closed; under s.mu
}

// Claim implements rootfs.Store. A record that was sealed after this store was
// opened counts as made meanwhile; an older one does not, so that a build that
// wants a step anew can have it.
func (s *Store) Claim(ctx context.Context, k rootfs.Key) (rootfs.Claim, error) {
	c, err := s.claim(ctx, k)
	if err != nil {
		return nil, fmt.Errorf("claiming step %.12s: %w", k, s.hint(err))
	}
	return c, nil
}

func (s *Store) claim(ctx context.Context, k rootfs.Key) (*claim, error) {
	if err := checkKey(k); err != nil {
		return nil, err
	}
	l, err := waitLock(ctx, s.lockPath("claim", string(k)), unix.LOCK_EX)
	if err != nil {
		return nil, err
	}
	rec, err := s.usable(k)
	if err == nil && rec.Made.After(s.opened) {
		err = rootfs.ErrMade
	} else if err == nil || errors.Is(err, rootfs.ErrNotFound) {
		c := &claim{s: s, key: k, lock: l}
		s.mu.Lock()
		s.claims[c] = true
		s.mu.Unlock()
		return c, nil
	}
	return nil, errors.Join(err, l.remove())
}

// Container implements rootfs.Claim.
func (c *claim) Container(ctx context.Context, parent rootfs.Layer) (rootfs.Container, error) {
	ct, err := c.s.newContainer(ctx, c, parent)
	if err != nil {
		return nil, fmt.Errorf("mounting a layer for step %.12s: %w", c.key, c.s.hint(err))
	}
	return ct, nil
}

// Seal implements rootfs.Claim.
func (c *claim) Seal(ctx context.Context, l rootfs.Layer, rec rootfs.Record) error {
	if rec.Key != "" && rec.Key != c.key {
		return fmt.Errorf("sealing step %.12s: the record names another step, %.12s", c.key, rec.Key)
	}
	rec.Key = c.key
	if err := c.seal(ctx, l.ID(), rec); err != nil {
		return fmt.Errorf("sealing step %.12s: %w", c.key, c.s.hint(err))
	}
	return nil
}

func (c *claim) seal(ctx context.Context, id string, rec rootfs.Record) error {
	chain, err := c.s.chain(id)
	if err != nil {
		return err
	}
	if err := c.s.hold(ctx, id); err != nil {
		return err
	}
	folds := c.s.foldsToSave(chain)
	if err := c.s.sync(); err != nil {
		return err
	}
	rec.Layer, rec.Made = id, time.Now().UTC()
	if err := c.s.writeDurable(c.s.recordPath(rec.Key), rec); err != nil {
		return err
	}
	c.s.mu.Lock()
	for _, below := range chain {
		delete(c.s.fresh, below)
	}
	c.s.mu.Unlock()
	return c.s.saveFolds(folds)
}

// Close implements rootfs.Claim.
func (c *claim) Close() error {
	c.s.mu.Lock()
	l := c.lock
	c.lock = nil
	delete(c.s.claims, c)
	c.s.mu.Unlock()
	if l == nil {
		return nil
	}
	return errors.Join(c.s.dropFresh(false), l.remove())
}

// dropFresh removes unsealed layers whose claim is closed (all, when the store
// closes) and on which nothing stands any more. It starts over after each
// removal, as that may free the layer below.
func (s *Store) dropFresh(all bool) error {
	var errs []error
	skip := map[string]bool{}
	for {
		id := s.pickFresh(all, skip)
		if id == "" {
			return errors.Join(errs...)
		}
		err := s.deleteLayer(id)
		if errors.Is(err, storage.ErrLayerHasChildren) {
			skip[id] = true
			continue
		}
		if err != nil {
			errs = append(errs, err)
			skip[id] = true
			continue
		}
		clear(skip)
		s.mu.Lock()
		delete(s.fresh, id)
		s.mu.Unlock()
	}
}

func (s *Store) pickFresh(all bool, skip map[string]bool) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, f := range s.fresh {
		orphan := f.claim != nil && f.claim.lock == nil
		if (all || orphan) && !f.mounted && !skip[id] {
			return id
		}
	}
	return ""
}
