package loop_test

import (
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/blockdevtest"
	"github.com/lithify/lithify/blockdev/file"
	"github.com/lithify/lithify/blockdev/loop"
)

// thinLayout promises more than its pool has.
const thinLayout = `
- local_loop: {name: disk0, size: 48MiB}
- lvm:
    pvs: [{name: pv, base: disk0}]
    vgs: [{name: vg, base: pv}]
    lvs:
    - {name: root, base: vg, size: 64MiB, type: thin, thin-pool: pool, mkfs: {type: ext2, mount: {mount_point: /}}}
    - {name: var, base: vg, size: 64MiB, type: thin, thin-pool: pool, mkfs: {type: ext4, opts: -J size=4, mount: {mount_point: /var}}}
    - {name: pool, base: vg, extents: 100%FREE, type: thin-pool}
`

// insideThin: thin volumes are made, found under their final names, and their
// pool waits for more when it is full, as LVM's do by themselves. One that is full
// while it is filled is an error, and nothing is left.
func insideThin(t *testing.T) {
	before := kernelState(t)
	tree := quickTree(t)
	at := time.Unix(1_700_000_000, 0)
	g, p, err := blockdevtest.Plan(t.Context(), thinLayout, "thin", tree)
	if err != nil {
		t.Fatal(err)
	}
	if err := loop.Check(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	var refused *file.VolumeError
	if _, err := file.New(file.Options{WorkDir: t.TempDir()}).Create(t.Context(), g, p, blockdev.Tree{Dir: tree}); !errors.As(err, &refused) {
		t.Errorf("the other back end says %v", err)
	}
	d, err := loop.New(loop.Options{WorkDir: t.TempDir()}).Create(t.Context(), g, p, blockdev.Tree{Dir: tree, Time: &at})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	said := strings.Join(assembled(t, p, d.Images(), tree, at), "\n")
	for _, l := range p.Volumes[0].Group.Logical {
		if !strings.Contains(said, l.ID) {
			t.Errorf("%q has not the id %s:\n%s", l.Node, l.ID, said)
		}
	}
	if strings.Contains(said, "lithify_") || !strings.Contains(said, "|thin|") || !strings.Contains(said, "|thin-pool|") {
		t.Errorf("LVM says\n%s", said)
	}
	if now := kernelState(t); now != before {
		t.Fatalf("there is\n%s\nbefore there was\n%s", now, before)
	}

	noise := make([]byte, 30<<20)
	rand.Read(noise) // never an error
	for _, f := range []string{"noise", "var/noise"} {
		if err := os.WriteFile(filepath.Join(tree, f), noise, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	d, err = loop.New(loop.Options{WorkDir: t.TempDir()}).Create(t.Context(), g, p, blockdev.Tree{Dir: tree})
	if err == nil {
		err = d.Commit(t.Context())
		if again := d.Close(); again != nil {
			t.Error(again)
		}
	}
	var full *blockdev.NoSpaceError
	if !errors.As(err, &full) || !full.Explicit {
		t.Errorf("a full pool gives %v", err)
	}
	if now := kernelState(t); now != before {
		t.Errorf("there is\n%s\nbefore there was\n%s", now, before)
	}
}
