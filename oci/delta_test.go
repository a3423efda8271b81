package oci

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/containers/storage/pkg/archive"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/rootfs"
)

// unpacked is what containers/storage shows of an image's layers, each unpacked
// by itself, as podman does.
func unpacked(t testing.TB, s *Store, img v1.Image) map[string]string {
	t.Helper()
	layers, err := img.Layers()
	must(t, err)
	top := ""
	for _, l := range layers {
		r, err := l.Uncompressed()
		must(t, err)
		made, _, err := s.st.PutLayer("", top, nil, "", false, nil, r)
		must(t, errors.Join(err, r.Close()))
		top = made.ID
	}
	dir, err := s.st.Mount(top, "")
	must(t, err)
	defer func() {
		_, err := s.st.Unmount(top, false)
		must(t, err)
	}()
	return snapshot(t, dir, true)
}

// seen is the tree of a layer as an image can hold it.
func seen(t testing.TB, s *Store, l rootfs.Layer) map[string]string {
	t.Helper()
	c, err := s.Scratch(t.Context(), l)
	must(t, err)
	defer c.Close()
	return snapshot(t, c.Dir(), true)
}

// phases pairs layers with names.
func phases(ls ...rootfs.Layer) []rootfs.PhaseLayer {
	var all []rootfs.PhaseLayer
	for i, l := range ls {
		all = append(all, rootfs.PhaseLayer{Phase: string(rune('a' + i)), Layer: l})
	}
	return all
}

// Whatever happens to a tree between two phases, the layers on each other give
// it back.
func TestImageDeltasGiveTheTree(t *testing.T) {
	needRoot(t)
	s := openStore(t, t.TempDir())
	for seed := range 5 {
		r := rand.New(rand.NewPCG(uint64(seed), 3))
		at, ends := base(t, s), []rootfs.Layer(nil)
		for n := range 5 {
			for m := range 2 {
				at, _ = step(t, s, at, string(rune('a'+seed))+string(rune('a'+n))+string(rune('a'+m)), func(d string) {
					c := &chaos{r, d}
					for range 6 + r.IntN(20) {
						c.step()
					}
				})
			}
			ends = append(ends, at)
		}
		img, err := s.Image(t.Context(), at, ImageConfig{Phases: phases(ends...)})
		must(t, err)
		opened, err := img.open(t.Context())
		must(t, err)
		want, got := seen(t, s, at), unpacked(t, s, opened)
		delete(want, ".") // the library keeps the mode of its own
		delete(got, ".")
		if d := diff(want, got); len(d) > 0 {
			t.Fatalf("seed %d: %v", seed, d)
		}
	}
}

// entriesOf lists what a layer of an image holds.
func entriesOf(t testing.TB, img *Image, n int) []string {
	t.Helper()
	must(t, img.ensure(t.Context(), img.blobs[n]))
	data, err := os.ReadFile(blobFile(img.blobFolder(), img.blobs[n].rec.Digest))
	must(t, err)
	z, err := archive.DecompressStream(bytes.NewReader(data))
	must(t, err)
	defer z.Close()
	var names []string
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return names
		}
		must(t, err)
		names = append(names, h.Name)
	}
}

// A layer holds what changed and the folders above it, nothing that was merely
// touched, and nothing of the kernel's or the host's.
func TestImageLayersHoldWhatChanged(t *testing.T) {
	needRoot(t)
	s := openStore(t, t.TempDir())
	old := time.Unix(1234567890, 0)
	one, _ := step(t, s, base(t, s), "one", func(d string) {
		odd(t)(d)
		for _, n := range []string{"lost+found/x", "proc/x", "sys/x", "dev/x/y"} {
			must(t, os.MkdirAll(filepath.Join(d, n), 0o755))
		}
		must(t, unix.Mknod(d+"/etc/s", unix.S_IFSOCK|0o666, 0))
		must(t, os.Chtimes(d+"/etc", old, old))
		must(t, os.Chtimes(d+"/dev", old, old))
	})
	two, _ := step(t, s, one, "two", func(d string) {
		for _, n := range []string{"etc/x", "usr/bin/su"} { // copied up, and as it was
			st, err := lstat(filepath.Join(d, n))
			must(t, err)
			must(t, os.Chtimes(filepath.Join(d, n), time.Unix(5, 0), time.Unix(5, 0)))
			must(t, setTimes(filepath.Join(d, n), st))
		}
		must(t, os.WriteFile(d+"/dev/new", nil, 0o644))
		must(t, os.Remove(d+"/etc/s"))
		must(t, os.Chtimes(d+"/etc", old, old))
		must(t, os.Chtimes(d+"/dev", old, old))
	})
	three, _ := step(t, s, two, "three", func(d string) {
		must(t, os.Remove(d+"/etc/fifo"))
		must(t, os.Link(d+"/usr/bin/sv", d+"/usr/bin/sw"))
	})
	img, err := s.Image(t.Context(), three, ImageConfig{Phases: phases(one, two, three)})
	must(t, err)
	if len(img.blobs) != 2 {
		t.Fatalf("%d layers, want 2: the second phase changed nothing that an image holds, but %q", len(img.blobs), entriesOf(t, img, 1))
	}
	for _, n := range entriesOf(t, img, 0) {
		if n == "dev/null" || n == "dev/x/" || n == "proc/x/" || n == "sys/x/" || n == "lost+found/" || n == "etc/s" {
			t.Errorf("%s is in the image", n)
		}
	}
	want := []string{"./", "etc/", "etc/.wh.fifo", "usr/", "usr/bin/", "usr/bin/su", "usr/bin/sv", "usr/bin/sw"}
	if got := entriesOf(t, img, 1); !slices.Equal(got, want) {
		t.Errorf("the last layer holds %q, want %q", got, want)
	}
}

// The same trees at the same ends give the same layers, in another store and
// through other steps; a fold changes nothing either.
func TestEqualPhasesEqualLayers(t *testing.T) {
	needRoot(t)
	var digests [][]string
	for _, parts := range []int{1, 3, 50} {
		s := openStore(t, t.TempDir())
		one, _ := step(t, s, base(t, s), "one", odd(t))
		at := one
		for n := range parts {
			at, _ = step(t, s, at, "part"+string(rune('0'+n)), func(d string) {
				if n == parts-1 {
					must(t, os.WriteFile(d+"/etc/new", []byte("new"), 0o600))
				} else {
					must(t, os.WriteFile(d+"/etc/x", []byte{byte(n)}, 0o600))
				}
				must(t, os.WriteFile(d+"/etc/x", []byte("x"), 0o644))
				for _, name := range []string{"etc/new", "etc/x", "etc"} {
					os.Chtimes(filepath.Join(d, name), time.Unix(9, 0), time.Unix(9, 0))
				}
			})
		}
		img, err := s.Image(t.Context(), at, ImageConfig{Phases: phases(one, at)})
		must(t, err)
		got := []string{img.Digest()}
		for _, b := range img.blobs {
			got = append(got, b.rec.Digest)
		}
		digests = append(digests, got)
	}
	if len(digests[0]) != 3 || !slices.Equal(digests[0], digests[1]) || !slices.Equal(digests[0], digests[2]) {
		t.Errorf("digests: %q", digests)
	}
}
