package oci

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// Each kind of file is what skopeo and crane's validation take for the image, and
// comes out the same a second time, over the first.
func TestArchives(t *testing.T) {
	needRoot(t)
	needTool(t, "skopeo")
	s := openStore(t, t.TempDir())
	img := phased(t, s, threePhases(t, s))
	dir := t.TempDir()
	for _, kind := range []string{"docker-archive:%:team/web:1", "docker-archive:%", "oci-archive:%:web:1", "oci-archive:%"} {
		file := filepath.Join(dir, "image.tar")
		target := strings.Replace(kind, "%", file, 1)
		must(t, os.WriteFile(file, []byte("another image"), 0o600))
		pushTo(t, img, target)
		first, err := os.ReadFile(file)
		must(t, err)
		pushTo(t, img, target)
		if again, err := os.ReadFile(file); err != nil || !bytes.Equal(again, first) {
			t.Errorf("%s: another file the second time, %v", kind, err)
		}
		pulled := filepath.Join(t.TempDir(), "pulled")
		run(t, "skopeo", "--insecure-policy", "copy", target, "dir:"+pulled)
		if _, err := os.Stat(filepath.Join(pulled, strings.TrimPrefix(img.ID(), "sha256:"))); err != nil {
			t.Errorf("%s: not the image's configuration: %v", kind, err)
		}
		if digest := strings.TrimSpace(run(t, "skopeo", "manifest-digest", pulled+"/manifest.json")); strings.HasPrefix(kind, "oci") && digest != img.Digest() {
			t.Errorf("%s: digest %s, want %s", kind, digest, img.Digest())
		}
		if strings.HasPrefix(kind, "docker") {
			loaded, err := tarball.ImageFromPath(file, nil)
			must(t, err)
			must(t, validate.Image(loaded))
		}
	}
	onlyThese(t, dir, "image.tar")
}

// An OCI layout is made, and another image is added to it.
func TestOCILayout(t *testing.T) {
	needRoot(t)
	needTool(t, "skopeo")
	s := openStore(t, t.TempDir())
	ends := threePhases(t, s)
	dir := t.TempDir()
	at := filepath.Join(dir, "layout")
	must(t, os.Mkdir(at, 0o755)) // an empty folder will do
	first, second := phased(t, s, ends), phased(t, s, ends[:2])
	pushTo(t, first, "oci:"+at+":one")
	pushTo(t, second, "oci:"+at+":two")
	pushTo(t, second, "oci:"+at+":two")
	for name, img := range map[string]*Image{"one": first, "two": second} {
		raw := run(t, "skopeo", "inspect", "--format", "{{.Digest}}", "oci:"+at+":"+name)
		if strings.TrimSpace(raw) != img.Digest() {
			t.Errorf("%s: %s, want %s", name, raw, img.Digest())
		}
	}
	index, err := layout.ImageIndexFromPath(at)
	must(t, err)
	must(t, validate.Index(index))
	onlyThese(t, dir, "layout")
}

// What is refused, or stopped, leaves what was there.
func TestArchivesRefused(t *testing.T) {
	needRoot(t)
	s := openStore(t, t.TempDir())
	img := phased(t, s, threePhases(t, s))
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "folder/photos"), 0o755))
	must(t, os.Mkdir(filepath.Join(dir, "empty"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "file"), []byte("mine"), 0o600))
	stopped, stop := context.WithCancel(t.Context())
	stop()
	for _, c := range []struct {
		ctx          context.Context
		target, want string
	}{
		{t.Context(), "oci:" + dir + "/folder", "is there and no OCI image layout"},
		{t.Context(), "oci:" + dir + "/file", "is there and no OCI image layout"},
		{t.Context(), "oci-archive:" + dir + "/folder", "is a folder; allowed for oci-archive is a file"},
		{t.Context(), "docker-archive:" + dir + "/empty", "is a folder; allowed for docker-archive is a file"},
		{t.Context(), "docker-archive:" + dir + "/none/x.tar", "no such file or directory"},
		{stopped, "docker-archive:" + dir + "/file", "context canceled"},
		{stopped, "oci-archive:" + dir + "/file", "context canceled"},
		{stopped, "oci:" + dir + "/new", "context canceled"},
	} {
		if _, err := img.Push(c.ctx, c.target, PushOptions{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.target, err, c.want)
		} else if c.ctx == stopped && !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v is not a cancellation", c.target, err)
		}
	}
	onlyThese(t, dir, "empty", "file", "folder")
	if mine, err := os.ReadFile(filepath.Join(dir, "file")); err != nil || string(mine) != "mine" {
		t.Errorf("the file is %q now, %v", mine, err)
	}
}

func pushTo(t *testing.T, img *Image, target string) {
	t.Helper()
	digest, err := img.Push(t.Context(), target, PushOptions{})
	must(t, err)
	if digest != img.Digest() {
		t.Errorf("%s: digest %s, want %s", target, digest, img.Digest())
	}
}

func onlyThese(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(names, " ") {
		t.Errorf("%s has %q, want %q", dir, got, names)
	}
}
