package boot

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// unpackedPackages are what grub-mkconfig and grub-install need to run; no
// maintainer script is run, so that making the tree takes seconds.
const unpackedPackages = "dash,bash,coreutils,sed,grep,mawk,findutils,util-linux,debianutils,gettext-base,base-files,grub-common,grub2-common,grub-pc-bin,grub-efi-amd64-bin,grub-efi-amd64-signed,shim-signed"

// debianTree is an unpacked Debian with GRUB, never to be written, made once.
// LITHIFY_BOOT_TREES names a folder that keeps such trees between runs.
func debianTree(t *testing.T, suite string) string {
	t.Helper()
	need(t, true, "mmdebstrap")
	dir := trees
	if kept := os.Getenv("LITHIFY_BOOT_TREES"); kept != "" {
		dir = kept
	}
	tree := filepath.Join(dir, "tree-"+suite)
	if _, err := os.Stat(tree); err == nil {
		return tree
	}
	cmd := exec.Command("mmdebstrap", "--quiet", "--variant=extract", "--include="+unpackedPackages, suite, tree)
	if out, err := cmd.CombinedOutput(); err != nil {
		_ = os.RemoveAll(tree) // the next test must not take it for whole
		t.Fatalf("unpacking Debian %s: %v: %s", suite, err, out)
	}
	return tree
}

// finalise runs a script in a tree over lower as a build does: an overlay, no
// device, the test binary bound over GRUB's tools. It gives the folder of what
// the script changed.
func finalise(t *testing.T, lower string, layout Layout, script string) string {
	t.Helper()
	self, work := static(t), t.TempDir()
	for _, dir := range []string{"up", "work", "tree", "data"} {
		if err := os.Mkdir(filepath.Join(work, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	text, err := json.Marshal(layout)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(work, "data", filepath.Base(planName)), text, 0o644); err != nil {
		t.Fatal(err)
	}
	var targets []string
	for _, c := range Covers() {
		targets = append(targets, c.Target)
	}
	cmd := exec.Command("unshare", "--mount", "sh", "-ec", build, "build", lower, work, self, script, strings.Join(targets, " "))
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatalf("finalising: %v", err)
	}
	return filepath.Join(work, "up")
}

// build is the driver of a build, as short as it can be.
const build = `
cd "$2"
mount -t overlay -o "lowerdir=$1,upperdir=up,workdir=work" overlay tree
mount -t proc proc tree/proc
mount -t tmpfs dev tree/dev
for n in null zero urandom; do : > tree/dev/$n; mount --bind /dev/$n tree/dev/$n; done
mkdir -p tree/dev/lithify/data
mount --bind data tree/dev/lithify/data
for c in $5; do if [ -e "tree$c" ]; then mount --bind "$3" "tree$c"; fi; done
chroot tree /bin/bash -ec "$4"
`

// static is this test's binary in a form that runs in any tree.
func static(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.Open(self)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if !slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		return self
	}
	need(t, false, "go")
	made := filepath.Join(t.TempDir(), "boot.test")
	cmd := exec.Command("go", "test", "-c", "-o", made, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building a static test binary: %v: %s", err, out)
	}
	return made
}

// finaliseScript is a boot loader hook without its words.
const finaliseScript = `
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
[ -e /usr/bin/awk ] || ln -s mawk /usr/bin/awk
ln -sf /proc/self/mounts /etc/mtab
printf 'GRUB_DISTRIBUTOR=Debian\nGRUB_TIMEOUT=1\nGRUB_CMDLINE_LINUX_DEFAULT="console=ttyS0"\nGRUB_DISABLE_OS_PROBER=true\n' > /etc/default/grub
echo kernel > /boot/vmlinuz-6.1.0-1-amd64
echo initrd > /boot/initrd.img-6.1.0-1-amd64
grub-install --target=i386-pc --modules='part_msdos part_gpt lvm biosdisk'
grub-mkconfig -o /boot/grub/grub.cfg
grub-script-check /boot/grub/grub.cfg
`

