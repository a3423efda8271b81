package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// lookForOutputs finds out whether every output is there already, made of the
// same inputs. An image in a registry cannot be known to be, nor what hooks
// write when there is no final image, nor a device, nor a disk with a passphrase, of which
// nothing is kept to tell it from another; and --no-layers asks for new ones.
func (j *job) lookForOutputs() error {
	if j.noFinalImage() || j.o.NoLayers || j.writesDevices() || j.needsDisk() && len(j.graph.Encrypted()) > 0 {
		return nil
	}
	var files []OutputFile
	for _, p := range j.products {
		path := p.path()
		if path == "" || !j.records.Current(path, j.key) {
			return nil
		}
		info, err := os.Stat(path)
		if err != nil {
			return nil
		}
		files = append(files, OutputFile{Path: path, Format: p.format.Name, Disk: p.disk, Size: info.Size(), Kept: true})
	}
	for _, f := range files {
		if err := ensureChecksums(context.Background(), f.Path, j.o.Checksums); err != nil {
			return err
		}
	}
	j.upToDate, j.files = true, files
	return nil
}

// writeOutputs writes every format at the same time, each beside its final
// name. Where hooks worked on the disk, the formats of the tree come first: they
// read the disk while it is mounted.
func (j *job) writeOutputs(ctx context.Context) error {
	j.made = make([]*output, len(j.products))
	j.files = make([]OutputFile, len(j.products))
	j.undo = append(j.undo, j.abortOutputs)
	first := func(p product) bool { return !j.onDisk || p.disk == "" }
	if err := j.writeProducts(ctx, first); err != nil {
		return err
	}
	if err := j.gatherManifests(); err != nil || !j.onDisk {
		return err
	}
	if err := j.commitDisk(ctx); err != nil {
		return err
	}
	return j.writeProducts(ctx, func(p product) bool { return !first(p) })
}

func (j *job) writeProducts(ctx context.Context, wanted func(product) bool) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	errs := make([]error, len(j.products))
	var wait sync.WaitGroup
	for i, p := range j.products {
		if !wanted(p) {
			continue
		}
		wait.Go(func() {
			if errs[i] = j.writeProduct(ctx, i, p); errs[i] != nil {
				cancel(errs[i]) // the others need not go on
			}
		})
	}
	wait.Wait()
	return firstCause(errs)
}

// firstCause prefers the error that made the others stop.
func firstCause(errs []error) error {
	for _, err := range errs {
		if err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
	}
	return errors.Join(errs...)
}

func (j *job) abortOutputs() error {
	var errs []error
	for _, o := range j.made {
		if o != nil {
			errs = append(errs, o.Abort())
		}
	}
	j.made = nil
	return errors.Join(errs...)
}

// publish gives the outputs their names.
func (j *job) publish(ctx context.Context) error {
	for _, out := range j.made {
		if out == nil {
			continue
		}
		if err := out.Commit(ctx, j.o.Checksums); err != nil {
			return err
		}
		if err := j.records.Save(out.Path(), j.key); err != nil {
			return err
		}
	}
	j.made = nil
	if !j.manifests {
		return nil
	}
	_, err := j.own.PublishManifests()
	return err
}

// gatherManifests copies the image's manifests, which become
// NAME.d/dib-manifests, under the contract's names, with the two that tell of
// this run. Those inside the image have fixed names and tell nothing of it.
func (j *job) gatherManifests() error {
	inside := filepath.Join(j.tree, "etc/dib-manifests")
	entries, err := os.ReadDir(inside)
	if errors.Is(err, fs.ErrNotExist) && j.startedFrom() == nil {
		return nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("reading the manifests: %w", err)
	}
	dir, err := j.own.Manifests()
	if err != nil {
		return err
	}
	texts := map[string]string{
		"dib_environment": dumpDIB(j.o.Environment),
		"dib_arguments":   strings.Join(j.o.Args, " ") + "\n",
	}
	if b := j.startedFrom(); b != nil {
		texts[baseManifest+"-"+filepath.Base(j.o.Name)] = b.Reference + " " + b.Digest + "\n"
	}
	for _, e := range entries {
		if _, ours := texts[e.Name()]; ours || !e.Type().IsRegular() {
			continue
		}
		data, err := os.ReadFile(filepath.Join(inside, e.Name()))
		if err != nil {
			return fmt.Errorf("reading manifest %q: %w", e.Name(), err)
		}
		texts[j.manifestName(e.Name())] = string(data)
	}
	for name, text := range texts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return fmt.Errorf("writing manifest %q: %w", name, err)
		}
	}
	j.manifests = true
	return nil
}

// baseManifest names the image that a build started from, and its digest.
const baseManifest = "dib-manifest-base-image"

// manifestName adds the image's name where the contract has it.
func (j *job) manifestName(name string) string {
	if name == "dib-manifest-dpkg" || name == "dib-manifest-git" || name == "dib-manifest-rpm" {
		return name + "-" + filepath.Base(j.o.Name)
	}
	return name
}
