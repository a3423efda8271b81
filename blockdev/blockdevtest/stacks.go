package blockdevtest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Stack is a layout with volumes. In what follows @ is the layout's own name: one
// machine sees many, and no group, array or mapping may be there twice. Passphrases
// come from the variable KEY.
type Stack struct{ Name, Config string }

// lower are what volumes may stand on, and the device that they offer.
var lower = []struct{ name, config, device string }{
	{"disk", "- local_loop: {name: '@a'}\n", "@a"},
	{"gpt", "- local_loop: {name: '@a'}\n- partitioning: {base: '@a', label: gpt, partitions: [{name: '@p', size: 100%}]}\n", "@p"},
	{"mbr", "- local_loop: {name: '@a'}\n- partitioning: {base: '@a', label: mbr, partitions: [{name: '@s', size: 8MiB}, {name: '@p', size: 100%}]}\n", "@p"},
	{"raid0", twoDisks + "- md: {name: '@m', level: raid0, chunk: 64KiB, base: ['@a', '@b']}\n", "@m"},
	{"raid1", twoDisks + "- md: {name: '@m', level: raid1, base: ['@a', '@b']}\n", "@m"},
	{"raid1 1.0", twoDisks + "- md: {name: '@m', level: raid1, metadata: '1.0', bitmap: none, base: ['@a', '@b']}\n", "@m"},
	{"raid5", twoDisks + "- local_loop: {name: '@c'}\n- md: {name: '@m', level: raid5, chunk: 64KiB, base: ['@a', '@b', '@c']}\n", "@m"},
	{"raid10", twoDisks + "- local_loop: {name: '@c'}\n- md: {name: '@m', level: raid10, base: ['@a', '@b', '@c']}\n", "@m"},
}

const twoDisks = "- local_loop: {name: '@a'}\n- local_loop: {name: '@b'}\n"

// upper are what may stand on a device, BASE.
var upper = []Stack{
	{"alone", "- mkfs: {base: BASE, type: ext4, label: '@', mount: {mount_point: /}}\n"},
	{"lvm", "- lvm: {pvs: [{name: '@v', base: BASE}], vgs: [{name: '@g', base: '@v'}], lvs: [" +
		"{name: '@root', base: '@g', extents: 70%VG, mkfs: {type: ext3, label: '@', mount: {mount_point: /}}}," +
		"{name: '@-var_x', base: '@g', extents: 100%FREE, mkfs: {type: ext4, label: '@v', mount: {mount_point: /var}}}]}\n"},
	{"luks", "- luks: {name: '@c1', base: BASE, key_env: KEY, pbkdf: pbkdf2, iterations: 1000, mkfs: {type: ext4, label: '@', mount: {mount_point: /}}}\n"},
	{"luks, 512", "- luks: {name: '@c1', base: BASE, key_env: KEY, pbkdf: pbkdf2, iterations: 1000, sector_size: 512, key_size: 256, mkfs: {type: ext2, label: '@', mount: {mount_point: /}}}\n"},
	{"luks1", "- luks: {name: '@c1', base: BASE, key_env: KEY, type: luks1, iterations: 1000, mkfs: {type: ext4, label: '@', mount: {mount_point: /}}}\n"},
	{"lvm on luks", "- luks: {name: '@c1', base: BASE, key_env: KEY, pbkdf: pbkdf2, iterations: 1000}\n- lvm: {pvs: [{name: '@v', base: '@c1'}], vgs: [{name: '@g', base: '@v'}]," +
		" lvs: [{name: '@root', base: '@g', extents: 100%VG, mkfs: {type: ext4, label: '@', mount: {mount_point: /}}}]}\n"},
	{"luks on lvm", "- lvm: {pvs: [{name: '@v', base: BASE}], vgs: [{name: '@g', base: '@v'}], lvs: [{name: '@root', base: '@g', extents: 100%VG," +
		" luks: {name: '@c1', key_env: KEY, pbkdf: pbkdf2, iterations: 1000, mkfs: {type: ext4, label: '@', mount: {mount_point: /}}}}]}\n"},
}

