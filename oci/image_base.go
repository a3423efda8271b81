package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/containers/image/v5/manifest"
	"github.com/containers/image/v5/pkg/blobinfocache/none"
	imagetypes "github.com/containers/image/v5/types"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	spec "github.com/opencontainers/image-spec/specs-go/v1"
)

// BaseLayer is a layer of a base image, as its own manifest lists it.
type BaseLayer struct {
	Digest, DiffID string
	Size           int64
	MediaType      string // the OCI one
	History        string // what made it, as the image tells
}

// layersOf lists the layers of an image. Docker's media types become OCI's for
// the same bytes: a registry knows layers by digest alone.
func layersOf(infos []imagetypes.BlobInfo, config *spec.Image) ([]BaseLayer, error) {
	if len(infos) != len(config.RootFS.DiffIDs) {
		return nil, fmt.Errorf("the image lists %d layers and %d digests of what is in them", len(infos), len(config.RootFS.DiffIDs))
	}
	var made []string
	for _, h := range config.History {
		if !h.EmptyLayer {
			made = append(made, h.CreatedBy)
		}
	}
	var layers []BaseLayer
	for n, info := range infos {
		l := BaseLayer{Digest: info.Digest.String(), DiffID: config.RootFS.DiffIDs[n].String(), Size: info.Size, MediaType: info.MediaType}
		switch info.MediaType {
		case manifest.DockerV2Schema2LayerMediaType:
			l.MediaType = spec.MediaTypeImageLayerGzip
		case manifest.DockerV2SchemaLayerMediaTypeUncompressed:
			l.MediaType = spec.MediaTypeImageLayer
		}
		if len(made) == len(infos) {
			l.History = made[n]
		}
		layers = append(layers, l)
	}
	return layers, nil
}

// baseBlobs are the layers of the base, which an image upon it begins with as
// they are: whoever has the base already receives only what is new.
func (b *BaseImage) baseBlobs() []*blob {
	var blobs []*blob
	for _, l := range b.Layers {
		blobs = append(blobs, &blob{
			phase: l.History, base: b, media: types.MediaType(l.MediaType), rec: blobRecord{Digest: l.Digest, DiffID: l.DiffID, Size: l.Size},
		})
	}
	return blobs
}

// fetchBlob brings one layer of the image, packed as it is, into a folder. It is
// wanted only where an image goes to a place that has not got the base.
func (b *BaseImage) fetchBlob(ctx context.Context, rec blobRecord, folder string) (err error) {
	if b.o.Offline {
		return fmt.Errorf("layer %q of base image %q is not at the target, and --offline forbids to fetch it", rec.Digest, b.Reference)
	}
	err = patiently(ctx, func() error { return b.fetchOnce(ctx, rec, folder) })
	if err != nil {
		return fmt.Errorf("fetching layer %q of base image %q: %w", rec.Digest, b.Reference, pullHint(err))
	}
	return nil
}

func (b *BaseImage) fetchOnce(ctx context.Context, rec blobRecord, folder string) (err error) {
	from, err := parseSource(b.Reference)
	if err != nil {
		return err
	}
	sys, trust, err := b.s.pullContext(from, b.o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, trust.Destroy()) }()
	ref, done, err := from.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	src, err := ref.NewImageSource(ctx, sys)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	body, _, err := src.GetBlob(ctx, imagetypes.BlobInfo{Digest: digest.Digest(rec.Digest), Size: rec.Size}, none.NoCache)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	return writeVerified(body, rec.Digest, blobFile(folder, rec.Digest))
}

// writeVerified writes what r gives to path when it has the digest, else nothing.
func writeVerified(r io.Reader, sum, path string) (err error) {
	want, err := digest.Parse(sum)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "fetch-")
	if err != nil {
		return err
	}
	check := want.Verifier()
	_, err = io.Copy(io.MultiWriter(f, check), r)
	if err = errors.Join(err, f.Close()); err == nil && !check.Verified() {
		err = fmt.Errorf("what came has not the digest %q", sum)
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// inherit is what a configuration takes over from the base where the caller says
// nothing: all that tells how the image is run.
func (c ImageConfig) inherit(to *v1.Config) {
	if c.Base == nil {
		return
	}
	from := c.Base.Config
	to.Env = append(append([]string{}, from.Env...), to.Env...)
	if len(to.Entrypoint) == 0 && len(to.Cmd) == 0 {
		to.Entrypoint, to.Cmd = from.Entrypoint, from.Cmd
	}
	if to.WorkingDir == "" {
		to.WorkingDir = from.WorkingDir
	}
	to.User, to.Volumes, to.ExposedPorts, to.StopSignal = from.User, from.Volumes, from.ExposedPorts, from.StopSignal
	labels := map[string]string{}
	for _, m := range []map[string]string{from.Labels, to.Labels} {
		for name, value := range m {
			labels[name] = value
		}
	}
	if len(labels) > 0 {
		to.Labels = labels
	}
}

// annotations tell what the image stands on. An image that is in no registry has
// a digest, and no name that others could use.
func (c ImageConfig) annotations() map[string]string {
	if c.Base == nil {
		return nil
	}
	a := map[string]string{spec.AnnotationBaseImageDigest: c.Base.Digest}
	if name, ok := strings.CutPrefix(c.Base.Reference, "docker://"); ok {
		a[spec.AnnotationBaseImageName] = name
	}
	return a
}
