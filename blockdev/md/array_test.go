package md_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/lithify/lithify/blockdev/md"
)

// array gives n members of size bytes and all that identifies it.
func array(level, n int, size int64, change ...func(*md.Array)) md.Array {
	a := md.Array{
		Level: level, Name: "data", UUID: "6cdc7b69:3a1f0c2e:95d4b8a7:01e2f3c4", Time: time.Unix(1_700_000_000, 0),
	}
	for i := range n {
		a.Members = append(a.Members, size)
		a.MemberIDs = append(a.MemberIDs, fmt.Sprintf("00112233-4455-6677-8899-%012x", i))
	}
	for _, c := range change {
		c(&a)
	}
	return a
}

// TestSizesOfMdadm compares with arrays of real machines, from what their owners
// published of mdadm --examine; sizes are those of the members, in sectors.
func TestSizesOfMdadm(t *testing.T) {
	for _, c := range []struct {
		level, n int
		chunk    int64
		sectors  int64
		kib      int64 // "Array Size"
	}{
		{5, 4, 512 << 10, 3906764976 + 264192, 5860147200},
		{5, 7, 512 << 10, 7813772976 + 264192, 23441316864},
		{5, 10, 512 << 10, 202752 + 4096, 912384},
		{1, 2, 0, 2093056 + 4096, 1046528},
		{1, 2, 0, 974405632 + 264192, 487202816},
		{1, 2, 0, 16758784 + 18432, 8379392},
	} {
		size, err := array(c.level, c.n, c.sectors*512, func(a *md.Array) { a.Chunk = c.chunk }).Size()
		if err != nil || size != c.kib<<10 {
			t.Errorf("raid%d of %d members with %d sectors: %d KiB, %v; mdadm says %d KiB", c.level, c.n, c.sectors, size>>10, err, c.kib)
		}
	}
}

// TestWhole: a raid0 uses all that its superblocks leave for data, to the last
// chunk: 12 KiB at the end of a member are not, with metadata 1.0.
func TestWhole(t *testing.T) {
	for _, less := range []int64{0, 1} {
		a := array(0, 2, 100*4096+12<<10-less*512, func(a *md.Array) { a.Chunk, a.Metadata = 4096, "1.0" })
		if size, err := a.Size(); err != nil || size != 2*(100-less)*4096 {
			t.Errorf("two members of %d bytes give %d, %v", a.Members[0], size, err)
		}
	}
}

func TestCheck(t *testing.T) {
	const size = 64 << 20
	for _, c := range []struct {
		a    md.Array
		want string // of the error; "" for none
	}{
		{array(0, 2, size), ""},
		{array(1, 2, size), ""},
		{array(5, 3, size), ""},
		{array(10, 2, size), ""},
		{array(10, 3, size, func(a *md.Array) { a.Layout, a.Metadata, a.Bitmap = "o3", "1.0", true }), ""},
		{array(1, 2, size, func(a *md.Array) { a.Name, a.HomeHost = "other:data", "host" }), ""},
		{array(1, 2, size, func(a *md.Array) { a.UUID = "6cdc7b69-3a1f-0c2e-95d4-b8a701e2f3c4" }), ""},
		{array(1, 2, size, func(a *md.Array) { a.Members[1] += 1 << 20 }), ""},
		{array(1, 2, size, func(a *md.Array) { a.Members[1], a.AllowUnequal = size*2, true }), ""},

		{array(6, 4, size), "level 6 is not known; allowed are 0, 1, 5, 10"},
		{array(5, 2, size), "raid5 needs three members or more, 2 given"},
		{array(1, 1, size), "raid1 needs two members or more, 1 given"},
		{array(0, 0, size), "raid0 needs two members or more, 0 given"},
		{array(1, 2, size, func(a *md.Array) { a.Chunk = 65536 }), "raid1 has no chunks"},
		{array(0, 2, size, func(a *md.Array) { a.Chunk = 96 << 10 }), "a power of two from 4096 to 67108864"},
		{array(0, 2, size, func(a *md.Array) { a.Chunk = 2048 }), "a power of two"},
		{array(0, 2, size, func(a *md.Array) { a.Bitmap = true }), "raid0 has nothing to resync"},
		{array(0, 2, size, func(a *md.Array) { a.Layout = "n2" }), "raid0 has no layouts"},
		{array(5, 3, size, func(a *md.Array) { a.Layout = "right-symmetric" }), "allowed is left-symmetric"},
		{array(10, 4, size, func(a *md.Array) { a.Layout = "x2" }), `layout "x2" of raid10 is not known`},
		{array(10, 4, size, func(a *md.Array) { a.Layout = "n1" }), `layout "n1" of raid10 is not known`},
		{array(10, 2, size, func(a *md.Array) { a.Layout = "f3" }), "wants 3 copies, there are 2 members"},
		{array(1, 2, size, func(a *md.Array) { a.Metadata = "0.90" }), "allowed are 1.2 and 1.0"},
		{array(5, 3, size, func(a *md.Array) { a.Members[2] -= 4 << 20 }), "member 2 has 62914560 bytes and member 0 has 67108864: 4194304 bytes would be lost"},
		{array(1, 2, size, func(a *md.Array) { a.Members[0] = -1 }), "member 0 has -1 bytes"},
		{array(1, 2, 1<<20), "member 0 has 1048576 bytes: too small for this array; it wants 1114112 or more"},
		{array(1, 2, size, func(a *md.Array) { a.Name = "" }), "the array has no name"},
		{array(1, 2, size, func(a *md.Array) { a.Name = "a/b" }), `name "a/b": letters`},
		{array(1, 2, size, func(a *md.Array) { a.HomeHost = "a b" }), `host "a b"`},
		{array(1, 2, size, func(a *md.Array) { a.Name = strings.Repeat("x", 32) }), "has 32 bytes; a superblock holds 31"},
		{array(1, 2, size, func(a *md.Array) { a.Name, a.HomeHost = strings.Repeat("x", 28), "host" }), "has 33 bytes"},
		{array(1, 2, size, func(a *md.Array) { a.UUID = "6cdc7b69" }), `UUID "6cdc7b69": 32 hexadecimal digits`},
		{array(1, 2, size, func(a *md.Array) { a.MemberIDs = nil }), "2 members have 0 device UUIDs"},
		{array(1, 2, size, func(a *md.Array) { a.MemberIDs[1] = a.MemberIDs[0] }), "members 0 and 1 have the same device UUID"},
		{array(1, 2, size, func(a *md.Array) { a.Time = time.Unix(-1, 0) }), "40 bits of seconds"},
	} {
		err := c.a.Check()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("raid%d %+v: %v; wanted %q", c.a.Level, c.a, err, c.want)
		}
		if c.want == "" {
			continue
		}
		if err := c.a.WriteSuperblocks(make([]md.Device, len(c.a.Members))); err == nil { // nil members: writing would panic
			t.Errorf("%q: superblocks were written", c.want)
		}
	}
}

