package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/containers/buildah"
	nettypes "github.com/containers/common/libnetwork/types"
	is "github.com/containers/image/v5/storage"
	"github.com/containers/image/v5/types"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/rootfs"
)

// baseImage is the name under which the empty base is kept in the graph root.
const baseImage = "localhost/lithify/base:1"

type baseRecord struct{ Layer string }

func (s *Store) basePath() string { return filepath.Join(s.dir, "base.json") }

func (s *Store) readBase() (string, error) {
	var rec baseRecord
	data, err := os.ReadFile(s.basePath())
	if err == nil {
		err = json.Unmarshal(data, &rec)
	}
	if err == nil && rec.Layer == "" {
		err = fmt.Errorf("%q names no layer", s.basePath())
	}
	return rec.Layer, err
}

// Base implements rootfs.Store.
//
// buildah's own "scratch" is an image without layers: a working container from
// it gets one writable layer with no parent, which is deleted with the
// container. So a scratch container is committed once, unchanged, into the
// graph root; the empty layer of that image is the base, and the image keeps
// it there. Its ID follows from its content and is the same in every store.
func (s *Store) Base(ctx context.Context) (rootfs.Layer, error) {
	id, err := s.base(ctx)
	if err != nil {
		return nil, fmt.Errorf("getting the empty base layer: %w", s.hint(err))
	}
	return layer(id), nil
}

func (s *Store) base(ctx context.Context) (string, error) {
	if id, err := s.readBase(); err == nil && s.exists(id) {
		return id, s.hold(ctx, id)
	}
	l, err := waitLock(ctx, s.lockPath("base", "make"), unix.LOCK_EX)
	if err != nil {
		return "", err
	}
	defer l.release()
	if id, err := s.readBase(); err == nil && s.exists(id) {
		return id, s.hold(ctx, id)
	}
	// What is begun is ended: the libraries leave the layer behind when a commit is
	// stopped on its way, and it takes a tenth of a second.
	ctx = context.WithoutCancel(ctx)
	id, err := s.makeBase(ctx)
	if err != nil {
		return "", err
	}
	s.markDirty()
	if err := errors.Join(s.hold(ctx, id), s.sync()); err != nil {
		return "", err
	}
	return id, s.writeDurable(s.basePath(), baseRecord{Layer: id})
}

func (s *Store) makeBase(ctx context.Context) (id string, err error) {
	b, done, err := s.newBuilder(ctx, "base")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, done()) }()
	ref, err := is.Transport.ParseStoreReference(s.st, baseImage)
	if err != nil {
		return "", err
	}
	epoch := time.Unix(0, 0).UTC()
	opts := s.commitOptions(epoch)
	opts.HistoryTimestamp, opts.SourceDateEpoch = &epoch, nil // the layer's times too
	var image string
	err = withEnv("TMPDIR", s.work, func() error {
		image, _, _, err = b.Commit(ctx, ref, opts)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("committing an empty image: %w", err)
	}
	img, err := s.st.Image(image)
	if err != nil {
		return "", err
	}
	if img.TopLayer == "" {
		return "", errors.New("committing an empty image: it has no layer")
	}
	root := s.diffDir(img.TopLayer)
	return img.TopLayer, errors.Join(os.Chmod(root, 0o755), os.Chown(root, 0, 0), os.Chtimes(root, epoch, epoch))
}

// newBuilder makes a working container from scratch; done deletes it. The name
// carries the run, so that the next Open finds what a killed build left. Layers
// made by the libraries have no lock of their own: until they are recorded as a
// container's or an image's, one lock guards them all.
func (s *Store) newBuilder(ctx context.Context, what string) (b *buildah.Builder, done func() error, err error) {
	l, err := waitLock(ctx, s.lockPath("builders", "all"), unix.LOCK_SH)
	if err != nil {
		return nil, nil, err
	}
	b, err = s.scratchBuilder(ctx, what)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("making a scratch container: %w", err), l.release())
	}
	return b, func() error { return errors.Join(b.Delete(), l.release()) }, nil
}

func (s *Store) scratchBuilder(ctx context.Context, what string) (*buildah.Builder, error) {
	policy, err := s.policy()
	if err != nil {
		return nil, err
	}
	return buildah.NewBuilder(ctx, s.st, buildah.BuilderOptions{
		FromImage:           "scratch",
		Container:           fmt.Sprintf("lithify-%s-%s-%s", what, newID()[:8], s.run),
		PullPolicy:          buildah.PullNever,
		Isolation:           buildah.IsolationChroot,
		NetworkInterface:    noNetwork{},
		SignaturePolicyPath: policy,
		SystemContext:       s.systemContext(policy),
		CommonBuildOpts:     &buildah.CommonBuildOptions{},
		Format:              buildah.OCIv1ImageManifest,
		Logger:              &logrus.Logger{Out: io.Discard, Formatter: &logrus.TextFormatter{}},

		PreserveBaseImageAnns: true, // else an empty annotation about a base is added
	})
}

// commitOptions give equal bytes for equal trees: no build times, no name or
// version of the builder.
func (s *Store) commitOptions(created time.Time) buildah.CommitOptions {
	policy := filepath.Join(s.work, "policy.json")
	return buildah.CommitOptions{
		PreferredManifestType: buildah.OCIv1ImageManifest,
		SourceDateEpoch:       &created,
		SignaturePolicyPath:   policy,
		SystemContext:         s.systemContext(policy),
		CreatedAnnotation:     types.OptionalBoolFalse,
	}
}

func (s *Store) systemContext(policy string) *types.SystemContext {
	return &types.SystemContext{
		SignaturePolicyPath:      policy,
		BigFilesTemporaryDir:     s.work,
		BlobInfoCacheDir:         s.work, // else in the user's home or /var/lib/containers
		SystemRegistriesConfPath: os.DevNull,
		RegistriesDirPath:        s.work, // no lookaside storage
	}
}

// policy writes a signature policy and returns its path. The images committed
// here come from trees of our own, so the user's policy has nothing to say, and
// a host without one must not stop us.
func (s *Store) policy() (string, error) {
	path := filepath.Join(s.work, "policy.json")
	err := os.WriteFile(path, []byte(`{"default":[{"type":"insecureAcceptAnything"}]}`), 0o600)
	return path, err
}

// noNetwork stands in for netavark, which NewBuilder would look for on the host
// although nothing is run. Every method but the names panics when called.
type noNetwork struct{ nettypes.ContainerNetwork }

func (noNetwork) Drivers() []string                 { return nil }
func (noNetwork) DefaultNetworkName() string        { return "none" }
func (noNetwork) NetworkInfo() nettypes.NetworkInfo { return nettypes.NetworkInfo{} }
