package oci

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/containers/image/v5/docker"
	"github.com/containers/image/v5/signature"
)

// pullHint adds what to do about the commonest refusals.
func pullHint(err error) error {
	var policy signature.PolicyRequirementError
	var login docker.ErrUnauthorizedForCredentials
	var certificate *tls.CertificateVerificationError
	says := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(err.Error(), w) {
				return true
			}
		}
		return false
	}
	switch {
	case errors.Is(err, ErrNotPulled), errors.Is(err, errPlatform), errors.Is(err, errMoved):
		return err
	case errors.As(err, &policy):
		return fmt.Errorf("policy.json forbids it: %w (see containers-policy.json(5))", err)
	case errors.As(err, &certificate):
		return fmt.Errorf("%w (put the registry's authority into /etc/containers/certs.d/HOST:PORT/ca.crt)", err)
	case errors.As(err, &login), says("unauthorized", "authentication required", "denied", "StatusCode: 403", "StatusCode: 401", "403 (Forbidden)"):
		return fmt.Errorf("%w (log in with `podman login` or `docker login`, and see that the account may read there; some registries say so of names that do not exist)", err)
	case says("manifest unknown", "name unknown", "MANIFEST_UNKNOWN", "NAME_UNKNOWN"):
		return fmt.Errorf("%w (is the name right, and the tag?)", err)
	case says("server gave HTTP response to HTTPS client"):
		return fmt.Errorf("%w (a registry without certificate on another machine: allow it in registries.conf with insecure = true)", err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w (paths are relative to where the command is given)", err)
	}
	return err
}
