package oci

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/lithify/lithify/rootfs"
)

// An entry is one sealed step in a registry: an OCI artifact under the tag
// step-KEY. Its configuration says all that is checked before the step is used,
// and a signature is over these bytes:
//
//	layers   archives, lowest first, each of what one tree has otherwise than the
//	         one below it, the first otherwise than nothing; see packer
//	steps    the sealed steps of which these layers are the trees, lowest first;
//	         the last is the entry's own. Digests of inputs stay at home: those
//	         of short secrets could be guessed.
//
// So one manifest names everything that the step stands on, whoever made what
// lies below; layers that entries share are in the registry once.
//
// Source of the outer form: OCI image specification, manifest.md, "Guidelines
// for Artifact Usage".
type entryConfig struct {
	Format int          `json:"format"`
	Layers []entryLayer `json:"layers"`
	Steps  []entryStep  `json:"steps"`
}

// entryFormat is raised by hand when older programs would misread an entry.
const entryFormat = 1

const (
	entryType       = "application/vnd.lithify.step.v1"
	entryConfigType = types.MediaType("application/vnd.lithify.step.config.v1+json")
	entryLayerType  = types.MediaType("application/vnd.lithify.step.layer.v1.tar+zstd")

	annotationKey       = "vnd.lithify.key"
	annotationStep      = "vnd.lithify.step"
	annotationSize      = "vnd.lithify.size"
	annotationSignature = "vnd.lithify.signature"
	annotationCreated   = "org.opencontainers.image.created"

	tagPrefix = "step-"
)

// Bounds of what a registry may make us read into memory.
const (
	maxConfig   = 4 << 20
	maxManifest = 4 << 20
	maxLayers   = 200
)

// entryLayer is one archive.
type entryLayer struct {
	Digest   string `json:"digest"`   // of the compressed bytes
	Size     int64  `json:"size"`     // of these, in bytes
	DiffID   string `json:"diffID"`   // digest of the archive
	DiffSize int64  `json:"diffSize"` // of it, in bytes
}

// entryStep is a step without its inputs.
type entryStep struct {
	Key     rootfs.Key    `json:"key"`
	Parent  rootfs.Key    `json:"parent"`
	Layers  int           `json:"layers"` // how many make its tree
	Phase   string        `json:"phase"`
	Element string        `json:"element"`
	Name    string        `json:"name"`
	Made    time.Time     `json:"made"`
	MaxAge  time.Duration `json:"maxAge,omitempty"` // nanoseconds
	Took    time.Duration `json:"took"`             // nanoseconds
}

func stepOf(rec rootfs.Record, layers int) entryStep {
	return entryStep{Key: rec.Key, Parent: rec.Parent, Layers: layers, Phase: rec.Phase, Element: rec.Element, Name: rec.Name,
		Made: rec.Made.UTC(), MaxAge: rec.MaxAge, Took: rec.Took}
}

// record is that of the step when layer is its tree. A time that lies ahead
// would let the step never grow old.
func (e entryStep) record(layer string) rootfs.Record {
	made := e.Made
	if now := time.Now().UTC(); made.After(now) {
		made = now
	}
	return rootfs.Record{Key: e.Key, Parent: e.Parent, Layer: layer, Phase: e.Phase, Element: e.Element, Name: e.Name,
		Made: made, MaxAge: e.MaxAge, Took: e.Took}
}

func (c entryConfig) own() entryStep { return c.Steps[len(c.Steps)-1] }

// chain names the tree that the lowest n layers make, whoever unpacked them.
func chainOf(layers []entryLayer) string {
	var ids []string
	for _, l := range layers {
		ids = append(ids, l.DiffID)
	}
	return strings.Join(ids, " ")
}

func (c entryConfig) check() error {
	switch {
	case c.Format != entryFormat:
		return fmt.Errorf("format %d, this program knows %d", c.Format, entryFormat)
	case len(c.Layers) > maxLayers || len(c.Steps) == 0 || len(c.Steps) > maxLayers:
		return fmt.Errorf("%d layers and %d steps, want 1 to %d", len(c.Layers), len(c.Steps), maxLayers)
	case c.own().Layers != len(c.Layers):
		return fmt.Errorf("layers that its step does not stand on")
	}
	for _, l := range c.Layers {
		for _, d := range []string{l.Digest, l.DiffID} {
			if _, err := v1.NewHash(d); err != nil || !strings.HasPrefix(d, "sha256:") {
				return fmt.Errorf("%q is no sha256 digest", d)
			}
		}
		if l.Size <= 0 || l.DiffSize <= 0 {
			return fmt.Errorf("layer %s of %d bytes", l.Digest, l.Size)
		}
	}
	at := 0
	for _, s := range c.Steps {
		if err := errors.Join(checkKey(s.Key), checkKey(s.Parent)); err != nil {
			return err
		}
		if s.Layers < at || s.Layers > len(c.Layers) {
			return fmt.Errorf("step %.12s out of order", s.Key)
		}
		at = s.Layers
	}
	return nil
}

