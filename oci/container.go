package oci

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/containers/storage"

	"github.com/lithify/lithify/rootfs"
)

// container implements rootfs.Container. Its layer belongs to a claim, or to
// nobody when it is scratch.
type container struct {
	s      *Store
	claim  *claim
	id     string
	parent string // what the caller named
	below  string // what it stands on: parent, or a fold of it
	dir    string

	mu   sync.Mutex
	done bool
}

// Scratch implements rootfs.Store. Finish of a scratch container drops the
// changes and gives the parent back.
func (s *Store) Scratch(ctx context.Context, parent rootfs.Layer) (rootfs.Container, error) {
	c, err := s.newContainer(ctx, nil, parent)
	if err != nil {
		return nil, fmt.Errorf("mounting a scratch layer on %.12s: %w", parent.ID(), s.hint(err))
	}
	return c, nil
}

func (s *Store) newContainer(ctx context.Context, cl *claim, parent rootfs.Layer) (*container, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	below, err := s.foldedParent(ctx, parent.ID())
	if err != nil {
		return nil, err
	}
	c := &container{s: s, claim: cl, id: newID(), parent: parent.ID(), below: below}
	s.mu.Lock()
	s.fresh[c.id] = &freshOne{claim: cl, mounted: true}
	s.containers[c] = true
	s.mu.Unlock()
	err = s.createLayer(ctx, c.id, below)
	if err == nil {
		c.dir, err = s.st.Mount(c.id, "")
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *container) Dir() string     { return c.dir }
func (c *container) Changes() string { return c.s.diffDir(c.id) }

// Finish implements rootfs.Container.
func (c *container) Finish(ctx context.Context) (rootfs.Layer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done {
		return nil, errors.New("finishing a layer: it is finished or closed already")
	}
	keep, err := c.settle(ctx)
	if err != nil {
		return nil, fmt.Errorf("finishing layer %.12s: %w", c.id, c.s.hint(err))
	}
	if !keep {
		if err := c.drop(); err != nil {
			return nil, err
		}
		return layer(c.parent), nil
	}
	if err := c.unmount(); err != nil {
		return nil, fmt.Errorf("finishing layer %.12s: %w", c.id, c.s.hint(err))
	}
	c.s.markDirty()
	c.forget()
	return layer(c.id), nil
}

// Close implements rootfs.Container.
func (c *container) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done {
		return nil
	}
	return c.drop()
}

func (c *container) drop() error {
	// Unmounting writes the list of mounts anew. On a full disk what the layer
	// holds has to make room for that.
	if c.dir != "" && c.s.full() {
		if err := emptyFolder(c.Changes()); err != nil {
			c.s.log.Warn("emptying a layer on a full disk", "layer", c.id, "error", err)
		}
	}
	err := errors.Join(c.unmount(), c.s.deleteLayer(c.id))
	c.forget()
	c.s.mu.Lock()
	delete(c.s.fresh, c.id)
	c.s.mu.Unlock()
	return err
}

// forget ends the container; the layer may live on.
func (c *container) forget() {
	c.done = true
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	delete(c.s.containers, c)
	if f := c.s.fresh[c.id]; f != nil {
		f.mounted = false
	}
}

func (c *container) unmount() error {
	if c.dir == "" {
		return nil
	}
	_, err := c.s.st.Unmount(c.id, false)
	if err != nil && !errors.Is(err, storage.ErrLayerUnknown) {
		return fmt.Errorf("unmounting layer %q: %w", c.id, err)
	}
	c.dir = ""
	return nil
}
