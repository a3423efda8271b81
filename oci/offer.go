package oci

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/klauspost/compress/zstd"

	"github.com/lithify/lithify/rootfs"
)

// pushAll sends what is offered until the queue is closed or something goes
// wrong.
func (c *Cache) pushAll(ctx context.Context, queue <-chan rootfs.Key) {
	defer close(c.done)
	defer func() {
		for _, f := range c.files {
			_ = os.Remove(f) // in the store's work folder, which goes anyway
		}
	}()
	for k := range queue {
		if c.over || ctx.Err() != nil {
			continue
		}
		err := c.push(ctx, k)
		if errors.Is(err, errRepacked) { // and the old records are gone
			err = c.push(ctx, k)
		}
		if err != nil && ctx.Err() == nil {
			c.over = true
			c.o.Warn(fmt.Sprintf("steps are not sent to %s any more: %v; the build goes on", c.o.To.Name(), oneLine(pushHint(err))))
		}
	}
}

// push sends one step, unless it is there or cannot travel.
func (c *Cache) push(ctx context.Context, k rootfs.Key) error {
	rec, err := c.s.readRecord(k)
	if err != nil {
		return nil // pruned, or never sealed
	}
	c.s.mu.Lock()
	fresh := c.s.fresh[rec.Layer] != nil
	c.s.mu.Unlock()
	// Binds name folders of this machine, for the steps above.
	if fresh || rec.Layer == c.base || len(rec.Binds) > 0 {
		return nil
	}
	c.worthy[rec.Layer] = true
	there, err := c.there(ctx, k)
	if err != nil || there {
		return err
	}
	e, err := c.describe(ctx, rec.Layer)
	if err != nil {
		return err
	}
	config := entryConfig{Format: entryFormat, Layers: e.Layers, Steps: c.stepsBelow(rec, e.Layers)}
	if err := config.check(); err != nil {
		return err
	}
	if err := c.sendLayers(ctx, rec.Layer); err != nil {
		return err
	}
	if err := c.sendEntry(ctx, config); err != nil {
		return err
	}
	e.Steps = config.Steps
	c.mu.Lock()
	c.report.Pushed++
	c.mu.Unlock()
	return c.remember(rec.Layer, e)
}

// there tells whether the repository has an entry of the step that may stay.
// Whoever signs does not let an entry that nobody would take stand in the way.
func (c *Cache) there(ctx context.Context, k rootfs.Key) (bool, error) {
	c.mu.Lock()
	broken := c.broken[k]
	c.mu.Unlock()
	if broken {
		return false, nil
	}
	there, err := c.o.To.has(ctx, k)
	if err != nil || !there || c.o.Sign == nil {
		return there, err
	}
	e, err := c.o.To.entry(ctx, k)
	if bad := new(badEntry); errors.As(err, &bad) || errors.Is(err, errNoEntry) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return e.manifest.verify(e.bytes, c.o.Sign.Public().(ed25519.PublicKey)) == nil, nil
}

// stepsBelow lists the step and those that it stands on and whose trees some of
// the archives make, lowest first.
func (c *Cache) stepsBelow(rec rootfs.Record, layers []entryLayer) []entryStep {
	steps := []entryStep{stepOf(rec, len(layers))}
	for len(steps) < maxLayers {
		below, err := c.s.readRecord(rec.Parent)
		if err != nil {
			break
		}
		rec = below
		e, ok := c.entryOf(rec.Layer)
		if !ok || len(e.Layers) > steps[0].Layers || chainOf(e.Layers) != chainOf(layers[:len(e.Layers)]) {
			continue
		}
		if i := slices.IndexFunc(e.Steps, func(s entryStep) bool { return s.Key == rec.Key }); i >= 0 && len(steps)+i < maxLayers {
			return append(slices.Clone(e.Steps[:i+1]), steps...) // its records below may not be here
		}
		steps = slices.Insert(steps, 0, stepOf(rec, len(e.Layers)))
	}
	return steps
}

// describe says which archives make the tree of a layer, and packs those of
// which that is not known yet.
func (c *Cache) describe(ctx context.Context, id string) (entryRecord, error) {
	if e, ok := c.entryOf(id); ok {
		return e, nil
	}
	chain, err := c.s.chain(id)
	if err != nil {
		return entryRecord{}, err
	}
	from, at, err := c.below(chain)
	if err != nil {
		return entryRecord{}, err
	}
	var e entryRecord
	if from != "" {
		if e, err = c.describe(ctx, from); err != nil {
			return e, err
		}
	}
	l, err := c.packLayer(ctx, chain, at)
	if err != nil {
		return e, err
	}
	e = entryRecord{From: from, Layers: append(slices.Clone(e.Layers), l)}
	return e, c.remember(id, e)
}

// below finds the highest layer under the last of a chain that travels, too, and
// where in the chain its tree ends: there may be a fold in its place.
func (c *Cache) below(chain []string) (id string, at int, err error) {
	folded, err := c.foldedBy()
	if err != nil {
		return "", 0, err
	}
	for at := len(chain) - 2; at > 0; at-- {
		for _, id := range []string{chain[at], folded[chain[at]]} {
			if _, known := c.entryOf(id); known || id != "" && c.worthy[id] {
				return id, at, nil
			}
		}
	}
	return "", 0, nil
}

