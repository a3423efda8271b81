package ext4_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lithify/lithify/blockdev/blockdevtest"
	"github.com/lithify/lithify/blockdev/file/ext4"
)

// TestArgs reads what the profile of this project writes; TestParity the rest.
func TestArgs(t *testing.T) {
	var o ext4.Options
	words := "-q -F -t ext4 -L root -U 01234567-89ab-4def-8123-456789abcdef " +
		"-E nodiscard,assume_storage_prezeroed=1,hash_seed=f1234567-89ab-4def-8123-456789abcde0,offset=0,lazy_itable_init=1 -M / -i8192 -O ^64bit,meta_bg,,^resize_inode -m 0"
	if err := ext4.ParseArgs(strings.Fields(words), &o); err != nil {
		t.Fatal(err)
	}
	want := ext4.Options{Label: "root", LastMounted: "/", BytesPerInode: 8192, Reserved: -1, Features: ext4.Ext4()}
	want.UUID, want.HashSeed = fixed(ext4.Options{}).UUID, fixed(ext4.Options{}).HashSeed
	want.Features.Incompat = want.Features.Incompat&^ext4.Bit64 | ext4.MetaBG
	want.Features.Compat &^= ext4.ResizeInode
	if o != want {
		t.Errorf("%+v, wanted %+v", o, want)
	}
}

// TestArgsOwner gives the root folder an owner: debugfs sees it.
func TestArgsOwner(t *testing.T) {
	blockdevtest.Need(t, "debugfs")
	for _, tree := range []string{"", t.TempDir()} {
		o := ext4.Options{Size: 8 << 20}
		if err := ext4.ParseArgs([]string{"-E", "root_owner=70000:8"}, &o); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "image")
		if err := writeTo(t, path, tree, o); err != nil {
			t.Fatal(err)
		}
		if out := tool(t, "debugfs", "-R", "stat <2>", path); !strings.Contains(out, "User: 70000   Group:     8") {
			t.Error(out)
		}
	}
}

func TestArgsRefused(t *testing.T) {
	for _, c := range []struct{ words, want string }{
		{"-T news", `option "-T": not known here`},
		{"-c", `option "-c"`},
		{"-O bigalloc", `feature "bigalloc" is not known here`},
		{"-O ^fast_commit", "fast_commit"},
		{"-E stride=4", "stride"},
		{"-E root_owner=1", "UID:GID"},
		{"-E root_owner=-1:0", "UID:GID"},
		{"-J device=/dev/sdb", "size=MEGABYTES"},
		{"-J size=0", "out of range"},
		{"-J size=99999999999", "out of range"},
		{"-U random", "no UUID"},
		{"-t xfs", "ext2, ext3, ext4"},
		{"-m 51", "0 to 50"},
		{"-m NaN", "0 to 50"},
		{"-b 4k", "invalid syntax"},
		{"-b -1024", "out of range"},
		{"-i", "needs a value"},
		{"-qF", "not known here"},
		{"image", "no option"},
		{"--", "not known here"},
	} {
		err := ext4.ParseArgs(strings.Fields(c.words), &ext4.Options{})
		var args *ext4.ArgsError
		if !errors.As(err, &args) || !strings.Contains(strings.ReplaceAll(err.Error(), " of mke2fs", ""), c.want) {
			t.Errorf("%s: %v, wanted %q", c.words, err, c.want)
		}
	}
}

// FuzzArgs: whatever is understood is either refused by Check or written.
func FuzzArgs(f *testing.F) {
	f.Add("-t ext4 -b 1024 -I 128 -O ^extra_isize -m 3.5 -N 12")
	f.Add("-J size=4 -G 1 -E offset=7")
	f.Fuzz(func(t *testing.T, line string) {
		o := ext4.Options{Size: 6 << 20}
		if ext4.ParseArgs(strings.Fields(line), &o) != nil || o.Check() != nil {
			return
		}
		err := ext4.Write(t.Context(), &failing{1 << 40}, "", o)
		if err != nil && strings.Contains(err.Error(), "not written here") {
			t.Errorf("%q: %v", line, err)
		}
	})
}
