package oci

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/lithify/lithify/rootfs"
)

// RemoteEntry is an entry of a repository as List sees it.
type RemoteEntry struct {
	rootfs.Record // without layer, binds and inputs; only Key when Err is set
	Size          int64
	Layers        int
	Signed        bool // by somebody: List checks no signature
	Err           error

	digest string
	entry  entryConfig
}

// List returns the entries of a repository, the oldest first. Size is that of all
// archives of the step's tree, compressed; entries share them. An entry that
// cannot be read has Err set and comes first.
func (r *Repository) List(ctx context.Context) ([]RemoteEntry, error) {
	keys, err := r.keys(ctx)
	if err != nil {
		return nil, err
	}
	var all []RemoteEntry
	for k := range keys {
		e, err := r.entry(ctx, k)
		if errors.Is(err, errNoEntry) {
			continue // deleted meanwhile
		}
		out := RemoteEntry{Record: rootfs.Record{Key: k}, Err: err, digest: e.digest}
		if bad := new(badEntry); err != nil && !errors.As(err, &bad) {
			return nil, fmt.Errorf("listing %s: %w", r.Name(), oneLine(err))
		}
		if err == nil {
			out.Record, out.Layers, out.entry = e.config.own().record(""), len(e.config.Layers), e.config
			out.Signed = e.manifest.Annotations[annotationSignature] != ""
			for _, l := range e.config.Layers {
				out.Size += l.Size
			}
		}
		all = append(all, out)
	}
	slices.SortFunc(all, func(a, b RemoteEntry) int {
		return cmp.Or(a.Made.Compare(b.Made), strings.Compare(string(a.Key), string(b.Key)))
	})
	return all, nil
}

// Prune deletes entries that were made longer ago than age, and those that are
// broken. Blobs go when the registry collects its garbage. It gives the entries
// deleted and the number of those left.
func (r *Repository) Prune(ctx context.Context, age time.Duration) (gone []RemoteEntry, left int, err error) {
	all, err := r.List(ctx)
	if err != nil {
		return nil, 0, err
	}
	for _, e := range all {
		if e.Err == nil && time.Since(e.Made) <= age || e.digest == "" {
			left++
			continue
		}
		err := r.pusher.Delete(ctx, r.repo.Digest(e.digest))
		if err != nil && !isMissing(err) {
			return gone, len(all) - len(gone), fmt.Errorf("deleting entry %.12s of %s: %w", e.Key, r.Name(), oneLine(deleteHint(err)))
		}
		// A registry may keep the tag of what is gone.
		if err := r.pusher.Delete(ctx, r.tag(e.Key)); err != nil && !refusedDelete(err) {
			return gone, len(all) - len(gone), fmt.Errorf("deleting the tag of entry %.12s of %s: %w", e.Key, r.Name(), oneLine(err))
		}
		gone = append(gone, e)
	}
	return gone, left, nil
}

func refusedDelete(err error) bool {
	var te *transport.Error
	return errors.As(err, &te) && te.StatusCode >= 400 && te.StatusCode < 500
}

func deleteHint(err error) error {
	var te *transport.Error
	if !errors.As(err, &te) {
		return err
	}
	switch te.StatusCode {
	case http.StatusMethodNotAllowed, http.StatusBadRequest, http.StatusNotImplemented:
		return fmt.Errorf("%w (the registry forbids deleting: allow it there, REGISTRY_STORAGE_DELETE_ENABLED=true in the distribution registry, or let a rule of the registry's own remove old tags)", err)
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%w (log in as somebody who may delete there)", err)
	}
	return err
}

// Verify downloads an entry's archives and checks everything that is checked
// before a step is used; key may be nil. Archives in seen are not downloaded
// again, those that are right are added.
func (r *Repository) Verify(ctx context.Context, k rootfs.Key, key ed25519.PublicKey, seen map[string]bool) error {
	e, err := r.entry(ctx, k)
	if err != nil {
		return err
	}
	if err := e.manifest.verify(e.bytes, key); err != nil {
		return &badEntry{k, err}
	}
	for _, l := range e.config.Layers {
		if seen[l.Digest+l.DiffID] {
			continue
		}
		if err := r.verifyLayer(ctx, l); err != nil {
			return entryError(k, err)
		}
		seen[l.Digest+l.DiffID] = true
	}
	return nil
}

func (r *Repository) verifyLayer(ctx context.Context, l entryLayer) (err error) {
	f, err := os.CreateTemp("", "lithify-verify-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	if err := r.blob(ctx, f, l.Digest, l.Size); err != nil {
		return err
	}
	return readArchive(ctx, "", f, l)
}

// VerifyStore checks the steps of the local store: that each one's layers are
// there and can be read, and of those that travelled that they still give the
// archives that they came or went with. bad is told of each that is not right.
func (s *Store) VerifyStore(ctx context.Context, bad func(rootfs.Record, error)) (steps int, err error) {
	c, err := s.NewCache(ctx, CacheOptions{Warn: func(string) {}})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	recs, err := s.records(ctx)
	if err != nil {
		return 0, err
	}
	checked := map[string]error{}
	for _, rec := range recs {
		if err := s.hold(ctx, rec.Layer); err != nil {
			return steps, err
		}
		chain, err := s.chain(rec.Layer)
		for i := 0; err == nil && i < len(chain); i++ {
			result, known := checked[chain[i]]
			if !known {
				result = c.verifyLocal(ctx, chain[:i+1])
				checked[chain[i]] = result
			}
			err = result
		}
		if ctx.Err() != nil {
			return steps, context.Cause(ctx)
		}
		if err != nil {
			bad(rec, err)
		}
		steps++
	}
	return steps, nil
}

// verifyLocal checks the last layer of a chain.
func (c *Cache) verifyLocal(ctx context.Context, chain []string) error {
	id := chain[len(chain)-1]
	if id == c.base {
		return nil
	}
	e, travelled := c.entryOf(id)
	at := max(len(chain)-2, 0)
	if travelled {
		if where, err := c.position(chain, e.From); err == nil {
			at = where
		} else {
			travelled = false // what it was packed against is gone
		}
	}
	parts := chain[at+1:]
	if at == 0 && chain[0] != c.base {
		parts = chain
	}
	plain := sha256.New()
	if err := pack(ctx, plain, c.s.diffDirs(parts), c.s.diffDirs(chain[:at+1])); err != nil {
		return err
	}
	if travelled && digestOf(plain) != e.Layers[len(e.Layers)-1].DiffID {
		return fmt.Errorf("layer %.12s is not what it was when it travelled", id)
	}
	return nil
}
