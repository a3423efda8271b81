package oci

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// Target is a place for an image: a registry, the containers-storage of the
// user, where podman, buildah and skopeo find it, or a file or folder.
type Target struct {
	local   bool
	store   string // containers-storage's "[driver@root+run]", or empty for the user's own
	name    string // HOST/REPOSITORY:TAG; of an OCI layout what it is called there, or empty
	archive string // one of archiveTransports: the image goes to path
	path    string
}

// Local tells whether the target is on this machine.
func (t Target) Local() bool { return t.local }

// Name is the image's whole name there. Local images without a host are under
// localhost/, as podman has them.
func (t Target) Name() string { return t.name }

const storagePrefix, registryPrefix = "containers-storage:", "docker://"

// otherTransports are names that skopeo knows and that are not served here.
var otherTransports = []string{"docker-daemon", "dir", "tarball", "sif", "ostree", "atomic"}

const dockerArchive, ociArchive, ociLayout = "docker-archive", "oci-archive", "oci"

var archiveTransports = []string{dockerArchive, ociArchive, ociLayout}

// ParseTarget reads where an image shall go, without asking anybody:
//
//	HOST/REPOSITORY[:TAG], docker://HOST/REPOSITORY[:TAG]   that registry
//	REPOSITORY[:TAG], containers-storage:NAME[:TAG]         the user's local images
//	docker-archive:FILE[:NAME[:TAG]]                        a file as docker save makes it
//	oci-archive:FILE[:TAG], oci:FOLDER[:TAG]                an OCI image layout, in a tar or not
//
// A first part with a dot or colon, or localhost, is a host, as docker has it;
// without one, Docker's own registry is not meant: that is docker.io.
func ParseTarget(target string) (Target, error) {
	t, err := parseTarget(target)
	if err != nil {
		return t, fmt.Errorf("image target %q: %w", target, err)
	}
	return t, nil
}

func parseTarget(target string) (t Target, err error) {
	if scheme, rest, ok := strings.Cut(target, ":"); ok && slices.Contains(archiveTransports, scheme) && !isPort(target, scheme) {
		return parseArchive(scheme, rest)
	}
	rest, explicit := strings.CutPrefix(target, registryPrefix)
	if scheme, _, ok := strings.Cut(target, ":"); ok && !explicit && slices.Contains(otherTransports, scheme) && !isPort(target, scheme) {
		return t, fmt.Errorf("%s: is not served; allowed are %s: from there, skopeo copies an image to any place it knows", scheme, allowedTargets)
	}
	if local, ok := strings.CutPrefix(rest, storagePrefix); ok && !explicit {
		t.local, rest = true, local
		if i := strings.IndexByte(rest, ']'); strings.HasPrefix(rest, "[") && i > 0 {
			t.store, rest = rest[:i+1], rest[i+1:]
		}
	}
	if strings.Contains(rest, "@") {
		return t, fmt.Errorf("a digest is found, not given: write a tag, or none")
	}
	host := hasHost(rest)
	if explicit && !host {
		return t, fmt.Errorf("no registry is named; Docker's is docker.io (docker://docker.io/library/NAME)")
	}
	if !host {
		t.local, rest = true, "localhost/"+rest
	}
	t.name, err = withTag(rest)
	return t, err
}

// parseArchive reads FILE[:REFERENCE].
//
// Source: containers-transports(5).
func parseArchive(transport, rest string) (t Target, err error) {
	t.archive = transport
	t.path, t.name, _ = strings.Cut(rest, ":")
	switch {
	case t.path == "":
		return t, fmt.Errorf("no file is named; allowed is %s:FILE[:NAME]", transport)
	case strings.HasSuffix(rest, ":") && t.name == "":
		return t, fmt.Errorf("after the last colon a name is missing")
	case transport != dockerArchive:
		if strings.ContainsAny(t.name, " \t@") {
			return t, fmt.Errorf("%q is no name for an image of a layout; allowed are letters, digits and . _ - / :", t.name)
		}
		return t, nil
	}
	if t.name == "" {
		return t, nil
	}
	t.name, err = withTag(t.name)
	return t, err
}

// withTag is a name with its tag, latest where it has none.
func withTag(text string) (string, error) {
	ref, err := name.NewTag(text, name.WithDefaultTag("latest"))
	if err != nil {
		return "", refusal(text, err)
	}
	return strings.TrimSuffix(text, ":"+ref.TagStr()) + ":" + ref.TagStr(), nil
}

const allowedTargets = "HOST/REPOSITORY[:TAG], also with docker:// in front, for a registry, NAME[:TAG] for the local images (" + storagePrefix +
	"), docker-archive:FILE[:NAME], oci-archive:FILE[:TAG] and oci:FOLDER[:TAG]"

// isPort tells a host called like a transport, "oci:5000/x".
func isPort(target, scheme string) bool {
	port, _, ok := strings.Cut(target[len(scheme)+1:], "/")
	return ok && port != "" && strings.Trim(port, "0123456789") == ""
}

func hasHost(target string) bool {
	first, _, more := strings.Cut(target, "/")
	return more && (first == "localhost" || strings.ContainsAny(first, ".:"))
}

func refusal(name string, err error) error {
	if lower := strings.ToLower(name); lower != name {
		return fmt.Errorf("names of images have lower-case letters only (%q?)", strings.TrimPrefix(lower, "localhost/"))
	}
	return fmt.Errorf("%w; allowed are %s", err, allowedTargets)
}
