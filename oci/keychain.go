package oci

import (
	"fmt"
	"strings"

	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/pkg/docker/config"
	"github.com/containers/image/v5/types"
	"github.com/google/go-containerregistry/pkg/authn"
)

// keychain finds the credentials of a registry where the user's logins left
// them. podman's and docker's libraries each know places that the other does
// not (a file beside docker's, keys for part of a registry, docker's
// credsStore), so both are asked:
//
//	podman's: authFile if given, else XDG_RUNTIME_DIR/containers/auth.json,
//	          ~/.config/containers/auth.json, DOCKER_CONFIG or ~/.docker/config.json,
//	          ~/.dockercfg; credHelpers in each; helpers of registries.conf
//	docker's: DOCKER_CONFIG or ~/.docker/config.json with credsStore
//
// What is found is handed to the registry's library only; no log has it.
//
// Sources: containers-auth.json(5); docker's reference of `docker login`.
type keychain struct{ authFile string }

// Resolve implements authn.Keychain.
func (k keychain) Resolve(r authn.Resource) (authn.Authenticator, error) {
	// The libraries' names of Docker's own registry differ.
	repo := strings.Replace(r.String(), "index.docker.io", "docker.io", 1)
	ref, err := reference.ParseNormalizedNamed(repo)
	if err != nil {
		return nil, fmt.Errorf("looking for credentials of %q: %w", repo, err)
	}
	found, err := config.GetCredentialsForRef(&types.SystemContext{AuthFilePath: k.authFile}, ref)
	if err != nil {
		return nil, fmt.Errorf("looking for credentials of %q: %w", repo, err)
	}
	if found != (types.DockerAuthConfig{}) {
		return authn.FromConfig(authn.AuthConfig{
			Username: found.Username, Password: found.Password, IdentityToken: found.IdentityToken,
		}), nil
	}
	return authn.DefaultKeychain.Resolve(r)
}
