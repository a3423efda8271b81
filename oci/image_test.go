package oci

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/rootfs"
)

// odd fills a tree with one of each kind.
func odd(t testing.TB) func(string) {
	return func(d string) {
		for _, n := range []string{"etc", "dev", "proc", "sys", "usr/bin"} {
			must(t, os.MkdirAll(filepath.Join(d, n), 0o755))
		}
		writer(t, "etc/x", strings.Repeat("text", 1000))(d)
		must(t, os.WriteFile(d+"/dev/null", nil, 0o666))
		must(t, os.WriteFile(d+"/usr/bin/su", []byte("su"), 0o755))
		must(t, os.Chown(d+"/usr/bin/su", 0, 42))
		must(t, unix.Chmod(d+"/usr/bin/su", 0o4755))
		must(t, os.Link(d+"/usr/bin/su", d+"/usr/bin/sv"))
		must(t, os.Symlink("../nowhere", d+"/etc/link"))
		must(t, unix.Mkfifo(d+"/etc/fifo", 0o640))
		must(t, os.WriteFile(d+"/usr/bin/ping", []byte("ping"), 0o755))
		must(t, unix.Setxattr(d+"/usr/bin/ping", "user.note", []byte("\x00\x01"), 0))
		cap := "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
		must(t, unix.Setxattr(d+"/usr/bin/ping", "security.capability", []byte(cap), 0))
		must(t, os.Mkdir(d+"/etc/empty", 0o1777))
		old := time.Unix(1234567890, 0)
		for _, n := range []string{"etc", "dev", "proc", "sys", "usr", "usr/bin", "etc/x", "usr/bin/su", "usr/bin/ping", "etc/fifo", "etc/empty", "."} {
			must(t, os.Chtimes(filepath.Join(d, n), old, old))
		}
		ts := []unix.Timespec{{Sec: 1e9}, {Sec: 1e9}}
		must(t, unix.UtimesNanoAt(unix.AT_FDCWD, d+"/etc/link", ts, unix.AT_SYMLINK_NOFOLLOW))
	}
}

func TestImageIsTheTree(t *testing.T) {
	needRoot(t)
	needTool(t, "skopeo", "tar")
	s := openStore(t, t.TempDir())
	l, _ := step(t, s, base(t, s), "one", odd(t))
	l, _ = step(t, s, l, "two", func(d string) {
		must(t, os.Remove(d+"/etc/empty"))
		must(t, os.Chtimes(d+"/etc", time.Unix(1, 0), time.Unix(1, 0)))
	})
	img := image(t, s, l)
	blobs, err := os.MkdirTemp(t.TempDir(), "")
	must(t, err)
	srv := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithBlobHandler(registry.NewDiskBlobHandler(blobs))))
	defer srv.Close()
	target := strings.TrimPrefix(srv.URL, "http://") + "/some/image:tag"
	var sent int64
	digest, err := img.Push(t.Context(), target, PushOptions{Progress: func(done, _ int64) { sent = done }})
	must(t, err)
	if sent == 0 {
		t.Error("no progress was reported")
	}
	pulled := filepath.Join(t.TempDir(), "pulled")
	run(t, "skopeo", "--insecure-policy", "copy", "--src-tls-verify=false", "docker://"+target, "dir:"+pulled)
	if got := strings.TrimSpace(run(t, "skopeo", "manifest-digest", pulled+"/manifest.json")); got != digest {
		t.Errorf("digest %s, pulled %s", digest, got)
	}
	var m struct{ Layers []struct{ Digest string } }
	data, err := os.ReadFile(pulled + "/manifest.json")
	must(t, err)
	must(t, json.Unmarshal(data, &m))
	if len(m.Layers) != 1 {
		t.Fatalf("layers = %v", m.Layers)
	}
	out := t.TempDir()
	run(t, "tar", "-xpzf", filepath.Join(pulled, strings.TrimPrefix(m.Layers[0].Digest, "sha256:")), "-C", out,
		"--same-owner", "--numeric-owner", "--xattrs", "--xattrs-include=*")
	want := tree(t, s, l)
	delete(want, "dev/null")
	if d := diff(want, snapshot(t, out, true)); len(d) > 0 {
		t.Error(d)
	}
	config := run(t, "skopeo", "--override-arch=arm64", "inspect", "--config", "--tls-verify=false", "docker://"+target)
	for _, part := range []string{`"architecture": "arm64"`, `"A=b"`, `"/init"`, `"who": "me"`, `"created": "1970-01-01T00:00:00Z"`} {
		if !strings.Contains(config, part) {
			t.Errorf("configuration lacks %s: %s", part, config)
		}
	}
	for _, part := range []string{"buildah", s.run, "lithify-"} {
		if strings.Contains(config, part) || strings.Contains(string(data), part) {
			t.Errorf("the image tells who made it: %s in %s %s", part, config, data)
		}
	}
}

