package boot

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/lithify/lithify/blockdev"
)

// layoutOf is the layout of a configuration, as a target reads it.
func layoutOf(t *testing.T, config string) Layout {
	t.Helper()
	parsed, err := blockdev.Parse([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	graph, err := parsed.Graph(blockdev.Defaults{})
	if err != nil {
		t.Fatal(err)
	}
	graph.Identify("seed")
	text, err := json.Marshal(LayoutOf(graph))
	if err != nil {
		t.Fatal(err)
	}
	var again Layout
	if err := json.Unmarshal(text, &again); err != nil {
		t.Fatal(err)
	}
	return again
}

// drives checks GRUB's names of the file systems at some mount points.
func (l Layout) drives(t *testing.T, want map[string]string) {
	t.Helper()
	for mount, drive := range want {
		f, err := l.at(mount)
		if err != nil || f.Mount != mount || f.drive() != drive || f.UUID == "" || f.Volume != nil {
			t.Errorf("%s: %+v, %v; want %s", mount, f, err, drive)
		}
	}
}

func TestLayoutOfMBR(t *testing.T) {
	layout := layoutOf(t, `
- local_loop: {name: other}
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: mbr
    partitions:
    - {name: boot, flags: [boot, primary], size: 200MiB, mkfs: {type: ext4, label: BOOT, mount: {mount_point: /boot}}}
    - {name: one, size: 10MiB, type: 0x82}
    - {name: root, size: 100%, mkfs: {type: ext4, label: cloudimg-rootfs, mount: {mount_point: /}}}
- mkfs: {name: data, base: other, type: ext3, mount: {mount_point: /data}}
`)
	layout.drives(t, map[string]string{"/": "hd0,msdos6", "/boot": "hd0,msdos1", "/data": "hd1"})
	root, err := layout.at("/")
	if err != nil || root.Label != "cloudimg-rootfs" || root.Type != "ext4" || root.PartType != "83" || len(root.DiskID) != 8 || layout.NoBIOS != "" {
		t.Errorf("%+v, %v, %q", root, err, layout.NoBIOS)
	}
}

const gptConfig = `
- local_loop: {name: data, size: 100MiB}
- local_loop: {name: image0, block_size: 512}
- partitioning:
    base: image0
    label: gpt
    partitions:
    - {name: ESP, type: EF00, size: 64MiB, mkfs: {type: vfat, uuid: ABCD-1234, mount: {mount_point: /boot/efi}}}
    - {name: BSP, type: EF02, size: 2MiB}
    - {name: boot, type: '8300', size: 200MiB, mkfs: {type: xfs, label: BOOT, mount: {mount_point: /boot}}}
    - {name: swap, type: '8200', size: 10MiB, mkfs: {type: swap, mount: {mount_point: none}}}
    - {name: root, type: '8300', size: 100%, uuid: 1F1C2D4E-0a1b-4c2d-8e3f-112233445566, mkfs: {name: fs, type: btrfs, subvolumes: [ '@', '@home' ]}}
- mount: {name: m_root, base: fs, mount_point: /, subvolume: '@'}
- mount: {name: m_home, base: fs, mount_point: /home, subvolume: '@home'}
- partitioning:
    base: data
    label: gpt
    partitions:
    - {name: only, type: '8300', size: 100%, mkfs: {type: ext2, mount: {mount_point: /data}}}
`

func TestLayoutOfGPT(t *testing.T) {
	layout := layoutOf(t, gptConfig)
	layout.drives(t, map[string]string{"/": "hd0,gpt5", "/home": "hd0,gpt5", "/boot": "hd0,gpt3", "/boot/efi": "hd0,gpt1", "/data": "hd1,gpt1"})
	if layout.NoBIOS != "" || len(layout.FileSystems) != 6 {
		t.Errorf("%q, %+v", layout.NoBIOS, layout.FileSystems)
	}
	for _, c := range []struct{ target, path, want string }{
		{"fs", "/", "btrfs"}, {"fs", "/boot", "xfs"}, {"fs", "/boot/efi/EFI", "fat"}, {"fs_uuid", "/boot/efi", "ABCD-1234"},
		{"partmap", "/", "gpt"}, {"drive", "/", "(hd0,gpt5)"}, {"partuuid", "/", "1f1c2d4e-0a1b-4c2d-8e3f-112233445566"},
		{"gpt_parttype", "/boot/efi", "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"}, {"msdos_parttype", "/", ""}, {"fs_label", "/boot", "BOOT"},
	} {
		f, err := layout.at(c.path)
		if strings.HasSuffix(c.path, "EFI") {
			f, err = layout.at("/boot/efi")
		}
		if err != nil {
			t.Fatal(err)
		}
		lines, err := answers[c.target](f)
		if got := strings.Join(lines, " "); err != nil || got != c.want {
			t.Errorf("%s of %s: %q, %v; want %q", c.target, c.path, got, err, c.want)
		}
	}
	for name, want := range map[string]string{"/": "/@", "/etc/x": "/@/etc/x", "/home/a": "/@home/a", "/boot/grub": "/grub", "/boot": ""} {
		f, err := layout.at(name)
		if err != nil || f.relative(name) != want {
			t.Errorf("%s on its own file system: %q, %v; want %q", name, f.relative(name), err, want)
		}
	}
}

func TestLayoutKnowsWhereNoBIOSStarts(t *testing.T) {
	for config, want := range map[string]string{
		strings.Replace(gptConfig, "block_size: 512", "block_size: 4096", 1):                      "its sectors have 4096 bytes",
		strings.Replace(gptConfig, "type: EF02", "type: EF01", 1):                                 "its gpt has no BIOS-boot partition (type EF02)",
		strings.Replace(gptConfig, "type: EF02", "type: 21686148-6449-6e6f-744e-656564454649", 1): "",
	} {
		if got := layoutOf(t, config).NoBIOS; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestVolumesOpenFromBelow: what is encrypted within something encrypted is opened
// after it, and the words come in the order and number of grub-probe's.
func TestVolumesOpenFromBelow(t *testing.T) {
	layout := layoutOf(t, `[{local_loop: {name: a}}, {local_loop: {name: b}},
		{partitioning: {base: a, label: gpt, partitions: [{name: a1, size: 100%}]}},
		{partitioning: {base: b, label: mbr, partitions: [{name: b1, size: 100%}]}},
		{md: {name: mirror, level: raid1, base: [a1, b1], luks: {name: outer, key_env: K, type: luks1, uuid: 11111111-0a1b-4c2d-8e3f-112233445566}}},
		{lvm: {pvs: [{name: pv, base: outer}], vgs: [{name: vg, base: [pv]}], lvs: [{name: lv, base: vg, extents: 100%VG,
			luks: {name: inner, key_env: K, uuid: 22222222-0a1b-4c2d-8e3f-112233445566, mkfs: {type: ext4, mount: {mount_point: /}}}}]}}]`)
	f, err := layout.at("/")
	if err != nil {
		t.Fatal(err)
	}
	for target, want := range map[string]string{
		"partmap":         "gpt msdos",
		"abstraction":     "diskfilter mdraid1x cryptodisk luks gcry_rijndael gcry_rijndael gcry_sha256 lvm cryptodisk luks2 gcry_rijndael gcry_rijndael gcry_sha256",
		"cryptodisk_uuid": "111111110a1b4c2d8e3f112233445566 222222220a1b4c2d8e3f112233445566",
		"drive":           "(cryptouuid/222222220a1b4c2d8e3f112233445566)",
		"hints_string":    "--hint='cryptouuid/222222220a1b4c2d8e3f112233445566' ",
	} {
		lines, err := answers[target](f)
		if got := strings.Join(lines, " "); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", target, got, err, want)
		}
	}
	config := (&installer{fs: f, grub: "/boot/grub"}).loadConfig()
	if strings.LastIndex(config, "-u 1111") > strings.Index(config, "-u 2222") {
		t.Errorf("the inner volume is opened first:\n%s", config)
	}
}
