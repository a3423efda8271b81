package blockdevtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev"
)

// pairLayout is one configuration of the pair suite. DATA in it is a folder.
type pairLayout struct {
	name     string
	config   string
	defaults blockdev.Defaults
	request  blockdev.Request
	refused  string                          // what the back end without mounts says of it; "": nothing
	orKept   bool                            // newer tools do not lose it, and so it is not refused
	grows    bool                            // the computed size may be too small for b once
	fill     func(t testing.TB, root string) // nil: smallTree
	more     func(t testing.TB, root string) // what changes the tree after that
}

// tight leaves a computed size no free room: it must be enough by itself.
var tight = blockdev.Request{FreeRoom: 1e-6}

const (
	noXFS        = "xfs made without mounting it loses"
	noSubvolumes = "btrfs gets no subvolumes"
)

// disk writes the configuration of one disk with a file system and no table.
func disk(mkfs string) string {
	return fmt.Sprintf("- local_loop: {name: image0, mkfs: {name: mkfs_root, %s mount: {mount_point: /, fstab: {}}}}\n", mkfs)
}

// table writes the configuration of a disk with partitions.
func table(label string, partitions ...string) string {
	return tableOn("image0", "", label, partitions...)
}

func tableOn(name, more, label string, partitions ...string) string {
	return fmt.Sprintf("- local_loop: {name: %s%s}\n- partitioning:\n    base: %s\n    label: %s\n    partitions:\n    - {%s}\n",
		name, more, name, label, strings.Join(partitions, "}\n    - {"))
}

// root is the last partition: all that is left, ext4.
const root = "name: root, size: 100%, mkfs: {mount: {mount_point: /, fstab: {}}}"

func pairLayouts() []pairLayout {
	all := append(plainLayouts(), mbrLayouts()...)
	all = append(all, gptLayouts()...)
	all = append(all, typeLayouts()...)
	all = append(all, btrfsLayouts()...)
	all = append(all, diskLayouts()...)
	for i := range all {
		if all[i].fill == nil {
			all[i].fill = smallTree
		}
	}
	return all
}

func plainLayouts() []pairLayout {
	return []pairLayout{
		{name: "ext4 on a disk", config: disk("")},
		{name: "ext3 on a disk", config: disk("type: ext3,")},
		{name: "ext2 on a disk", config: disk("type: ext2,")},
		{name: "xfs on a disk", config: disk("type: xfs,"), refused: noXFS, fill: NastyTree},
		{name: "btrfs on a disk", config: disk("type: btrfs,"), fill: NastyTree, more: noTopAttribute, grows: true},
		{name: "sectors of 4096, ext4", config: disk(""), defaults: blockdev.Defaults{BlockSize: 4096}},
		{name: "sectors of 4096, xfs", config: disk("type: xfs,"), defaults: blockdev.Defaults{BlockSize: 4096}, refused: noXFS},
		{name: "sectors of 4096, btrfs", config: disk("type: btrfs,"), more: noTopAttribute, defaults: blockdev.Defaults{BlockSize: 4096}},
		{name: "size given", config: disk(""), request: blockdev.Request{ImageSize: 201<<20 + 512}},
		{name: "old release, ext4", config: disk(""), defaults: blockdev.Defaults{Release: "xenial"}},
		{name: "old release, xfs", config: disk("type: xfs,"), defaults: blockdev.Defaults{Release: "7"}, refused: noXFS, more: before2038},
		{name: "old release, btrfs", config: disk("type: btrfs,"), defaults: blockdev.Defaults{Release: "trusty"}, more: noTopAttribute},
		{name: "options", config: disk(`type: ext4, opts: "-m 0 -O ^metadata_csum -i 8192", label: tuned,`)},
		{name: "xfs options", config: disk(`type: xfs, opts: "-m reflink=0 -l size=64m", label: tuned,`), refused: noXFS},
	}
}

