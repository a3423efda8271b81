package oci

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/containers/image/v5/docker/archive"
	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/oci/layout"
	spec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// writeArchive writes the image to a file, or adds it to an OCI layout. A file
// that is there is replaced in one moment; a layout keeps what else it holds.
// Equal images give equal files.
func (i *Image) writeArchive(ctx context.Context, t Target) error {
	to, err := filepath.Abs(t.path)
	if err != nil {
		return err
	}
	there, err := kindOf(to)
	switch {
	case err != nil:
		return err
	case t.archive != ociLayout && there != nothing && there != aFile:
		return fmt.Errorf("%q is a folder; allowed for %s is a file", t.path, t.archive)
	case t.archive == ociLayout && there == aLayout:
		return errors.Join(i.copyToLayout(ctx, to, t.name), syncFolder(to))
	case t.archive == ociLayout && there != nothing && there != anEmptyFolder: // a rename replaces that
		return fmt.Errorf("%q is there and no OCI image layout; allowed is one, or a name that is free", t.path)
	}
	work, err := os.MkdirTemp(filepath.Dir(to), "."+filepath.Base(to)+".lithify-")
	if err != nil {
		return err
	}
	made := filepath.Join(work, "image")
	switch t.archive {
	case ociLayout:
		err = i.copyToLayout(ctx, made, t.name)
	case ociArchive:
		err = i.tarLayout(ctx, work, made, t.name)
	default:
		err = i.dockerArchive(ctx, made, t.name)
	}
	if err == nil {
		err = syncFolder(work)
	}
	if err == nil {
		err = unix.Rename(made, to) // os.Rename refuses an empty folder
	}
	return errors.Join(err, os.RemoveAll(work))
}

const (
	nothing = iota
	aFile
	anEmptyFolder
	aFolder
	aLayout
)

// kindOf looks at what is where an image shall go.
func kindOf(path string) (int, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nothing, nil
	case err != nil:
		return 0, err
	case !info.IsDir():
		return aFile, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil || len(entries) == 0 {
		return anEmptyFolder, err
	}
	if _, err := os.Stat(filepath.Join(path, spec.ImageLayoutFile)); err == nil {
		return aLayout, nil
	}
	return aFolder, nil
}

func (i *Image) copyToLayout(ctx context.Context, dir, name string) error {
	ref, err := layout.NewReference(dir, name)
	if err != nil {
		return err
	}
	return i.copyTo(ctx, ref, i.blobs)
}

func (i *Image) dockerArchive(ctx context.Context, file, name string) error {
	var tagged reference.NamedTagged
	if name != "" {
		named, err := reference.ParseNormalizedNamed(name)
		if err != nil {
			return err
		}
		tagged, _ = named.(reference.NamedTagged) // ParseTarget gave it a tag
	}
	ref, err := archive.NewReference(file, tagged)
	if err != nil {
		return err
	}
	return i.copyTo(ctx, ref, i.blobs)
}

// tarLayout packs a layout, by name and without times.
func (i *Image) tarLayout(ctx context.Context, work, file, name string) (err error) {
	dir := filepath.Join(work, "layout")
	if err := i.copyToLayout(ctx, dir, name); err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := tar.NewWriter(f)
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755})
		}
		return tarFile(ctx, w, path, name)
	})
	return errors.Join(err, w.Close())
}

func tarFile(ctx context.Context, w *tar.Writer, path, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: info.Size()}); err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return err
}
