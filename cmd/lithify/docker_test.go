package main

import (
	"archive/tar"
	"bytes"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/lithify/lithify/rootfs"
)

// TestTinyDockerLocal: without a target the image is among the caller's own,
// under the outputs' name, for root and for an ordinary user; skopeo finds it
// where podman would.
func TestTinyDockerLocal(t *testing.T) {
	t.Parallel()
	for who, as := range tinyPeople(t) {
		t.Run(who, func(t *testing.T) {
			w := newTiny(t, as)
			run := filepath.Join(w.dir, "run")
			must(t, os.Mkdir(run, 0o700))
			conf := filepath.Join(w.dir, "storage.conf")
			text := "[storage]\ndriver = \"overlay\"\n"
			if as == nil { // the tests' root has images of its own
				text += "graphroot = \"" + w.dir + "/home/graph\"\nrunroot = \"" + run + "\"\n"
			}
			must(t, os.WriteFile(conf, []byte(text), 0o644))
			give(t, as, run)
			bare := w.with("CONTAINERS_STORAGE_CONF=" + conf)
			w = bare.with("XDG_RUNTIME_DIR=" + run)
			w.build("web", "docker")
			if r := bare.build("web", "docker"); r.ran != 0 { // as from cron
				t.Error(r)
			}
			cmd := w.command("disk-image-create")
			skopeo, err := exec.LookPath("skopeo")
			must(t, err)
			cmd.Path, cmd.Args = skopeo, []string{"skopeo", "inspect", "containers-storage:localhost/web:latest"}
			// skopeo mounts the images' folder on itself.
			if as == nil {
				cmd.SysProcAttr.Unshareflags = syscall.CLONE_NEWNS
			}
			r := w.runCommand(cmd)
			if r.code != 0 || strings.Count(r.stdout, "sha256:") < 4 {
				t.Error(r)
			}
		})
	}
}

// TestTinyDockerArchive: a file relative to where the command is given, the
// caller's own, the same bytes from root and an ordinary user; a build that fails
// leaves the one before.
func TestTinyDockerArchive(t *testing.T) {
	t.Parallel()
	made := map[string][]byte{}
	for who, as := range tinyPeople(t) {
		w := newTiny(t, as)
		for _, target := range []string{"docker-archive:web.tar:team/web:1", "oci-archive:web.oci.tar:1"} {
			_, file, _ := strings.Cut(target, ":")
			file, _, _ = strings.Cut(file, ":")
			w.build("web", "docker", "--reproducible", "--docker-target", target)
			info, err := os.Stat(w.path(file))
			must(t, err)
			if uid := info.Sys().(*syscall.Stat_t).Uid; as != nil && int(uid) != number(as.Uid) {
				t.Errorf("%s: %s belongs to %d", who, file, uid)
			}
			foreign(t, w.out, "skopeo", "inspect", target)
			data, err := os.ReadFile(w.path(file))
			must(t, err)
			if first, ok := made[file]; ok && !bytes.Equal(first, data) {
				t.Errorf("%s: %s has other bytes than another user's", who, file)
			}
			made[file] = data
		}
		must(t, os.Mkdir(w.path("folder"), 0o755))
		must(t, os.WriteFile(w.path("folder/mine"), nil, 0o644))
		w.fails(1, w.create("web", "docker", "--docker-target", "oci:folder"), `"folder" is there and no OCI image layout`)
		w.fails(2, w.create("web", "docker", "--docker-target", "docker-archive:"), "no file is named")
	}
}

// flatten writes an image's layers as one archive, folders before what is
// in them, so that unpacking it leaves
// their times alone. The first name of a file is that which others link to.
func flatten(t testing.TB, image v1.Image, path string) {
	t.Helper()
	type file struct {
		*tar.Header
		data []byte
	}
	var files []file
	flat := mutate.Extract(image)
	defer flat.Close()
	for r := tar.NewReader(flat); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		must(t, err)
		data, err := io.ReadAll(r)
		must(t, err)
		files = append(files, file{h, data})
	}
	order := func(f file) string { return strings.ReplaceAll(filepath.Clean(f.Name), "/", "\x00") }
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(order(a), order(b)) })
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	w := tar.NewWriter(f)
	for _, each := range files {
		must(t, w.WriteHeader(each.Header))
		_, err := w.Write(each.data)
		must(t, err)
	}
	must(t, w.Close())
}

func give(t testing.TB, to *user.User, path string) {
	t.Helper()
	if to != nil {
		must(t, os.Chown(path, number(to.Uid), number(to.Gid)))
	}
}

// TestTinyDockerLogin: an ordinary user's login counts inside the build's
// namespaces, and what the registry has is not sent again.
func TestTinyDockerLogin(t *testing.T) {
	t.Parallel()
	var uploads atomic.Int64
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, pass, _ := r.BasicAuth(); user != "me" || pass != "geheim" {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if r.Method == http.MethodPost {
			uploads.Add(1)
		}
		inner.ServeHTTP(w, r)
	}))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	as := ordinaryUser(t)
	w := newTiny(t, as)
	w.fails(1, w.create("web", "docker", "--docker-target", host+"/a/web"), "podman login")
	must(t, os.MkdirAll(filepath.Join(w.dir, "home/.docker"), 0o755))
	file := filepath.Join(w.dir, "home/.docker/config.json")
	must(t, os.WriteFile(file, []byte(`{"auths":{"`+host+`":{"auth":"bWU6Z2VoZWlt"}}}`), 0o600))
	give(t, as, file)
	uploads.Store(0)
	w.build("web", "docker", "--docker-target", "docker://"+host+"/a/web")
	first := uploads.Swap(0)
	w.build("web", "docker", "--docker-target", "docker://"+host+"/a/web:2")
	if again := uploads.Swap(0); first < 3 || again != 0 {
		t.Errorf("%d uploads at first, %d of the unchanged image, want some and none", first, again)
	}
	w.write("app/finalise.d/95-late", "#!/bin/sh\necho late > /late\n")
	w.build("web", "docker", "--docker-target", host+"/a/web:3")
	if late := uploads.Load(); late != 2 { // the last layer and the configuration
		t.Errorf("%d uploads after a late change, want 2", late)
	}
}

func TestImagePhases(t *testing.T) {
	var r rootfs.Result
	for _, p := range []string{"root", "extra-data", "pre-install", "install", "post-install", "pre-finalise", "finalise", "cleanup", "driver"} {
		r.Phases = append(r.Phases, rootfs.PhaseLayer{Phase: p})
	}
	var got []string
	for _, p := range imagePhases(r) {
		got = append(got, p.Phase)
	}
	if want := []string{"root", "pre-install", "install", "post-install", "finalise"}; !slices.Equal(got, want) {
		t.Errorf("layers %v, want %v", got, want)
	}
}
