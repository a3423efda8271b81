package main

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/lithify/lithify/elements"
	"github.com/lithify/lithify/oci"
	"github.com/lithify/lithify/rootfs"
)

// setDockerTarget takes --docker-target and DOCKER_TARGET.
func setDockerTarget(o *Options, where, v string) error {
	if _, err := oci.ParseTarget(v); err != nil {
		return usagef("%s: %w", where, err)
	}
	o.DockerTarget = v
	return nil
}

// defaultDockerTarget is IMAGE_NAME, as DIB has it: a local image.
func defaultDockerTarget(o *Options) error {
	name := filepath.Base(o.Name)
	if _, err := oci.ParseTarget(name); err != nil {
		return usagef("-t docker: the outputs' name is no name for an image: %w; --docker-target gives it another", err)
	}
	o.DockerTarget = name
	return nil
}

// pushImage makes an image of the tree and brings it to the registry, or to the
// user's local images.
func (j *job) pushImage(ctx context.Context, i int) error {
	config := oci.ImageConfig{Architecture: goArch(j.o.Arch), Phases: imagePhases(j.result), Base: j.startedFrom()}
	if j.o.Epoch != nil {
		config.Created = *j.o.Epoch
	}
	image, err := j.store.Image(ctx, j.result.Layer, config)
	if err != nil {
		return err
	}
	digest, err := image.Push(ctx, j.o.DockerTarget, oci.PushOptions{
		AuthFile: j.o.Environment["REGISTRY_AUTH_FILE"],
		Progress: func(done, total int64) { j.ui.Progress(j.o.DockerTarget, done, total) },
	})
	if err = errors.Join(err, image.Remove()); err != nil {
		return err
	}
	j.files[i] = OutputFile{Path: j.o.DockerTarget, Format: "docker", Digest: digest}
	return nil
}

// imagePhases are the layers of an image: one for each phase, small ones
// together with their neighbour. What ends every build is the last.
func imagePhases(r rootfs.Result) []rootfs.PhaseLayer {
	var phases []rootfs.PhaseLayer
	for _, p := range r.Phases {
		switch elements.Phase(p.Phase) {
		case elements.Root, elements.PreInstall, elements.Install, elements.PostInstall, elements.PostRoot:
			phases = append(phases, p)
		}
	}
	return append(phases, rootfs.PhaseLayer{Phase: string(elements.Finalise), Layer: r.Layer})
}
