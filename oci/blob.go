package oci

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/containers/storage/pkg/archive"

	"github.com/lithify/lithify/rootfs"
)

// blobFormat is raised by hand when equal trees give other bytes. A compressor
// that changed unseen is noticed when a blob is made again.
const blobFormat = 1

// blobRecord is what is remembered of the compressed archive that turns the
// tree of one layer into that of another, so that an image that is in its
// registry already needs no archive at all. Layers never change once they are
// sealed; their names are not used twice.
type blobRecord struct {
	Format int
	Digest string // of the compressed bytes; empty when the trees are equal
	DiffID string // of the archive
	Size   int64  // compressed, in bytes
}

// blobPath is where the record of the archive from one layer to another lies.
// from is nil for the archive of the whole tree.
func (s *Store) blobPath(from, to rootfs.Layer) string {
	name := to.ID()
	if from != nil {
		name += "-" + from.ID()
	}
	return filepath.Join(s.dir, "blobs", name+".json")
}

// readBlob returns false for what is not known or of another format.
func (s *Store) readBlob(from, to rootfs.Layer) (blobRecord, bool) {
	var rec blobRecord
	data, err := os.ReadFile(s.blobPath(from, to))
	if err != nil || json.Unmarshal(data, &rec) != nil || rec.Format != blobFormat {
		return blobRecord{}, false
	}
	return rec, true
}

// saveBlob is not flushed: a record that is lost costs time only, and a torn
// one is not read. Layers that are not sealed have none: they go with the build.
func (s *Store) saveBlob(from, to rootfs.Layer, rec blobRecord) error {
	s.mu.Lock()
	fresh := s.fresh[to.ID()] != nil || from != nil && s.fresh[from.ID()] != nil
	s.mu.Unlock()
	if fresh {
		return nil
	}
	return s.writeLoose(s.blobPath(from, to), rec)
}

// sweepBlobs forgets archives of layers that are gone.
func (s *Store) sweepBlobs() error {
	names, err := os.ReadDir(filepath.Join(s.dir, "blobs"))
	if err != nil {
		return err
	}
	for _, n := range names {
		to, from, _ := strings.Cut(strings.TrimSuffix(n.Name(), ".json"), "-")
		if s.exists(to) && (from == "" || s.exists(from)) {
			continue
		}
		if err := os.Remove(filepath.Join(s.dir, "blobs", n.Name())); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// makeBlob writes the archive from one layer's tree to another's into the
// folder, under its digest. Equal trees give none.
func (s *Store) makeBlob(ctx context.Context, from, to rootfs.Layer, folder string) (rec blobRecord, err error) {
	old, closeOld, err := s.shown(ctx, from)
	if err != nil {
		return rec, err
	}
	defer func() { err = errors.Join(err, closeOld()) }()
	tree, closeTree, err := s.shown(ctx, to)
	if err != nil {
		return rec, err
	}
	defer func() { err = errors.Join(err, closeTree()) }()
	entries, err := treeDelta(ctx, old, tree)
	if err != nil {
		return rec, err
	}
	if len(entries) == 0 {
		return blobRecord{Format: blobFormat}, nil
	}
	return writeBlob(ctx, folder, tree, entries)
}

// shown mounts the tree of a layer; "" is that of nil.
func (s *Store) shown(ctx context.Context, l rootfs.Layer) (dir string, done func() error, err error) {
	if l == nil {
		return "", func() error { return nil }, nil
	}
	c, err := s.Scratch(ctx, l)
	if err != nil {
		return "", nil, err
	}
	return c.Dir(), c.Close, nil
}

func writeBlob(ctx context.Context, folder, tree string, entries []deltaEntry) (rec blobRecord, err error) {
	f, err := os.CreateTemp(folder, "blob-")
	if err != nil {
		return rec, err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	compressed, plain := sha256.New(), sha256.New()
	z, err := archive.CompressStream(io.MultiWriter(f, compressed), archive.Gzip)
	if err != nil {
		return rec, err
	}
	err = writeLayerTar(ctx, io.MultiWriter(z, plain), tree, entries)
	if err = errors.Join(err, z.Close()); err != nil {
		return rec, err
	}
	size, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return rec, err
	}
	rec = blobRecord{Format: blobFormat, Digest: digestOf(compressed), DiffID: digestOf(plain), Size: size}
	if err := os.Rename(f.Name(), blobFile(folder, rec.Digest)); err != nil {
		return rec, fmt.Errorf("naming blob %q: %w", rec.Digest, err)
	}
	return rec, nil
}

func digestOf(h hash.Hash) string { return "sha256:" + hex.EncodeToString(h.Sum(nil)) }

// blobFile is where an image layout has a blob.
func blobFile(folder, digest string) string {
	return filepath.Join(folder, strings.TrimPrefix(digest, "sha256:"))
}
