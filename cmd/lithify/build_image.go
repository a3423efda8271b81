package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/lithify/lithify/elements"
	"github.com/lithify/lithify/oci"
	"github.com/lithify/lithify/rootfs"
)

// chooseImage finds the container image to start from: the user's, else an
// element's. Hooks that would make a tree in its place are left out.
func (j *job) chooseImage() error {
	if j.base != nil {
		return nil // that one's tree is made
	}
	j.image = j.o.Environment["DIB_BASE_IMAGE"]
	if j.image == "" {
		var err error
		if _, j.image, err = elements.BaseImage(j.elements); err != nil || j.image == "" {
			return err
		}
	}
	return j.hooks.StandOnImage(j.elements)
}

// findImage asks what the base image is now. A build that is only planned asks
// nobody: the image counts that was there the last time.
func (j *job) findImage(ctx context.Context, env rootfs.Environment) (rootfs.BaseImage, error) {
	reference, err := elements.ExpandImage(j.image, env)
	if err != nil {
		return rootfs.BaseImage{}, usagef("%w", err)
	}
	preview := j.planned
	b, err := j.store.FindBaseImage(ctx, reference, oci.PullOptions{
		Architecture: goArch(j.o.Arch), Variant: goVariant(j.o.Arch), AuthFile: j.o.Environment["REGISTRY_AUTH_FILE"],
		Registries: j.o.Environment["CONTAINERS_REGISTRIES_CONF"], Offline: j.o.Offline || preview,
	})
	if preview && errors.Is(err, oci.ErrNotPulled) {
		b, err = &oci.BaseImage{Reference: reference, Digest: "not pulled yet"}, nil
	}
	if err != nil {
		return rootfs.BaseImage{}, err
	}
	j.pulled = b
	fmt.Fprintf(j.ui.Log(), "base image %s: %s\n", b.Reference, b.Digest)
	return rootfs.BaseImage{Digest: b.Digest, Open: b.Layer}, nil
}

// startedFrom is the image that the job's tree goes back to; nil without one.
func (j *job) startedFrom() *oci.BaseImage {
	if j.base != nil {
		return j.base.startedFrom()
	}
	return j.pulled
}

// goVariant is what images for containers call the kind of a Debian architecture.
func goVariant(name string) string {
	switch name {
	case "armel":
		return "v5"
	case "armhf":
		return "v7"
	}
	return ""
}
