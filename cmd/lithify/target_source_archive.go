package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// download brings the cached copy of s up to date and gives its path; with
// answer it also prints the checksum.
func (j *sourceJob) download(ctx context.Context, s source, answer bool) (string, error) {
	file := j.cached(s)
	if j.offline {
		if _, err := os.Stat(file); err != nil {
			return "", fmt.Errorf("building offline, and %q was never downloaded", publicLocation(s.location))
		}
	} else if _, err := (download{address: s.location, file: file, env: j.env}).run(ctx); err != nil {
		return "", err
	}
	if !answer {
		return file, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	_, err = fmt.Fprintf(j.stdout, "%s %s %x\n", s.name, s.kind, h.Sum(nil))
	return file, err
}

// file puts one file into the image, as old as the server says.
func (j *sourceJob) file(ctx context.Context, s source, answer bool) error {
	from, err := j.download(ctx, s, answer)
	if err != nil || answer {
		return err
	}
	to, err := j.inTree(s.dest)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if _, err := (download{address: fileURL(from), file: to}).run(ctx); err != nil {
		return err
	}
	return j.fetched(s)
}

// tar unpacks an archive: of it all (ref "."), what its top folders have ("*"),
// or what one folder has.
func (j *sourceJob) tar(ctx context.Context, s source, answer bool) error {
	archive, err := j.download(ctx, s, answer)
	if err != nil || answer {
		return err
	}
	to, err := j.inTree(s.dest)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	// Beside the destination: in the same file system of the image.
	unpacked, err := os.MkdirTemp(filepath.Dir(to), ".unpacked-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(unpacked)
	began := time.Now().Add(-time.Second / 10) // the kernel's clock ticks in steps
	if err := runTool(ctx, "tar", "--directory", unpacked, "--extract", "--file", archive); err != nil {
		return err
	}
	folders, err := archiveFolders(unpacked, s.ref)
	if err != nil {
		return err
	}
	if err := ageFolders(unpacked, began); err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	for _, folder := range folders {
		if err := runTool(ctx, "cp", "--archive", "--force", "--no-target-directory", folder, to); err != nil {
			return err
		}
	}
	return j.fetched(s)
}

// archiveFolders are those whose content goes to the destination.
func archiveFolders(dir, ref string) ([]string, error) {
	if ref == "." {
		return []string{dir}, nil
	}
	if ref != "*" {
		folder := filepath.Join(dir, filepath.Join("/", ref))
		info, err := os.Lstat(folder)
		if err != nil || !info.IsDir() {
			return nil, fmt.Errorf("the archive has no folder %q", ref)
		}
		return []string{folder}, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var folders []string
	for _, e := range entries {
		if e.IsDir() {
			folders = append(folders, filepath.Join(dir, e.Name()))
		}
	}
	if len(folders) == 0 {
		return nil, errors.New(`the archive has no folder: ref "." takes it as it is`)
	}
	return folders, nil
}

// ageFolders gives folders that the archive does not have itself, and which
// are as young as their unpacking, the time of the youngest thing in it.
// Unpacking began then.
func ageFolders(dir string, began time.Time) error {
	var youngest time.Time
	var made []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		switch {
		case err != nil:
			return err
		case d.IsDir() && info.ModTime().After(began):
			made = append(made, p)
		case info.ModTime().After(youngest):
			youngest = info.ModTime()
		}
		return nil
	})
	for i := len(made) - 1; i >= 0 && err == nil && !youngest.IsZero(); i-- {
		err = os.Chtimes(made[i], youngest, youngest)
	}
	return err
}

func fileURL(name string) string { return (&url.URL{Scheme: "file", Path: name}).String() }

func runTool(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("running %s: %w: %s", name, err, lastLine(complaint.Bytes()))
	}
	return nil
}
