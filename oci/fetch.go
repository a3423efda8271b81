package oci

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/rootfs"
)

// wanted is a row of steps that a build asks for.
type wanted struct {
	parent rootfs.Key // of the first
	keys   []rootfs.Key
}

// fits says whether the step is one of the row and stands where it does.
func (w wanted) fits(e entryStep) bool {
	i := slices.Index(w.keys, e.Key)
	return i == 0 && e.Parent == w.parent || i > 0 && e.Parent == w.keys[i-1]
}

// Fetch implements rootfs.Cache.
func (c *Cache) Fetch(ctx context.Context, parent rootfs.Key, keys []rootfs.Key) (bool, error) {
	w := wanted{parent, keys}
	for _, k := range slices.Backward(keys) {
		for i := range c.o.From {
			if !c.list(ctx, i)[k] || c.off[i] {
				continue
			}
			err := c.take(ctx, c.o.From[i], w, k)
			if err == nil {
				return true, nil
			}
			if ctx.Err() != nil {
				return false, context.Cause(ctx)
			}
			c.refuse(i, k, err)
		}
	}
	return false, nil
}

// list asks a repository once what it has.
func (c *Cache) list(ctx context.Context, i int) map[rootfs.Key]bool {
	if c.lists[i] != nil || c.off[i] {
		return c.lists[i]
	}
	keys, err := c.o.From[i].keys(ctx)
	if err != nil {
		if ctx.Err() == nil {
			c.o.Warn(fmt.Sprintf("the cache is not used in this build: %v", err))
		}
		c.off[i] = true
	}
	c.lists[i] = keys
	return keys
}

// refuse says once why an entry, or a repository, is not used.
func (c *Cache) refuse(i int, k rootfs.Key, err error) {
	name := c.o.From[i].Name()
	bad, local := new(badEntry), new(localError)
	switch {
	case errors.Is(err, errNoEntry), errors.Is(err, errAged):
		return
	case errors.As(err, &bad):
		c.mu.Lock()
		c.broken[k] = true
		c.mu.Unlock()
		c.o.Warn(fmt.Sprintf("cache %s: %v: it is not used", name, err))
	case errors.As(err, &local):
		c.o.Warn(fmt.Sprintf("cache %s: entry %.12s is not used: %v", name, k, err))
	default:
		c.off[i] = true
		c.o.Warn(fmt.Sprintf("cache %s is not used any more in this build: %v", name, oneLine(err)))
	}
}

// errAged says that a step may not be reused any more.
var errAged = errors.New("too old")

// localError is one of this machine's, not of a registry.
type localError struct{ error }

func (e *localError) Unwrap() error { return e.error }

// take brings one step into the store.
func (c *Cache) take(ctx context.Context, repo *Repository, w wanted, k rootfs.Key) error {
	e, err := repo.entry(ctx, k)
	if err != nil {
		return err
	}
	own := e.config.own()
	switch err := e.manifest.verify(e.bytes, c.o.Verify); {
	case err != nil:
		return &badEntry{k, err}
	case !w.fits(own):
		return &badEntry{k, errors.New("it stands on another step than this build's")}
	case own.tooOld():
		return errAged
	}
	ids, err := c.pull(ctx, repo, k, e.config.Layers)
	if err != nil {
		return err
	}
	if err := c.seal(ctx, w, e.config, ids); err != nil {
		return &localError{fmt.Errorf("sealing it: %w", c.s.hint(err))}
	}
	c.mu.Lock()
	c.report.Pulled++
	c.mu.Unlock()
	return nil
}

// pull gives a layer for each tree of the row, by the number of its archives;
// those that nobody needs are missing.
func (c *Cache) pull(ctx context.Context, repo *Repository, k rootfs.Key, layers []entryLayer) (map[int]string, error) {
	ids := map[int]string{}
	n := len(layers)
	for ; ; n-- {
		id, err := c.locate(ctx, layers[:n])
		if err != nil {
			return nil, &localError{err}
		}
		if id != "" {
			ids[n] = id
			break
		}
	}
	for n++; n <= len(layers); n++ {
		id, err := c.pullLayer(ctx, repo, k, ids[n-1], layers[:n])
		if err != nil {
			return nil, err
		}
		ids[n] = id
	}
	return ids, nil
}

