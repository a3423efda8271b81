package md_test

import (
	"math"
	"testing"

	"github.com/lithify/lithify/blockdev/md"
)

// FuzzCheck: nothing that a user can write makes the package panic or hang, and
// what Check accepts has a size that fits the members.
func FuzzCheck(f *testing.F) {
	f.Add(5, "1.2", "6cdc7b69:3a1f0c2e:95d4b8a7:01e2f3c4", "host:name", int64(65536), "", int64(64<<20), int64(64<<20), true)
	f.Add(10, "1.0", "6cdc7b69-3a1f-0c2e-95d4-b8a701e2f3c4", "name", int64(0), "f2", int64(1<<50), int64(1<<49), true)
	f.Add(0, "", "", ":", int64(math.MinInt64), "n", int64(math.MaxInt64), int64(-1), false)
	f.Add(10, "1.2", "", "", int64(4096), "n\xff", int64(1<<20), int64(1<<20), false)
	f.Fuzz(func(t *testing.T, level int, metadata, uuid, name string, chunk int64, layout string, size, other int64, flag bool) {
		a := array(level, 4, size, func(a *md.Array) {
			a.Metadata, a.UUID, a.Name, a.Chunk, a.Layout, a.Bitmap, a.AllowUnequal = metadata, uuid, name, chunk, layout, flag && level != 0, flag
			a.Members[1] = other
		})
		if a.Check() != nil {
			return
		}
		got, err := a.Size()
		if err != nil || got <= 0 || got > 4*max(size, other) {
			t.Errorf("%+v: size %d, %v", a, got, err)
		}
		if need := md.MemberSize(level, 4, got, a); need <= 0 || need > min(size, other)/4096*4096+128<<20+8<<20 {
			t.Errorf("%+v: gives %d bytes, MemberSize wants members of %d for that", a, got, need)
		}
	})
}