func mbrLayouts() []pairLayout {
	return []pairLayout{
		{name: "mbr, one partition", config: table("mbr", "flags: [boot, primary], "+root)},
		{name: "mbr, four primary", config: table("mbr",
			"name: boot, flags: [boot, primary], size: 24MiB, mkfs: {type: ext2, mount: {mount_point: /boot}}",
			"name: var, flags: [primary], size: 40MiB, mkfs: {type: ext3, mount: {mount_point: /var}}",
			"name: swap, flags: [primary], type: 0x82, size: 8MiB, mkfs: {type: swap, mount: {mount_point: none, fstab: {}}}",
			"flags: [primary], "+root)},
		{name: "mbr, logical ones", config: table("mbr",
			"name: boot, flags: [boot, primary], size: 24MiB, mkfs: {type: ext4, mount: {mount_point: /boot}}",
			"name: home, size: 20MiB, mkfs: {type: ext4, mount: {mount_point: /home}}",
			"name: var, size: 40MiB, mkfs: {type: ext4, mount: {mount_point: /var}}",
			root)},
		{name: "mbr, small alignment, odd sizes", config: strings.Replace(table("mbr",
			"name: boot, flags: [primary], size: 23456789, mkfs: {type: ext2, mount: {mount_point: /boot}}",
			"name: home, size: 17MB, mkfs: {type: ext4, mount: {mount_point: /home}}",
			root), "label: mbr", "label: mbr\n    align: 64KiB", 1)},
		{name: "mbr, percentages", config: table("mbr",
			"name: var, flags: [primary], size: 50%, mkfs: {type: ext4, mount: {mount_point: /var}}",
			"name: home, flags: [primary], size: 33.3%, mkfs: {type: ext4, mount: {mount_point: /home}}",
			"flags: [primary], "+root)},
		{name: "mbr, efi", config: table("mbr",
			"name: esp, flags: [primary], type: 0xef, size: 36MiB, mkfs: {type: vfat, mount: {mount_point: /boot/efi, fstab: {}}}",
			"flags: [primary], "+root)},
		{name: "mbr, percentages of a given size", request: blockdev.Request{ImageSize: 777<<20 + 1024}, config: table("mbr",
			"name: var, size: 25%, mkfs: {type: ext4, mount: {mount_point: /var}}",
			"name: srv, size: 50%, mkfs: {type: ext3, mount: {mount_point: /srv}}",
			root)},
	}
}

func gptLayouts() []pairLayout {
	boot := "name: esp, type: EF00, size: 64MiB, mkfs: {type: vfat, label: esp, mount: {mount_point: /boot/efi, fstab: {}}}"
	large := blockdev.Defaults{BlockSize: 4096}
	return []pairLayout{
		{name: "gpt, one partition", config: table("gpt", root)},
		{name: "gpt, for every firmware", config: table("gpt", boot, "name: bsp, type: EF02, size: 1MiB", root)},
		{name: "gpt, sectors of 4096", config: table("gpt", boot, root), defaults: large},
		{name: "gpt, sectors of 4096, efi of 300 MiB", config: table("gpt", strings.Replace(boot, "64MiB", "300MiB", 1), root), defaults: large},
		{name: "gpt, names, uuids, attributes", config: table("gpt",
			`name: "Grüße ☃", type: 8300, uuid: 6d4c1b8e-3f0a-4c55-9d1b-0a4f5e2c7d11, attributes: [read-only, 5], size: 20MiB, mkfs: {name: b, type: ext2, mount: {name: m, mount_point: /boot}}`,
			"name: data, type: 0fc63daf-8483-4772-8e79-3d69d8477de4, flags: [boot], size: 33MiB, mkfs: {type: ext4, uuid: 6d4c1b8e-3f0a-4c55-9d1b-0a4f5e2c7d12, mount: {mount_point: /srv}}",
			root)},
		{name: "gpt, swap twice", config: table("gpt",
			"name: swap1, type: 8200, size: 16MiB, mkfs: {type: swap, mount: {mount_point: none, fstab: {}}}",
			"name: swap2, type: 8200, size: 9MB, mkfs: {type: swap, label: second, uuid: 6d4c1b8e-3f0a-4c55-9d1b-0a4f5e2c7d13, mount: {mount_point: none, fstab: {}}}",
			root)},
		{name: "gpt, much apart", config: table("gpt",
			"name: boot, size: 30MiB, mkfs: {type: ext4, mount: {mount_point: /boot}}",
			"name: var, size: 40%, mkfs: {type: ext4, mount: {mount_point: /var}}",
			"name: log, size: 40%, mkfs: {type: ext4, mount: {mount_point: /var/log}}",
			"name: home, size: 30%, mkfs: {type: ext4, mount: {mount_point: /home}}",
			root)},
		{name: "gpt, deep and out of order", config: table("gpt",
			"name: er, size: 20MiB, mkfs: {type: ext4, mount: {mount_point: /var/log/deep/er}}",
			"name: new, size: 20MiB, mkfs: {type: ext2, mount: {mount_point: /var/lib/empty/a/new/one}}",
			"name: deep, size: 20MiB, mkfs: {type: ext3, mount: {mount_point: /var/log/deep}}",
			"name: var, size: 30MiB, mkfs: {type: ext4, mount: {mount_point: /var}}",
			root)},
		{name: "gpt, ext4 of the nasty tree", config: table("gpt", "name: srv, size: 20MiB, mkfs: {type: ext4, mount: {mount_point: /srv}}", root), fill: NastyTree},
		{name: "gpt, nothing mounted on some", config: table("gpt",
			"name: a, size: 20MiB, mkfs: {type: ext4}", "name: b, size: 20MiB, mkfs: {type: vfat}", "name: c, size: 310MiB, mkfs: {type: xfs}",
			"name: d, size: 130MiB, mkfs: {type: btrfs}", "name: e, size: 5MiB", root)},
	}
}

