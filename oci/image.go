package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
	spec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/lithify/lithify/rootfs"
)

// ImageConfig is what an image says about itself. The zero value is a plain
// image with one layer for this machine's architecture.
type ImageConfig struct {
	Phases []rootfs.PhaseLayer // one layer for each that changed something; none: one for the whole tree

	// Base is the image that the tree goes back to: its layers come first, as they
	// are, and its configuration counts where this one says nothing.
	Base *BaseImage

	Architecture      string // as in GOARCH; default: this machine's
	Cmd, Entrypoint   []string
	Env               []string // NAME=VALUE
	Labels            map[string]string
	WorkingDir        string    // default "/"
	Author, CreatedBy string    // CreatedBy: default: the phase's name, for each layer
	Created           time.Time // zero means 1970-01-01; never the clock, so that equal trees give equal images
}

// Image is an image made from layers of the store. Its archives lie in the
// store's work folder, as far as they had to be made, until Remove or the
// store's Close.
type Image struct {
	s      *Store
	cfg    ImageConfig
	dir    string // OCI image layout; blobs that were not needed are missing
	id     string
	digest string
	top    rootfs.Layer

	mu    sync.Mutex // one blob at a time: each keeps all processors busy
	blobs []*blob
	stale bool // a blob came out other than recorded
}

// blob is one layer of an image.
type blob struct {
	phase    string
	from, to rootfs.Layer // from is nil for the first
	rec      blobRecord

	base  *BaseImage // the layer is one of this image's; from and to are nil
	media types.MediaType
}

// ID is the digest of the configuration, as docker and podman show it.
func (i *Image) ID() string { return i.id }

// Digest is the digest of the manifest: what Push gives in every registry.
func (i *Image) Digest() string { return i.digest }

// Remove removes the image from this machine.
func (i *Image) Remove() error {
	if err := os.RemoveAll(i.dir); err != nil {
		return fmt.Errorf("removing image %q: %w", i.id, err)
	}
	return nil
}

// Image makes an image of the tree of l. Equal trees, at the ends of the phases
// too, and equal configurations give equal digests. What is known already of a
// layer's archive is not made again before somebody asks for its bytes.
func (s *Store) Image(ctx context.Context, l rootfs.Layer, cfg ImageConfig) (*Image, error) {
	i := &Image{s: s, cfg: cfg, dir: filepath.Join(s.work, "image-"+newID()[:12])}
	err := checkEnv(cfg.Env)
	if err == nil {
		err = os.MkdirAll(i.blobFolder(), 0o700)
	}
	if err == nil {
		err = i.describe(ctx, l)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("making an image of layer %.12s: %w", l.ID(), s.hint(err)), os.RemoveAll(i.dir))
	}
	return i, nil
}

func (i *Image) blobFolder() string { return filepath.Join(i.dir, spec.ImageBlobsDir, "sha256") }

func checkEnv(env []string) error {
	for _, kv := range env {
		if name, _, ok := strings.Cut(kv, "="); !ok || name == "" {
			return fmt.Errorf("environment of the image: %q is not NAME=VALUE", kv)
		}
	}
	return nil
}

// describe finds or makes the blobs, and the image's digests.
func (i *Image) describe(ctx context.Context, l rootfs.Layer) error {
	i.blobs, i.top = nil, l
	var below rootfs.Layer
	if b := i.cfg.Base; b != nil && len(b.Layers) > 0 {
		tree, err := b.Layer(ctx)
		if err != nil {
			return err
		}
		below, i.blobs = tree, b.baseBlobs()
	}
	for _, p := range append(slices.Clone(i.cfg.Phases), rootfs.PhaseLayer{Layer: l}) {
		if below != nil && below.ID() == p.Layer.ID() {
			continue
		}
		b := &blob{phase: p.Phase, from: below, to: p.Layer}
		if err := i.know(ctx, b); err != nil {
			return err
		}
		if b.rec.Size > 0 {
			i.blobs = append(i.blobs, b)
		}
		below = p.Layer
	}
	img, err := i.open(ctx)
	if err != nil {
		return err
	}
	return i.readDigests(img)
}

// know finds out what the blob of two layers is, by making it if need be.
func (i *Image) know(ctx context.Context, b *blob) error {
	var known bool
	if b.rec, known = i.s.readBlob(b.from, b.to); known {
		return nil
	}
	rec, err := i.s.makeBlob(ctx, b.from, b.to, i.blobFolder())
	if err != nil {
		return err
	}
	b.rec = rec
	return i.s.saveBlob(b.from, b.to, rec)
}

