package oci

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/lithify/lithify/rootfs"
)

// Repository is a place for entries in a registry.
type Repository struct {
	repo   name.Repository
	puller *remote.Puller
	pusher *remote.Pusher
}

// OpenRepository reads HOST/REPOSITORY, also with docker:// in front, without
// asking anybody. The user's logins count; authFile is podman's file of these,
// where it is not in its usual place.
func OpenRepository(text, authFile string) (*Repository, error) {
	rest := strings.TrimPrefix(text, registryPrefix)
	if !hasHost(rest) {
		return nil, fmt.Errorf("cache repository %q: no registry is named; allowed is HOST/REPOSITORY, ghcr.io/team/cache for instance", text)
	}
	repo, err := name.NewRepository(rest)
	if err != nil {
		if lower := strings.ToLower(rest); lower != rest {
			err = fmt.Errorf("names of repositories have lower-case letters only (%q?)", lower)
		}
		return nil, fmt.Errorf("cache repository %q: %w; allowed is HOST/REPOSITORY, and no tag", text, err)
	}
	opts := []remote.Option{
		remote.WithTransport(bounded{guard{remote.DefaultTransport}}), remote.WithUserAgent("lithify"),
		remote.WithAuthFromKeychain(keychain{authFile}),
		remote.WithRetryBackoff(remote.Backoff{Duration: 200 * time.Millisecond, Factor: 3, Jitter: 0.1, Steps: 3}),
	}
	r := &Repository{repo: repo}
	if r.puller, err = remote.NewPuller(opts...); err == nil {
		r.pusher, err = remote.NewPusher(opts...)
	}
	if err != nil {
		return nil, fmt.Errorf("cache repository %q: %w", text, err)
	}
	return r, nil
}

// Name is HOST/REPOSITORY.
func (r *Repository) Name() string { return r.repo.Name() }

// Local tells whether the registry is on this machine.
func (r *Repository) Local() bool {
	host := r.repo.RegistryStr()
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return isLoopback(host)
}

func (r *Repository) tag(k rootfs.Key) name.Tag { return r.repo.Tag(tagPrefix + string(k)) }

// stall is how long a registry may say nothing.
const stall = 60 * time.Second

// bounded ends requests to registries that say nothing, and manifests and
// lists that are longer than any can be. Blobs, which may be served from another
// host under any name, have a size that is known.
type bounded struct{ next http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(r.Context())
	w := &watched{cancel: cancel, left: -1}
	w.timer = time.AfterFunc(stall, func() { cancel(fmt.Errorf("%s said nothing for %v", r.URL.Host, stall)) })
	if r.Body != nil {
		r = r.Clone(ctx)
		r.Body = &progress{r.Body, w.timer}
	} else {
		r = r.WithContext(ctx)
	}
	resp, err := b.next.RoundTrip(r)
	if err != nil {
		w.timer.Stop()
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		cancel(nil)
		return nil, err
	}
	if strings.Contains(r.URL.Path, "/manifests/") || strings.Contains(r.URL.Path, "/tags/list") {
		w.left = maxManifest
	}
	w.ReadCloser = resp.Body
	resp.Body = w
	return resp, nil
}

// progress puts a time limit off while an upload moves.
type progress struct {
	io.ReadCloser
	timer *time.Timer
}

func (p *progress) Read(b []byte) (int, error) {
	p.timer.Reset(stall)
	return p.ReadCloser.Read(b)
}

// watched is an answer's body; left bytes of it may come, when not negative.
type watched struct {
	io.ReadCloser
	timer  *time.Timer
	cancel context.CancelCauseFunc
	left   int64
}

func (w *watched) Read(b []byte) (int, error) {
	w.timer.Reset(stall)
	n, err := w.ReadCloser.Read(b)
	if w.left < 0 {
		return n, err
	}
	if w.left -= int64(n); w.left < 0 {
		return 0, errors.New("the registry's answer has no end")
	}
	return n, err
}

func (w *watched) Close() error {
	w.timer.Stop()
	err := w.ReadCloser.Close()
	w.cancel(nil)
	return err
}

// errNoEntry says that the repository does not have what was asked for.
var errNoEntry = errors.New("no such entry")

// isMissing tells that a registry answered and does not have it. The error of a
// blob's request is no JSON with some, so the status counts.
func isMissing(err error) bool {
	var te *transport.Error
	return errors.As(err, &te) && te.StatusCode == http.StatusNotFound
}

// keys lists the steps of which the repository has entries. One that nobody
// pushed to is empty.
func (r *Repository) keys(ctx context.Context) (map[rootfs.Key]bool, error) {
	tags, err := r.puller.List(ctx, r.repo)
	if err != nil && !isMissing(err) {
		return nil, fmt.Errorf("listing %s: %w", r.Name(), oneLine(loginHint(err)))
	}
	keys := map[rootfs.Key]bool{}
	for _, t := range tags {
		if k, ok := strings.CutPrefix(t, tagPrefix); ok && checkKey(rootfs.Key(k)) == nil {
			keys[rootfs.Key(k)] = true
		}
	}
	return keys, nil
}

