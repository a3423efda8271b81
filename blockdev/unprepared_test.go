package blockdev

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"testing"
)

// TestMeasureUnprepared: what is measured without mount points is what is
// measured when they are there, and nothing is made.
func TestMeasureUnprepared(t *testing.T) {
	mounts := []string{"/", "/srv/a/b", "/srv/a", "/var", "/usr/share/x", "/usr/share/x/y/z"}
	for _, there := range [][]string{nil, {"var"}, {"usr/share", "srv/a/b"}, {"var", "srv/a/b", "usr/share/x/y/z"}} {
		tree := t.TempDir()
		for _, dir := range there {
			if err := os.MkdirAll(filepath.Join(tree, dir), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(tree, dir, "file"), make([]byte, 9000), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := MeasureUnprepared(context.Background(), tree, mounts)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(tree, "usr/share/x/y")); err == nil && len(there) < 3 {
			t.Errorf("%q: a folder was made", there)
		}
		if err := MakeMountPoints(tree, mounts); err != nil {
			t.Fatal(err)
		}
		want, err := Measure(context.Background(), tree, mounts)
		if err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(got, want) {
			t.Errorf("%q: measured %v\nwith mount points %v", there, got, want)
		}
	}
	tree := t.TempDir()
	if err := os.WriteFile(filepath.Join(tree, "var"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, mount := range []string{"/var", "/var/log"} {
		if c, err := MeasureUnprepared(context.Background(), tree, []string{"/", mount}); err == nil {
			t.Errorf("a file at /var: %s holds %v", mount, c)
		}
	}
}
