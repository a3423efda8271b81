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
		{"disk", onDisk, "crypt LABEL=crypt none luks", "error: no name that lasts"},
	} {
		for version, want := range map[string]string{"": c.luks2, "type: luks1, ": c.luks1} {
			config := strings.Replace(c.config, "VERSION", version, 1)
			if wrong, isWrong := strings.CutPrefix(want, "error: "); isWrong {
				parsed, err := Parse([]byte(config))
				if err == nil {
					_, err = parsed.Graph(Defaults{})
				}
				if err == nil || !strings.Contains(err.Error(), wrong) {
					t.Errorf("%s, %s: %v; want %q", c.name, version, err, wrong)
				}
				continue
			}
			if got := mustGraph(t, config).Crypttab(); got != want+"\n" {
				t.Errorf("%s, %s: %q; want %q", c.name, version, got, want)
			}
		}
	}
}

// TestCheckBoot: what GRUB cannot open is found before anything is built.
func TestCheckBoot(t *testing.T) {
	const inside = `
- local_loop: {name: a}
- partitioning: {base: a, label: gpt, partitions: [{name: main, type: '8309', size: 100%}]}
- luks: {name: crypt, base: main, key_env: SECRET, KIND mkfs: {type: ext4, mount: {mount_point: /}}}
`
	apart := volumeConfig(`
- luks: {name: crypt, base: main, key_env: SECRET, mkfs: {type: ext4, mount: {mount_point: /}}}
`)
	const thin = `
- local_loop: {name: a}
- partitioning: {base: a, label: gpt, partitions: [{name: boot, type: '8300', size: 100MiB}, {name: main, type: '8E00', size: 100%}]}
- lvm:
    name: lvm
    pvs: [{name: pv, base: main}]
    vgs: [{name: vg, base: [pv]}]
    lvs:
    - {name: pool, base: vg, size: 1GiB, type: thin-pool}
    - {name: root, base: vg, size: 1GiB, type: thin, thin-pool: pool, mkfs: {type: ext4, mount: {mount_point: /}}}
`
	for _, c := range []struct{ name, config, want string }{
		{"the usual", strings.Replace(inside, "KIND", "", 1), `[2].luks (line 4): /boot lies inside "crypt", and GRUB opens no volume with pbkdf: argon2id, the usual; allowed: pbkdf: pbkdf2, type: luks1`},
		{"argon2i", strings.Replace(inside, "KIND", "pbkdf: argon2i,", 1), "with pbkdf: argon2i; allowed"},
		{"pbkdf2", strings.Replace(inside, "KIND", "pbkdf: pbkdf2,", 1), ""},
		{"luks1", strings.Replace(inside, "KIND", "type: luks1,", 1), ""},
		{"/boot apart", apart, ""},
		{"thin", thin, `/boot lies on the thin volume "root", and GRUB reads none; allowed: a volume of type linear`},
		{"root thin, /boot apart", thin + "- mkfs: {base: boot, type: ext4, mount: {mount_point: /boot}}\n", ""},
	} {
		err := mustGraph(t, c.config).CheckBoot()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %q", c.name, err, c.want)
		}
	}
}