// loginHint adds what to do where a repository of steps wants a login.
func loginHint(err error) error {
	var te *transport.Error
	if errors.As(err, &te) && (te.StatusCode == http.StatusUnauthorized || te.StatusCode == http.StatusForbidden) {
		return fmt.Errorf("%w (log in with `docker login` or `podman login`)", err)
	}
	return err
}

// badEntry is an entry that is there and cannot be used.
type badEntry struct {
	key rootfs.Key
	err error
}

func (e *badEntry) Error() string { return fmt.Sprintf("entry %.12s: %v", e.key, e.err) }
func (e *badEntry) Unwrap() error { return e.err }

// remoteEntry is an entry whose outer form was checked.
type remoteEntry struct {
	manifest entryManifest
	config   entryConfig
	bytes    []byte // of the configuration
	digest   string // of the manifest
}

// entry reads the entry of a step; what it says of other steps is not checked.
func (r *Repository) entry(ctx context.Context, k rootfs.Key) (e remoteEntry, err error) {
	d, err := r.puller.Get(ctx, r.tag(k))
	if isMissing(err) {
		return e, errNoEntry
	}
	if err != nil {
		return e, loginHint(err)
	}
	e.digest = d.Digest.String()
	if err := json.Unmarshal(d.Manifest, &e.manifest); err != nil {
		return e, &badEntry{k, fmt.Errorf("its manifest is damaged: %w", err)}
	}
	m := e.manifest
	if m.ArtifactType != entryType || m.Config.MediaType != entryConfigType || m.Config.Size > maxConfig || m.Config.Size <= 0 {
		return e, &badEntry{k, errors.New("it is no step of lithify's")}
	}
	var b bytes.Buffer
	if err := r.blob(ctx, &b, m.Config.Digest.String(), m.Config.Size); err != nil {
		return e, entryError(k, err)
	}
	e.bytes = b.Bytes()
	if e.config, err = parseConfig(e.bytes); err == nil {
		err = m.agrees(e.config)
	}
	if err == nil && e.config.own().Key != k {
		err = fmt.Errorf("it is that of another step, %.12s", e.config.own().Key)
	}
	if err != nil {
		return e, &badEntry{k, err}
	}
	return e, nil
}

// errBroken says that a blob is not what its digest and size say.
var errBroken = errors.New("a blob is not what its digest says")

// entryError tells an entry that is broken from a registry that is.
func entryError(k rootfs.Key, err error) error {
	if errors.Is(err, errBroken) || isMissing(err) {
		return &badEntry{k, oneLine(err)}
	}
	return err
}

// blob writes a blob to w, of which nothing may be used unless the error is nil.
func (r *Repository) blob(ctx context.Context, w io.Writer, digest string, size int64) (err error) {
	l, err := r.puller.Layer(ctx, r.repo.Digest(digest))
	if err != nil {
		return err
	}
	rc, err := l.Compressed()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rc.Close()) }()
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, sum), io.LimitReader(rc, size+1))
	if err == nil && (n != size || digestOf(sum) != digest) {
		err = fmt.Errorf("%w: %s", errBroken, digest)
	}
	if err != nil && ctx.Err() == nil && n > 0 {
		err = fmt.Errorf("%w: %w", errBroken, err) // cut off, or the library's check was quicker
	}
	return err
}

// has tells whether the repository has an entry of the step.
func (r *Repository) has(ctx context.Context, k rootfs.Key) (bool, error) {
	_, err := r.puller.Head(ctx, r.tag(k))
	if isMissing(err) {
		return false, nil
	}
	return err == nil, err
}

// upload sends a blob that the repository lacks; open gives its bytes.
func (r *Repository) upload(ctx context.Context, digest string, size int64, kind types.MediaType, open func() (io.ReadCloser, error)) error {
	hash, err := v1.NewHash(digest)
	if err != nil {
		return err
	}
	return r.pusher.Upload(ctx, r.repo, cacheBlob{hash, size, kind, open})
}

// cacheBlob is a blob for go-containerregistry.
type cacheBlob struct {
	hash v1.Hash
	size int64
	kind types.MediaType
	open func() (io.ReadCloser, error)
}

func (b cacheBlob) Digest() (v1.Hash, error)             { return b.hash, nil }
func (b cacheBlob) DiffID() (v1.Hash, error)             { return v1.Hash{}, errors.ErrUnsupported }
func (b cacheBlob) Compressed() (io.ReadCloser, error)   { return b.open() }
func (b cacheBlob) Uncompressed() (io.ReadCloser, error) { return nil, errors.ErrUnsupported }
func (b cacheBlob) Size() (int64, error)                 { return b.size, nil }
func (b cacheBlob) MediaType() (types.MediaType, error)  { return b.kind, nil }