// parseConfig reads what a registry sent.
func parseConfig(data []byte) (c entryConfig, err error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return c, err
	}
	return c, c.check()
}

// entryManifest is the manifest of an artifact.
type entryManifest struct {
	SchemaVersion int64             `json:"schemaVersion"`
	MediaType     types.MediaType   `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        v1.Descriptor     `json:"config"`
	Layers        []v1.Descriptor   `json:"layers"`
	Annotations   map[string]string `json:"annotations"`
}

// rawManifest is a manifest to be tagged.
type rawManifest []byte

func (m rawManifest) RawManifest() ([]byte, error)        { return m, nil }
func (m rawManifest) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }

// newManifest describes the entry whose configuration has the bytes config.
func newManifest(c entryConfig, config []byte, key ed25519.PrivateKey) (rawManifest, error) {
	own := c.own()
	m := entryManifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: entryType, Layers: []v1.Descriptor{},
		Annotations: map[string]string{annotationKey: string(own.Key), annotationStep: strings.Join([]string{own.Phase, own.Element, own.Name}, "/"),
			annotationCreated: own.Made.Format(time.RFC3339)}}
	hash, size, err := v1.SHA256(bytes.NewReader(config))
	if err != nil {
		return nil, err
	}
	m.Config = v1.Descriptor{MediaType: entryConfigType, Size: size, Digest: hash}
	var total int64
	for _, l := range c.Layers {
		total += l.Size
		hash, err := v1.NewHash(l.Digest)
		if err != nil {
			return nil, err
		}
		m.Layers = append(m.Layers, v1.Descriptor{MediaType: entryLayerType, Size: l.Size, Digest: hash})
	}
	m.Annotations[annotationSize] = fmt.Sprint(total)
	if key != nil {
		m.Annotations[annotationSignature] = base64.StdEncoding.EncodeToString(ed25519.Sign(key, signed(config)))
	}
	return json.Marshal(m)
}

// signed is what a signature is over. The first line keeps signatures made for
// something else from meaning anything here.
func signed(config []byte) []byte { return append([]byte("lithify cache entry\n"), config...) }

var (
	errUnsigned = errors.New("it is not signed, and --cache-verify-key wants it to be")
	errForged   = errors.New("its signature is not one of the key that --cache-verify-key names")
)

func (m entryManifest) verify(config []byte, key ed25519.PublicKey) error {
	if key == nil {
		return nil
	}
	text := m.Annotations[annotationSignature]
	if text == "" {
		return errUnsigned
	}
	sig, err := base64.StdEncoding.DecodeString(text)
	if err != nil || !ed25519.Verify(key, signed(config), sig) {
		return errForged
	}
	return nil
}

// agrees says whether the manifest lists the layers of its configuration: else a
// registry might remove what the step needs.
func (m entryManifest) agrees(c entryConfig) error {
	same := slices.EqualFunc(m.Layers, c.Layers, func(d v1.Descriptor, l entryLayer) bool {
		return d.Digest.String() == l.Digest && d.Size == l.Size
	})
	if !same {
		return errors.New("its manifest names other layers than its configuration")
	}
	return nil
}

// ReadSignKey reads an ed25519 key that entries are signed with: PEM, PKCS #8, as
// `openssl genpkey -algorithm ed25519` writes it.
func ReadSignKey(path string) (ed25519.PrivateKey, error) {
	key, err := readKey(path, "PRIVATE KEY", x509.ParsePKCS8PrivateKey)
	if err != nil {
		return nil, err
	}
	if k, ok := key.(ed25519.PrivateKey); ok {
		return k, nil
	}
	return nil, fmt.Errorf("%q holds a key of another kind than ed25519", path)
}

// ReadVerifyKey reads the public half: PEM, PKIX, as `openssl pkey -pubout`
// writes it.
func ReadVerifyKey(path string) (ed25519.PublicKey, error) {
	key, err := readKey(path, "PUBLIC KEY", x509.ParsePKIXPublicKey)
	if err != nil {
		return nil, err
	}
	if k, ok := key.(ed25519.PublicKey); ok {
		return k, nil
	}
	return nil, fmt.Errorf("%q holds a key of another kind than ed25519", path)
}

// readKey says nothing of what is in the file but its PEM type.
func readKey(path, kind string, parse func([]byte) (any, error)) (any, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	switch {
	case block == nil:
		return nil, fmt.Errorf("%q is no PEM file", path)
	case block.Type != kind:
		return nil, fmt.Errorf("%q holds a %s, want a %s", path, block.Type, kind)
	}
	key, err := parse(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%q holds no key that can be read: %w", path, err)
	}
	return key, nil
}
