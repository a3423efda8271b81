package blockdev

import (
	"slices"
	"strings"
	"testing"
)

func TestBtrfsOptions(t *testing.T) {
	for _, c := range []struct{ opts, err string }{
		{"-m single --csum crc32c", ""},
		{"--csum=xxhash", "allowed is crc32c"},
		{"--checksum blake2", "allowed is crc32c"},
		{"-U 6d4c1b8e-3f0a-4c55-9d1b-0a4f5e2c7d11", "follows from the configuration"},
	} {
		parsed, err := Parse([]byte("- local_loop: {name: image0, mkfs: {name: m, type: btrfs, opts: \"" + c.opts + "\", mount: {mount_point: /}}}"))
		if err == nil {
			_, err = parsed.Graph(Defaults{})
		}
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("opts %q: %v", c.opts, err)
		}
	}
}

// TestBtrfsVersions: options have moved between versions of mkfs.btrfs.
func TestBtrfsVersions(t *testing.T) {
	fs := FSPlan{Label: "x", FSType: "btrfs"}
	for _, c := range []struct {
		version [2]int
		words   string
	}{
		{[2]int{5, 16}, "-R free-space-tree -O no-holes"},
		{[2]int{6, 2}, "-R free-space-tree -O no-holes"},
		{[2]int{6, 3}, "-O no-holes,free-space-tree"},
		{[2]int{6, 14}, "-O no-holes,free-space-tree,^block-group-tree"},
	} {
		args := BtrfsCommand(fs, Btrfs{Target: "t", Version: c.version})
		if !strings.Contains(strings.Join(args, " "), c.words+" t") || !slices.Contains(args, "-K") {
			t.Errorf("%v: %v", c.version, args)
		}
	}
}

func TestTools(t *testing.T) {
	c, err := Parse([]byte(`
- local_loop: {name: a, size: 1GiB, mkfs: {name: x, type: xfs, mount: {mount_point: /srv}}}
- local_loop: {name: b, mkfs: {name: y, type: ext4, mount: {mount_point: /}}}
- local_loop: {name: c, size: 1GiB, mkfs: {name: z, type: vfat, mount: {mount_point: /boot}}}
- local_loop: {name: d, size: 1GiB, mkfs: {name: w, type: xfs, mount: {mount_point: /home}}}
`))
	if err != nil {
		t.Fatal(err)
	}
	g, err := c.Graph(Defaults{})
	if err != nil {
		t.Fatal(err)
	}
	if got := Tools(g.FileSystems()); !slices.Equal(got, []string{"mke2fs", "mkfs.xfs"}) {
		t.Errorf("tools %v", got)
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := FindTool("no-such-tool"); err == nil {
		t.Error("a tool that is not there was found")
	}
}
