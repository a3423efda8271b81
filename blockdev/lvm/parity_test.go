package lvm

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// parityGroups are given to LVM's own tools too, which must make the same of
// them. Sizes are MiB; a physical volume of n+1 has n MiB for extents.
func parityGroups() map[string]Group {
	lv := func(name string, size int64, stripes int) Logical {
		return Logical{Name: name, Size: size * mib, Stripes: stripes}
	}
	pvs := func(sizes ...int64) (b []int64) {
		for _, s := range sizes {
			b = append(b, s*mib)
		}
		return b
	}
	tagged := group(0, pvs(41), lv("a-b", 8, 0), lv("c.d", 12, 0))
	tagged.Tags, tagged.Logical[0].Tags, tagged.Logical[1].ReadOnly = []string{"one", "two/x=y"}, []string{"three"}, true
	aligned := group(0, pvs(50, 51), lv("root", 8, 2), lv("var", 20, 0))
	aligned.Volumes[0].DataAlignment, aligned.Volumes[1].DataAlignment = 4*mib, 768<<10
	chunks := group(2*mib, pvs(50, 50), Logical{Name: "root", Size: 16 * mib, Stripes: 2, StripeSize: 4096}, Logical{Name: "var", Size: 16 * mib, Stripes: 2, StripeSize: 2 * mib})
	return map[string]Group{
		"empty":                  group(0, pvs(10)),
		"one":                    group(0, pvs(50), lv("root", 20, 0), lv("var", 16, 0)),
		"full":                   group(0, pvs(50), lv("root", 20, 0), lv("var", 28, 0)),
		"tags, hyphens, -pr":     tagged,
		"alignment":              aligned,
		"stripe sizes":           chunks,
		"4 KiB extents":          group(4096, pvs(5), Logical{Name: "a", Size: 12288}, Logical{Name: "b", Size: 4 * mib / 2}),
		"32 MiB extents":         group(32*mib, pvs(200, 150), lv("root", 64, 0), lv("var", 192, 0)),
		"over two, exactly full": group(mib, pvs(11, 21), lv("a", 5, 0), lv("b", 25, 0)),
		"largest first":          group(mib, pvs(5, 11, 8), lv("a", 12, 0), lv("b", 8, 0)),
		"rest wherever":          group(mib, pvs(5, 11, 8), lv("a", 8, 0), lv("b", 5, 0), lv("c", 8, 0)),
		"equal ones":             group(mib, pvs(5, 11, 11), lv("a", 15, 0)),
		"striped, first fit":     group(mib, pvs(5, 11, 8, 13), lv("a", 2, 0), lv("b", 12, 2), lv("c", 8, 2)),
		"striped by three":       group(mib, pvs(5, 11, 8, 13), lv("a", 20, 3)),
		"striped in pieces":      group(mib, pvs(5, 5, 8, 13), lv("a", 3, 0), lv("b", 20, 2), lv("c", 4, 0)),
		"stripes, equal to need": group(mib, pvs(15, 7, 2, 12), lv("a", 6, 0), lv("b", 21, 3), lv("c", 4, 0)),
		"striped by four, full":  group(2*mib, pvs(21, 21, 21, 21), lv("a", 16, 4), lv("b", 64, 4)),
		"rounded to stripes":     group(mib, pvs(10, 10, 10), lv("a", 7, 3), lv("b", 5, 2)),
		"odd sizes":              group(8*mib, []int64{100*mib + 512, 77*mib - 512}, lv("a", 88, 0), lv("b", 72, 0)),
	}
}

func TestAsLVM(t *testing.T) {
	need(t, true, "lvm")
	for name, g := range parityGroups() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			compare(t, g)
		})
	}
}

// TestRandomAsLVM also asks whether both refuse the same groups.
func TestRandomAsLVM(t *testing.T) {
	need(t, true, "lvm")
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			g := randomGroup(rand.New(rand.NewPCG(seed, 6)))
			if _, err := g.Layout(); err == nil {
				compare(t, g)
				return
			}
			// The last volume is the one without room.
			for {
				last := g.Logical[len(g.Logical)-1]
				g.Logical = g.Logical[:len(g.Logical)-1]
				if g.Check() != nil {
					continue
				}
				h := compare(t, g)
				said, err := h.try("lvcreate", "-an", "-Zn", "-Wn", "-L", fmt.Sprintf("%db", last.Size), "-i", fmt.Sprint(last.stripes()), "-n", last.Name, g.Name)
				if err == nil {
					t.Errorf("LVM has room for %+v: %s", last, said)
				}
				return
			}
		})
	}
}

// compare makes the group with both, and returns the host with LVM's.
func compare(t *testing.T, g Group) host {
	t.Helper()
	_, files, _ := written(t, g)
	ours := newHost(t, loops(t, files))
	ours.clean(g.Name)
	theirFiles, _ := disks(t, g)
	theirs := newHost(t, loops(t, theirFiles))
	theirs.create(g)
	if a, b := ours.state(), theirs.state(); a != b {
		t.Errorf("ours:\n%s\nLVM's:\n%s", a, b)
	}
	return theirs
}

// randomGroup makes a small group, which may be too full.
func randomGroup(r *rand.Rand) Group {
	extent := int64(mib) << r.IntN(3)
	var pvs []int64
	for range 1 + r.IntN(4) {
		pvs = append(pvs, mib+extent*int64(1+r.IntN(20))+int64(r.IntN(3))*512)
	}
	var lvs []Logical
	for i := range 1 + r.IntN(6) {
		lvs = append(lvs, Logical{
			Name:    fmt.Sprint("lv", i),
			Size:    extent * int64(1+r.IntN(5*len(pvs))),
			Stripes: r.IntN(len(pvs) + 1),
		})
	}
	return group(extent, pvs, lvs...)
}
