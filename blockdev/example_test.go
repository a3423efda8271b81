package blockdev_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/file"
)

// LVM on LUKS on a partition: made, filled from a folder, and deleted. This works
// for every user and without device-mapper.
func Example() {
	work, tree := exampleFolders()
	defer os.RemoveAll(work)

	config, err := blockdev.Parse([]byte(`
- local_loop: {name: disk}
- partitioning: {base: disk, label: gpt, partitions: [{name: part, size: 100%}]}
- luks: {name: crypt, base: part, key_env: PASSPHRASE, pbkdf: pbkdf2, iterations: 1000}
- lvm:
    pvs: [{name: pv, base: crypt}]
    vgs: [{name: vg, base: pv}]
    lvs:
    - {name: root, base: vg, extents: 90%VG, mkfs: {type: ext2, mount: {mount_point: /}}}
    - {name: swap, base: vg, extents: 100%FREE, mkfs: {type: swap}}
`))
	check(err)
	graph, err := config.Graph(blockdev.Defaults{})
	check(err)
	graph.Identify("what all ids are derived from")

	secrets := func(string) ([]byte, []byte, error) { return []byte("a passphrase"), nil, nil }
	backend := file.New(file.Options{WorkDir: work, Secrets: secrets})
	disk, plan, err := graph.Make(context.Background(), backend, blockdev.Tree{Dir: tree}, blockdev.Request{})
	check(err)
	image := disk.Images()["disk"] // Commit would keep it
	fmt.Println(filepath.Base(image), "is there:", exists(image), "and as long as planned:", length(image) == plan.Disks[0].Size)
	check(disk.Close())
	fmt.Println(filepath.Base(image), "is there:", exists(image))
	// Output:
	// disk.raw is there: true and as long as planned: true
	// disk.raw is there: false
}

// What a layout comes to, without making it.
func ExampleGraph_Layout() {
	config, err := blockdev.Parse([]byte(`
- local_loop: {name: a, size: 1GiB}
- local_loop: {name: b, size: 1GiB}
- md: {name: mirror, level: raid1, base: [a, b], mkfs: {type: ext4, mount: {mount_point: /, fstab: {}}}}
`))
	check(err)
	graph, err := config.Graph(blockdev.Defaults{})
	check(err)
	graph.Identify("a seed")
	plan, err := graph.Layout(map[string]blockdev.Content{"/": {Bytes: 300 << 20, Inodes: 9000, Dirs: 700}}, blockdev.Request{})
	check(err)
	for _, v := range plan.Volumes {
		fmt.Printf("%s of %v: %s\n", v.Node, v.Bases, blockdev.FormatSize(v.Size))
	}
	fmt.Print(plan.Fstab)
	// Output:
	// mirror of [a b]: 1022 MiB
	// LABEL=cloudimg-rootfs / ext4 defaults 0 2
}

// A mistake says where it stands, what is allowed, and what was probably meant.
func ExampleParse_mistake() {
	_, err := blockdev.Parse([]byte("- local_loop:\n    name: disk\n    sise: 5GiB\n"))
	fmt.Println(err)
	// Output:
	// block-device configuration: [0].local_loop.sise (line 3, node "disk"): unknown key "sise"; allowed: block_size, directory, fstab, local_loop, luks, lvm, md, mkfs, mount, name, partitioning, physical_disk, size; did you mean "size"?
}

func exampleFolders() (work, tree string) {
	work, err := os.MkdirTemp("", "example-")
	check(err)
	tree = filepath.Join(work, "tree")
	check(os.MkdirAll(filepath.Join(tree, "etc"), 0o755))
	check(os.WriteFile(filepath.Join(tree, "etc/motd"), []byte("hello\n"), 0o644))
	return work, tree
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func length(path string) int64 {
	st, err := os.Stat(path)
	check(err)
	return st.Size()
}