func typeLayouts() []pairLayout {
	fat := func(size, more string) string {
		return table("gpt", "name: boot, type: 0700, size: "+size+", mkfs: {type: vfat, "+more+" mount: {mount_point: /boot, fstab: {}}}", root)
	}
	return []pairLayout{
		{name: "FAT12", config: fat("6MiB", "")},
		{name: "FAT16", config: fat("100MiB", "label: boot16, uuid: 12AB-34CD,")},
		{name: "FAT32", config: fat("600MiB", "")},
		{name: "FAT32 that is asked for", config: fat("80MiB", `opts: "-F 32 -s 1",`)},
		{name: "FAT of computed size", config: fat("30%", "")},
		{name: "FAT, all of it that is word fat", config: strings.Replace(fat("20MiB", `opts: "-F 16 -r 1024",`), "vfat", "fat", 1)},
		{name: "ext2 on FAT", config: table("gpt",
			"name: grub, size: 20MiB, mkfs: {type: ext2, mount: {mount_point: /boot/grub}}",
			"name: boot, size: 40MiB, mkfs: {type: vfat, mount: {mount_point: /boot}}",
			"name: esp, type: EF00, size: 40MiB, mkfs: {type: vfat, mount: {mount_point: /boot/efi}}", root)},
		{name: "xfs apart", config: table("gpt", "name: var, size: 400MiB, mkfs: {type: xfs, mount: {mount_point: /var}}", root), refused: noXFS},
		{name: "xfs of computed size", config: table("gpt", "name: var, size: 60%, mkfs: {type: xfs, mount: {mount_point: /var}}",
			"name: root, size: 100%, mkfs: {type: xfs, mount: {mount_point: /}}"), refused: noXFS},
	}
}

func btrfsLayouts() []pairLayout {
	return []pairLayout{
		{name: "btrfs, attribute on top", config: disk("type: btrfs,"), refused: "loses the extended attribute user.top of", orKept: true},
		{name: "btrfs apart", config: table("gpt", "name: var, size: 200MiB, mkfs: {type: btrfs, mount: {mount_point: /var}}", root)},
		{name: "btrfs, hard links outside", config: table("gpt",
			"name: log, size: 200MiB, mkfs: {type: btrfs, mount: {mount_point: /var/log/deep}}",
			"name: root, size: 100%, mkfs: {type: btrfs, mount: {mount_point: /}}"), more: noTopAttribute},
		{name: "btrfs, subvolumes", refused: noSubvolumes, orKept: true, config: `
- local_loop: {name: image0}
- mkfs: {name: mkfs_root, type: btrfs, base: image0}
- mount: {name: r, base: mkfs_root, subvolume: "@", mount_point: /, fstab: {}}
- mount: {name: h, base: mkfs_root, subvolume: "@home", mount_point: /home, fstab: {}}
- mount: {name: l, base: mkfs_root, subvolume: "@var/log", mount_point: /var/log, fstab: {}}
`},
		{name: "btrfs, subvolumes that nothing mounts", refused: noSubvolumes, config: `
- local_loop: {name: image0}
- mkfs: {name: mkfs_root, type: btrfs, base: image0, subvolumes: [snapshots/daily, opt/sub]}
- mount: {name: r, base: mkfs_root, mount_point: /, fstab: {}}
`},
		{name: "btrfs, subvolumes, nasty", refused: noSubvolumes, orKept: true, fill: NastyTree, config: table("gpt", root) + `
- local_loop: {name: data, size: 300MiB}
- mkfs: {name: b, type: btrfs, base: data}
- mount: {name: s, base: b, subvolume: deep/srv, mount_point: /srv, fstab: {}}
- mount: {name: v, base: b, subvolume: deep/var, mount_point: /var, fstab: {}}
- mount: {name: h, base: b, subvolume: home, mount_point: /home, fstab: {}}
`},
	}
}

