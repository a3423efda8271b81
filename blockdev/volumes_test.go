package blockdev

import (
	"errors"
	"strings"
	"testing"
)

// volumeConfig puts entries behind a gpt of one disk with two open partitions.
func volumeConfig(entries string) string {
	return `
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: gpt
    partitions:
    - {name: boot, type: '8300', size: 100MiB, mkfs: {type: ext4, mount: {mount_point: /boot}}}
    - {name: main, type: '8300', size: 100%}
` + entries
}

// stacks are one of each kind, and kinds upon kinds.
var stacks = map[string]string{
	"lvm": volumeConfig(`
- lvm:
    name: lvm
    pvs: [{name: pv, base: main, options: ["--force"]}]
    vgs: [{name: vg, base: [pv]}]
    lvs:
    - {name: lv_root, base: vg, extents: 100%FREE}
- mkfs: {name: fs, base: lv_root, type: ext4, mount: {mount_point: /}}
`),
	"lvm shares": volumeConfig(`
- lvm:
    pvs: [{name: pv, base: main}]
    vgs: [{name: vg, base: pv, options: "-s 1m"}]
    lvs:
    - {name: lv_root, base: vg, extents: 60%VG, mkfs: {type: ext4, mount: {mount_point: /}}}
    - {name: lv_var, base: vg, size: 300M, mkfs: {type: ext4, mount: {mount_point: /var}}}
    - {name: lv_home, base: vg, extents: 100%FREE, mkfs: {type: ext4, mount: {mount_point: /home}}}
`),
	"luks": volumeConfig(`
- luks: {name: crypt, base: main, key_env: SECRET, mkfs: {type: ext4, mount: {mount_point: /}}}
`),
	"lvm on luks": volumeConfig(`
- luks: {name: crypt, base: main, key_env: SECRET}
- lvm:
    pvs: [{name: pv, base: crypt}]
    vgs: [{name: vg, base: pv}]
    lvs: [{name: root, base: vg, extents: 100%VG, mkfs: {type: ext4, mount: {mount_point: /}}}]
`),
	"luks on lvm": volumeConfig(`
- lvm:
    pvs: [{name: pv, base: main}]
    vgs: [{name: vg, base: pv}]
    lvs: [{name: root, base: vg, extents: 100%VG, luks: {name: crypt, key_env: SECRET, mkfs: {type: ext4, mount: {mount_point: /}}}}]
`),
	"raid1": `
- local_loop: {name: a}
- local_loop: {name: b}
- partitioning: {base: a, label: gpt, partitions: [{name: a1, type: FD00, size: 100%}]}
- partitioning: {base: b, label: gpt, partitions: [{name: b1, type: FD00, size: 100%}]}
- md: {name: mirror, level: raid1, base: [a1, b1], mkfs: {type: ext4, mount: {mount_point: /}}}
`,
	"raid5, lvm, luks": `
- local_loop: {name: a}
- local_loop: {name: b}
- local_loop: {name: c}
- md: {name: five, level: 5, chunk: 64KiB, base: [a, b, c]}
- lvm:
    pvs: [{name: pv, base: five}]
    vgs: [{name: vg, base: pv}]
    lvs: [{name: root, base: vg, extents: 100%VG, luks: {name: crypt, key_env: SECRET, mkfs: {type: ext4, mount: {mount_point: /}}}}]
`,
	"two groups, stripes": `
- local_loop: {name: a}
- local_loop: {name: b}
- lvm:
    pvs: [{name: p, base: a}, {name: q, base: b}]
    vgs: [{name: vg, base: [p, q]}]
    lvs: [{name: root, base: vg, extents: 100%VG, options: ["-i", "2", "-I", 64k], mkfs: {type: ext4, mount: {mount_point: /}}}]
`,
}

