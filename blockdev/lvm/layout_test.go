package lvm

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// FuzzLayout lays random groups out, and asks of each layout what must be true
// of any.
func FuzzLayout(f *testing.F) {
	for seed := range uint64(200) {
		f.Add(seed, int64(0), int64(0), 0)
	}
	f.Add(uint64(1), int64(1)<<62, int64(4096), 128)
	f.Add(uint64(2), int64(-1), int64(-1)<<63, -1)
	f.Fuzz(func(t *testing.T, seed uint64, size, alignment int64, stripes int) {
		r := rand.New(rand.NewPCG(seed, 7))
		g := randomGroup(r)
		if size != 0 || alignment != 0 || stripes != 0 {
			g.Volumes[r.IntN(len(g.Volumes))].DataAlignment = alignment
			l := &g.Logical[r.IntN(len(g.Logical))]
			l.Size, l.Stripes = size, stripes
			g.Volumes[r.IntN(len(g.Volumes))].Size += size
		}
		l, err := g.Layout()
		if err != nil {
			checkRefusal(t, g)
			return
		}
		used := make([]map[int64]string, len(g.Volumes))
		for i := range used {
			used[i] = map[int64]string{}
		}
		for _, v := range g.Logical {
			checkSegments(t, g, v, l.Segments(v.Name), used)
		}
		for i := range g.Volumes {
			if got, want := l.Free(i), g.Extents(i)-int64(len(used[i])); got != want {
				t.Errorf("pv%d: %d extents free, want %d", i, got, want)
			}
		}
		checkBytes(t, g, l)
	})
}

// checkRefusal: linear volumes always fit when their sum does.
func checkRefusal(t *testing.T, g Group) {
	t.Helper()
	if g.checkRules() != nil {
		return
	}
	var have, need int64
	for i := range g.Volumes {
		have += g.Extents(i)
	}
	for _, l := range g.Logical {
		if l.Stripes > 1 {
			return
		}
		need += l.Size / g.extentSize()
	}
	if need <= have {
		t.Errorf("%d extents have room in %d: %v", need, have, g.Check())
	}
}

func checkSegments(t *testing.T, g Group, v Logical, segments []Segment, used []map[int64]string) {
	t.Helper()
	var next int64
	for _, s := range segments {
		if s.Start != next || s.Count <= 0 || len(s.Areas) != v.stripes() || s.Count%int64(len(s.Areas)) != 0 {
			t.Fatalf("%s: %+v after extent %d", v.Name, s, next)
		}
		next += s.Count
		on := map[int64]bool{}
		for _, a := range s.Areas {
			if on[a.Physical] {
				t.Fatalf("%s: two stripes on pv%d", v.Name, a.Physical)
			}
			on[a.Physical] = true
			for e := a.Extent; e < a.Extent+s.Count/int64(len(s.Areas)); e++ {
				if other, ok := used[a.Physical][e]; ok || e < 0 || e >= g.Extents(int(a.Physical)) {
					t.Fatalf("%s: extent %d of pv%d is outside, or also of %q", v.Name, e, a.Physical, other)
				}
				used[a.Physical][e] = v.Name
			}
		}
	}
	if size := next * g.extentSize(); size != g.Rounded(v) || size < v.Size {
		t.Errorf("%s: %d bytes in segments, asked for %d", v.Name, size, v.Size)
	}
}

// checkBytes: every piece of every volume has a place of its own, behind
// pe_start and within its device.
func checkBytes(t *testing.T, g Group, l *Layout) {
	t.Helper()
	type place struct {
		pv int
		at int64
	}
	const step = 64 << 10 // the stripe size: pieces are whole steps
	taken := map[place]string{}
	for _, lv := range g.Logical {
		v, err := l.Volume(lv.Name, make([]Device, len(g.Volumes)))
		if err != nil {
			t.Fatal(err)
		}
		for off := int64(0); off < v.Size(); {
			pv, at, n := v.Locate(off)
			if p, q, m := v.Locate(off + n - 1); p != pv || q != at+n-1 || m != 1 {
				t.Fatalf("%s: byte %d is at pv%d:%d for %d bytes, the last of them at pv%d:%d for %d", lv.Name, off, pv, at, n, p, q, m)
			}
			if start := DataStart(g.Volumes[pv].DataAlignment); at < start || at+n > g.Volumes[pv].Size || n <= 0 || n%step != 0 {
				t.Fatalf("%s: byte %d is at pv%d:%d for %d bytes", lv.Name, off, pv, at, n)
			}
			for end := off + n; off < end; off, at = off+step, at+step {
				if other, ok := taken[place{pv, at}]; ok {
					t.Fatalf("%s: byte %d is at pv%d:%d, as is %s", lv.Name, off, pv, at, other)
				}
				taken[place{pv, at}] = lv.Name
			}
		}
	}
}

