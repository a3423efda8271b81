package oci

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// PushOptions say how a target is talked to.
type PushOptions struct {
	AuthFile string                  // podman's file of credentials, where it is not in its usual place (REGISTRY_AUTH_FILE)
	Progress func(done, total int64) // called with bytes sent to a registry, from another goroutine; nil is fine
}

// Push brings the image to target, see ParseTarget, and returns its manifest
// digest, which a docker archive's own manifest has not. What is there already is
// not sent again, and not even packed; archives are always written. The name is
// given last: when anything goes wrong, the target has the name it had, or none.
func (i *Image) Push(ctx context.Context, target string, o PushOptions) (digest string, err error) {
	t, err := ParseTarget(target)
	if err != nil {
		return "", err
	}
	if t.archive != "" {
		err = i.whileFresh(ctx, func() error { return i.writeArchive(ctx, t) })
		if err != nil {
			return "", fmt.Errorf("writing the image to %q: %w", target, oneLine(err))
		}
		return i.digest, nil
	}
	if t.local {
		err = i.whileFresh(ctx, func() error { return i.save(ctx, t) })
		if err != nil {
			return "", fmt.Errorf("saving the image as %q: %w", target, oneLine(err))
		}
		return i.digest, nil
	}
	err = i.whileFresh(ctx, func() error { return i.upload(ctx, t.name, o) })
	if err != nil {
		return "", fmt.Errorf("pushing the image to %q: %w", target, oneLine(pushHint(err)))
	}
	return i.digest, nil
}

// upload sends the layers that the registry lacks, then the configuration, and
// the manifest last.
func (i *Image) upload(ctx context.Context, target string, o PushOptions) error {
	img, err := i.open(ctx)
	if err != nil {
		return err
	}
	ref, err := name.ParseReference(target)
	if err != nil {
		return err
	}
	opts := []remote.Option{
		remote.WithContext(ctx), remote.WithTransport(guard{remote.DefaultTransport}), remote.WithUserAgent("lithify"),
		remote.WithAuthFromKeychain(keychain{o.AuthFile}),
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

// errPlain says that a registry was about to be spoken to without encryption.
var errPlain = errors.New("plain HTTP is refused")

// guard refuses plain HTTP to other machines. The library falls back to it for
// private addresses.
type guard struct{ next http.RoundTripper }

func (g guard) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme == "http" && !isLoopback(r.URL.Hostname()) {
		return nil, fmt.Errorf("%w for host %q: give the registry a certificate", errPlain, r.URL.Host)
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
	case http.StatusRequestEntityTooLarge:
		return fmt.Errorf("%w (a layer is larger than the registry or a proxy before it takes: raise its limit)", err)
	case http.StatusInsufficientStorage:
		return fmt.Errorf("%w (the registry has no room: remove old images there)", err)
	}
	return fmt.Errorf("%w (the registry refused it and has no new tag: see its log, and push again)", err)
}

// oneLine makes one line of an error's text: registries answer with whole pages.
func oneLine(err error) error {
	text := strings.Join(strings.Fields(err.Error()), " ")
	if limit := 1000; len(text) > limit {
		text = text[:limit/2] + " … " + text[len(text)-limit/2:]
	}
	if text == err.Error() {
		return err
	}
	return flatError{err, text}
}

type flatError struct {
	error
	text string
}

func (e flatError) Error() string { return e.text }
func (e flatError) Unwrap() error { return e.error }