// foldedBy gives, by fold, the layer whose stack it stands for.
func (c *Cache) foldedBy() (map[string]string, error) {
	of := map[string]string{}
	err := c.s.eachFold(func(id, fold string) error {
		of[fold] = id
		return nil
	})
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	for id, fold := range c.s.folded {
		of[fold] = id
	}
	return of, err
}

// packLayer packs what the layers of a chain above the one at change. At 0 that
// is the whole tree: against the empty base, which all stores have.
func (c *Cache) packLayer(ctx context.Context, chain []string, at int) (l entryLayer, err error) {
	parts, below := chain[at+1:], c.s.diffDirs(chain[:at+1])
	if at == 0 && chain[0] != c.base {
		parts, below = chain, c.s.diffDirs([]string{c.base})
	}
	f, err := os.CreateTemp(c.s.work, "pack-")
	if err != nil {
		return l, c.s.hint(err)
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	packed, plain := sha256.New(), sha256.New()
	var size counter
	z, err := zstd.NewWriter(io.MultiWriter(f, packed), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return l, err
	}
	err = pack(ctx, io.MultiWriter(z, plain, &size), c.s.diffDirs(parts), below)
	if err = errors.Join(err, z.Close()); err != nil {
		return l, fmt.Errorf("packing layer %.12s: %w", chain[len(chain)-1], c.s.hint(err))
	}
	l = entryLayer{Digest: digestOf(packed), DiffID: digestOf(plain), DiffSize: int64(size)}
	if l.Size, err = f.Seek(0, io.SeekCurrent); err != nil {
		return l, err
	}
	c.files[l.Digest] = f.Name()
	return l, nil
}

// counter counts bytes.
type counter int64

func (n *counter) Write(b []byte) (int, error) {
	*n += counter(len(b))
	return len(b), nil
}

// sendLayers sends the archives of a layer's tree that the repository lacks,
// lowest first.
func (c *Cache) sendLayers(ctx context.Context, id string) error {
	e, err := c.describe(ctx, id)
	if err != nil {
		return err
	}
	last := e.Layers[len(e.Layers)-1]
	if c.sent[last.Digest] {
		return nil
	}
	if e.From != "" && e.From != c.base {
		if err := c.sendLayers(ctx, e.From); err != nil {
			return err
		}
	}
	open := func() (io.ReadCloser, error) { return c.open(ctx, id, e) }
	if err := c.o.To.upload(ctx, last.Digest, last.Size, entryLayerType, open); err != nil {
		return err
	}
	c.sent[last.Digest] = true
	if f, ok := c.files[last.Digest]; ok {
		delete(c.files, last.Digest)
		return os.Remove(f)
	}
	return nil
}

// open gives the bytes of a layer's last archive, which is packed again when an
// earlier build did so.
func (c *Cache) open(ctx context.Context, id string, e entryRecord) (io.ReadCloser, error) {
	last := e.Layers[len(e.Layers)-1]
	if c.files[last.Digest] == "" {
		chain, err := c.s.chain(id)
		if err != nil {
			return nil, err
		}
		at, err := c.position(chain, e.From)
		if err != nil {
			return nil, err
		}
		again, err := c.packLayer(ctx, chain, at)
		if err != nil {
			return nil, err
		}
		if again != last {
			c.forget(chain)
			return nil, errRepacked
		}
	}
	f, err := os.Open(c.files[last.Digest])
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.report.PushedBytes += last.Size
	c.mu.Unlock()
	return f, nil
}

// errRepacked says that a layer gave other bytes than when it was packed before,
// by another version of the compressor.
var errRepacked = errors.New("the archive of a layer has other bytes than before")

// forget drops what is known of how the layers of a stack travel.
func (c *Cache) forget(chain []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range chain {
		delete(c.known, id)
	}
}

// position is where in a chain the tree of the layer from ends.
func (c *Cache) position(chain []string, from string) (int, error) {
	if from == "" || from == c.base {
		return 0, nil
	}
	folded, err := c.foldedBy()
	if err != nil {
		return 0, err
	}
	at := slices.IndexFunc(chain, func(id string) bool { return id == from || folded[id] == from })
	if at < 0 {
		return 0, fmt.Errorf("layer %.12s does not stand on %.12s any more", chain[len(chain)-1], from)
	}
	return at, nil
}

// sendEntry sends the configuration, and last the manifest with the name.
func (c *Cache) sendEntry(ctx context.Context, e entryConfig) error {
	config, err := json.Marshal(e)
	if err != nil {
		return err
	}
	manifest, err := newManifest(e, config, c.o.Sign)
	if err != nil {
		return err
	}
	sum := sha256.New()
	sum.Write(config)
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(config)), nil }
	if err := c.o.To.upload(ctx, digestOf(sum), int64(len(config)), entryConfigType, open); err != nil {
		return err
	}
	return c.o.To.pusher.Put(ctx, c.o.To.tag(e.own().Key), manifest)
}
