package oci

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/containers/common/pkg/retry"
	parsed "github.com/containers/image/v5/image"
	"github.com/containers/image/v5/manifest"
	"github.com/containers/image/v5/signature"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
	spec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/lithify/lithify/rootfs"
)

// PullOptions say which image of a name is wanted, and how it is asked for.
type PullOptions struct {
	Architecture string // as in GOARCH; default: this machine's
	Variant      string // "v7" of arm, for instance; default: what goes with the architecture
	AuthFile     string // podman's file of credentials, where it is not in its usual place (REGISTRY_AUTH_FILE)
	Policy       string // policy.json, where it is not in its usual places
	Registries   string // registries.conf, likewise (CONTAINERS_REGISTRIES_CONF)
	Offline      bool   // nobody is asked: the image is what it was the last time
}

// BaseImage is a container image to build upon: what its name stands for at one
// moment, on one platform.
type BaseImage struct {
	Reference string           // in full: docker://docker.io/library/debian:bookworm
	Digest    string           // of the platform's manifest, never of the index around it
	Config    spec.ImageConfig // Env, Cmd and so on
	Layers    []BaseLayer      // lowest first

	s *Store
	o PullOptions
}

// baseImageRecord is what is kept of a BaseImage, for a build without network.
type baseImageRecord struct {
	Reference, Digest string
	Config            spec.ImageConfig
	Layers            []BaseLayer
	Asked             time.Time
}

// ErrNotPulled says that an image is wanted offline that was never asked for.
var ErrNotPulled = errors.New("no build has pulled it yet: build once without --offline")

// errMoved says that a name stood for one image when it was looked up and for
// another one when that was fetched.
var errMoved = errors.New("the name was given to another image meanwhile: build again")

// FindBaseImage asks what a reference stands for (see docs/base-images.md for
// the forms) without fetching its layers. registries.conf, policy.json,
// credentials and certificates are the user's, as podman and skopeo find them.
func (s *Store) FindBaseImage(ctx context.Context, reference string, o PullOptions) (*BaseImage, error) {
	if o.Architecture == "" {
		o.Architecture = runtime.GOARCH
	}
	src, err := parseSource(reference)
	if err != nil {
		return nil, fmt.Errorf("base image %q: %w", reference, err)
	}
	b := &BaseImage{Reference: src.full, s: s, o: o}
	if o.Offline {
		err = b.remember()
	} else if err = patiently(ctx, func() error { return b.ask(ctx, src) }); err == nil {
		err = b.note()
	}
	if err != nil {
		return nil, fmt.Errorf("base image %q: %w", reference, oneLine(pullHint(err)))
	}
	return b, nil
}

// recordPath is one file for each name and platform.
func (b *BaseImage) recordPath() string {
	sum := sha256.Sum256([]byte(strings.Join([]string{b.Reference, b.o.Architecture, b.o.Variant}, "\n")))
	return filepath.Join(b.s.dir, "images", hex.EncodeToString(sum[:])+".json")
}

func (b *BaseImage) remember() error {
	var rec baseImageRecord
	data, err := os.ReadFile(b.recordPath())
	if errors.Is(err, os.ErrNotExist) {
		return ErrNotPulled
	}
	if err == nil {
		err = json.Unmarshal(data, &rec)
	}
	if err == nil && rec.Digest == "" {
		err = errors.New("it names no digest")
	}
	if err != nil {
		return fmt.Errorf("reading %q: %w (remove the file, and build without --offline)", b.recordPath(), err)
	}
	b.Digest, b.Config, b.Layers = rec.Digest, rec.Config, rec.Layers
	return nil
}

func (b *BaseImage) note() error {
	if err := os.MkdirAll(filepath.Dir(b.recordPath()), 0o700); err != nil {
		return err
	}
	return b.s.writeDurable(b.recordPath(), baseImageRecord{b.Reference, b.Digest, b.Config, b.Layers, time.Now().UTC()})
}

// ask reads the manifest, chooses the platform's out of an index, and reads the
// configuration. What the policy forbids is refused here already: layers that
// are in the store are not fetched, and so not judged, again.
func (b *BaseImage) ask(ctx context.Context, from source) (err error) {
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
	instance, err := b.platform(ctx, src, sys)
	if err != nil {
		return err
	}
	unparsed := parsed.UnparsedInstance(src, instance)
	if _, err := trust.IsRunningImageAllowed(ctx, unparsed); err != nil {
		return err
	}
	return b.describe(ctx, sys, unparsed)
}

