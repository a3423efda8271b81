package ext4_test

import (
	"errors"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/lithify/lithify/blockdev/blockdevtest"
	"github.com/lithify/lithify/blockdev/file/ext4"
)

// FuzzWrite makes a small random tree and random options, and lets e2fsck judge.
// A refusal must name options, or what lacks; nothing else goes wrong.
func FuzzWrite(f *testing.F) {
	blockdevtest.Need(f, "e2fsck")
	for i := range uint64(8) {
		f.Add(i, uint16(60*i), uint32(2<<20)<<(i%5), uint32(i*7))
	}
	f.Add(uint64(7), uint16(431), uint32(8388680), uint32(19))      // inodes run out before blocks do
	f.Add(uint64(0x169), uint16(4), uint32(0x3fffd6), uint32(0xb8)) // so few inodes that rounding left eight
	f.Add(uint64(347), uint16(173), uint32(4194365), uint32(185))   // an offset that is no multiple of blocks
	f.Fuzz(func(t *testing.T, seed uint64, files uint16, size, more uint32) {
		tree := t.TempDir()
		grow(t, tree, seed, int(files%800))
		r := rand.New(rand.NewPCG(seed, uint64(more)))
		o := fixed(randomOptions(r))
		o.Size = int64(size % (256 << 20))
		o.Offset = int64(more%3) * 1536
		change(&o, r)
		path := filepath.Join(t.TempDir(), "image")
		err := writeTo(t, path, tree, o)
		if full := (*ext4.FullError)(nil); errors.As(err, &full) {
			if full.Blocks <= 0 && full.Inodes <= 0 {
				t.Errorf("%v", err)
			}
			return
		}
		if err != nil {
			return // options that do not go together
		}
		check(t, path+"?offset="+strconv.FormatInt(o.Offset, 10))
	})
}

// change takes away and adds features and figures one by one.
func change(o *ext4.Options, r *rand.Rand) {
	for _, f := range []struct {
		word *uint32
		bit  uint32
	}{
		{&o.Features.Compat, ext4.HasJournal}, {&o.Features.Compat, ext4.OrphanFile}, {&o.Features.Compat, ext4.ExtAttr},
		{&o.Features.Incompat, ext4.FileType}, {&o.Features.Incompat, ext4.Extents}, {&o.Features.Incompat, ext4.FlexBG},
		{&o.Features.Incompat, ext4.Bit64}, {&o.Features.Incompat, ext4.CsumSeed}, {&o.Features.ROCompat, ext4.SparseSuper},
		{&o.Features.ROCompat, ext4.LargeFile}, {&o.Features.ROCompat, ext4.HugeFile}, {&o.Features.ROCompat, ext4.GDTCsum},
		{&o.Features.ROCompat, ext4.DirNlink}, {&o.Features.ROCompat, ext4.ExtraIsize}, {&o.Features.ROCompat, ext4.MetadataCsum},
	} {
		if r.IntN(12) == 0 {
			*f.word ^= f.bit
		}
	}
	if r.IntN(4) == 0 {
		o.Inodes = int64(r.IntN(3000))
	}
	if r.IntN(4) == 0 {
		o.JournalSize = int64(r.IntN(8 << 20))
	}
	o.Reserved = float64(r.IntN(50))
}