func TestSizes(t *testing.T) {
	for _, c := range []struct{ alignment, want int64 }{{0, mib}, {4096, mib}, {mib, mib}, {768 << 10, 1536 << 10}, {4 * mib, 4 * mib}, {1280 << 10, 1280 << 10}} {
		if got := DataStart(c.alignment); got != c.want {
			t.Errorf("DataStart(%d) = %d, want %d", c.alignment, got, c.want)
		}
	}
	for _, c := range []struct{ extents, size, alignment, want int64 }{{1, 4096, 0, 2 * mib}, {10, 0, 0, 41 * mib}, {3, 8 * mib, 4 * mib, 28 * mib}} {
		got := PhysicalSize(c.extents, c.size, c.alignment)
		if got != c.want {
			t.Errorf("PhysicalSize(%d, %d, %d) = %d, want %d", c.extents, c.size, c.alignment, got, c.want)
		}
		g := group(c.size, []int64{got})
		g.Volumes[0].DataAlignment = c.alignment
		if n := g.Extents(0); n < c.extents {
			t.Errorf("%d bytes give %d extents, want %d", got, n, c.extents)
		}
	}
	g := group(0, []int64{5 * mib, 5 * mib, 5 * mib})
	for _, c := range []struct {
		size    int64
		stripes int
		want    int64
	}{{20 * mib, 0, 20 * mib}, {20 * mib, 2, 24 * mib}, {24 * mib, 3, 24 * mib}, {4 * mib, 3, 12 * mib}} {
		if got := g.Rounded(Logical{Size: c.size, Stripes: c.stripes}); got != c.want {
			t.Errorf("Rounded(%d by %d) = %d, want %d", c.size, c.stripes, got, c.want)
		}
	}
}

func TestLeast(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 9))
		g := randomGroup(r)
		pv := r.IntN(len(g.Volumes))
		linear := true
		for _, l := range g.Logical {
			linear = linear && l.Stripes <= 1
		}
		given := g.Volumes[pv].Size
		size, err := g.Least(pv)
		if g.Volumes[pv].Size != given {
			t.Fatalf("seed %d: Least changes the caller's group", seed)
		}
		if err != nil {
			if linear {
				t.Errorf("seed %d: %v", seed, err)
			}
			continue
		}
		g.Volumes[pv].Size = size
		if err := g.Check(); err != nil {
			t.Errorf("seed %d: %d bytes are too few: %v", seed, size, err)
		}
		if g.Volumes[pv].Size = size - sector; linear && size > MinPhysical && g.Check() == nil {
			t.Errorf("seed %d: %d bytes are more than needed", seed, size)
		}
	}
}

func TestLeastMistakes(t *testing.T) {
	for want, g := range map[string]Group{
		`volume group "vg": extent size 5: powers of two from 4096 to 1099511627776 are allowed`:                                          group(5, []int64{0}),
		`volume group "vg": logical volume "a": size 3: multiples of the extent size, 4194304 bytes, are allowed`:                         group(0, []int64{0}, Logical{Name: "a", Size: 3}),
		`volume group "vg": its logical volumes need more than 4294967295 extents of 4096 bytes; take a larger extent size`:               group(4096, []int64{0}, Logical{Name: "a", Size: 1 << 50}),
		`volume group "vg": logical volume "a": 2 stripes need as many physical volumes, and the group has 1`:                             group(0, []int64{0}, Logical{Name: "a", Size: 8 * mib, Stripes: 2}),
		fmt.Sprintf(`volume group "vg": physical volume "pv1": size 1048576: multiples of 512 from %d bytes on are allowed`, MinPhysical): group(0, []int64{0, mib}, Logical{Name: "a", Size: 8 * mib}),
	} {
		if size, err := g.Least(0); err == nil || err.Error() != want {
			t.Errorf("%d, %v\nwant %s", size, err, want)
		}
	}
}
