package oci

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// PushOptions say how a registry is talked to.
type PushOptions struct {
	Insecure bool                    // plain HTTP and unknown certificates are taken from any host, not only from this machine
	Progress func(done, total int64) // called with bytes sent, from another goroutine; nil is fine
}

// CheckTarget tells whether target names a place in a registry, without asking
// the network.
func CheckTarget(target string) error {
	_, err := name.ParseReference(target)
	if err != nil {
		return fmt.Errorf("image target %q: %w (want HOST[:PORT]/REPOSITORY[:TAG])", target, err)
	}
	return nil
}

// Push uploads the image to target, HOST/REPOSITORY:TAG, and returns its
// manifest digest. Credentials are those of docker and podman logins. The layer
// was compressed when the image was made: it is read from disk, once.
func (i *Image) Push(ctx context.Context, target string, o PushOptions) (digest string, err error) {
	if err := CheckTarget(target); err != nil {
		return "", err
	}
	if err := i.push(ctx, target, o); err != nil {
		return "", fmt.Errorf("pushing the image to %q: %w", target, pushHint(err))
	}
	return i.digest, nil
}

func (i *Image) push(ctx context.Context, target string, o PushOptions) error {
	img, err := i.open()
	if err != nil {
		return err
	}
	var nameOpts []name.Option
	if o.Insecure {
		nameOpts = append(nameOpts, name.Insecure)
	}
	ref, err := name.ParseReference(target, nameOpts...)
	if err != nil {
		return err
	}
	rt := guard{o.Insecure, remote.DefaultTransport}
	if o.Insecure {
		t := remote.DefaultTransport.(*http.Transport).Clone()
		t.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
		rt.next = t
	}
	opts := []remote.Option{
		remote.WithContext(ctx), remote.WithTransport(rt), remote.WithUserAgent("lithify"),
		remote.WithAuthFromKeychain(authn.DefaultKeychain),
	}
	if o.Progress == nil {
		return remote.Write(ref, img, opts...)
	}
	return withProgress(o.Progress, func(updates chan v1.Update) error {
		return remote.Write(ref, img, append(opts, remote.WithProgress(updates))...)
	})
}

// withProgress hands updates on until write, which closes the channel, is done.
func withProgress(report func(done, total int64), write func(chan v1.Update) error) error {
	updates := make(chan v1.Update, 16)
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		for u := range updates {
			if u.Error == nil {
				report(u.Complete, u.Total)
			}
		}
	}()
	err := write(updates)
	<-finished
	return err
}

// open reads the image from its layout.
func (i *Image) open() (v1.Image, error) {
	index, err := layout.ImageIndexFromPath(i.dir)
	if err != nil {
		return nil, fmt.Errorf("reading the image in %q: %w", i.dir, err)
	}
	h, err := v1.NewHash(i.digest)
	if err != nil {
		return nil, err
	}
	return index.Image(h)
}

// errPlain says that a registry was about to be spoken to without encryption.
var errPlain = errors.New("plain HTTP is refused")

// guard refuses plain HTTP to other machines. The library falls back to it for
// private addresses.
type guard struct {
	insecure bool
	next     http.RoundTripper
}

func (g guard) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme == "http" && !g.insecure && !isLoopback(r.URL.Hostname()) {
		return nil, fmt.Errorf("%w for host %q: give the registry a certificate, or allow insecure pushes", errPlain, r.URL.Host)
	}
	return g.next.RoundTrip(r)
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// pushHint adds what to do about the commonest refusals.
func pushHint(err error) error {
	var te *transport.Error
	if !errors.As(err, &te) {
		return err
	}
	switch te.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%w (log in with `docker login` or `podman login`, and see that the account may write there)", err)
	case http.StatusNotFound:
		return fmt.Errorf("%w (is the repository's name right, and does it exist?)", err)
	}
	return err
}