// more are those that are no product of a lower and an upper one.
var more = []Stack{
	{"two volumes, linear", twoDisks + "- lvm: {pvs: [{name: '@v', base: '@a'}, {name: '@w', base: '@b'}], vgs: [{name: '@g', base: ['@v', '@w'], options: '-s 1m'}]," +
		" lvs: [{name: '@root', base: '@g', extents: 100%VG, mkfs: {type: ext4, label: '@', mount: {mount_point: /}}}]}\n"},
	{"two volumes, striped", twoDisks + "- lvm: {pvs: [{name: '@v', base: '@a'}, {name: '@w', base: '@b'}], vgs: [{name: '@g', base: ['@v', '@w']}]," +
		" lvs: [{name: '@root', base: '@g', extents: 100%VG, options: '-i 2 -I 16k', mkfs: {type: ext4, label: '@', mount: {mount_point: /}}}]}\n"},
	{"array of volumes", twoDisks + "- lvm: {pvs: [{name: '@v', base: '@a'}], vgs: [{name: '@g', base: '@v'}], lvs: [{name: '@x', base: '@g', extents: 100%VG}]}\n" +
		"- lvm: {name: l2, pvs: [{name: '@w', base: '@b'}], vgs: [{name: '@h', base: '@w'}], lvs: [{name: '@y', base: '@h', extents: 100%VG}]}\n" +
		"- md: {name: '@m', level: raid1, base: ['@x', '@y'], mkfs: {type: ext4, label: '@', mount: {mount_point: /}}}\n"},
	{"mirror of encrypted disks", twoDisks + "- luks: {name: '@c1', base: '@a', key_env: KEY, pbkdf: pbkdf2, iterations: 1000}\n- luks: {name: '@c2', base: '@b', key_env: KEY, pbkdf: pbkdf2, iterations: 1000}\n" +
		"- md: {name: '@m', level: raid1, base: ['@c1', '@c2'], mkfs: {type: ext4, label: '@', mount: {mount_point: /}}}\n"},
	{"vfat and swap on lvm", "- local_loop: {name: '@a'}\n- lvm: {pvs: [{name: '@v', base: '@a'}], vgs: [{name: '@g', base: '@v'}], lvs: [" +
		"{name: '@root', base: '@g', extents: 60%VG, mkfs: {type: ext4, label: '@', mount: {mount_point: /}}}," +
		"{name: '@fat', base: '@g', size: 40MiB, mkfs: {type: vfat, label: '@F', mount: {mount_point: /boot}}}," +
		"{name: '@swap', base: '@g', size: 8MiB, mkfs: {type: swap, label: '@S', mount: {mount_point: none, fstab: {}}}}]}\n"},
	{"btrfs on luks, mke2fs on lvm", twoDisks + "- luks: {name: '@c1', base: '@b', key_env: KEY, pbkdf: pbkdf2, iterations: 1000, mkfs: {type: btrfs, label: '@B', mount: {mount_point: /srv}}}\n" +
		"- lvm: {pvs: [{name: '@v', base: '@a'}], vgs: [{name: '@g', base: '@v'}], lvs: [{name: '@root', base: '@g', extents: 100%VG," +
		" mkfs: {type: ext4, opts: '-E stride=16', label: '@', mount: {mount_point: /}}}]}\n"},
}

// Stacks are layouts, each under names of its own: every lower and every upper one
// at least twice, or, with all, each upon each, 62.
func Stacks(every bool) []Stack {
	all := slices.Clone(more)
	for i, l := range lower {
		for k, u := range upper {
			if (k-i)%3 != 0 && !every {
				continue
			}
			all = append(all, Stack{l.name + ", " + u.Name, l.config + strings.ReplaceAll(u.Config, "BASE", "'"+l.device+"'")})
		}
	}
	for i := range all {
		all[i].Config = strings.ReplaceAll(all[i].Config, "@", fmt.Sprintf("n%d", i))
	}
	return all
}

// StackTree makes a tree for all of them, with something for every mount point. What
// lies below /boot can be put onto FAT.
func StackTree(t testing.TB, root string) {
	t.Helper()
	n := nasty{t: t, root: root}
	for _, dir := range []string{"var", "boot", "srv"} {
		n.do(os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	NastyTree(t, filepath.Join(root, "var"))
	for _, f := range []string{"boot/KERNEL", "srv/data"} {
		n.do(os.WriteFile(filepath.Join(root, f), []byte(strings.Repeat("content\n", 5000)), 0o755))
	}
}
