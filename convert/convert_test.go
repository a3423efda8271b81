package convert_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lithify/lithify/convert"
)

func TestChecksums(t *testing.T) {
	need(t, "md5sum", "sha256sum")
	for _, size := range []int64{0, 1, 1 << 20, 3<<20 + 17} {
		disk := pattern(t, size, uint64(size))
		got, err := convert.Checksums(context.Background(), disk, convert.ChecksumKinds())
		if err != nil {
			t.Fatal(err)
		}
		for kind, sum := range got {
			if want, _, _ := strings.Cut(run(t, kind+"sum", disk), " "); sum != want {
				t.Errorf("%s of %d bytes: got %s, want %s", kind, size, sum, want)
			}
		}
		if len(got) != 2 {
			t.Errorf("got %v", got)
		}
	}
	_, err := convert.Checksums(context.Background(), os.DevNull, []string{"sha265"})
	if err == nil || err.Error() != `unknown checksum "sha265" (did you mean "sha256"?); allowed: md5, sha256` {
		t.Errorf("got %v", err)
	}
	if _, err := convert.Checksums(context.Background(), t.TempDir(), []string{"md5"}); err == nil {
		t.Error("the checksum of a folder")
	}
}

func TestLookup(t *testing.T) {
	for _, f := range convert.Formats() {
		if got, err := convert.Lookup(f.Name); err != nil || got.Name != f.Name {
			t.Errorf("%s: got %v, %v", f.Name, got, err)
		}
	}
	var refused *convert.RefusedError
	_, err := convert.Lookup("aci")
	if want := `format "aci" is not made: the App Container format has had no reader since rkt ended in 2020; use docker or tar; allowed: raw, qcow2, `; !errors.As(err, &refused) || refused.Name != "aci" || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("aci: got %v", err)
	}
	for typed, want := range map[string]string{
		"qcow":   `unknown format "qcow" (did you mean "qcow2"?); allowed: raw, qcow2, vhd, vhd-fixed, vhdx, vdi, vmdk, tar, tgz, squashfs, docker`,
		"QCOW2":  `unknown format "QCOW2" (did you mean "qcow2"?); allowed: raw, qcow2, vhd, vhd-fixed, vhdx, vdi, vmdk, tar, tgz, squashfs, docker`,
		"banana": `unknown format "banana"; allowed: raw, qcow2, vhd, vhd-fixed, vhdx, vdi, vmdk, tar, tgz, squashfs, docker`,
		"":       `unknown format ""; allowed: raw, qcow2, vhd, vhd-fixed, vhdx, vdi, vmdk, tar, tgz, squashfs, docker`,
	} {
		if _, err := convert.Lookup(typed); err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", typed, err, want)
		}
	}
}

func TestParseOptions(t *testing.T) {
	good := map[string]convert.FormatOptions{
		"":                                {},
		"compression_type=zlib":           {Compression: convert.Zlib},
		"compression_type=zstd,":          {},
		"cluster_size=64k":                {ClusterSize: 64 << 10},
		"cluster_size=2M":                 {ClusterSize: 2 << 20},
		"cluster_size=0.5M":               {ClusterSize: 512 << 10},
		"cluster_size=65536":              {ClusterSize: 64 << 10},
		"cluster_size=0x10000":            {ClusterSize: 64 << 10},
		"cluster_size=512":                {ClusterSize: 512},
		"cluster_size=512B":               {ClusterSize: 512},
		"cluster_size=4k,cluster_size=1M": {ClusterSize: 1 << 20},
		"lazy_refcounts":                  {LazyRefcounts: true},
		"lazy_refcounts=off,compat=1.1":   {},
		"compat=0.10":                     {Version2: true, Compression: convert.Zlib},
		"compat=v2,compression_type=zlib": {Version2: true, Compression: convert.Zlib},
		"compat=v2,compat=v3":             {},
		"compat=v3,preallocation=off,refcount_bits=16,extended_l2=off": {},
	}
	for s, want := range good {
		if got, err := convert.ParseOptions("qcow2", s); err != nil || got != want {
			t.Errorf("%q: got %+v, %v", s, got, err)
		}
	}
	bad := []struct{ format, options, want string }{
		{"qcow2", "compresion_type=zlib", `option "compresion_type=zlib" of format qcow2: unknown option (did you mean "compression_type"?); allowed: compression_type, cluster_size,`},
		{"qcow2", "compression_type=lz4", `value "lz4" is not supported; allowed: zstd, zlib`},
		{"qcow2", "cluster_size=4M", `value "4M" is not supported; allowed: a power of two from 512 to 2M`},
		{"qcow2", "cluster_size=3k", "a power of two"},
		{"qcow2", "cluster_size=", "a power of two"},
		{"qcow2", "cluster_size=-64k", "a power of two"},
		{"qcow2", "cluster_size=99999999999999999999T", "a power of two"},
		{"qcow2", "compat=0.11", "allowed: 1.1, v3, 0.10, v2"},
		{"qcow2", "compat=0.10,compression_type=zstd", "compat=0.10 cannot be had with compression_type=zstd; allowed: zlib"},
		{"qcow2", "lazy_refcounts,compat=v2", "cannot be had with lazy_refcounts"},
		{"qcow2", "preallocation=metadata", "not supported yet"},
		{"squashfs", "comp=zst", `value "zst" is not supported; allowed: zstd, xz, gzip, lzo, lz4`},
		{"raw", "cluster_size=64k", `option "cluster_size=64k" of format raw: raw takes no options`},
	}
	for _, c := range bad {
		if _, err := convert.ParseOptions(c.format, c.options); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want …%s…", c.options, err, c.want)
		}
	}
}