// TestVolumeSizes: every stack gets a size in which its content surely fits, both
// with computed sizes and with the least that is taken; every device lies within
// what is below it.
func TestVolumeSizes(t *testing.T) {
	const bytes = 300 * mib
	for name, config := range stacks {
		t.Run(name, func(t *testing.T) {
			g := mustGraph(t, config)
			g.Identify("seed")
			content := map[string]Content{}
			for _, m := range g.MountPoints() {
				content[m] = Content{Bytes: 8 * kib, Inodes: 2, Dirs: 2}
			}
			content["/"] = Content{Bytes: bytes, Inodes: 2000, Dirs: 100}
			p, err := g.Layout(content, Request{})
			if err != nil {
				t.Fatal(err)
			}
			root := p.FileSystem("/")
			if root.Disk != "" || root.Size < bytes*5/3 || root.Size > bytes*5/2 {
				t.Errorf("%+v", root)
			}
			if len(p.Volumes) == 0 {
				t.Error("no volumes")
			}
			for _, v := range p.Volumes {
				checkVolumePlan(t, p, v)
			}
		})
	}
}

func checkVolumePlan(t *testing.T, p *Plan, v VolumePlan) {
	t.Helper()
	switch {
	case v.Group != nil:
		used := int64(0)
		for _, l := range v.Group.Logical {
			used += l.Size
			if l.Size%v.Group.Extent != 0 || l.Size <= 0 {
				t.Errorf("%+v", l)
			}
		}
		if used > v.Size {
			t.Errorf("%d bytes of %d", used, v.Size)
		}
	case v.Array != nil:
		for _, n := range v.Array.Sizes {
			if n <= 0 {
				t.Errorf("%+v", v.Array)
			}
		}
	case v.LUKS != nil:
		if v.Size >= v.LUKS.Device || v.Size%int64(v.LUKS.SectorSize) != 0 {
			t.Errorf("%+v", v)
		}
	}
}

