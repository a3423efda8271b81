package lvm

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestOwnerEdits does what an owner does later, with LVM's own tools.
func TestOwnerEdits(t *testing.T) {
	need(t, true, "lvm")
	t.Parallel()
	g := group(0, []int64{62 * mib, 50 * mib}, Logical{Name: "root", Size: 40 * mib}, Logical{Name: "var", Size: 16 * mib, Stripes: 2})
	_, files, _ := written(t, g)
	files = append(files, disk(t, 30*mib))
	h := newHost(t, loops(t, files))
	pv0, pv2 := h.devices[0], h.devices[2]
	backup := filepath.Join(t.TempDir(), "backup")

	for _, step := range []struct {
		tool, args, fields, want string
	}{
		{"lvextend", "-L +4M vg/var", "lv_name,lv_size,seg_count", "root|41943040|1 var|25165824|1"},
		{"lvcreate", "-an -Zn -Wn -l 1 -n new vg", "lv_name,lv_size", "root|41943040 var|25165824 new|4194304"},
		{"lvremove", "-y vg/new", "lv_name", "root var"},
		{"vgextend", "vg " + pv2, "pv_count,vg_extent_count,vg_seqno", "3|34|5"},
		{"lvextend", "-l +100%FREE vg/root", "vg_free_count", "0"},
		{"lvrename", "vg/var vg/log", "lv_name,lv_size", "root|117440512 log|25165824"},
		{"pvresize", pv0, "vg_extent_count,vg_free_count", "56|22"},
		{"vgchange", "--addtag mine vg", "vg_tags", "mine"},
		{"vgcfgbackup", "-f " + backup + " vg", "vg_seqno", "9"},
		{"vgrename", "vg other-name", "vg_name,vg_uuid", "other-name|" + g.ID},
		{"vgcfgrestore", "-y -f " + backup + " vg", "vg_name", "vg"},
	} {
		if step.tool == "pvresize" {
			grow(t, files[0], pv0, 150*mib)
		}
		h.run(step.tool, strings.Fields(step.args)...)
		said := h.run("vgs", "--noheadings", "--nosuffix", "--units", "b", "--separator", "|", "-o", step.fields)
		rows := strings.Fields(said)
		if got := strings.Join(rows, " "); got != step.want {
			t.Errorf("after %s %s: %s is %q, want %q", step.tool, step.args, step.fields, got, step.want)
		}
	}
	h.clean("vg")
}

// grow enlarges a file and the loop device over it.
func grow(t *testing.T, f *os.File, device string, size int64) {
	t.Helper()
	d, err := os.Open(device)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetInt(int(d.Fd()), unix.LOOP_SET_CAPACITY, 0); err != nil {
		t.Fatal(err)
	}
}

// TestRepair loses label and metadata header, and lets pvck find the text and
// write both anew: to the same bytes as ours.
func TestRepair(t *testing.T) {
	need(t, true, "lvm")
	t.Parallel()
	g := group(0, []int64{50 * mib}, Logical{Name: "root", Size: 40 * mib})
	g.Volumes[0].DataAlignment = 3 * mib
	_, files, _ := written(t, g)
	f := files[0]
	before := front(t, f)
	for _, at := range []int64{sector, metadataStart} {
		if _, err := f.WriteAt(make([]byte, sector), at); err != nil {
			t.Fatal(err)
		}
	}
	h := newHost(t, loops(t, files))
	device, text := h.devices[0], filepath.Join(t.TempDir(), "text")
	area := fmt.Sprintf("mda_offset=4096 mda_size=%d", 3*mib-4096)
	said, _ := h.try("pvck", "--dump", "metadata_search", "--settings", area+" metadata_offset=4608", "-f", text, device)
	if !strings.Contains(said, "seqno 1 id "+g.ID) {
		t.Errorf("pvck --dump metadata_search: %s", said)
	}
	h.run("pvck", "-y", "--repair", "--settings", area+" pv_uuid="+g.Volumes[0].ID, "-f", text, device)
	h.clean("vg")
	if after := front(t, f); !bytes.Equal(before, after) {
		for i := range before {
			if before[i] != after[i] {
				t.Errorf("byte %d is %#x, and %#x after the repair", i, before[i], after[i])
			}
		}
	}
}

// front reads what is before the extents.
func front(t *testing.T, f *os.File) []byte {
	t.Helper()
	b := make([]byte, 3*mib)
	if _, err := f.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return b
}
