package oci

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/containers/buildah"
	"github.com/containers/image/v5/oci/layout"
	"github.com/containers/storage/pkg/archive"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/rootfs"
)

// ImageConfig is what an image says about itself. The zero value is a plain
// image for this machine's architecture.
type ImageConfig struct {
	Architecture      string // as in GOARCH; default: this machine's
	Cmd, Entrypoint   []string
	Env               []string // NAME=VALUE
	Labels            map[string]string
	WorkingDir        string // default "/"
	Author, CreatedBy string
	Created           time.Time // zero means 1970-01-01; never the clock, so that equal trees give equal images
}

// Image is an image made from a layer. It lies in the store's work folder until
// Remove or the store's Close.
type Image struct {
	s      *Store
	dir    string // OCI image layout
	id     string
	digest string
}

// ID is the digest of the configuration, as docker and podman show it.
func (i *Image) ID() string { return i.id }

// Digest is the digest of the manifest: what Push gives in every registry.
func (i *Image) Digest() string { return i.digest }

// Dir is the folder with the image as an OCI image layout.
func (i *Image) Dir() string { return i.dir }

// Remove removes the image from this machine.
func (i *Image) Remove() error {
	if err := os.RemoveAll(i.dir); err != nil {
		return fmt.Errorf("removing image %q: %w", i.id, err)
	}
	return nil
}

// Image makes an image with one layer, the whole tree of l. buildah commits it
// from a scratch container into an OCI layout: committing into the graph root
// would unpack the tree a second time only to pack it again for a registry.
// Equal trees and equal configurations give equal digests.
func (s *Store) Image(ctx context.Context, l rootfs.Layer, cfg ImageConfig) (*Image, error) {
	img := &Image{s: s, dir: filepath.Join(s.work, "image-"+newID()[:12])}
	if err := s.commit(ctx, l, cfg, img); err != nil {
		return nil, errors.Join(fmt.Errorf("making an image of layer %.12s: %w", l.ID(), s.hint(err)), os.RemoveAll(img.dir))
	}
	return img, nil
}

func (s *Store) commit(ctx context.Context, l rootfs.Layer, cfg ImageConfig, img *Image) (err error) {
	tree, err := s.Scratch(ctx, l)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tree.Close()) }()
	b, done, err := s.newBuilder(ctx, "image")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	if err := configure(b, cfg); err != nil {
		return err
	}
	ref, err := layout.NewReference(img.dir, "")
	if err != nil {
		return err
	}
	created := cfg.Created.UTC()
	if created.IsZero() {
		created = time.Unix(0, 0).UTC()
	}
	opts := s.commitOptions(created)
	opts.Compression = archive.Gzip
	opts.OmitLayerHistoryEntry = true // buildah's own layer is empty: ours is appended
	return s.withTar(ctx, tree.Dir(), func(tar string) error {
		opts.AppendedLinkedLayers = []buildah.LinkedLayer{{
			History:  v1.History{CreatedBy: cfg.CreatedBy, Author: cfg.Author},
			BlobPath: tar,
		}}
		err := withEnv("TMPDIR", s.work, func() error {
			_, _, digest, err := b.Commit(ctx, ref, opts)
			img.digest = digest.String()
			return err
		})
		if err != nil {
			return fmt.Errorf("committing: %w", err)
		}
		return img.readID()
	})
}

// readID reads the image's ID from what was committed.
func (i *Image) readID() error {
	made, err := i.open()
	if err != nil {
		return err
	}
	id, err := made.ConfigName()
	i.id = id.String()
	return err
}

func configure(b *buildah.Builder, cfg ImageConfig) error {
	arch := cfg.Architecture
	if arch == "" {
		arch = runtime.GOARCH
	}
	b.SetOS("linux")
	b.SetArchitecture(arch)
	b.SetVariant("") // buildah's default is the build machine's
	b.SetCmd(slices.Clone(cfg.Cmd))
	b.SetEntrypoint(slices.Clone(cfg.Entrypoint))
	for _, kv := range cfg.Env {
		name, value, ok := strings.Cut(kv, "=")
		if !ok || name == "" {
			return fmt.Errorf("environment of the image: %q is not NAME=VALUE", kv)
		}
		b.SetEnv(name, value)
	}
	for k, v := range cfg.Labels {
		b.SetLabel(k, v)
	}
	if cfg.WorkingDir != "" {
		b.SetWorkDir(cfg.WorkingDir)
	}
	b.SetMaintainer(cfg.Author)
	return nil
}

// withTar gives do a named pipe that a layer's tar comes out of, once. So the
// tree is read by one walk and lies on disk only where buildah keeps its copy.
func (s *Store) withTar(ctx context.Context, tree string, do func(path string) error) error {
	path := filepath.Join(s.work, "tar-"+newID()[:12])
	if err := unix.Mkfifo(path, 0o600); err != nil {
		return err
	}
	defer os.Remove(path)
	ctx, cancel := context.WithCancel(ctx)
	wrote := make(chan error, 1)
	go func() { wrote <- writePipe(ctx, path, tree) }()
	err := do(path)
	cancel()
	// A writer that waits for a reader that never came is woken up by one that
	// leaves at once.
	if f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0); err == nil {
		defer f.Close()
	}
	tarErr := <-wrote
	if err != nil && errors.Is(tarErr, context.Canceled) {
		return err
	}
	return errors.Join(tarErr, err)
}

func writePipe(ctx context.Context, path, tree string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(writeLayerTar(ctx, f, tree), f.Close())
}
