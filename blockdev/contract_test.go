package blockdev

import (
	"errors"
	"strings"
	"testing"
)

// contractLayouts are the layouts that diskimage-builder ships, as its users have
// them in files of their own.
var contractLayouts = map[string]string{
	"mbr": onePartition,
	"mbr, ppc64el": `
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: mbr
    partitions:
      - {name: boot, flags: [boot, primary], type: 0x41, size: 8MiB}
      - name: root
        flags: [primary]
        size: 100%
        mkfs: {mount: {mount_point: /, fstab: {options: "defaults", fsck-passno: 1}}}
`,
	"gpt, ppc64el": `
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: gpt
    partitions:
      - {name: boot, type: 0x4100, size: 8MiB}
      - name: root
        type: 0x8300
        size: 100%
        mkfs: {type: ext4, mount: {mount_point: /, fstab: {options: "defaults", fsck-passno: 1}}}
`,
	"efi, as a graph": `
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: gpt
    partitions:
      - {name: ESP, type: EF00, size: 550MiB}
      - {name: BSP, type: EF02, size: 8MiB}
      - {name: root, type: 8300, size: 100%}
- mkfs: {name: mkfs_ESP, base: ESP, type: vfat}
- mount: {name: mount_mkfs_ESP, base: mkfs_ESP, mount_point: /boot/efi}
- fstab: {name: fstab_mount_mkfs_ESP, base: mount_mkfs_ESP, options: defaults, fsck-passno: 2}
- mkfs: {name: mkfs_root, base: root, type: ext4}
- mount: {name: mount_mkfs_root, base: mkfs_root, mount_point: /}
- fstab: {name: fstab_mount_mkfs_root, base: mount_mkfs_root, options: defaults, fsck-passno: 1}
`,
	"swap, unit tests": `
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: mbr
    partitions:
    - {name: root, flags: [primary], size: 50%, mkfs: {type: xfs, mount: {mount_point: /, fstab: {options: rw}}}}
    - {name: var, flags: [primary], size: 50%, mkfs: {type: xfs, mount: {mount_point: /var, fstab: {}}}}
    - {name: log, flags: [primary], size: 50%, mkfs: {type: vfat, label: varlog, mount: {mount_point: /var/log, fstab: {}}}}
    - {name: swap, size: 50%, mkfs: {type: swap, mount: {mount_point: swap, fstab: {}}}}
    - {name: more, size: 50%, mkfs: {type: swap, mount: {mount_point: none, fstab: {dump-freq: 3, options: noauto}}}}
`,
}

