package compare_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lithify/lithify/blockdev/compare"
)

const mib = 1 << 20

const gptScript = `label: gpt
label-id: 11111111-2222-4333-8444-555555555555
start=2048, size=4096, type=21686148-6449-6E6F-744E-656564454649, uuid=aaaaaaaa-0000-4000-8000-000000000001, name="bios"
start=8192, size=16384, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, uuid=aaaaaaaa-0000-4000-8000-000000000002, name="root"
`

const mbrScript = `label: dos
label-id: 0x12345678
start=2048, size=16384, type=83, bootable
start=20480, size=20480, type=5
start=22528, size=2048, type=83
start=26624, size=2048, type=82
`

func table(t testing.TB, script string) string {
	t.Helper()
	path := empty(t, 32*mib)
	run(t, script, "sfdisk", "-q", path)
	return path
}

// TestTables: what sfdisk changes is what is told.
func TestTables(t *testing.T) {
	for _, c := range []struct {
		name, script string
		edit         func(t *testing.T, path string)
		lines        []string
	}{
		{"disk id", gptScript, sfdisk("--disk-id", "22222222-2222-4333-8444-555555555555"),
			[]string{"disk id 11111111-2222-4333-8444-555555555555 ≠ 22222222-2222-4333-8444-555555555555"}},
		{"GUID", gptScript, sfdisk("--part-uuid", "2", "AAAAAAAA-0000-4000-8000-000000000003"),
			[]string{"partition 2: GUID aaaaaaaa-0000-4000-8000-000000000002 ≠ aaaaaaaa-0000-4000-8000-000000000003"}},
		{"name", gptScript, sfdisk("--part-label", "2", "ruut"), []string{`partition 2: name "root" ≠ "ruut"`}},
		{"type", gptScript, sfdisk("--part-type", "1", "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"),
			[]string{"partition 1: type 21686148-6449-6e6f-744e-656564454649 ≠ c12a7328-f81f-11d2-ba4b-00a0c93ec93b"}},
		{"attributes", gptScript, sfdisk("--part-attrs", "2", "RequiredPartition,GUID:60"),
			[]string{"partition 2: attributes 0x0 ≠ 0x1000000000000001"}},
		{"deleted", gptScript, sfdisk("--delete", "2"), []string{"partition 2: only in A: bytes 4194304 to 12582911", "note: partitions lie at different places"}},
		{"MBR id", mbrScript, sfdisk("--disk-id", "0x12345679"), []string{"disk id 12345678 ≠ 12345679"}},
		{"MBR type", mbrScript, sfdisk("--part-type", "6", "83"), []string{"partition 6: type 82 ≠ 83"}},
		{"boot flag", mbrScript, sfdisk("--activate", "5"), []string{"partition 1: boot flag 80 ≠ 00", "partition 5: boot flag 00 ≠ 80"}},
		{"logical deleted", mbrScript, sfdisk("--delete", "6"), []string{"partition 6: only in A: bytes 13631488 to 14680063", "note: partitions lie"}},
		{"boot code", mbrScript, flipAt(99), []string{"boot code (bytes 0 to 439): content differs at byte 99 (1 byte)"}},
		{"GPT header", gptScript, flipAt(512 + 300), []string{"GPT header (bytes 512 to 1023): content differs at byte 812 (1 byte)"}},
		{"second header", gptScript, flipAt(32*mib - 512 + 400), []string{"second GPT header (bytes 33553920 to 33554431): content differs at byte 33554320 (1 byte)"}},
		{"second entries", gptScript, flipAt(32*mib - 512*33 + 5), []string{"second GPT entries (bytes 33537536 to 33553919): content differs at byte 33537541 (1 byte)"}},
		{"gap", gptScript, flipAt(1 * mib / 2), []string{"gap (bytes 17408 to 1048575): content differs at byte 524288 (1 byte)"}},
		{"after the last", mbrScript, flipAt(30 * mib), []string{"gap (bytes 14680064 to 33554431): content differs at byte 31457280 (1 byte)"}},
		{"in a partition", mbrScript, flipAt(11*mib + 77), []string{"content differs at byte 77 (1 byte)"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := table(t, c.script)
			b := twin(t, a)
			c.edit(t, b)
			expect(t, a, b, compare.Options{}, c.lines...)
		})
	}
}

func sfdisk(option string, args ...string) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		run(t, "", "sfdisk", append([]string{"-q", option, path}, args...)...)
	}
}

func flipAt(at int64) func(*testing.T, string) {
	return func(t *testing.T, path string) { flip(t, path, at) }
}