func TestGrubsOwnToolsUnderCovers(t *testing.T) {
	alone := planned()
	alone.FileSystems = alone.FileSystems[:1] // /boot on the root
	for _, c := range []struct {
		name, suite string
		layout      Layout
		want        []string
	}{
		{"bookworm", "bookworm", alone, []string{
			`insmod part_msdos\n\s+insmod ext2\n\s+search --no-floppy --fs-uuid --set=root ` + rootUUID + `\n`,
			`linux\s+/boot/vmlinuz-6.1.0-1-amd64 root=UUID=` + rootUUID + ` ro`, `initrd\s+/boot/initrd.img-6.1.0-1-amd64\n`}},
		{"bookworm with /boot apart", "bookworm", planned(), []string{
			`search --no-floppy --fs-uuid --set=root ` + bootUUID + `\n`,
			`linux\s+/vmlinuz-6.1.0-1-amd64 root=UUID=` + rootUUID + ` ro`, `initrd\s+/initrd.img-6.1.0-1-amd64\n`}},
		{"trixie", "trixie", alone, []string{
			`search --no-floppy --fs-uuid --set=root ` + rootUUID + `\n`,
			`linux\s+/boot/vmlinuz-6.1.0-1-amd64 root=UUID=` + rootUUID + ` ro`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			grub := filepath.Join(finalise(t, debianTree(t, c.suite), c.layout, finaliseScript), "boot/grub")
			config := read(t, filepath.Join(grub, "grub.cfg"))
			for _, want := range c.want {
				if !regexp.MustCompile(want).Match(config) {
					t.Errorf("grub.cfg has no %s", want)
				}
			}
			for _, bad := range []string{"/dev/", "overlay", "hd0"} {
				if bytes.Contains(config, []byte(bad)) {
					t.Errorf("grub.cfg names %s", bad)
				}
			}
			if t.Failed() {
				t.Logf("%s", config)
			}
			installed(t, grub, "i386-pc", "boot.img", "core.img")
		})
	}
}

// installed looks for what the real grub-install leaves below /boot/grub.
func installed(t *testing.T, grub, platform string, images ...string) {
	t.Helper()
	names := []string{"grubenv", "fonts/unicode.pf2", "locale/de.mo"}
	for _, name := range append(images, "normal.mod", "ext2.mod", "moddep.lst", "command.lst", "modinfo.sh", "load.cfg") {
		names = append(names, filepath.Join(platform, name))
	}
	for _, name := range names {
		if info, err := os.Stat(filepath.Join(grub, name)); err != nil || info.Mode() != 0o644 || info.Size() == 0 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if block := read(t, filepath.Join(grub, "grubenv")); len(block) != environmentSize {
		t.Errorf("environment block of %d bytes", len(block))
	}
}

// bios is GRUB's own writer of boot code at work. The partition is a loop device
// of its own, since not every kernel here parses partition tables.
const bios = `
disk=$(losetup -f --show "$1")
trap 'losetup -d $disk' EXIT
part=$(losetup -f --show -o 1048576 --sizelimit 12582912 "$1")
trap 'losetup -d $disk $part' EXIT
mke2fs -q $part
mkdir mnt
mount $part mnt
cp -a "$2/boot" mnt/
echo "(hd0) $disk" > map
"$3"/lib64/ld-linux-x86-64.so.2 --library-path "$3/lib/x86_64-linux-gnu:$3/usr/lib/x86_64-linux-gnu" \
    "$3/usr/lib/grub/i386-pc/grub-bios-setup" -s -f --no-rs-codes -m map -d mnt/boot/grub/i386-pc $disk
sync
umount mnt
`

// Place writes what grub-bios-setup writes, to the byte.
func TestPlaceEqualsGrubBiosSetup(t *testing.T) {
	tree := debianTree(t, "bookworm")
	up := finalise(t, tree, planned(), finaliseScript)
	for _, c := range []struct{ name, script string }{
		{"mbr", "label: dos\nlabel-id: 0x1a2b3c4d\nstart=2048, type=83, bootable\n"},
		{"gpt", "label: gpt\nstart=2048, size=24576, type=L\nstart=26624, size=4096, type=21686148-6449-6E6F-744E-656564454649\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			equalsGrubBiosSetup(t, tree, up, partitioned(t, []string{"sfdisk", "-q"}, c.script))
		})
	}
}

