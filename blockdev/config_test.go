package blockdev

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const onePartition = `
- local_loop:
    name: image0
- partitioning:
    base: image0
    label: mbr
    partitions:
      - name: root
        flags: [ boot, primary ]
        size: 100%
        mkfs:
          mount:
            mount_point: /
            fstab:
              options: "defaults"
              fsck-passno: 1
`

func mustGraph(t testing.TB, config string) *Graph {
	t.Helper()
	c, err := Parse([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	g, err := c.Graph(Defaults{})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func names(g *Graph) string {
	var all []string
	for _, n := range g.Nodes() {
		all = append(all, n.Name())
	}
	return strings.Join(all, " ")
}

// forms are configurations of every form, with their nodes in order.
var forms = map[string]struct{ config, want string }{
	"tree": {onePartition, "image0 root mkfs_root mount_mkfs_root fstab_mount_mkfs_root"},
	"all nested": {`
- local_loop:
    name: image0
    partitioning:
      label: mbr
      partitions:
      - {name: root, flags: boot primary, size: 50%, mkfs: {mount: {mount_point: /}}}
      - {name: var, flags: [primary], size: 100%, mkfs: {type: ext4, mount: {mount_point: /var}}}
`, "image0 root var mkfs_root mount_mkfs_root mkfs_var mount_mkfs_var"},
	"graph, out of order": {`[
	{"fstab": {"name": "f", "base": "m"}},
	{"mount": {"name": "m", "base": "mkfs_root", "mount_point": "/"}},
	{"mkfs": {"name": "mkfs_root", "base": "root"}},
	{"partitioning": {"base": "image0", "label": "mbr", "partitions": [{"name": "root", "flags": ["primary"], "size": "1GiB"}]}},
	{"local_loop": {"name": "image0"}}]`, "image0 root mkfs_root m f"},
	"levels": {`[[["local_loop", {"name": "rootdisk"}]],
			[["partitioning", {"base": "rootdisk", "label": "mbr", "partitions": [{"name": "root", "flags": ["primary"], "size": "100%"}]}]],
			[["mkfs", {"name": "mkfs_root", "base": "root"}]],
			[["mount", {"base": "mkfs_root", "mount_point": "/"}]],
			[["fstab", {"base": "mount_mkfs_root"}]]]`, "rootdisk root mkfs_root mount_mkfs_root fstab_mount_mkfs_root"},
	"the manual's": {`[[["local_loop", {"name": "rootdisk"}]]]`, "rootdisk"},
	"mounts by path": {`
- local_loop: {name: a, size: 1GiB, mkfs: {type: ext4, mount: {name: log, mount_point: /var/log}}}
- local_loop: {name: b, size: 1GiB, mkfs: {type: ext4, mount: {name: var-x, mount_point: /var-x}}}
- local_loop: {name: c, size: 1GiB, mkfs: {type: ext4, mount: {name: var, mount_point: var}}}
- local_loop: {name: d, size: 1GiB, mkfs: {type: ext4, mount: {name: root, mount_point: /}}}
`, "a mkfs_a b mkfs_b c mkfs_c d mkfs_d root var log var-x"},
}

func TestOrderAndNames(t *testing.T) {
	for name, c := range forms {
		t.Run(name, func(t *testing.T) {
			if got := names(mustGraph(t, c.config)); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// Equal configurations have one fingerprint, whatever the form and the host.
func TestFingerprint(t *testing.T) {
	tree := mustGraph(t, onePartition)
	graph := mustGraph(t, `[{"local_loop": {"name": "image0", "directory": "/elsewhere"}},
	 {"partitioning": {"base": "image0", "label": "mbr", "partitions": [{"name": "root", "flags": ["boot", "primary"], "size": "100 %"}]}},
	 {"mkfs": {"base": "root"}}, {"mount": {"base": "mkfs_root", "mount_point": "/"}},
	 {"fstab": {"base": "mount_mkfs_root", "options": ["defaults"], "fsck-passno": 1}}]`)
	if tree.Fingerprint() != graph.Fingerprint() {
		t.Error("tree and graph form differ")
	}
	for _, other := range []string{
		strings.Replace(onePartition, "100%", "99%", 1), strings.Replace(onePartition, "passno: 1", "passno: 2", 1),
		strings.Replace(onePartition, "mount_point: /", "mount_point: /x", 1), strings.Replace(onePartition, "boot, ", "", 1),
		strings.Replace(onePartition, "name: image0", "name: image0\n    size: 2GiB", 1),
	} {
		if mustGraph(t, other).Fingerprint() == tree.Fingerprint() {
			t.Errorf("no difference seen: %s", other)
		}
	}
	before := tree.Fingerprint()
	tree.Identify("a")
	if tree.Fingerprint() != before || tree.hash() != before {
		t.Error("ids are in the fingerprint")
	}
}

func TestIdentify(t *testing.T) {
	seen := map[string]bool{}
	for _, config := range []string{onePartition, strings.ReplaceAll(onePartition, "100%", "50%")} {
		for _, seed := range []string{"a", "b", ""} {
			g, again := mustGraph(t, config), mustGraph(t, config)
			g.Identify("other")
			g.Identify(seed)
			again.Identify(seed)
			f := g.FileSystems()[0]
			if *again.FileSystems()[0].ids() != *f.ids() || g.Table("image0").DiskID != again.Table("image0").DiskID {
				t.Error("not repeatable")
			}
			for _, id := range []string{f.UUID, f.HashSeed, string(rune(g.Table("image0").DiskID))} {
				if seen[id] && id != "\ufffd" {
					t.Errorf("id %s twice", id)
				}
				seen[id] = true
			}
			if !guidGrammar.MatchString(f.UUID) || f.UUID[14] != '4' || g.Table("image0").DiskID == 0 {
				t.Errorf("uuid %s, disk id %x", f.UUID, g.Table("image0").DiskID)
			}
		}
	}
	own := mustGraph(t, strings.Replace(onePartition, "mkfs:", "mkfs:\n          uuid: 6D4C1B8E-3f0a-4c55-9d1b-0a4f5e2c7d11", 1))
	own.Identify("a")
	if got := own.FileSystems()[0].UUID; got != "6d4c1b8e-3f0a-4c55-9d1b-0a4f5e2c7d11" {
		t.Errorf("the user's UUID became %s", got)
	}
}

func (n *Mkfs) ids() *[2]string { return &[2]string{n.UUID, n.HashSeed} }

func TestQueries(t *testing.T) {
	g := mustGraph(t, tableOfThree)
	if got := g.MountPoints(); !slices.Equal(got, []string{"/var", "/", "/boot"}) {
		t.Errorf("mount points %q", got)
	}
	if g.RootLabel() != "cloudimg-rootfs" || g.RootFSType() != "ext4" || g.BootLabel() != "mkfs_boot" {
		t.Errorf("root %q %q, boot %q", g.RootLabel(), g.RootFSType(), g.BootLabel())
	}
	want := "LABEL=cloudimg-rootfs / ext4 defaults 0 1\nLABEL=mkfs_boot /boot ext2 ro,noatime 1 2\n"
	if got := g.Fstab(); got != want {
		t.Errorf("fstab:\n%s", got)
	}
	if d, err := g.RootDisk(); err != nil || d.Name() != "image0" {
		t.Errorf("root disk %v %v", d, err)
	}
	if _, err := mustGraph(t, `[{"local_loop": {"name": "x"}}]`).Root(); err == nil {
		t.Error("a root without /")
	}
}

const tableOfThree = `
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: mbr
    partitions:
    - {name: var, flags: [primary], size: 1GiB, mkfs: {type: ext3, mount: {mount_point: /var/}}}
    - {name: root, flags: [primary], size: 90%, mkfs: {name: rootfs, mount: {mount_point: /, fstab: {fsck-passno: 1}}}}
    - {name: boot, flags: [primary], size: 100%, type: "0x0C", mkfs: {type: ext2, mount: {mount_point: /boot, fstab: {options: "ro,noatime", dump-freq: 1}}}}
`

func TestDefaults(t *testing.T) {
	if got := names(must(t, Default(), Defaults{})); got != "image0 mkfs_root mount_mkfs_root fstab_mount_mkfs_root" {
		t.Errorf("default nodes %s", got)
	}
	g := must(t, Default(), Defaults{})
	if got := g.Fstab(); got != "LABEL=cloudimg-rootfs / ext4 defaults 0 1\n" {
		t.Errorf("default fstab %q", got)
	}
	if got := g.FileSystems()[0].Options; !slices.Equal(got, []string{"-i", "4096", "-J", "size=64"}) {
		t.Errorf("default options %q", got)
	}
	g = must(t, Default(), Defaults{RootFSType: "ext3", RootLabel: "me", RootOptions: []string{"-m", "0"}, MaxOnlineResize: 9, BlockSize: 4096})
	f := g.FileSystems()[0]
	if f.FSType != "ext3" || f.Label != "me" || !slices.Equal(f.Options, []string{"-E", "resize=9", "-m", "0"}) || g.Disks()[0].BlockSize != 4096 {
		t.Errorf("%+v", f)
	}
	own := `[{"local_loop": {"name": "image0", "mkfs": {"opts": "-m 1  -O '^64bit'", "label": "own", "mount": {"mount_point": "/"}}}}]`
	c, err := Parse([]byte(own))
	if err != nil {
		t.Fatal(err)
	}
	f = must(t, c, Defaults{RootLabel: "x", RootOptions: []string{"-m", "0"}}).FileSystems()[0]
	if f.Label != "own" || !slices.Equal(f.Options, []string{"-m", "1", "-O", "^64bit"}) {
		t.Errorf("%+v", f)
	}
	long := `[{"local_loop": {"name": "a-long-partition-name", "mkfs": {"type": "ext4", "mount": {"mount_point": "/x"}}}}]`
	if l := mustGraph(t, long).FileSystems()[0].Label; len(l) != 16 || !strings.HasPrefix(l, "mkfs_a-long") {
		t.Errorf("derived label %q", l)
	}
}

func must(t *testing.T, c Config, d Defaults) *Graph {
	t.Helper()
	g, err := c.Graph(d)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// Each mistake is answered with where it is, what is allowed, what was meant.
func TestMistakes(t *testing.T) {
	disk := `[{"local_loop": {"name": "image0"}}, `
	part := func(s string) string {
		return disk + `{"partitioning": {"base": "image0", "label": "mbr", "partitions": [` + s + `]}}]`
	}
	fs := func(s string) string { return disk + `{"mkfs": {"base": "image0", ` + s + `}}]` }
	for _, c := range []struct{ config, want string }{
		{`[{"lokal_loop": {}}]`, `[0].lokal_loop (line 1): unknown node "lokal_loop"; allowed: fstab, local_loop, luks, lvm, md, mkfs, mount, partitioning, physical_disk; did you mean "local_loop"?`},
		{`[{"a": 1, "b": 2}]`, `^Config entry top-level should be a single dict: [0]`},
		{`["x"]`, `^Config entry top-level should be a single dict: [0]`},
		{`[{}]`, `empty map`},
		{`{"local_loop": {}}`, `top level (line 1): found a map; a list of nodes is wanted`},
		{``, `the text is empty`},
		{"a: b: c", `not YAML`},
		{"- a\n---\n- b", `second YAML document`},
		{`[{"local_loop": []}]`, `[0].local_loop (line 1): found a list; a map of settings is wanted`},
		{`[{"local_loop": {}}]`, `name is missing`},
		{`[{"local_loop": {"name": "a/b"}}]`, `no slash`},
		{`[{"local_loop": {"name": "a", "name": "b"}}]`, `"name" twice`},
		{"- local_loop:\n    name: a\n    name: b\n", `(line 3)`},
		{`[{"local_loop": {"name": "a", "size": "12 GIB"}}]`, `unknown unit "GIB"; allowed: B, G, GB, GiB, K, KB, KiB, M, MB, MiB, T, TB, TiB; did you mean "GiB"?`},
		{`[{"local_loop": {"name": "a", "size": [1]}}]`, `[0].local_loop.size (line 1, node "a"): found a list; a size is wanted, such as 1.5GiB`},
		{`[{"local_loop": {"name": "a", "size": 0}}]`, `size 0`},
		{`[{"local_loop": {"name": "a", "block_size": 1000}}]`, `allowed: 512, 4096`},
		{`[{"local_loop": {"name": "a", "directory": "here"}}]`, `absolute folder`},
		{disk + `{"mkfs": {"type": "ext4", "base": "imag0"}}]`, `^Edge not defined: imag0->mkfs_imag0: [1].mkfs (line 1): no node is called "imag0"; allowed: image0, mkfs_imag0; did you mean "image0"?`},
		{disk + `{"mkfs": {"type": "ext4", "name": "image0", "base": "image0"}}]`, `^Duplicate node name: image0`},
		{disk + `{"mkfs": {"type": "ext4", "name": "x"}}]`, `base is missing`},
		{fs(`"type": "ext5"`), `unknown file system "ext5"`},
		{fs(`"type": "ext4", "label": "0123456789abcdefX"`), `too long for filesystem ext4`},
		{fs(`"type": "ext4", "label": "a b"`), `blanks`},
		{fs(`"type": "ext4", "uuid": "x"`), `a UUID is wanted`},
		{fs(`"type": "ext4", "opts": "-O 'x"`), `quote is not closed`},
		{fs(`"label": "x"`), `type is missing`},
		{fs(`"type": "ext4"`) + `]`, `not YAML`},
		{`[{"local_loop": {"name": "a", "mkfs": {"type": "ext4", "label": "l"}}}, {"local_loop": {"name": "b", "mkfs": {"type": "ext4", "label": "l"}}}]`, `label "l" used more than once`},
		{fs(`"type": "ext4", "mount": {"mount_point": "/a/../b"}`), `..`},
		{fs(`"type": "ext4", "mount": {}`), `mount_point is missing`},
		{`[{"local_loop": {"name": "a", "mkfs": {"type": "ext4", "mount": {"mount_point": "/x"}}}}, {"local_loop": {"name": "b", "mkfs": {"type": "ext4", "mount": {"mount_point": "/x/"}}}}]`, `mount point /x is used twice`},
		{fs(`"type": "ext4", "mount": {"mount_point": "/", "fstab": {"options": "a b"}, "fsck": 1}`), `unknown key "fsck"; allowed: base, fstab, local_loop, luks, lvm, md, mkfs, mount, mount_point, name, partitioning, physical_disk`},
		{fs(`"type": "ext4", "mount": {"mount_point": "/", "fstab": {"fsck-passno": -1}}`), `whole number`},
		{part(`{"name": "root", "sizee": "1GiB", "size": "1"}`), `[1].partitioning.partitions[0].sizee (line 1, node "root"): unknown key "sizee"; allowed: base, flags, fstab, local_loop, luks, lvm, md, mkfs, mount, name, partitioning, physical_disk, size, type; did you mean "size"?`},
		{part(`{"name": "root"}`), `[1].partitioning.partitions[0] (line 1, node "root"): size is missing`},
		{part(`{"size": "1GiB"}`), `name is missing`},
		{part(`{"name": "a", "size": "101%"}`), `percentage`},
		{part(`{"name": "a", "size": "1GiB", "flags": ["bot"]}`), `unknown flag "bot"; allowed: boot, primary; did you mean "boot"?`},
		{part(`{"name": "a", "size": "1GiB", "type": "EF02"}`), `hexadecimal`},
		{part(`{"name": "a", "size": "1GiB"}, {"name": "b", "size": "1GiB", "flags": ["primary"]}`), `primary ones come first`},
		{part(primaries(5)), `one too many`},
		{part(primaries(4) + `, {"name": "l", "size": "1MiB"}`), `one too many`},
		{part(``), `found no entry; a list of at least one partition is wanted`},
		{disk + `{"partitioning": {"base": "image0", "label": "dos", "partitions": [{"name": "a", "size": 512}]}}]`, `unknown label "dos"`},
		{disk + `{"partitioning": {"base": "image0", "label": "mbr"}}]`, `partitions is missing`},
		{disk + `{"partitioning": {"base": "image0", "label": "mbr", "align": "100", "partitions": [{"name": "a", "size": 512}]}}]`, `multiple of 512`},
		{`[{"local_loop": {"name": "i", "block_size": 4096, "partitioning": {"label": "mbr", "partitions": [{"name": "a", "size": "1MiB"}]}}}]`, `sectors of 512 bytes`},
		{`[{"local_loop": {"name": "i", "partitioning": {"label": "mbr", "partitions": [{"name": "a", "size": "1MiB"}]}, "mkfs": {"type": "ext4"}}}]`, `"i" is taken twice`},
		{`[{"mount": {"name": "a", "base": "b", "mount_point": "/"}}, {"mkfs": {"name": "b", "base": "a", "type": "ext4"}}]`, `a cycle`},
		{`[{"local_loop": {"name": "i", "mount": {"mount_point": "/"}}}]`, `it stands on a file system (mkfs)`},
		{`[[["mkfs", {}]]]`, `mkfs stands on level 2; here is level 0 (local_loop, physical_disk)`},
		{`[[["local_loop"]]]`, `a pair of a node and its settings`},
		{`[[], [], [], [], [], []]`, `found 6 entries; the levels are 0 (local_loop, physical_disk), 1 (partitioning, lvm, md, luks), 2 (mkfs), 3 (mount) and 4 (fstab)`},
		{"- &a\n  local_loop: {name: x, y: *b}\n", `no such anchor`},
	} {
		err := mistake(c.config)
		if err == nil {
			t.Errorf("%s: no error, want %s", c.config, c.want)
			continue
		}
		want, start := strings.CutPrefix(c.want, "^")
		if !strings.Contains(err.Error(), want) || start && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s\ngot  %v\nwant %s", c.config, err, c.want)
		}
	}
}

func mistake(config string) error {
	c, err := Parse([]byte(config))
	if err == nil {
		_, err = c.Graph(Defaults{})
	}
	return err
}

func primaries(n int) string {
	var all []string
	for i := range n {
		all = append(all, `{"name": "p`+string(rune('0'+i))+`", "size": "1MiB", "flags": ["primary"]}`)
	}
	return strings.Join(all, ", ")
}

// The shipped elements' layouts are read.
func TestElementLayouts(t *testing.T) {
	files, err := filepath.Glob("../elements/*/block-device-*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := mustGraph(t, string(data)).Root(); err != nil {
			t.Errorf("%s: %v", f, err)
		}
	}
}

// What is accepted becomes a graph and a plan, or the error says where.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"- &a {b: *a}", "[{\"local_loop\":\t{\"name\": 1}}]", "- <<: 1", "- local_loop: {name: 0x1, size: 1e99}"} {
		f.Add([]byte(s))
	}
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(plan)
}

// plan goes all the way from text to plan and checks what comes out.
func plan(t *testing.T, data []byte) {
	c, err := Parse(data)
	if err != nil {
		located(t, err)
		return
	}
	g, err := c.Graph(Defaults{})
	if err != nil {
		located(t, err)
		return
	}
	g.Identify("x")
	m := map[string]Content{}
	for _, mp := range g.MountPoints() {
		m[mp] = Content{Bytes: 10 << 20, Inodes: 100, Dirs: 10}
	}
	p, err := g.Layout(m, Request{ImageSize: 1 << 30})
	if err == nil {
		within(t, p)
	}
	for line := range strings.Lines(g.Fstab()) {
		if len(strings.Fields(line)) != 6 {
			t.Errorf("fstab: %q", line)
		}
	}
}

// seeds are what fuzzing starts from.
var seeds = func() (all []string) {
	for _, c := range forms {
		all = append(all, c.config)
	}
	for _, c := range contractLayouts {
		all = append(all, c)
	}
	return append(all, tableOfThree)
}()

// located fails when a mistake of the user's is not told as one.
func located(t *testing.T, err error) {
	t.Helper()
	var config *ConfigError
	var size *SizeError
	if !errors.As(err, &config) && !errors.As(err, &size) {
		t.Fatalf("%T: %v", err, err)
	}
	if config != nil && config.Text == "" {
		t.Fatalf("%+v", config)
	}
}

// within checks that nothing of a plan overlaps or leaves its disk.
func within(t *testing.T, p *Plan) {
	for _, d := range p.Disks {
		end := int64(0)
		for _, part := range d.Partitions {
			if part.Role == RoleExtended {
				continue
			}
			if part.Start < end || part.Start+part.Size > d.Size || part.Size <= 0 {
				t.Fatalf("partition %+v on a disk of %d after %d", part, d.Size, end)
			}
			end = part.Start + part.Size
		}
	}
	for _, f := range p.FileSystems {
		if f.Offset+f.Size > p.Disk(f.Disk).Size || f.Size <= 0 {
			t.Fatalf("file system %+v", f)
		}
	}
}
