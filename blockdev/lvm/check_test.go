package lvm

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMistakes(t *testing.T) {
	a := strings.Repeat("a", 200)
	for name, c := range map[string]struct {
		change func(*Group)
		want   string
	}{
		"no room": {func(g *Group) { g.Logical[0].Size = 48 * mib },
			`volume group "vg": its logical volumes need 16 extents (67108864 bytes), its physical volumes have 15 extents (62914560 bytes) ("pv0" 10, "disk two" 5)`},
		"no room for stripes": {func(g *Group) { g.Logical[1].Stripes, g.Logical[1].Size = 2, 44*mib; g.Logical[0].Size = 4 * mib },
			`volume group "vg": logical volume "var": its 2 stripes need 12 extents (50331648 bytes), evenly on 2 different physical volumes; 10 extents (41943040 bytes) have room so, after which there are left: "pv0" 4, "disk two" 0`},
		"far too large": {func(g *Group) { g.Logical[0].Size, g.Logical[1].Size = 1<<62, 1<<62 },
			`volume group "vg": its logical volumes need 2199023255552 extents (9223372036854775808 bytes), its physical volumes have 15 extents (62914560 bytes) ("pv0" 10, "disk two" 5)`},
		"stripes":      {func(g *Group) { g.Logical[0].Stripes = 3 }, `volume group "vg": logical volume "root": 3 stripes need as many physical volumes, and the group has 2`},
		"many stripes": {func(g *Group) { g.Logical[0].Stripes = 129 }, `logical volume "root": 129 stripes: 1 to 128 are allowed`},
		"stripe size":  {func(g *Group) { g.Logical[0].StripeSize = 8 * mib }, `stripe size 8388608: powers of two from 4096 to the extent size, 4194304, are allowed`},
		"odd stripe":   {func(g *Group) { g.Logical[0].StripeSize = 12288 }, `stripe size 12288: `},
		"twice":        {func(g *Group) { g.Logical[1].Name = "root" }, `volume group "vg": two logical volumes are called "root"`},
		"same ids":     {func(g *Group) { g.Logical[1].ID = g.Volumes[1].ID }, `physical volume "disk two" and logical volume "var" have the same id `},
		"id":           {func(g *Group) { g.ID = "abc" }, `volume group "vg": id "abc": 32 letters or digits in groups of 6-4-4-4-4-4-6 are allowed`},
		"empty id":     {func(g *Group) { g.Volumes[0].ID = "" }, `physical volume "pv0": id "": 32 letters`},
		"size":         {func(g *Group) { g.Logical[0].Size++ }, `logical volume "root": size 33554433: multiples of the extent size, 4194304 bytes, are allowed`},
		"no size":      {func(g *Group) { g.Logical[0].Size = 0 }, `logical volume "root": size 0: multiples`},
		"negative":     {func(g *Group) { g.Logical[0].Size = -4 * mib }, `logical volume "root": size -4194304: multiples`},
		"small device": {func(g *Group) { g.Volumes[0].Size = mib }, `physical volume "pv0": size 1048576: multiples of 512 from 2097152 bytes on are allowed`},
		"odd device":   {func(g *Group) { g.Volumes[1].Size += 100 }, `physical volume "disk two": size `},
		"no extent": {func(g *Group) { g.Volumes[0].Size = 5*mib - 512 },
			`physical volume "pv0": size 5242368: no extent of 4194304 bytes has room behind the first 1048576; at least 5242880 bytes are needed`},
		"alignment":      {func(g *Group) { g.Volumes[0].DataAlignment = 1000 }, `data alignment 1000: multiples of 4096 up to `},
		"extent size":    {func(g *Group) { g.ExtentSize = 3 * mib }, `volume group "vg": extent size 3145728: powers of two from 4096 to 1099511627776 are allowed`},
		"small extent":   {func(g *Group) { g.ExtentSize = 512 }, `extent size 512: powers`},
		"negative ones":  {func(g *Group) { g.ExtentSize = -1 << 63 }, `extent size -9223372036854775808: powers`},
		"many extents":   {func(g *Group) { g.ExtentSize, g.Volumes[0].Size, g.Volumes[1].Size = 4096, 9<<40, 9<<40 }, `at most 4294967295 are allowed; take a larger extent size`},
		"nothing":        {func(g *Group) { g.Volumes = nil }, `there is no physical volume; at least one is needed`},
		"before 1970":    {func(g *Group) { g.Time = time.Date(1969, 12, 31, 0, 0, 0, 0, time.UTC) }, `time 1969-12-31: 1970 and later are allowed`},
		"host":           {func(g *Group) { g.Host = "a\"b" }, `host "a\"b": '"' is not allowed; printable ASCII`},
		"hint":           {func(g *Group) { g.Volumes[0].Device = "a\nb" }, `device "a\nb": '\n' is not allowed`},
		"tag":            {func(g *Group) { g.Tags = []string{"a b"} }, `volume group "vg": tag "a b": ' ' is not allowed; letters, digits and + _ . - / = ! : & # are`},
		"hyphen":         {func(g *Group) { g.Logical[0].Tags = []string{"-a"} }, `logical volume "root": tag "-a": a tag begins with no hyphen`},
		"long tag":       {func(g *Group) { g.Volumes[0].Tags = []string{strings.Repeat(a, 6)} }, `it has 1200 characters; at most 1024 are allowed`},
		"group's name":   {func(g *Group) { g.Name = "a b" }, `volume group "a b": ' ' is not allowed; letters, digits and + _ . - are`},
		"group in /dev":  {func(g *Group) { g.Name = "mapper" }, `volume group "mapper": /dev/mapper is something else on every Linux system`},
		"long name":      {func(g *Group) { g.Name = a }, `the name has 200 characters; at most 127 are allowed`},
		"long names":     {func(g *Group) { g.Logical[0].Name = a[:123] }, `the names of group and volume have 125 characters; at most 124 are allowed`},
		"hyphens":        {func(g *Group) { g.Logical[0].Name = "a" + strings.Repeat("-", 70) }, `its device-mapper name, where hyphens count twice, has 144 characters; at most 127 are allowed`},
		"hidden name":    {func(g *Group) { g.Logical[0].Name = "a_tmeta" }, `logical volume "a_tmeta": LVM keeps names with "_tmeta" in them to itself`},
		"reserved start": {func(g *Group) { g.Logical[0].Name = "pvmove1" }, `logical volume "pvmove1": LVM keeps names that begin with "pvmove" to itself`},
	} {
		g := group(0, []int64{41 * mib, 24 * mib}, Logical{Name: "root", Size: 32 * mib}, Logical{Name: "var", Size: 16 * mib})
		g.Volumes[1].Name = "disk two"
		if err := g.Check(); err != nil {
			t.Fatal(err)
		}
		c.change(&g)
		err := g.Check()
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v\nwant %s", name, err, c.want)
		}
		if l, again := g.Layout(); l != nil || again == nil || again.Error() != err.Error() {
			t.Errorf("%s: Layout says %v", name, again)
		}
	}
}