func diskLayouts() []pairLayout {
	second := func(more, mkfs string) string {
		return "- local_loop: {name: data" + more + ", mkfs: {" + mkfs + "}}\n"
	}
	return []pairLayout{
		{name: "two disks", config: disk("") + second(", size: 64MiB", "type: ext4, mount: {mount_point: /srv, fstab: {}}")},
		{name: "two disks, one elsewhere", config: disk("") + second(`, size: 40MiB, directory: "DATA"`, "type: ext4, mount: {mount_point: /var/log}")},
		{name: "two disks, one by its content", config: disk("") + second("", "type: ext4, mount: {mount_point: /var}")},
		{name: "three disks", config: tableOn("data", ", size: 64MiB", "mbr", "name: var, size: 100%, mkfs: {type: ext4, mount: {mount_point: /var}}") +
			table("gpt", root) + "- local_loop: {name: swap, size: 12MiB, mkfs: {type: swap, mount: {mount_point: none, fstab: {}}}}\n"},
		{name: "two disks, different sectors", config: disk("") + tableOn("data", ", block_size: 4096, size: 70MiB", "gpt",
			"name: v, size: 60%, mkfs: {type: ext4, mount: {mount_point: /var}}", "name: f, size: 100%, mkfs: {type: vfat, mount: {mount_point: /boot}}")},
		{name: "many small files", config: disk("type: btrfs,") + second("", "type: vfat, mount: {mount_point: /boot}"), fill: tinyFiles, request: tight},
		{name: "many small files, xfs", config: disk("type: xfs,"), refused: noXFS, fill: tinyFiles, request: tight},
		{name: "few large files", config: disk("type: btrfs,") + second("", "type: vfat, mount: {mount_point: /boot}"), fill: largeFiles, request: tight},
		{name: "few large files, xfs", config: disk("type: xfs,"), refused: noXFS, fill: largeFiles, request: tight},
		{name: "next to nothing", config: disk("type: btrfs,") + second("", "type: ext4, mount: {mount_point: /x}"), fill: nearlyNothing},
	}
}

func tinyFiles(t testing.TB, root string) {
	n := nasty{t: t, root: root}
	for dir := range 10 {
		for _, d := range []string{"etc", "boot"} {
			n.do(os.MkdirAll(n.path(fmt.Sprintf("%s/%d", d, dir)), 0o755))
			for i := range 200 {
				n.file(fmt.Sprintf("%s/%d/a file of small size %d", d, dir, i), i%9*300)
			}
		}
	}
}

func largeFiles(t testing.TB, root string) {
	n := nasty{t: t, root: root}
	n.do(os.Mkdir(n.path("boot"), 0o755))
	n.file("boot/initrd", 21<<20+5)
	n.file("large", 90<<20)
}

func nearlyNothing(t testing.TB, root string) {
	n := nasty{t: t, root: root}
	n.do(os.Mkdir(filepath.Join(root, "x"), 0o700))
	n.file("x/one", 1)
}

// noTopAttribute takes off what mkfs.btrfs loses.
func noTopAttribute(t testing.TB, root string) {
	if err := unix.Lremovexattr(root, "user.top"); err != nil && !errors.Is(err, unix.ENODATA) {
		t.Fatal(err)
	}
}

// before2038 is for file systems that know no later time.
func before2038(t testing.TB, root string) {
	var late []string
	err := filepath.WalkDir(root, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if st, err := e.Info(); err != nil || st.ModTime().Year() >= 2038 {
			late = append(late, path)
		}
		return nil
	})
	at := []unix.Timespec{{Sec: 2147483647}, {Sec: 2147483647}}
	for _, path := range late {
		err = errors.Join(err, unix.UtimesNanoAt(unix.AT_FDCWD, path, at, unix.AT_SYMLINK_NOFOLLOW))
	}
	if err != nil {
		t.Fatal(err)
	}
}
