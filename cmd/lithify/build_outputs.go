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

	"github.com/lithify/lithify/convert"
)

// lookForOutputs finds out whether every output is there already, made of the
// same inputs. An image in a registry cannot be known to be.
func (j *job) lookForOutputs() error {
	var files []OutputFile
	for _, f := range j.formats {
		path := j.o.Name + "." + f.Extension
		if f.Extension == "" || !j.records.Current(path, j.key) {
			return nil
		}
		info, err := os.Stat(path)
		if err != nil {
			return nil
		}
		files = append(files, OutputFile{Path: path, Format: f.Name, Size: info.Size(), Kept: true})
	}
	for _, f := range files {
		if err := ensureChecksums(context.Background(), f.Path, j.o.Checksums); err != nil {
			return err
		}
	}
	j.upToDate, j.files = true, files
	return nil
}

// writeOutputs writes every format at the same time, each beside its final name.
func (j *job) writeOutputs(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	j.made = make([]*output, len(j.formats))
	j.files = make([]OutputFile, len(j.formats))
	errs := make([]error, len(j.formats))
	j.undo = append(j.undo, j.abortOutputs)
	var wait sync.WaitGroup
	for i, f := range j.formats {
		wait.Go(func() {
			if errs[i] = j.writeOutput(ctx, i, f); errs[i] != nil {
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

func (j *job) writeOutput(ctx context.Context, i int, f convert.Format) error {
	if f.Name == "docker" {
		return j.pushImage(ctx, i)
	}
	out, err := j.outputs.New("." + f.Extension)
	if err != nil {
		return err
	}
	j.made[i] = out
	if err := j.writeFile(ctx, out, f); err != nil {
		return fmt.Errorf("writing %q: %w", out.Path(), err)
	}
	info, err := out.File().Stat()
	if err != nil {
		return err
	}
	j.files[i] = OutputFile{Path: out.Path(), Format: f.Name, Size: info.Size()}
	return nil
}

func (j *job) writeFile(ctx context.Context, out *output, f convert.Format) error {
	if f.Name == "tar" {
		o := convert.TarOptions{Progress: func(done, total int64) { j.ui.Progress(out.Path(), done, total) }}
		if j.o.Epoch != nil {
			o.Time = *j.o.Epoch
		}
		return convert.Tar(ctx, out.File(), j.tree, o)
	}
	root, err := j.graph.RootDisk()
	if err != nil {
		return err
	}
	image, err := os.Open(j.disks.Images()[root.Name()])
	if err != nil {
		return fmt.Errorf("opening the disk: %w", err)
	}
	defer image.Close()
	src, err := convert.FileSource(image)
	if err != nil {
		return err
	}
	o := convert.Options{Compress: !j.o.Uncompressed, Format: j.format, Logger: j.ui.Logger(),
		Progress: func(done, total int64) { j.ui.Progress(out.Path(), done, total) }}
	if f.Name == "qcow2" {
		return convert.Qcow2(ctx, out.File(), src, o)
	}
	return convert.Raw(ctx, out.File(), src, o)
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
	return j.publishManifests()
}

// publishManifests copies the image's manifests to NAME.d/dib-manifests, under
// the contract's names, with the two that tell of this run. Those inside the
// image have fixed names and tell nothing of it.
func (j *job) publishManifests() error {
	inside := filepath.Join(j.tree, "etc/dib-manifests")
	entries, err := os.ReadDir(inside)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the manifests: %w", err)
	}
	dir, err := j.outputs.Manifests()
	if err != nil {
		return err
	}
	texts := map[string]string{
		"dib_environment": dumpDIB(j.o.Environment),
		"dib_arguments":   strings.Join(j.o.Args, " ") + "\n",
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
	_, err = j.outputs.PublishManifests()
	return err
}

// manifestName adds the image's name where the contract has it.
func (j *job) manifestName(name string) string {
	if name == "dib-manifest-dpkg" || name == "dib-manifest-git" || name == "dib-manifest-rpm" {
		return name + "-" + filepath.Base(j.o.Name)
	}
	return name
}
