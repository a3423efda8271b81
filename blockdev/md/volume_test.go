package md_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/lithify/lithify/blockdev/md"
)

// random gives an array of a random shape with small members in memory.
func random(r *rand.Rand) (md.Array, []image) {
	s := randomShape(r)
	size := md.MemberSize(s.Level, s.members, 1+r.Int64N(2<<20), s.Array) + r.Int64N(64<<10)
	size = max(size, 1<<20+256<<10) // room for a bitmap
	a := array(s.Level, s.members, size, func(a *md.Array) {
		a.Chunk, a.Layout, a.Metadata, a.Bitmap = s.Chunk, s.Layout, s.Metadata, s.Bitmap
	})
	if r.IntN(3) == 0 {
		a.AllowUnequal = true
		a.Members[r.IntN(s.members)] += r.Int64N(2 << 20)
	}
	return a, images(a)
}

func images(a md.Array) []image {
	var all []image
	for _, size := range a.Members {
		all = append(all, make(image, size))
	}
	return all
}

func devices(images []image) []md.Device {
	var all []md.Device
	for _, m := range images {
		all = append(all, m)
	}
	return all
}

func open(t *testing.T, a md.Array, members []md.Device) md.Volume {
	t.Helper()
	v, err := a.Open(members)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func describe(a md.Array) string {
	return fmt.Sprintf("raid%d %s of %d × %d, chunk %d, metadata %s, bitmap %t", a.Level, a.Layout, len(a.Members), a.Members[0], a.Chunk, a.Metadata, a.Bitmap)
}

// TestModel writes at random, reads in between, and reads all with the model.
func TestModel(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 2))
		a, members := random(r)
		t.Run(describe(a), func(t *testing.T) {
			v := open(t, a, devices(members))
			if err := a.WriteSuperblocks(devices(members)); err != nil {
				t.Fatal(err)
			}
			want := make([]byte, v.Size())
			for range 150 {
				step(t, r, v, want)
			}
			if err := v.Close(); err != nil {
				t.Fatal(err)
			}
			got := newModel(t, members).contents()
			if !bytes.Equal(got, want) {
				t.Errorf("the model reads %d bytes, not the %d that were written", len(got), len(want))
			}
		})
	}
}

// step writes, reads or flushes once.
func step(t *testing.T, r *rand.Rand, v md.Volume, want []byte) {
	t.Helper()
	at := r.IntN(len(want))
	p := make([]byte, min(len(want)-at, 1+r.IntN(1<<(1+r.IntN(20)))))
	switch r.IntN(8) {
	case 0:
		if err := v.Flush(); err != nil {
			t.Fatal(err)
		}
	case 1, 2, 3:
		if _, err := v.ReadAt(p, int64(at)); err != nil || !bytes.Equal(p, want[at:at+len(p)]) {
			t.Fatalf("reading %d bytes at %d: %v, or not what was written", len(p), at, err)
		}
	default:
		for i := range p {
			p[i] = byte(r.Uint32())
		}
		if n, err := v.WriteAt(p, int64(at)); n != len(p) || err != nil {
			t.Fatalf("writing %d bytes at %d: %d, %v", len(p), at, n, err)
		}
		copy(want[at:], p)
	}
}

// TestManyRows writes a little into more rows of a raid5 than are held at once.
func TestManyRows(t *testing.T) {
	a := array(5, 3, 5<<20, chunk(4096))
	members := images(a)
	v := open(t, a, devices(members))
	want := make([]byte, v.Size())
	r := rand.New(rand.NewPCG(1, 9))
	for pass := range byte(3) {
		for _, row := range r.Perm(len(want) / 8192) {
			at := row*8192 + r.IntN(8000)
			p := bytes.Repeat([]byte{pass + 1}, 1+r.IntN(8192-at%8192))
			if _, err := v.WriteAt(p, int64(at)); err != nil {
				t.Fatal(err)
			}
			copy(want[at:], p)
		}
	}
	if err := errors.Join(a.WriteSuperblocks(devices(members)), v.Close()); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(newModel(t, members).contents(), want) {
		t.Error("the model reads something else than was written")
	}
}

// TestEqual: the same contents, written in another order and in other pieces,
// give the same bits.
func TestEqual(t *testing.T) {
	for seed := range uint64(20) {
		a, first := random(rand.New(rand.NewPCG(seed, 3)))
		second := images(a)
		contents := make([]byte, 0)
		for run, members := range [][]image{first, second} {
			r := rand.New(rand.NewPCG(seed, uint64(run)))
			v := open(t, a, devices(members))
			if run == 0 {
				contents = make([]byte, v.Size()-r.Int64N(v.Size()/2))
				for i := range contents {
					contents[i] = byte(r.Uint32())
				}
			}
			pieces(t, r, v, contents)
			if err := errors.Join(a.WriteSuperblocks(devices(members)), v.Close()); err != nil {
				t.Fatal(err)
			}
		}
		for i := range first {
			if !bytes.Equal(first[i], second[i]) {
				t.Errorf("%s: member %d differs", describe(a), i)
			}
		}
	}
}