// equalsGrubBiosSetup compares all but the file system, which begins at 1 MiB and
// in a GPT ends at 13 MiB.
func equalsGrubBiosSetup(t *testing.T, tree, up, image string) {
	ours := image + ".ours"
	if err := os.WriteFile(ours, read(t, image), 0o644); err != nil {
		t.Fatal(err)
	}
	if placed, err := Place(context.Background(), ours, planned(), up); err != nil || !placed {
		t.Fatal(placed, err)
	}
	cmd := exec.Command("unshare", "--mount", "sh", "-ec", bios, "bios", image, up, tree)
	cmd.Dir = t.TempDir()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("grub-bios-setup: %v: %s", err, out)
	}
	got, want := read(t, ours), read(t, image)
	same(t, got[:2048*512], want[:2048*512])
	if bytes.Contains(got[512:1024], []byte(gptSignature)) {
		same(t, got[26624*512:], want[26624*512:])
	}
}

// realProbe is GRUB's own grub-probe over a file system in a file.
const realProbe = `
disk=$(losetup -f --show "$1")
trap 'losetup -d $disk' EXIT
for t in fs fs_uuid fs_label; do
    "$2"/lib64/ld-linux-x86-64.so.2 --library-path "$2/lib/x86_64-linux-gnu:$2/usr/lib/x86_64-linux-gnu" "$2/usr/sbin/grub-probe" -d $disk -t $t
done
`

// What is said of a file system is what GRUB's own tool says once it exists.
func TestProbeEqualsGrubProbe(t *testing.T) {
	tree := debianTree(t, "bookworm")
	for _, f := range []FileSystem{
		{Mount: "/", Type: "ext4", Label: "cloudimg-rootfs", UUID: rootUUID},
		{Mount: "/", Type: "vfat", Label: "ESP", UUID: "ABCD-1234"},
		{Mount: "/", Type: "xfs", Label: "var", UUID: rootUUID},
		{Mount: "/", Type: "btrfs", Label: "home", UUID: rootUUID},
	} {
		t.Run(f.Type, func(t *testing.T) {
			tool := map[string][]string{
				"ext4": {"mke2fs", "-q", "-L", f.Label, "-U", f.UUID}, "vfat": {"mkfs.fat", "-n", f.Label, "-i", strings.Replace(f.UUID, "-", "", 1)},
				"xfs": {"mkfs.xfs", "-q", "-L", f.Label, "-m", "uuid=" + f.UUID}, "btrfs": {"mkfs.btrfs", "-q", "-L", f.Label, "-U", f.UUID},
			}[f.Type]
			need(t, true, tool[0], "losetup")
			image := filepath.Join(t.TempDir(), "fs")
			if err := os.WriteFile(image, nil, 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(image, 512<<20); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command(tool[0], append(tool[1:], image)...).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v: %s", tool[0], err, out)
			}
			want, err := exec.Command("sh", "-ec", realProbe, "probe", image, tree).CombinedOutput()
			if err != nil {
				t.Fatalf("grub-probe: %v: %s", err, want)
			}
			var got bytes.Buffer
			for _, target := range []string{"fs", "fs_uuid", "fs_label"} {
				err := Run(context.Background(), "grub-probe", Env{Layout: Layout{FileSystems: []FileSystem{f}}, Root: t.TempDir(), Stdout: &got, Stderr: &got}, []string{"-t", target, "/"})
				if err != nil {
					t.Fatal(err)
				}
			}
			if got.String() != string(want) {
				t.Errorf("%q, GRUB's own says %q", got.String(), want)
			}
		})
	}
}
