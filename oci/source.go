package oci

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/containers/image/v5/docker"
	dockerarchive "github.com/containers/image/v5/docker/archive"
	"github.com/containers/image/v5/docker/reference"
	ociarchive "github.com/containers/image/v5/oci/archive"
	"github.com/containers/image/v5/oci/layout"
	"github.com/containers/image/v5/pkg/sysregistriesv2"
	"github.com/containers/image/v5/types"
)

// source is where a base image comes from.
type source struct {
	full string // as it is shown, and recorded: the name in full, absolute paths
	host string // of a registry, with its port
	open func() (types.ImageReference, func() error, error)
}

// sourceTransports are the transports that are read from, in the order in which
// a message lists them.
var sourceTransports = []string{"docker://", "oci:", "oci-archive:", "docker-archive:", "containers-storage:"}

// parseSource reads a reference: [TRANSPORT]REST as containers-transports(5) has
// it, a registry's name where there is no transport. Short names are Docker's:
// "debian" is docker.io/library/debian:latest; nothing is searched.
func parseSource(text string) (source, error) {
	if text == "" {
		return source{}, errors.New("the reference is empty")
	}
	transport, rest := "docker://", text
	for _, t := range sourceTransports {
		if after, ok := strings.CutPrefix(text, t); ok {
			transport, rest = t, after
		}
	}
	switch transport {
	case "docker://":
		return registrySource(rest)
	case "containers-storage:":
		return localSource(text)
	}
	path, name, _ := strings.Cut(rest, ":")
	if path == "" {
		return source{}, fmt.Errorf("no file is named after %q", transport)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return source{}, err
	}
	return fileSource(transport, path, name)
}

func registrySource(text string) (source, error) {
	named, err := reference.ParseNormalizedNamed(text)
	if err != nil {
		return source{}, fmt.Errorf("%w; write HOST/REPOSITORY:TAG, or one of %s before it", err, strings.Join(sourceTransports, " "))
	}
	if _, both := named.(reference.Canonical); both {
		named, err = reference.WithDigest(reference.TrimNamed(named), named.(reference.Canonical).Digest()) // a digest says more than the tag beside it
	}
	if err != nil {
		return source{}, err
	}
	named = reference.TagNameOnly(named)
	ref, err := docker.NewReference(named)
	return source{full: "docker://" + named.String(), host: reference.Domain(named), open: always(ref)}, err
}

func localSource(text string) (source, error) {
	t, err := ParseTarget(text)
	if err != nil {
		return source{}, err
	}
	return source{full: text, open: func() (types.ImageReference, func() error, error) {
		st, ref, err := openLocal(t)
		return ref, func() error { return closeLocal(st) }, err
	}}, nil
}

func fileSource(transport, path, name string) (source, error) {
	var ref types.ImageReference
	var err error
	full := path
	if name != "" {
		full += ":" + name
	}
	switch transport {
	case "oci:":
		ref, err = layout.ParseReference(full)
	case "oci-archive:":
		ref, err = ociarchive.ParseReference(full)
	case "docker-archive:":
		ref, err = dockerarchive.ParseReference(full)
	}
	return source{full: transport + full, open: always(ref)}, err
}

// always is for references that need no opening.
func always(ref types.ImageReference) func() (types.ImageReference, func() error, error) {
	return func() (types.ImageReference, func() error, error) { return ref, func() error { return nil }, nil }
}

// allowLoopback lets a registry on this machine go without a certificate, as
// pushing does, unless registries.conf has something to say about it: that may
// be a mirror elsewhere.
func (s source) allowLoopback(sys *types.SystemContext) error {
	host, _, _ := strings.Cut(s.host, ":")
	if !isLoopback(host) {
		return nil
	}
	known, err := sysregistriesv2.FindRegistry(sys, s.host)
	if err != nil {
		return fmt.Errorf("reading registries.conf: %w", err)
	}
	if known == nil {
		sys.DockerInsecureSkipTLSVerify = types.OptionalBoolTrue
	}
	return nil
}
