package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/docker/archive"
	"github.com/containers/image/v5/oci/layout"
	"github.com/containers/image/v5/signature"
	is "github.com/containers/image/v5/storage"
	"github.com/containers/image/v5/types"
	"github.com/containers/storage"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/go-digest"
	spec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// save puts the image into a containers-storage of the user's. The store and
// its driver are what podman of this user takes: storage.conf, STORAGE_DRIVER
// and so on. Inside our user namespace the ids are mapped as podman maps them.
func (i *Image) save(ctx context.Context, t Target) (err error) {
	st, ref, err := openLocal(t)
	if err != nil {
		return fmt.Errorf("opening the local images: %w", err)
	}
	defer func() { err = errors.Join(err, closeLocal(st)) }()
	if at, err := st.Image(t.name); err == nil && at.Digest.String() == i.digest {
		return nil
	}
	missing, err := i.missingIn(st)
	if err != nil {
		return err
	}
	err = i.copyTo(ctx, ref, missing)
	if errors.Is(err, os.ErrNotExist) && !i.stale && len(missing) < len(i.blobs) {
		err = i.copyTo(ctx, ref, i.blobs) // a layer went away meanwhile
	}
	if err != nil {
		return err
	}
	return syncFolder(st.GraphRoot())
}

func openLocal(t Target) (storage.Store, types.ImageReference, error) {
	if t.store != "" {
		ref, err := is.Transport.ParseReference(t.store + t.name)
		if err != nil {
			return nil, nil, err
		}
		return ref.Transport().(is.StoreTransport).GetStoreIfSet(), ref, nil
	}
	options, err := storage.DefaultStoreOptions()
	if err != nil {
		return nil, nil, err
	}
	st, err := storage.GetStore(options)
	if err != nil {
		return nil, nil, err
	}
	ref, err := is.Transport.ParseStoreReference(st, t.name)
	if err != nil {
		return nil, nil, errors.Join(err, closeLocal(st))
	}
	return st, ref, nil
}

// closeLocal takes away what opening mounted. Where containers run on the store
// it leaves that: it ends with our mount namespace.
func closeLocal(st storage.Store) error {
	_, err := st.Shutdown(false)
	st.Free()
	if errors.Is(err, storage.ErrLayerUsedByContainer) {
		return nil
	}
	return err
}

// missingIn lists the blobs that the store has no layer of.
func (i *Image) missingIn(st storage.Store) ([]*blob, error) {
	var missing []*blob
	for _, b := range i.blobs {
		have, err := st.LayersByCompressedDigest(digest.Digest(b.rec.Digest))
		if errors.Is(err, storage.ErrLayerUnknown) || err == nil && len(have) == 0 {
			missing = append(missing, b)
		} else if err != nil {
			return nil, err
		}
	}
	return missing, nil
}

// copyTo copies the image out of its layout, in which only the given blobs have
// to be.
func (i *Image) copyTo(ctx context.Context, to types.ImageReference, blobs []*blob) error {
	for _, b := range blobs {
		if err := i.ensure(ctx, b); err != nil {
			return err
		}
	}
	if err := i.writeLayout(ctx); err != nil {
		return err
	}
	from, err := layout.NewReference(i.dir, "")
	if err != nil {
		return err
	}
	path, err := i.s.policy()
	if err != nil {
		return err
	}
	sys := i.s.systemContext(path)
	policy, err := signature.NewPolicyFromFile(path)
	if err != nil {
		return err
	}
	trust, err := signature.NewPolicyContext(policy)
	if err != nil {
		return err
	}
	converts := to.Transport().Name() == archive.Transport.Name() // docker's own form has another manifest
	_, err = copy.Image(ctx, trust, to, from, &copy.Options{SourceCtx: sys, DestinationCtx: sys, PreserveDigests: !converts})
	return errors.Join(err, trust.Destroy())
}

// writeLayout makes an OCI image layout of the image's folder; blobs that are
// not there stay missing.
//
// Source: OCI image specification, image-layout.md.
func (i *Image) writeLayout(ctx context.Context) error {
	img, err := i.open(ctx)
	if err != nil {
		return err
	}
	manifest, err := img.RawManifest()
	if err != nil {
		return err
	}
	config, err := img.RawConfigFile()
	if err != nil {
		return err
	}
	kind, err := img.MediaType()
	if err != nil {
		return err
	}
	hash, err := img.Digest()
	if err != nil {
		return err
	}
	index, err := json.Marshal(v1.IndexManifest{SchemaVersion: 2, Manifests: []v1.Descriptor{{
		MediaType: kind, Digest: hash, Size: int64(len(manifest)),
	}}})
	if err != nil {
		return err
	}
	version, err := json.Marshal(spec.ImageLayout{Version: spec.ImageLayoutVersion})
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(blobFile(i.blobFolder(), i.digest), manifest, 0o600),
		os.WriteFile(blobFile(i.blobFolder(), i.id), config, 0o600),
		os.WriteFile(filepath.Join(i.dir, spec.ImageLayoutFile), version, 0o600),
		os.WriteFile(filepath.Join(i.dir, spec.ImageIndexFile), index, 0o600),
	)
}

// syncFolder flushes the file system of a folder: the libraries were told not
// to flush their small files (see tameLibraries).
func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		err = fmt.Errorf("writing the file system of %q out: %w", dir, err)
		return errors.Join(err, f.Close())
	}
	return f.Close()
}