func (i *Image) readDigests(img v1.Image) error {
	id, err := img.ConfigName()
	if err != nil {
		return err
	}
	digest, err := img.Digest()
	i.id, i.digest = id.String(), digest.String()
	return err
}

// open gives the image to the registry's library. ctx ends the making of blobs.
func (i *Image) open(ctx context.Context) (v1.Image, error) {
	created := v1.Time{Time: i.cfg.Created.UTC()}
	if created.IsZero() {
		created.Time = time.Unix(0, 0).UTC()
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.ConfigFile(img, i.configuration(created))
	if err != nil {
		return nil, err
	}
	var adds []mutate.Addendum
	for _, b := range i.blobs {
		by := i.cfg.CreatedBy
		if by == "" || b.base != nil {
			by = b.phase
		}
		adds = append(adds, mutate.Addendum{
			Layer:   imageLayer{ctx, i, b},
			History: v1.History{Created: created, CreatedBy: by, Author: i.cfg.Author},
		})
	}
	img, err = mutate.Append(img, adds...)
	if a := i.cfg.annotations(); err == nil && a != nil {
		img = mutate.Annotations(img, a).(v1.Image)
	}
	return img, err
}

func (i *Image) configuration(created v1.Time) *v1.ConfigFile {
	c := i.cfg
	if c.Architecture == "" {
		c.Architecture = runtime.GOARCH
	}
	file := &v1.ConfigFile{
		OS: "linux", Architecture: c.Architecture, Author: c.Author, Created: created,
		RootFS: v1.RootFS{Type: "layers"},
		Config: v1.Config{
			Cmd: slices.Clone(c.Cmd), Entrypoint: slices.Clone(c.Entrypoint), Env: slices.Clone(c.Env),
			Labels: maps.Clone(c.Labels), WorkingDir: c.WorkingDir,
		},
	}
	c.inherit(&file.Config)
	return file
}

// ensure makes a blob that is known but not there.
func (i *Image) ensure(ctx context.Context, b *blob) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if _, err := os.Lstat(blobFile(i.blobFolder(), b.rec.Digest)); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if b.base != nil {
		return b.base.fetchBlob(ctx, b.rec, i.blobFolder())
	}
	rec, err := i.s.makeBlob(ctx, b.from, b.to, i.blobFolder())
	if err != nil {
		return i.s.hint(err)
	}
	if rec == b.rec {
		return nil
	}
	i.stale = true
	return fmt.Errorf("%w: %q was recorded, %q came out", errStale, b.rec.Digest, rec.Digest)
}

// errStale says that a blob's record is of another compressor.
var errStale = errors.New("the archive of a layer is not as recorded")

// renew forgets what is recorded of the image's blobs and makes all anew.
func (i *Image) renew(ctx context.Context) error {
	for _, b := range i.blobs {
		if b.base != nil {
			continue
		}
		if err := os.Remove(i.s.blobPath(b.from, b.to)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	i.stale = false
	return i.describe(ctx, i.top)
}

// whileFresh does something with the image's blobs, and once more when a record
// turned out to be of another compressor.
func (i *Image) whileFresh(ctx context.Context, do func() error) error {
	err := do()
	if err == nil || !i.stale {
		return err
	}
	if err := i.renew(ctx); err != nil {
		return err
	}
	return do()
}

// imageLayer is a blob as the registry's library wants it. It lives as long as
// one call with its ctx.
type imageLayer struct {
	ctx context.Context
	i   *Image
	b   *blob
}

func (l imageLayer) Digest() (v1.Hash, error) { return v1.NewHash(l.b.rec.Digest) }
func (l imageLayer) DiffID() (v1.Hash, error) { return v1.NewHash(l.b.rec.DiffID) }
func (l imageLayer) Size() (int64, error)     { return l.b.rec.Size, nil }

func (l imageLayer) MediaType() (types.MediaType, error) {
	if l.b.media != "" {
		return l.b.media, nil
	}
	return types.OCILayer, nil
}

func (l imageLayer) Compressed() (io.ReadCloser, error) {
	if err := l.i.ensure(l.ctx, l.b); err != nil {
		return nil, err
	}
	return os.Open(blobFile(l.i.blobFolder(), l.b.rec.Digest))
}

func (l imageLayer) Uncompressed() (io.ReadCloser, error) {
	whole, err := partial.CompressedToLayer(l)
	if err != nil {
		return nil, err
	}
	return whole.Uncompressed()
}