// pullLayer makes the layer of the last archive on the layer parent. Of several
// builds one does it.
func (c *Cache) pullLayer(ctx context.Context, repo *Repository, k rootfs.Key, parent string, layers []entryLayer) (_ string, err error) {
	sum := sha256.Sum256([]byte(chainOf(layers)))
	l, err := waitLock(ctx, c.s.lockPath("pull", hex.EncodeToString(sum[:16])), unix.LOCK_EX)
	if err != nil {
		return "", &localError{err}
	}
	defer func() { err = errors.Join(err, l.remove()) }()
	if err := c.load(); err != nil {
		return "", &localError{err}
	}
	if id, err := c.locate(ctx, layers); err != nil || id != "" {
		return id, err
	}
	last := layers[len(layers)-1]
	f, err := os.CreateTemp(c.s.work, "pull-")
	if err != nil {
		return "", &localError{c.s.hint(err)}
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	if err := repo.blob(ctx, f, last.Digest, last.Size); err != nil {
		return "", entryError(k, err)
	}
	id, err := c.unpackLayer(ctx, f, parent, last)
	if errors.Is(err, errBroken) {
		return "", &badEntry{k, err}
	}
	if err == nil {
		err = c.remember(id, entryRecord{From: parent, Layers: slices.Clone(layers)})
	}
	if err != nil {
		return "", &localError{c.s.hint(err)}
	}
	c.mu.Lock()
	c.report.PulledBytes += last.Size
	c.mu.Unlock()
	return id, nil
}

// unpackLayer makes a layer that is not sealed of an archive whose compressed
// bytes were checked.
func (c *Cache) unpackLayer(ctx context.Context, f *os.File, parent string, l entryLayer) (id string, err error) {
	s := c.s
	below, err := s.foldedParent(ctx, parent)
	if err != nil {
		return "", err
	}
	id = newID()
	s.mu.Lock()
	s.fresh[id] = &freshOne{mounted: true}
	s.mu.Unlock()
	if err = s.createLayer(ctx, id, below); err == nil {
		err = readArchive(ctx, s.diffDir(id), f, l)
	}
	if err == nil {
		_, err = s.info(ctx, id) // its size counts
	}
	if err != nil {
		err = errors.Join(err, s.deleteLayer(id))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		delete(s.fresh, id)
		return "", err
	}
	s.fresh[id].mounted = false
	s.markDirty()
	return id, nil
}

// readArchive unpacks a compressed archive into an empty folder, or with root ""
// only checks it.
func readArchive(ctx context.Context, root string, f io.ReadSeeker, l entryLayer) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	z, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(64<<20))
	if err != nil {
		return err
	}
	defer z.Close()
	sum := sha256.New()
	bounded := &io.LimitedReader{R: z, N: l.DiffSize + 1}
	err = unpack(ctx, root, io.TeeReader(bounded, sum))
	if err == nil && (bounded.N != 1 || digestOf(sum) != l.DiffID) {
		return fmt.Errorf("%w: the archive in %s", errBroken, l.Digest)
	}
	if err != nil && ctx.Err() == nil && !isLocal(err) {
		return fmt.Errorf("%w: %s: %w", errBroken, l.Digest, err)
	}
	return err
}

// isLocal tells what the machine refuses from what an archive has wrong.
func isLocal(err error) bool {
	var errno unix.Errno
	return errors.As(err, &errno)
}

// seal records the steps that the build asked for and whose trees are here now.
func (c *Cache) seal(ctx context.Context, w wanted, e entryConfig, ids map[int]string) error {
	s := c.s
	top := ids[len(e.Layers)]
	chain, err := s.chain(top)
	if err != nil {
		return err
	}
	if rec, ok := c.entryOf(top); ok {
		rec.Steps = e.Steps
		if err := c.remember(top, rec); err != nil {
			return err
		}
	}
	folds := s.foldsToSave(chain)
	if err := s.sync(); err != nil {
		return err
	}
	for _, step := range e.Steps {
		if err := c.record(ctx, w, e, step, ids); err != nil {
			return err
		}
	}
	s.mu.Lock()
	for _, id := range chain {
		delete(s.fresh, id)
	}
	s.mu.Unlock()
	return s.saveFolds(folds)
}

func (c *Cache) record(ctx context.Context, w wanted, e entryConfig, step entryStep, ids map[int]string) error {
	if !w.fits(step) {
		return nil // of a group of phases before this one, or none of ours
	}
	if _, err := c.s.usable(step.Key); err == nil {
		return nil
	}
	id := ids[step.Layers]
	if id == "" {
		var err error
		if id, err = c.locate(ctx, e.Layers[:step.Layers]); err != nil || id == "" {
			return err
		}
	}
	return c.s.writeDurable(c.s.recordPath(step.Key), step.record(id))
}