// TestParseAllOptions gives one list to several formats.
func TestParseAllOptions(t *testing.T) {
	asked := func(names ...string) (out []convert.Format) {
		for _, n := range names {
			out = append(out, format(t, n))
		}
		return out
	}
	for _, c := range []struct {
		formats []convert.Format
		options string
		want    convert.FormatOptions
	}{
		{asked("raw"), "cluster_size=2M", convert.FormatOptions{}},
		{asked("raw", "qcow2"), "cluster_size=2M", convert.FormatOptions{ClusterSize: 2 << 20}},
		{asked("squashfs", "qcow2", "tar"), "comp=xz,compat=0.10",
			convert.FormatOptions{SquashfsCompressor: "xz", Version2: true, Compression: convert.Zlib}},
		{nil, "", convert.FormatOptions{}},
	} {
		if got, err := convert.ParseAllOptions(c.formats, c.options); err != nil || got != c.want {
			t.Errorf("%q: got %+v, %v", c.options, got, err)
		}
	}
	for options, want := range map[string]string{
		"clustersize=2M":              `option "clustersize=2M": unknown option (did you mean "cluster_size"?); allowed: `,
		"cluster_size=3M":             `option "cluster_size=3M" of format qcow2: value "3M"`,
		"compat=v2,lazy_refcounts=on": `options "compat=v2,lazy_refcounts=on" of format qcow2: compat=0.10 cannot`,
	} {
		if got, err := convert.ParseAllOptions(asked("tar", "qcow2"), options); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %+v, %v", options, got, err)
		}
	}
}

func FuzzParseOptions(f *testing.F) {
	for _, s := range []string{"", "compression_type=zlib,cluster_size=64k", "cluster_size=0x1.5M", "lazy_refcounts", "=,=", "cluster_size=.k"} {
		f.Add("qcow2", s)
	}
	f.Add("squashfs", "comp=xz,compat=v2")
	f.Fuzz(func(t *testing.T, format, s string) {
		o, err := convert.ParseOptions(format, s)
		n := o.ClusterSize
		if err == nil && n != 0 && (n < 512 || n > 2<<20 || n&(n-1) != 0) {
			t.Errorf("%q gives clusters of %d bytes", s, n)
		}
		all, allErr := convert.ParseAllOptions(convert.Formats(), s)
		if allErr == nil && all.Version2 && (all.LazyRefcounts || all.Compression != convert.Zlib) {
			t.Errorf("%q gives %+v", s, all)
		}
		if c := all.SquashfsCompressor; strings.ContainsAny(c, " -,=") {
			t.Errorf("%q gives the compressor %q", s, c)
		}
		if err != nil && o != (convert.FormatOptions{}) {
			t.Errorf("%q gives %+v and %v", s, o, err)
		}
	})
}

// TestRaw copies disks with holes and looks at content and size on disk.
func TestRaw(t *testing.T) {
	need(t, "qemu-img", "cmp")
	for i, size := range []int64{0, 1, 4096, 1<<20 + 5, 20<<20 + 4097} {
		disk := pattern(t, size, uint64(i+10))
		path := filepath.Join(t.TempDir(), "copy.raw")
		if err := os.WriteFile(path, []byte("what was there before, longer than a byte"), 0o600); err != nil {
			t.Fatal(err)
		}
		dst, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer dst.Close()
		if err := convert.Raw(context.Background(), dst, source(t, disk), convert.Options{}); err != nil {
			t.Fatal(err)
		}
		run(t, "cmp", disk, path)
		if a, b := blocks(t, disk), blocks(t, path); b > a {
			t.Errorf("%d bytes: the copy takes %d blocks, the disk %d", size, b, a)
		}
	}
}

// TestRawZeros has a source with no holes, which the copy must have.
func TestRawZeros(t *testing.T) {
	dst, err := os.Create(filepath.Join(t.TempDir(), "zeros"))
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	src := convert.Source{Reader: strings.NewReader(strings.Repeat("\x00", 3<<20) + "x"), Size: 3<<20 + 1}
	if err := convert.Raw(context.Background(), dst, src, convert.Options{}); err != nil {
		t.Fatal(err)
	}
	if n := blocks(t, dst.Name()); n > 16 {
		t.Errorf("3 MiB of zeros and a byte take %d blocks of 512 bytes", n)
	}
}