// TestMemberSize: members of that size and larger are enough, 4 KiB less are not.
func TestMemberSize(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 1))
	steps := []int64{1 << 20, 100 << 20, 1 << 30, 2 << 30, 4 << 30, 8 << 30, 64 << 30, 128 << 30, 200 << 30, 1 << 40}
	for range 3000 {
		shape := randomShape(r)
		got := func(size int64) int64 {
			n, err := array(shape.Level, shape.members, size, func(a *md.Array) {
				a.Chunk, a.Layout, a.Metadata, a.Bitmap = shape.Chunk, shape.Layout, shape.Metadata, shape.Bitmap && size > 1<<24
			}).Size()
			if err != nil {
				return -1
			}
			return n
		}
		want := r.Int64N(1 << (10 + r.IntN(32)))
		if r.IntN(2) == 0 { // near where the room in front grows
			want = max(0, got(steps[r.IntN(len(steps))]+(r.Int64N(512)-256)*512))
		}
		size := md.MemberSize(shape.Level, shape.members, want, shape.Array)
		if size%4096 != 0 || got(size) < want {
			t.Fatalf("%+v: members of %d bytes give %d, wanted %d", shape, size, got(size), want)
		}
		if less := got(size - 4096); less >= want && less > 0 {
			t.Fatalf("%+v: members of %d bytes would do for %d: they give %d", shape, size-4096, want, less)
		}
		for range 20 {
			more := size + r.Int64N(1<<(1+r.IntN(38)))
			if got(more) < want {
				t.Fatalf("%+v: members of %d bytes give %d, less than %d; %d were said to be enough", shape, more, got(more), want, size)
			}
		}
	}
	if md.MemberSize(5, 2, 1<<20, md.Array{}) != 0 || md.MemberSize(1, 2, -1, md.Array{}) != 0 {
		t.Error("a member size for what Check refuses")
	}
}

// shape is an array without members.
type shape struct {
	md.Array
	members int
}

func randomShape(r *rand.Rand) shape {
	s := shape{members: 2 + r.IntN(5)}
	s.Level = []int{0, 1, 5, 10}[r.IntN(4)]
	s.Metadata = []string{"1.2", "1.0"}[r.IntN(2)]
	s.Bitmap = s.Level != 0 && r.IntN(2) == 0
	if s.Level != 1 {
		s.Chunk = 4096 << r.IntN(5)
	}
	switch s.Level {
	case 5:
		s.members = max(3, s.members)
	case 10:
		s.Layout = fmt.Sprintf("%c%d", "nfo"[r.IntN(3)], 2+r.IntN(s.members-1))
	}
	return s
}