// TestFileInPartition: a byte of a file in a partition is found, with the file,
// though the partitions lie at different places.
func TestFileInPartition(t *testing.T) {
	fs := ext(t, extKinds["ext4"]...)
	other := twin(t, fs)
	flip(t, other, find(t, fs, "one\n"))
	var disks []string
	for i, from := range []string{fs, other} {
		start := []int{2, 4}[i] // MiB
		path := empty(t, 32*mib)
		run(t, fmt.Sprintf("label: gpt\nlabel-id: 11111111-2222-4333-8444-555555555555\nstart=%dMiB, size=16MiB, uuid=aaaaaaaa-0000-4000-8000-000000000001\n", start), "sfdisk", "-q", path)
		run(t, "", "dd", "if="+from, "of="+path, "bs=1M", fmt.Sprint("seek=", start), "conv=notrunc,sparse", "status=none")
		disks = append(disks, path)
	}
	expect(t, disks[0], disks[1], compare.Options{}, "partition 1: start 2097152 bytes ≠ 4194304 bytes",
		"/etc/hostname: content differs at byte 0 (1 byte)", "note: sectors of 512 bytes that differ: content of file 1", `    A: "one\n"`, `    B: "/ne\n"`)
}

// TestFormats: a disk is equal to itself in every format that qemu-img makes, and
// a byte that differs is found there.
func TestFormats(t *testing.T) {
	need(t, "qemu-img", "gzip", "zstd", "xz", "bzip2")
	a := ext(t, extKinds["ext4"]...)
	b := twin(t, a)
	flip(t, b, find(t, a, "0012345\n"))
	for _, format := range []string{"qcow2", "vpc", "vhdx", "vdi", "vmdk", "gzip", "zstd", "xz", "bzip2"} {
		t.Run(format, func(t *testing.T) {
			wrapped := filepath.Join(t.TempDir(), "wrapped")
			if strings.Contains("gzip zstd xz bzip2", format) {
				run(t, "", "sh", "-c", format+` -c <"$0" >"$1"`, a, wrapped)
			} else {
				run(t, "", "qemu-img", "convert", "-O", format, a, wrapped)
			}
			r := compared(t, a, wrapped, compare.Options{})
			if !r.Equal || !strings.HasPrefix(r.Summary, "equal content: A is a raw disk, B is a disk in ") {
				t.Error(text(t, r))
			}
			r = compared(t, wrapped, b, compare.Options{})
			if r.Equal || !strings.Contains(text(t, r), "/data: content differs at byte 98760 (1 byte)") {
				t.Error(text(t, r))
			}
		})
	}
}

// TestSameFormat: files that differ with equal disks in them are not equal.
func TestSameFormat(t *testing.T) {
	need(t, "qemu-img")
	raw := ext(t, extKinds["ext4"]...)
	dir := t.TempDir()
	run(t, "", "qemu-img", "convert", "-O", "qcow2", raw, dir+"/a")
	run(t, "", "qemu-img", "convert", "-O", "qcow2", "-o", "cluster_size=128k", raw, dir+"/b")
	r := compared(t, dir+"/a", dir+"/b", compare.Options{})
	if r.Equal || !strings.Contains(text(t, r), "note: the files differ, what is in them is equal") {
		t.Error(text(t, r))
	}
}

// TestOtherFiles: a qcow2 may not have other files of this machine read.
func TestOtherFiles(t *testing.T) {
	need(t, "qemu-img")
	dir := t.TempDir()
	raw := empty(t, mib)
	run(t, "", "qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", raw, dir+"/backed")
	run(t, "", "qemu-img", "create", "-q", "-f", "qcow2", "-o", "data_file="+dir+"/data,data_file_raw=on", dir+"/external", "1M")
	for _, name := range []string{"backed", "external"} {
		_, err := compare.Images(t.Context(), raw, filepath.Join(dir, name), compare.Options{})
		if err == nil || !strings.Contains(err.Error(), "stands on another file") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestKinds: a disk and a folder have nothing to compare; swap areas tell who they
// are; what is unknown is told by its bytes.
func TestKinds(t *testing.T) {
	a := empty(t, mib)
	var kinds *compare.KindError
	if _, err := compare.Images(t.Context(), a, t.TempDir(), compare.Options{}); !errors.As(err, &kinds) {
		t.Error(err)
	}
	if _, err := compare.Images(t.Context(), a, "/nowhere", compare.Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	need(t, "mkswap")
	run(t, "", "mkswap", "-L", "one", "-U", "01234567-89ab-4def-8123-456789abcdef", a)
	b := twin(t, a)
	run(t, "", "mkswap", "-L", "two", "-U", "01234567-89ab-4def-8123-456789abcdef", b)
	expect(t, a, b, compare.Options{}, `label "one" ≠ "two"`, "content differs at byte 1052 (3 bytes)")
	c := ext(t, extKinds["ext4"]...)
	r := compared(t, empty(t, 16*mib), c, compare.Options{})
	if !strings.Contains(text(t, r), "holds no known file system ≠ ext4") {
		t.Error(text(t, r))
	}
	flip(t, b, 900_000)
	expect(t, b, twin(t, b), compare.Options{})
}

// TestShort: a disk that is cut off is told as such.
func TestShort(t *testing.T) {
	a := ext(t, extKinds["ext4"]...)
	b := twin(t, a)
	if err := os.Truncate(b, 9*mib+7); err != nil {
		t.Fatal(err)
	}
	expect(t, a, b, compare.Options{}, "size 16777216 bytes ≠ 9437191 bytes",
		"note: its files cannot be compared: B: superblock: it counts 4096 blocks of 4096 bytes; there is room for 2304",
		"note: the first 9437191 bytes are equal")
}
