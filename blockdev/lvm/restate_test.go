package lvm

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestRestate: what LVM made under another name becomes, word for word, what this
// package writes, and LVM finds the group under its final name.
func TestRestate(t *testing.T) {
	need(t, true, "lvm")
	for name, g := range parityGroups() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files, devices := disks(t, g)
			h := newHost(t, loops(t, files))
			temporary := g
			temporary.Name = "lithify_temporary"
			h.create(temporary)
			text, err := g.Restate(backupOf(t, h, temporary.Name))
			if err != nil {
				t.Fatal(err)
			}
			want := g
			want.Logical = slices.Clone(g.Logical)
			if got, want := lines(text), lines(layout(t, want).text); got != want {
				t.Errorf("restated:\n%s\nwritten:\n%s", got, want)
			}
			if err := g.WriteText(text, devices); err != nil {
				t.Fatal(err)
			}
			after := newHost(t, loops(t, files)) // nothing of the old is in its caches
			after.clean(g.Name)
			if out, err := after.try("vgs", temporary.Name); err == nil {
				t.Errorf("it still is there under its old name: %s", out)
			}
		})
	}
}

func backupOf(t *testing.T, h host, name string) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "backup")
	if out, err := h.try("vgcfgbackup", "-f", file, name); err != nil {
		t.Fatalf("vgcfgbackup: %v: %s", err, out)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// lines are those with something on them.
func lines(text []byte) string {
	all := strings.Split(string(text), "\n")
	return strings.Join(slices.DeleteFunc(all, func(l string) bool { return strings.TrimSpace(l) == "" }), "\n")
}

const restated = `# Generated
contents = "Text Format Volume Group"
creation_host = "builder"	# of the file
lithify_x {
	id = "old"
	seqno = 7
	system_id = "lithify_x"
	physical_volumes {
		pv0 {
			id = "old"
			device = "/dev/loop7"	# Hint only
			device_id = "/secret/path"
			device_id_type = "loop_file"
			pe_start = 2048
		}
	}
	logical_volumes {
		pool {
			id = "old"
			flags = ["ERROR_WHEN_FULL"]
			creation_host = "builder"
			segment1 {
				id = "kept: of a segment"
				stripes = [
					"pv0", 0
				]
			}
		}
		pool_tmeta {
			id = "old"
			status = ["READ", "#no remark"]
		}
	}
}
`

// TestRestateWords: what is the builder's own goes, and nothing else.
func TestRestateWords(t *testing.T) {
	g := group(0, []int64{50 * mib}, Logical{Name: "pool"})
	g.Time = time.Unix(1700000000, 0)
	text, err := g.Restate([]byte(restated))
	if err != nil {
		t.Fatal(err)
	}
	for _, gone := range []string{"old", "lithify_x", "builder", "/dev/loop7", "/secret/path", "loop_file", "ERROR_WHEN_FULL", "Hint"} {
		if strings.Contains(string(text), gone) {
			t.Errorf("it still holds %q:\n%s", gone, text)
		}
	}
	for _, there := range []string{"vg {\n", "id = \"" + g.ID, "id = \"" + g.Volumes[0].ID, "id = \"" + g.Logical[0].ID, "kept: of a segment", `"pv0", 0`, "#no remark", "flags = []", `creation_host = "lithify"`} {
		if !strings.Contains(string(text), there) {
			t.Errorf("it lacks %q:\n%s", there, text)
		}
	}
	if n := strings.Count(string(text), "id = "); n != 5 {
		t.Errorf("%d ids:\n%s", n, text)
	}
}

// TestRestateMistakes: what is not the group that it is said to be.
func TestRestateMistakes(t *testing.T) {
	g := group(0, []int64{50 * mib}, Logical{Name: "pool"})
	for what, c := range map[string][2]string{
		"found 0 physical":       {"pv0 {", "\n}\nx {\npv0 {"},
		"expected \"pv0\"":       {"pv0 {", "pv1 {"},
		"expected 2048":          {"pe_start = 2048", "pe_start = 4096"},
		"a second group":         {"# Generated", "vg2 {\nid = \"x\"\n}"},
		"expected 1 and 1":       {"logical_volumes {", "historical {"},
		"found 1 physical and 2": {"\n}\n", "\n"},
	} {
		_, err := g.Restate([]byte(strings.Replace(restated, c[0], c[1], 1)))
		if err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%q for %q: %v; expected %q", c[1], c[0], err, what)
		}
	}
}

// FuzzRestate: no text makes it fall over.
func FuzzRestate(f *testing.F) {
	f.Add([]byte(restated))
	f.Add([]byte("}\n"))
	g := group(0, []int64{50 * mib}, Logical{Name: "pool"})
	f.Fuzz(func(_ *testing.T, text []byte) { _, _ = g.Restate(text) }) // any answer will do
}