// What the contract asks of errors (its section D.11, without lvm).
func TestErrorCatalogue(t *testing.T) {
	const disk = "- local_loop: {name: image0}\n"
	part := func(items string) string {
		return disk + "- partitioning:\n    base: image0\n    label: mbr\n    partitions:\n" + items
	}
	for name, c := range map[string]struct{ config, want string }{
		"unknown node": {disk + "- mkfss: {base: image0}\n",
			`block-device configuration: [1].mkfss (line 2): unknown node "mkfss"; allowed: fstab, local_loop, luks, lvm, md, mkfs, mount, partitioning, physical_disk; did you mean "mkfs"?`},
		"two keys": {"- local_loop: {name: image0}\n  mkfs: {base: image0}\n",
			`Config entry top-level should be a single dict: [0] (line 1): found the keys local_loop, mkfs; one node per entry is wanted`},
		"no map": {disk + "- mkfs\n",
			`Config entry top-level should be a single dict: [1] (line 2): found "mkfs"; a node and its settings are wanted, such as {mkfs: {…}}`},
		"base names nothing": {disk + "- mkfs:\n    name: fs\n    base: imag0\n    type: ext4\n",
			`Edge not defined: imag0->fs: [1].mkfs (line 2): no node is called "imag0"; allowed: fs, image0; did you mean "image0"?`},
		"a name twice": {disk + "- mkfs: {name: fs, base: image0, type: ext4}\n- mount: {name: image0, base: fs, mount_point: /}\n",
			`Duplicate node name: image0: [2].mount (line 3): another node of that name stands at [0].local_loop (line 1)`},
		"a label twice": {part("    - {name: a, size: 1GiB, mkfs: {type: ext4, label: data}}\n    - {name: b, size: 1GiB, mkfs: {type: ext4, label: data}}\n"),
			`label "data" used more than once: by "mkfs_a" and "mkfs_b"`},
		"a label twice on vfat": {part("    - {name: a, size: 1GiB, mkfs: {type: vfat, label: data}}\n    - {name: b, size: 1GiB, mkfs: {type: vfat, label: Data}}\n"),
			`label "DATA" used more than once: by "mkfs_a" and "mkfs_b"`},
		"a label twice, once vfat": {part("    - {name: a, size: 1GiB, mkfs: {type: ext4, label: data}}\n    - {name: b, size: 1GiB, mkfs: {type: vfat, label: Data}}\n"),
			`label "data" ("DATA") used more than once: by "mkfs_a" and "mkfs_b"`},
		"a long label": {disk + "- mkfs: {base: image0, type: xfs, label: 012345678901234567890123456789012345678}\n",
			`label "012345678901234567890123456789012345678" is too long for filesystem xfs: 39 bytes, at most 12`},
		"a label vfat cannot have": {disk + "- mkfs: {base: image0, type: vfat, label: a.b}\n", `character '.' is not allowed; allowed are letters`},
		"two of one swap's label": {part("    - {name: a, size: 1GiB, mkfs: {type: swap, label: swap}}\n    - {name: b, size: 1GiB, mkfs: {type: swap, label: swap}}\n"),
			`label "swap" used more than once`},
		"a size without a unit": {part("    - name: a\n      size: 747InVaLiDUnIt\n"),
			`[1].partitioning.partitions[0].size (line 7, node "a"): size "747InVaLiDUnIt": unknown unit "InVaLiDUnIt"; allowed: B, G`},
		"no size":       {part("    - name: a\n      flags: [primary]\n"), `[1].partitioning.partitions[0] (line 6, node "a"): size is missing`},
		"no base":       {disk + "- mkfs: {name: fs, type: ext4}\n", `[1].mkfs (line 2, node "fs"): base is missing: the name of the node that this one stands on, unless it is nested inside that one`},
		"nothing":       {"- local_loop: {name: image0}\n- partitioning:\n", `[1].partitioning (line 2): found nothing; a map of settings is wanted`},
		"empty value":   {"- local_loop:\n    name: image0\n    size:\n", `[0].local_loop.size (line 3, node "image0"): found nothing; a size is wanted, such as 1.5GiB`},
		"a word twice":  {part("    - {name: a, size: 1GiB, flags: boot primry}\n"), `flags (line 6, node "a"): unknown flag "primry"; allowed: boot, primary; did you mean "primary"?`},
		"true":          {"- local_loop: {name: true}\n", `found true; text is wanted`},
		"empty":         {"[]", `the configuration is empty; at least one disk (local_loop, physical_disk) is wanted`},
		"empty levels":  {"[[], []]", `the configuration is empty`},
		"another's key": {disk + "- mkfs: {base: image0, type: ext4, mount_point: /}\n", `[1].mkfs.mount_point (line 2): unknown key "mount_point": it is one of mount; allowed: base, fstab, label`},
		"ext5":          {disk + "- mkfs: {base: image0, type: ext5}\n", `unknown file system "ext5"; allowed: btrfs, ext2, ext3, ext4, fat, swap, vfat, xfs; did you mean "ext4"?`},
		"too many":      {strings.Repeat("- local_loop: {name: x}\n", 1001), `1001 nodes; at most 1000`},
		"a cycle":       {"- mount: {name: a, base: b, mount_point: /}\n- mkfs: {name: b, base: a, type: ext4}\n", `a cycle: each of these nodes waits for another: [a b]`},
		"gpt, primary":  {strings.Replace(part("    - {name: a, size: 1GiB, flags: [primary]}\n"), "mbr", "gpt", 1), `unknown flag of a GPT partition "primary"; allowed: boot`},
		"mbr, uuid":     {part("    - {name: a, size: 1GiB, uuid: 6d4c1b8e-3f0a-4c55-9d1b-0a4f5e2c7d11}\n"), `unknown key "uuid": it is one of md, luks, mkfs and a partition (gpt); allowed: base, flags, fstab, local_loop, luks, lvm, md, mkfs, mount, name, partitioning, physical_disk, size, type`},
		"vfat's uuid":   {disk + "- mkfs: {base: image0, type: vfat, uuid: 6d4c1b8e-3f0a-4c55-9d1b-0a4f5e2c7d11}\n", `volume ID "6d4c1b8e-3f0a-4c55-9d1b-0a4f5e2c7d11": allowed are`},
		"first of all":  {part("    - {name: a, size: 1x}\n    - {nam: b, size: 1GiB}\n"), `unknown unit "x"`},
		"level":         {`[[["local_loop", {"name": "d"}]], [["mkfs", {"base": "d"}]]]`, `[1][0][0] (line 1): mkfs stands on level 2; here is level 1 (partitioning, lvm, md, luks)`},
		"level typo":    {`[[["local_lop", {"name": "d"}]]]`, `[0][0][0] (line 1): unknown node "local_lop"; allowed: local_loop, physical_disk; did you mean "local_loop"?`},
		"levels mixed":  {`[[["local_loop", {"name": "d"}]], {"mkfs": {}}]`, `[1] (line 1): found a map; a level is a list of [node, {…}] pairs`},
	} {
		t.Run(name, func(t *testing.T) {
			err := mistake(c.config)
			var config *ConfigError
			if !errors.As(err, &config) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

// Two swaps: each has a label and a line of its own.
func TestSwaps(t *testing.T) {
	want := "LABEL=mkfs_root / xfs rw 0 2\nLABEL=mkfs_var /var xfs defaults 0 2\nLABEL=VARLOG /var/log vfat defaults 0 2\n" +
		"LABEL=mkfs_swap none swap sw 0 0\nLABEL=mkfs_more none swap sw 0 0\n"
	want = strings.Replace(want, "LABEL=mkfs_root", "LABEL=img-rootfs", 1)
	if got := mustGraph(t, contractLayouts["swap, unit tests"]).Fstab(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// A label that nobody gave is one that its file system and fstab can hold, and
// different nodes have different ones.
func TestDerivedLabels(t *testing.T) {
	for name, want := range map[[2]string]string{
		{"xfs", "home"}: "mkfs_home", {"xfs", "a-long-partition"}: "mkfs_a-", {"vfat", "esp"}: "MKFS_ESP", {"vfat", "a.b"}: "MKFS_A_B",
		{"vfat", "tête"}: "MKFS_T_TE", {"ext4", "Root Part"}: "mkfs_Root_Part", {"swap", "one-very-long-swap"}: "mkfs_one-ve-",
		{"xfs", "éééééééé"}: "mkfs_é-", {"btrfs", "a'b"}: "mkfs_a_b",
	} {
		config := `[{"local_loop": {"name": "d", "partitioning": {"label": "gpt", "partitions": [{"name": "` + name[1] + `", "size": "100%", "mkfs": {"type": "` + name[0] + `"}}]}}}]`
		f := mustGraph(t, config).FileSystems()[0]
		if !strings.HasPrefix(f.Label, want) || len(f.Label) > fsTypes[f.FSType].max {
			t.Errorf("%v: %q, want %q", name, f.Label, want)
		}
	}
}