// TestAllMistakesAtOnce: one run shows them all.
func TestAllMistakesAtOnce(t *testing.T) {
	g := group(0, []int64{mib, 24 * mib}, Logical{Name: "-", Size: 1}, Logical{Name: "var", Size: 5})
	err := g.Check()
	for _, want := range []string{`"pv0"`, `"-"`, `"var"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not in: %v", want, err)
		}
	}
}

// TestNamesAsLVM asks LVM about every name.
func TestNamesAsLVM(t *testing.T) {
	need(t, true, "lvm")
	t.Parallel()
	free := newHost(t, loops(t, []*os.File{disk(t, 10*mib)}))
	free.run("pvcreate", free.devices[0])
	g := group(0, []int64{10 * mib})
	_, files, _ := written(t, g)
	used := newHost(t, loops(t, files))
	a := strings.Repeat("a", 130)
	for _, name := range []string{
		".", "..", "-a", "a-b", "a--b", "a.b", "+a", "_a", "...", "a b", "a/b", "aé", "a:b", "lvol0", a[:122], a[:123], a[:127], a[:128],
		"snapshot", "snapshot1", "xsnapshot", "pvmove0", "xpvmove", "a_tdata", "_tdatab", "a_tmeta_b", "a_cdata", "a_cmeta", "a_corig", "a_iorig",
		"a_mimage", "a_mlog", "a_pmspare", "a_rimage", "a_rmeta", "a_vdata", "a_vorigin", "a_imeta", "a_wcorig", "a_cvol", "a_cpool", "a_data", "a_tdat",
	} {
		_, err := used.try("lvcreate", "-t", "-an", "-Zn", "-Wn", "-l1", "-n", name, "vg")
		if ours := CheckLogicalName("vg", name); (ours == nil) != (err == nil) {
			t.Errorf("logical volume %q: %v; LVM: %v", name, ours, err)
		}
	}
	for _, name := range []string{".", "..", "-a", "a-b", "a.b", "+a", "a b", a[:127], a[:128], "pvmove0", "a_tdata", "shm", "null"} {
		_, err := free.try("vgcreate", "-t", "--", name, free.devices[0])
		if ours := CheckGroupName(name); (ours == nil) != (err == nil) {
			t.Errorf("volume group %q: %v; LVM: %v", name, ours, err)
		}
	}
	// LVM takes one character more than lvm(8) says, and hyphens in front.
	for _, tag := range []string{"a", "a/b=c", "a!:#&", "a b", "a,b", "a@b", a + a, strings.Repeat("a", 1024)} {
		_, err := used.try("vgchange", "-t", "--addtag", tag, "vg")
		if ours := checkTags([]string{tag}); (ours == nil) != (err == nil) {
			t.Errorf("tag %q: %v; LVM: %v", tag, ours, err)
		}
	}
}

func TestMapperName(t *testing.T) {
	for _, c := range [][3]string{{"vg", "root", "vg-root"}, {"my-vg", "a--b", "my--vg-a----b"}, {"a.b", "_c+", "a.b-_c+"}} {
		if got := MapperName(c[0], c[1]); got != c[2] {
			t.Errorf("MapperName(%q, %q) = %q, want %q", c[0], c[1], got, c[2])
		}
	}
}

func TestID(t *testing.T) {
	form := regexp.MustCompile(`^\w{6}(-\w{4}){5}-\w{6}$`)
	seen := map[string]bool{}
	for i := range 200 {
		id := testID(fmt.Sprint(i))
		if !form.MatchString(id) || seen[id] || checkID(id) != nil {
			t.Errorf("%q: wrong or again", id)
		}
		seen[id] = true
	}
}

// TestManyVolumes: there are as many volumes as LVM can still write a change of.
func TestManyVolumes(t *testing.T) {
	g := group(4096, []int64{64 * mib})
	for i := range 3000 {
		g.Logical = append(g.Logical, Logical{Name: fmt.Sprint("lv", i), ID: testID(fmt.Sprint(i)), Size: 4096})
	}
	err := g.Check()
	if err == nil || !regexp.MustCompile(`the metadata of 3000 logical volumes in their segments has \d+ bytes; at most 521984 are allowed`).MatchString(err.Error()) {
		t.Errorf("3000 volumes: %v", err)
	}
	g.Logical = g.Logical[:1500]
	l, files, _ := written(t, g)
	if n := len(l.text); n < 400000 {
		t.Errorf("the text of 1500 has only %d bytes", n)
	}
	need(t, true, "lvm")
	t.Parallel()
	h := newHost(t, loops(t, files))
	h.run("lvcreate", "-an", "-Zn", "-Wn", "-l1", "-n", "more", "vg")
	h.run("lvremove", "-y", "vg/more")
	if said := h.run("vgs", "--noheadings", "-o", "lv_count,vg_seqno"); strings.Join(strings.Fields(said), " ") != "1500 3" {
		t.Errorf("after two changes: %s", said)
	}
	h.clean("vg")
}

// TestTwice: two runs give equal bytes, whatever the caller did to its slices
// between, and none outside label and metadata.
func TestTwice(t *testing.T) {
	for name, g := range parityGroups() {
		var runs [2][]byte
		for i := range runs {
			l := layout(t, g)
			files, devices := disks(t, g)
			mine := g
			mine.Volumes, mine.Logical = slices.Clone(g.Volumes), slices.Clone(g.Logical)
			if i == 1 {
				for i := range g.Volumes {
					g.Volumes[i] = Physical{}
				}
				for i := range g.Logical {
					g.Logical[i] = Logical{}
				}
			}
			if err := l.WriteMetadata(devices); err != nil {
				t.Fatal(err)
			}
			for pv, f := range files {
				if at, err := f.Seek(DataStart(mine.Volumes[pv].DataAlignment), unix.SEEK_DATA); !errors.Is(err, unix.ENXIO) {
					t.Errorf("%s: pv%d has something at %d, among the extents (%v)", name, pv, at, err)
				}
				b := make([]byte, mib)
				if _, err := f.ReadAt(b, 0); err != nil {
					t.Fatal(err)
				}
				runs[i] = append(runs[i], b...)
			}
		}
		if !bytes.Equal(runs[0], runs[1]) {
			t.Errorf("%s: two runs differ", name)
		}
	}
}

// TestFiles lets tools that need no root judge the files themselves.
func TestFiles(t *testing.T) {
	need(t, false, "lvm", "blkid")
	g := group(0, []int64{50 * mib, 20 * mib}, Logical{Name: "root", Size: 40 * mib, Tags: []string{"a", "b", "a"}})
	g.Host, g.Volumes[1].Device, g.Volumes[1].Tags = "image.example", "/dev/vdb", []string{"slow"}
	l, files, _ := written(t, g)
	h := newHost(t, nil)
	for i, f := range files {
		if said := h.run("pvck", "--dump", "headers", f.Name()); strings.Contains(said, "CHECK") {
			t.Errorf("pvck --dump headers: %s", said)
		}
		text := filepath.Join(t.TempDir(), "text")
		h.run("pvck", "--dump", "metadata", "-f", text, f.Name())
		got, err := os.ReadFile(text)
		if err != nil || string(got) != strings.TrimRight(string(l.text), "\x00") {
			t.Errorf("pvck --dump metadata: %v\n%s", err, got)
		}
		out, err := exec.Command("blkid", "-p", "-o", "export", f.Name()).CombinedOutput()
		for _, want := range []string{"TYPE=LVM2_member\n", "UUID=" + g.Volumes[i].ID + "\n"} {
			if err != nil || !strings.Contains(string(out), want) {
				t.Errorf("blkid: %v\n%s", err, out)
			}
		}
	}
	for _, want := range []string{"tags = [\"a\", \"b\"]\n", "creation_host = \"image.example\"\ncreation_time = 1700000000\n", "device = \"/dev/vdb\"\n", "device = \"[unknown]\"\n"} {
		if !strings.Contains(string(l.text), want) {
			t.Errorf("%s is not in\n%s", want, l.text)
		}
	}
}

// TestLargeSectors is a device with sectors of 4096 bytes, to which LVM's label
// is still at byte 512.
func TestLargeSectors(t *testing.T) {
	need(t, true, "lvm")
	t.Parallel()
	g := group(0, []int64{50 * mib}, Logical{Name: "root", Size: 40 * mib})
	_, files, _ := written(t, g)
	h := newHost(t, loopsOf(t, files, 4096))
	if said := h.run("pvck", h.devices[0]); !strings.Contains(said, "Found label on") || !strings.Contains(said, "offset=4096, size=1044480") || strings.Count(said, "\n") != 1 {
		t.Errorf("pvck: %s", said)
	}
	h.run("lvextend", "-l", "+1", "vg/root")
	h.clean("vg")
	if said := h.run("lvs", "--noheadings", "--units", "b", "--nosuffix", "-o", "lv_size"); said != "46137344" {
		t.Errorf("after lvextend: %s", said)
	}
}