// TestVolumeMistakes: what cannot be is refused with the place, before sizes are
// known; the messages of lvm are those of diskimage-builder.
func TestVolumeMistakes(t *testing.T) {
	lvm := func(pvs, vgs, lvs string) string {
		return volumeConfig("- lvm: {pvs: [" + pvs + "], vgs: [" + vgs + "], lvs: [" + lvs + "]}\n")
	}
	const pv, vg = "{name: pv, base: main}", "{name: vg, base: pv}"
	md := func(s string) string { return volumeConfig("- md: {" + s + "}\n") }
	luks := func(s string) string { return volumeConfig("- luks: {" + s + "}\n") }
	for _, c := range []struct{ config, want string }{
		{lvm(pv, "{name: vg, base: [pw]}", "{name: l, base: vg, size: 1GiB}"), "base:pw in vgs does not match a valid pvs"},
		{lvm(pv, vg, "{name: l, base: vh, size: 1GiB}"), "base:vh in lvs does not match a valid vg"},
		{lvm(pv, vg, "{name: l, base: [invalid_vg], size: 1GiB}"), "base:['invalid_vg'] in lvs does not match a valid vg"},
		{lvm(pv, vg, "{name: l, base: vg}"), "Missing 'size' or 'extents' in lvs config"},
		{lvm(pv, vg, "{name: l, base: vg, size: 1GiB, type: raid1}"), "Unsupported type:raid1, supported types: thin, thin-pool"},
		{lvm(pv, vg, "{name: l, base: vg, size: 1GiB, type: thin}"), "thin-pool is missing"},
		{lvm(pv, vg, "{name: l, base: vg, size: 1GiB, type: thin, thin-pool: q}"), `thin-pool:q of "l" is no volume of type thin-pool in group "vg"`},
		{lvm(pv, vg, "{name: q, base: vg, size: 1GiB}, {name: l, base: vg, size: 1GiB, type: thin, thin-pool: q}"), "is no volume of type thin-pool"},
		{lvm(pv, vg, "{name: q, base: vg, size: 1GiB, type: thin-pool}, {name: l, base: vg, size: 1GiB, thin-pool: q}"), "its type must be thin"},
		{lvm(pv, vg, "{name: q, base: vg, size: 1GiB, type: thin-pool}, {name: l, base: vg, extents: 10%VG, type: thin, thin-pool: q}"), "size is missing"},
		{lvm(pv, vg, "{name: q, base: vg, size: 1GiB, type: thin-pool, options: --stripes 2}"), `option "--stripes" is not known here`},
		{lvm(pv, vg, "{name: q, base: vg, size: 1GiB, type: thin-pool, options: -c 5k}"), "a multiple of 64 KiB"},
		{lvm(pv, vg, "{name: q, base: vg, size: 1GiB, type: thin-pool}") + "- mkfs: {base: q, type: ext4}\n", "it stands on a block device"},
		{lvm(pv, vg, "{name: l, base: vg, size: 1MiB}"), "less than one extent of 4 MiB"},
		{lvm(pv, vg, "{name: l, base: vg, extents: 110%VG}"), "a share above 0 and up to 100 of VG, FREE or PVS"},
		{lvm(pv, vg, "{name: l, base: vg, size: 1GiB, options: --stripes 2}"), `2 stripes; group "vg" has 1 physical`},
		{lvm(pv, vg, "{name: l, base: vg, size: 1GiB, options: --mirrors 2}"), `option "--mirrors" is not known here`},
		{lvm(pv, vg, "{name: l, base: vg, size: 1GiB, options: --stripes}"), "its value is missing"},
		{lvm(pv, "{name: vg, base: pv, options: -s 3m}", "{name: l, base: vg, size: 1GiB}"), "power of two"},
		{lvm(pv, vg, "{name: 'a b', base: vg, size: 1GiB}"), "letters, digits and + _ . -"},
		{lvm(pv, vg, "{name: snapshot1, base: vg, size: 1GiB}"), "LVM keeps names that begin"},
		{lvm(pv, vg, ""), "at least one logical volume"},
		{lvm("{name: pv, base: main}, {name: pv2, base: main}", "{name: vg, base: [pv, pv2]}", "{name: l, base: vg, size: 1GiB}"), `"main" is taken twice: by pv and pv2`},
		{lvm("{name: pv, base: l}", vg, "{name: l, base: vg, size: 1GiB}"), "a cycle"},
		{lvm(pv+", {name: q, base: boot}", vg, "{name: l, base: vg, size: 1GiB}"), `"boot" is taken twice`},
		{lvm(pv, vg, "{name: l, base: vg, size: 1GiB}") + "- mkfs: {base: vg, type: ext4}\n", "it stands on a block device"},
		{md("name: m, level: raid5, base: [main]"), "raid5 of one member; it has at least 3 members"},
		{md("name: m, level: raid6, base: [boot, main]"), "raid6"},
		{md("name: m, level: raid1, base: [main, main]"), "named twice"},
		{md("name: m, level: raid1, base: [main]"), "raid1 of one member"},
		{md("level: raid1, base: [main, boot]"), "name is missing"},
		{md("name: m, level: raid1, chunk: 64KiB, base: [main, q]"), "Edge not defined: q->m"},
		{luks("base: main, name: c"), "key_file, key_env or key_fd"},
		{luks("base: main, name: c, passphrase: geheim"), `unknown key "passphrase"`},
		{luks("base: main, name: c, key_env: A, key_file: /b"), "given together"},
		{luks("base: main, name: c, key_env: A, type: luks1, label: x"), "luks1 has no label"},
		{luks("base: main, name: c, key_env: A-B"), "the name of a variable"},
		{luks("base: main, name: c, key_fd: 1"), "from 3 on"},
		{luks("name: c, key_env: A"), "base is missing"},
	} {
		err := mistake(c.config)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s\n got %v\nwant %s", c.config, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "geheim") {
			t.Errorf("it tells the secret: %v", err)
		}
	}
}