// pieces writes contents in random pieces, in random order, some of them twice.
func pieces(t *testing.T, r *rand.Rand, v md.Volume, contents []byte) {
	t.Helper()
	type piece struct{ from, to int }
	var all []piece
	for at := 0; at < len(contents); {
		p := piece{at, min(len(contents), at+1+r.IntN(1<<(10+r.IntN(12))))}
		all = append(all, p)
		if r.IntN(4) == 0 {
			all = append(all, p)
		}
		at = p.to
	}
	if r.IntN(4) > 0 { // else as a copy does it
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	}
	for _, p := range all {
		if _, err := v.WriteAt(contents[p.from:p.to], int64(p.from)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestConcurrent writes from many goroutines, to the same places too: copies must
// be equal and parity right whoever was last.
func TestConcurrent(t *testing.T) {
	for _, a := range []md.Array{
		array(1, 3, 4<<20), array(0, 2, 3<<20, chunk(16<<10)), array(5, 4, 3<<20, chunk(16<<10)),
		array(10, 3, 3<<20, chunk(4<<10)), array(10, 4, 3<<20, chunk(4<<10), layout("f2")),
	} {
		members := images(a)
		v := open(t, a, devices(members))
		if err := a.WriteSuperblocks(devices(members)); err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for g := range 8 {
			all.Go(func() {
				r := rand.New(rand.NewPCG(uint64(g), 4))
				p := bytes.Repeat([]byte{byte(g + 1)}, 256<<10)
				for range 60 {
					n := 1 + r.IntN(len(p))
					if _, err := v.WriteAt(p[:n], r.Int64N(v.Size()-int64(n))); err != nil {
						t.Error(err)
					}
					if _, err := v.ReadAt(make([]byte, n), r.Int64N(v.Size()-int64(n))); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		got := make([]byte, v.Size())
		if _, err := v.ReadAt(got, 0); err != nil {
			t.Error(err)
		}
		if err := v.Close(); err != nil {
			t.Error(err)
		}
		if !bytes.Equal(got, newModel(t, members).contents()) {
			t.Errorf("%s: the members hold something else than was read", describe(a))
		}
	}
}

func chunk(size int64) func(*md.Array)   { return func(a *md.Array) { a.Chunk = size } }
func layout(name string) func(*md.Array) { return func(a *md.Array) { a.Layout = name } }

// TestResync: on members that hold other things the parity of what is written is
// right, so that a member may die before the resync is through.
func TestResync(t *testing.T) {
	a := array(5, 4, 3<<20, chunk(16<<10), func(a *md.Array) { a.NeedsResync, a.Bitmap = true, true })
	r := rand.New(rand.NewPCG(5, 5))
	members := images(a)
	for _, m := range members {
		for i := range m {
			m[i] = byte(r.Uint32())
		}
	}
	if err := a.WriteSuperblocks(devices(members)); err != nil {
		t.Fatal(err)
	}
	v := open(t, a, devices(members))
	contents := make([]byte, v.Size())
	if _, err := v.ReadAt(contents, 0); err != nil {
		t.Fatal(err)
	}
	pieces(t, r, v, contents) // every byte is written once more, in small pieces
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	if got := newModel(t, members).contents(); !bytes.Equal(got, contents) {
		t.Error("the contents have changed")
	}
}

// failing fails some writes.
type failing struct {
	image
	fail bool
}

func (f *failing) WriteAt(p []byte, off int64) (int, error) {
	if f.fail {
		return 0, errors.New("no room")
	}
	return f.image.WriteAt(p, off)
}

// TestErrors: what a member says reaches the caller, and what parity held back is
// not lost by it.
func TestErrors(t *testing.T) {
	a := array(5, 3, 3<<20, chunk(16<<10))
	members := images(a)
	bad := &failing{image: members[1], fail: true}
	all := []md.Device{members[0], bad, members[2]}
	if err := a.WriteSuperblocks(all); err == nil || !strings.Contains(err.Error(), "member 1") {
		t.Errorf("superblocks: %v", err)
	}
	v := open(t, a, all)
	if _, err := v.WriteAt([]byte("held back"), 113<<10); err != nil {
		t.Fatal(err)
	}
	if err := v.Flush(); err == nil || !strings.Contains(err.Error(), "no room") {
		t.Errorf("flush: %v", err)
	}
	bad.fail = false
	if err := errors.Join(v.Flush(), a.WriteSuperblocks(all), v.Close(), v.Close()); err != nil {
		t.Error(err)
	}
	if got := newModel(t, members).contents(); string(got[113<<10:113<<10+9]) != "held back" {
		t.Errorf("the members hold %q", got[113<<10:113<<10+9])
	}
	if _, err := v.WriteAt([]byte{1}, 0); !errors.Is(err, os.ErrClosed) {
		t.Errorf("writing after Close: %v", err)
	}
}

func TestBounds(t *testing.T) {
	for _, a := range []md.Array{array(1, 2, 3<<20), array(5, 3, 3<<20, chunk(4096))} {
		v := open(t, a, devices(images(a)))
		size, _ := a.Size()
		if v.Size() != size {
			t.Errorf("volume of %d bytes, array of %d", v.Size(), size)
		}
		for _, off := range []int64{-1, size - 1, size, 1 << 62} {
			if n, err := v.WriteAt(make([]byte, 2), off); n != 0 || !errors.Is(err, os.ErrInvalid) {
				t.Errorf("writing 2 bytes at %d of %d: %d, %v", off, size, n, err)
			}
		}
		if n, err := v.ReadAt(make([]byte, 2), size-1); n != 1 || err != io.EOF {
			t.Errorf("reading 2 bytes at the end: %d, %v", n, err)
		}
		if n, err := v.ReadAt(make([]byte, 2), size); n != 0 || err != io.EOF {
			t.Errorf("reading behind the end: %d, %v", n, err)
		}
		if _, err := a.Open(devices(images(a))[:1]); err == nil {
			t.Error("opened with a member missing")
		}
	}
}
