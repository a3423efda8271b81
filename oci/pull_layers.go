package oci

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/manifest"
	is "github.com/containers/image/v5/storage"
	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/rootfs"
)

// Layer gives the image's tree, held until the store is closed. It is fetched
// when the store has not got it.
func (b *BaseImage) Layer(ctx context.Context) (rootfs.Layer, error) {
	l, err := b.layer(ctx)
	if err != nil {
		return nil, fmt.Errorf("base image %q: %w", b.Reference, oneLine(b.s.hint(pullHint(err))))
	}
	return l, nil
}

func (b *BaseImage) layer(ctx context.Context) (rootfs.Layer, error) {
	for {
		l, _, err := b.s.Find(ctx, b.key())
		if !errors.Is(err, rootfs.ErrNotFound) {
			return l, err
		}
		if b.o.Offline {
			return nil, fmt.Errorf("its layers are gone from the store, and --offline forbids to fetch them: %w", ErrNotPulled)
		}
		c, err := b.s.claim(ctx, b.key())
		if errors.Is(err, rootfs.ErrMade) {
			continue
		}
		if err != nil {
			return nil, err
		}
		l, err = b.fetch(ctx, c)
		return l, errors.Join(err, c.Close())
	}
}

// fetch brings the layers into the graph root and seals the topmost.
//
// The library makes an image of them, which is only a means: with a record, the
// layers live and go like those of every step. A layer on top keeps them while
// the image is removed, since the library would remove both.
//
//	copy to an image · hold its layer · a child on it · remove image and child
//	· syncfs · record
func (b *BaseImage) fetch(ctx context.Context, c *claim) (_ rootfs.Layer, err error) {
	s := b.s
	libraries, err := waitLock(ctx, s.lockPath("builders", "all"), unix.LOCK_SH)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, libraries.release()) }()
	began := time.Now()
	name := "localhost/lithify/pulled:" + strings.TrimPrefix(b.Digest, "sha256:")
	if err := patiently(ctx, func() error { return b.copyTo(ctx, name) }); err != nil {
		return nil, err
	}
	img, err := s.st.Image(name)
	if err != nil {
		return nil, err
	}
	if err := s.hold(ctx, img.TopLayer); err != nil {
		return nil, err
	}
	child := newID()
	if err := s.createLayer(ctx, child, img.TopLayer); err != nil {
		return nil, err
	}
	_, err = s.st.DeleteImage(img.ID, true)
	if err := errors.Join(err, s.deleteLayer(child)); err != nil {
		return nil, err
	}
	if err := s.steadyRoots(img.TopLayer); err != nil {
		return nil, err
	}
	s.markDirty()
	rec := rootfs.Record{Phase: "base", Element: b.Reference, Name: b.Digest, Took: time.Since(began), Key: b.key()}
	return layer(img.TopLayer), c.seal(ctx, img.TopLayer, rec)
}

// steadyRoots gives the root folders of layers that have no entry for it the
// metadata of the layer below, and the lowest one's those that are usual: the
// library leaves a mode of its own there, and the time of the pull.
func (s *Store) steadyRoots(top string) error {
	chain, err := s.chain(top)
	if err != nil {
		return err
	}
	for n, id := range chain {
		l, err := s.st.Layer(id)
		if err != nil {
			return err
		}
		info, err := os.Stat(s.diffDir(id))
		switch {
		case err != nil:
		case info.ModTime().Before(l.Created.Add(-time.Second)): // it came with the layer
		case n == 0:
			err = plainRoot(s.diffDir(id))
		default:
			err = copyFolderMeta(s.diffDir(chain[n-1]), s.diffDir(id))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func plainRoot(dir string) error {
	epoch := time.Unix(0, 0)
	return errors.Join(os.Chmod(dir, 0o755), os.Chown(dir, 0, 0), os.Chtimes(dir, epoch, epoch))
}

func (b *BaseImage) copyTo(ctx context.Context, name string) (err error) {
	from, err := parseSource(b.Reference)
	if err != nil {
		return err
	}
	sys, trust, err := b.s.pullContext(from, b.o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, trust.Destroy()) }()
	src, done, err := from.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	to, err := is.Transport.ParseStoreReference(b.s.st, name)
	if err != nil {
		return err
	}
	blob, err := copy.Image(ctx, trust, to, src, &copy.Options{
		SourceCtx: sys, DestinationCtx: sys, PreserveDigests: true, ImageListSelection: copy.CopySystemImage, RemoveSignatures: true,
	})
	if err != nil {
		return err
	}
	if sum, err := manifest.Digest(blob); err != nil || sum.String() != b.Digest {
		_, undo := b.s.st.DeleteImage(name, true)
		return errors.Join(err, errMoved, undo)
	}
	return nil
}