// TestThin: a pool has room for what its volumes promise when nobody says how large
// it is, and LVM's own beside it; thin volumes take nothing of the group.
func TestThin(t *testing.T) {
	const config = `
- local_loop: {name: image0SIZE}
- lvm:
    pvs: [{name: pv, base: image0}]
    vgs: [{name: vg, base: pv}]
    lvs:
    - {name: root, base: vg, size: 160MiB, type: thin, thin-pool: pool, mkfs: {type: ext4, mount: {mount_point: /}}}
    - {name: plain, base: vg, size: 40MiB}
    - {name: pool, base: vg, type: thin-pool, POOL}
    - {name: var, base: vg, size: 200MiB, type: thin, thin-pool: pool, mkfs: {type: ext4, mount: {mount_point: /var}}}
`
	for _, c := range []struct {
		disk, pool            string
		size, metadata, extra int64 // MiB: of the pool, its metadata, the disk beside the pool
	}{
		{"", "extents: 100%FREE", 360, 4, 1 + 40 + 8},
		{"", "size: 50MiB", 48, 4, 1 + 40 + 8}, // promises may be larger
		{", size: 101MiB", "extents: 100%FREE", 52, 4, 1 + 40 + 8},
		{", size: 101MiB", "extents: 90%VG", 52, 4, 1 + 40 + 8},
		{"", "size: 1GiB, options: --poolmetadatasize 10m -c 128k", 1024, 12, 1 + 40 + 24},
	} {
		g := mustGraph(t, strings.NewReplacer("SIZE", c.disk, "POOL", c.pool).Replace(config))
		g.Identify("seed")
		p, err := g.Layout(map[string]Content{"/": {Bytes: mib, Inodes: 10, Dirs: 2}, "/var": {Bytes: mib, Inodes: 10, Dirs: 2}}, Request{})
		if err != nil {
			t.Fatalf("%+v: %v", c, err)
		}
		pool := p.Volumes[0].Group.Logical[2]
		if !pool.Pool || pool.Size != c.size*mib || pool.Metadata != c.metadata*mib || p.Disks[0].Size != (c.size+c.extra)*mib {
			t.Errorf("%+v: the pool is %+v, the disk has %d MiB", c, pool, p.Disks[0].Size/mib)
		}
		if f := p.FileSystem("/var"); f.Size != 200*mib || !f.Explicit {
			t.Errorf("/var is %+v", f)
		}
		if len(g.Thin()) != 3 {
			t.Errorf("thin: %v", g.Thin())
		}
	}
}

// TestVolumesTooSmall: sizes that the user gave are final.
func TestVolumesTooSmall(t *testing.T) {
	for name, c := range map[string]struct{ config, want string }{
		"group": {strings.Replace(stacks["lvm shares"], "300M", "3TiB", 1), `logical volume "lv_var" (3 TiB) of group "vg"`},
		"luks":  {strings.Replace(strings.Replace(stacks["luks"], "100%", "10MiB", 1), "{name: image0}", "{name: image0, size: 1GiB}", 1), `encrypted volume "crypt" needs`},
		"root":  {strings.Replace(stacks["raid1"], "{name: a}", "{name: a, size: 100MiB}", 1), "would be lost; make them equal"},
	} {
		g := mustGraph(t, c.config)
		g.Identify("seed")
		content := map[string]Content{"/": {Bytes: 300 * mib, Inodes: 2000, Dirs: 100}}
		for _, m := range g.MountPoints()[:] {
			if m != "/" {
				content[m] = Content{Bytes: 8 * kib, Inodes: 2, Dirs: 2}
			}
		}
		r := Request{}
		if name == "group" {
			r.ImageSize = 4 * gib
		}
		_, err := g.Layout(content, r)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
		var size *SizeError
		if name != "root" && !errors.As(err, &size) {
			t.Errorf("%s: %T", name, err)
		}
	}
}