// platform is the manifest's digest where there are several, else nil.
func (b *BaseImage) platform(ctx context.Context, src types.ImageSource, sys *types.SystemContext) (*digest.Digest, error) {
	blob, kind, err := src.GetManifest(ctx, nil)
	if err != nil || !manifest.MIMETypeIsMultiImage(kind) {
		return nil, err
	}
	list, err := manifest.ListFromBlob(blob, kind)
	if err != nil {
		return nil, err
	}
	found, err := list.ChooseInstance(sys)
	if err != nil {
		return nil, fmt.Errorf("%w for %s: it is there for %s", errPlatform, b.platformName(), platforms(list))
	}
	return &found, nil
}

var errPlatform = errors.New("no image")

func (b *BaseImage) platformName() string {
	return strings.TrimSuffix("linux/"+b.o.Architecture+"/"+b.o.Variant, "/")
}

func platforms(list manifest.List) string {
	var names []string
	for _, d := range list.Instances() {
		i, err := list.Instance(d)
		if err != nil || i.ReadOnly.Platform == nil || i.ReadOnly.Platform.OS == "unknown" { // an attestation
			continue
		}
		p := i.ReadOnly.Platform
		names = append(names, strings.TrimSuffix(p.OS+"/"+p.Architecture+"/"+p.Variant, "/"))
	}
	slices.Sort(names)
	if len(names) == 0 {
		return "no platform"
	}
	return strings.Join(slices.Compact(names), ", ")
}

// describe takes digest and configuration.
func (b *BaseImage) describe(ctx context.Context, sys *types.SystemContext, unparsed *parsed.UnparsedImage) error {
	blob, _, err := unparsed.Manifest(ctx)
	if err != nil {
		return err
	}
	sum, err := manifest.Digest(blob)
	if err != nil {
		return err
	}
	img, err := parsed.FromUnparsedImage(ctx, sys, unparsed)
	if err != nil {
		return err
	}
	config, err := img.OCIConfig(ctx)
	if err != nil {
		return fmt.Errorf("reading the image's configuration: %w", err)
	}
	if config.Architecture != "" && config.Architecture != b.o.Architecture {
		return fmt.Errorf("%w for %s: it is there for %s/%s only", errPlatform, b.platformName(), config.OS, config.Architecture)
	}
	if len(config.RootFS.DiffIDs) == 0 {
		return errors.New("the image has no layers")
	}
	b.Digest, b.Config = sum.String(), config.Config
	b.Layers, err = layersOf(img.LayerInfos(), config)
	return err
}

// key names the sealed layer of an image: its manifest names all its content.
func (b *BaseImage) key() rootfs.Key {
	sum := sha256.Sum256([]byte("base image 1 " + b.Digest))
	return rootfs.Key(hex.EncodeToString(sum[:]))
}

// pullContext are the user's own settings; trust is judged by the user's
// policy.json. A host that has none trusts all, as podman's packages set it up.
func (s *Store) pullContext(from source, o PullOptions) (*types.SystemContext, *signature.PolicyContext, error) {
	sys := &types.SystemContext{
		BigFilesTemporaryDir: s.work, BlobInfoCacheDir: s.work, AuthFilePath: o.AuthFile,
		OSChoice: "linux", ArchitectureChoice: o.Architecture, VariantChoice: o.Variant, DockerRegistryUserAgent: "lithify",
		SignaturePolicyPath: o.Policy, SystemRegistriesConfPath: o.Registries,
	}
	policy, err := signature.DefaultPolicy(sys)
	if err != nil && strings.Contains(err.Error(), "no policy.json file found") {
		if sys.SignaturePolicyPath, err = s.policy(); err == nil {
			policy, err = signature.NewPolicyFromFile(sys.SignaturePolicyPath)
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading policy.json: %w", err)
	}
	if err := from.allowLoopback(sys); err != nil {
		return nil, nil, err
	}
	trust, err := signature.NewPolicyContext(policy)
	return sys, trust, err
}

// patiently tries again what a network may have broken, four times in all.
func patiently(ctx context.Context, do func() error) error {
	for pause := 200 * time.Millisecond; ; pause *= 4 {
		err := do()
		if err == nil || ctx.Err() != nil || !transient(err) {
			return err
		}
		if pause > 4*time.Second {
			return fmt.Errorf("%w (tried four times)", err)
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, context.Cause(ctx))
		case <-time.After(pause):
		}
	}
}

// transient says whether another attempt may help. The library's judgement does
// not look into joined errors, nor at answers that end too early.
func transient(err error) bool {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		return slices.ContainsFunc(many.Unwrap(), transient)
	}
	return retry.IsErrorRetryable(err) || errors.Is(err, io.ErrUnexpectedEOF)
}