func image(t testing.TB, s *Store, l rootfs.Layer) *Image {
	t.Helper()
	img, err := s.Image(t.Context(), l, ImageConfig{
		Architecture: "arm64", Cmd: []string{"/init"}, Env: []string{"A=b"}, Labels: map[string]string{"who": "me"},
		CreatedBy: "test",
	})
	must(t, err)
	return img
}

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir()) // skopeo keeps a cache there
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v: %s", name, args, err, stderr.String())
	}
	return string(out)
}

// Equal trees give equal digests, however many layers they came in and in
// whichever store.
func TestEqualTreesEqualDigests(t *testing.T) {
	needRoot(t)
	a := openStore(t, t.TempDir())
	la, _ := step(t, a, base(t, a), "one", odd(t))
	b := openStore(t, t.TempDir())
	lb, _ := step(t, b, base(t, b), "first", writer(t, "gone", "x"))
	lb, _ = step(t, b, lb, "second", func(d string) {
		odd(t)(d)
		must(t, os.Remove(d+"/gone"))
		must(t, os.Chtimes(d, time.Unix(1234567890, 0), time.Unix(1234567890, 0)))
	})
	ia, ib := image(t, a, la), image(t, b, lb)
	if ia.Digest() != ib.Digest() || ia.ID() != ib.ID() {
		t.Errorf("digests %s and %s", ia.Digest(), ib.Digest())
	}
	lc, _ := step(t, b, lb, "third", writer(t, "more", ""))
	if ic := image(t, b, lc); ic.Digest() == ib.Digest() {
		t.Error("another tree, the same digest")
	}
	must(t, ia.Remove())
	must(t, ib.Remove())
}

func TestImageFailsCleanly(t *testing.T) {
	needRoot(t)
	s := openStore(t, t.TempDir())
	l, _ := step(t, s, base(t, s), "one", writer(t, ".wh.x", ""))
	if _, err := s.Image(t.Context(), l, ImageConfig{}); err == nil || !strings.Contains(err.Error(), ".wh.x") {
		t.Errorf("Image of a tree with a whiteout's name = %v", err)
	}
	l, _ = step(t, s, base(t, s), "two", writer(t, "x", ""))
	if _, err := s.Image(t.Context(), l, ImageConfig{Env: []string{"novalue"}}); err == nil {
		t.Error("a bad environment was taken")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Image(ctx, l, ImageConfig{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Image after ^C = %v", err)
	}
	left, err := os.ReadDir(s.work)
	must(t, err)
	for _, f := range left {
		if !slices.Contains([]string{"policy.json", "storage", "blob-info-cache-v1.boltdb", "containers", "libpod"}, f.Name()) {
			t.Errorf("%s was left", f.Name())
		}
	}
	if n := layerCount(t, s); n != 3 {
		t.Errorf("%d layers, want 3", n)
	}
}

func TestIsLoopback(t *testing.T) {
	for host, want := range map[string]bool{"127.0.0.1": true, "localhost": true, "::1": true, "10.0.0.1": false, "example.com": false, "localhost.example.com": false} {
		if got := isLoopback(host); got != want {
			t.Errorf("isLoopback(%q) = %v", host, got)
		}
	}
}
