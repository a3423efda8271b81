package blockdev

import (
	"strings"
	"testing"
)

// TestCrypttab: udev makes links by the label of a LUKS header for disks and
// partitions only; on anything else systemd would wait for one in vain.
func TestCrypttab(t *testing.T) {
	const root = "mkfs: {type: ext4, mount: {mount_point: /}}"
	onArray := `
- local_loop: {name: a, size: 1GiB}
- local_loop: {name: b, size: 1GiB}
- md: {name: mirror, level: raid1, base: [a, b], luks: {name: crypt, key_env: SECRET, VERSION` + root + `}}
`
	onVolume := volumeConfig(`
- lvm:
    pvs: [{name: pv, base: main}]
    vgs: [{name: my-vg, base: pv}]
    lvs: [{name: lv_root, base: my-vg, extents: 100%VG, luks: {name: crypt, key_env: SECRET, VERSION` + root + `}}]
`)
	onPartition := volumeConfig(`
- luks: {name: crypt, base: main, key_env: SECRET, VERSION` + root + `}
`)
	onLUKS := volumeConfig(`
- luks: {name: outer, base: main, key_env: SECRET}
- luks: {name: crypt, base: outer, key_env: SECRET, VERSION` + root + `}
`)
	onDisk := `
- local_loop: {name: a, mkfs: {type: ext4, mount: {mount_point: /}}}
- local_loop: {name: b, size: 1GiB, luks: {name: crypt, key_env: SECRET, VERSION mkfs: {type: ext4, mount: {mount_point: /srv}}}}
`
	for _, c := range []struct{ name, config, luks2, luks1 string }{
		{"array", onArray, "crypt /dev/md/mirror none luks,initramfs", "crypt /dev/md/mirror none luks,initramfs"},
		{"logical volume", onVolume, "crypt /dev/mapper/my--vg-lv_root none luks,initramfs", "crypt /dev/mapper/my--vg-lv_root none luks,initramfs"},
		{"partition", onPartition, "crypt LABEL=crypt none luks,initramfs", "crypt PARTLABEL=main none luks,initramfs"},
		{"encrypted volume", onLUKS, "outer LABEL=outer none luks,initramfs\ncrypt /dev/mapper/outer none luks,initramfs",
			"outer LABEL=outer none luks,initramfs\ncrypt /dev/mapper/outer none luks,initramfs"},
		{"disk", onDisk, "crypt LABEL=crypt none luks", ""},
	} {
		for version, want := range map[string]string{"": c.luks2, "type: luks1, ": c.luks1} {
			if want == "" {
				continue // refused: TestVolumeMistakes
			}
			if got := mustGraph(t, strings.Replace(c.config, "VERSION", version, 1)).Crypttab(); got != want+"\n" {
				t.Errorf("%s, %s: %q; want %q", c.name, version, got, want)
			}
		}
	}
}
