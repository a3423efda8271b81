package main

import (
	"archive/tar"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// layerDifferences says, for people, in which layers and entries two images of a
// registry differ.
func layerDifferences(t *testing.T, a, b string) (said []string) {
	t.Helper()
	first, second := layerEntries(t, a), layerEntries(t, b)
	if len(first) != len(second) {
		said = append(said, fmt.Sprintf("%d layers and %d", len(first), len(second)))
	}
	for i := range min(len(first), len(second)) {
		names := map[string]bool{}
		for n := range first[i] {
			names[n] = true
		}
		for n := range second[i] {
			names[n] = true
		}
		for _, n := range slices.Sorted(maps.Keys(names)) {
			if x, y := first[i][n], second[i][n]; x != y {
				said = append(said, fmt.Sprintf("layer %d: %s: %q, %q", i, n, x, y))
			}
		}
	}
	return said
}

// layerEntries has, for each layer, what tells its entries apart.
func layerEntries(t *testing.T, target string) (layers []map[string]string) {
	t.Helper()
	ref, err := name.ParseReference(target)
	must(t, err)
	image, err := remote.Image(ref)
	must(t, err)
	all, err := image.Layers()
	must(t, err)
	for _, l := range all {
		in, err := l.Uncompressed()
		must(t, err)
		entries := map[string]string{}
		for r := tar.NewReader(in); ; {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			must(t, err)
			sum := sha256.New()
			_, err = io.Copy(sum, r)
			must(t, err)
			entries[h.Name] = fmt.Sprintf("%c %o %d:%d %d bytes %v %q %v %x", h.Typeflag, h.Mode, h.Uid, h.Gid, h.Size, h.ModTime.UTC(), h.Linkname, h.PAXRecords, sum.Sum(nil)[:6])
		}
		must(t, in.Close())
		layers = append(layers, entries)
	}
	return layers
}
