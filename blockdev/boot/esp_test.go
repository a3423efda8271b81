package boot

import (
	"bytes"
	"debug/pe"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const espUUID = "ABCD-1234"

// plannedEFI is a GPT with a system partition, one for BIOS, and a root of the type.
func plannedEFI(fsType string) Layout {
	part := func(n int, mount, fsType, uuid string) FileSystem {
		return FileSystem{Mount: mount, Type: fsType, UUID: uuid, Table: "gpt", Partition: n,
			DiskID: "0f1c2d4e-0a1b-4c2d-8e3f-112233445566", PartUUID: "1f1c2d4e-0a1b-4c2d-8e3f-11223344556" + string(rune('0'+n))}
	}
	return Layout{FileSystems: []FileSystem{part(1, "/boot/efi", "vfat", espUUID), part(3, "/", fsType, rootUUID)}}
}

// efiScript runs grub-install as the bootloader element does.
const efiScript = `
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
ln -sf /proc/self/mounts /etc/mtab
printf 'GRUB_DISTRIBUTOR="Debian Something"\n' > /etc/default/grub
grub-install --target=x86_64-efi OPTIONS
`

// Paths of the signed chain in Debian's packages.
const (
	shimSigned = "usr/lib/shim/shimx64.efi.signed"
	grubSigned = "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"
	keysSigned = "usr/lib/shim/mmx64.efi.signed"
	coreEFI    = "boot/grub/x86_64-efi/core.efi"
)

func TestInstallEFI(t *testing.T) {
	tree := debianTree(t, "bookworm")
	for _, c := range []struct {
		name, options string
		want          map[string]string // file below EFI → file it equals, "" for a grub.cfg
	}{
		{"unsigned", "--efi-directory=/boot/efi --bootloader-id=debian --no-uefi-secure-boot --no-nvram --force-extra-removable", map[string]string{
			"BOOT/BOOTX64.EFI": coreEFI, "debian/grubx64.efi": coreEFI}},
		{"unsigned removable", "--removable --no-uefi-secure-boot", map[string]string{"BOOT/BOOTX64.EFI": coreEFI}},
		{"signed, name from GRUB_DISTRIBUTOR", "", map[string]string{
			"BOOT/BOOTX64.EFI": shimSigned, "BOOT/grubx64.efi": grubSigned, "BOOT/mmx64.efi": keysSigned, "BOOT/grub.cfg": "",
			"debian/BOOTX64.CSV": "usr/lib/shim/BOOTX64.CSV", "debian/shimx64.efi": shimSigned, "debian/grubx64.efi": grubSigned, "debian/mmx64.efi": keysSigned, "debian/grub.cfg": ""}},
		{"signed removable", "--removable --uefi-secure-boot --bootloader-id=other", map[string]string{
			"BOOT/BOOTX64.EFI": shimSigned, "BOOT/grubx64.efi": grubSigned, "BOOT/mmx64.efi": keysSigned, "BOOT/grub.cfg": "", "debian/grub.cfg": ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			up := finalise(t, tree, plannedEFI("xfs"), strings.Replace(efiScript, "OPTIONS", c.options, 1))
			installed(t, filepath.Join(up, "boot/grub"), "x86_64-efi", "core.efi")
			espFiles(t, tree, up, c.want)
			core := read(t, filepath.Join(up, coreEFI))
			if image, err := pe.NewFile(bytes.NewReader(core)); err != nil || image.Machine != pe.IMAGE_FILE_MACHINE_AMD64 {
				t.Errorf("core.efi is no PE image of this machine: %v", err)
			}
			if !bytes.Contains(core, []byte("search.fs_uuid "+rootUUID+" root hd0,gpt3\n")) || !bytes.Contains(core, []byte("xfs")) {
				t.Error("core.efi does not look for the root")
			}
		})
	}
}

// espFiles compares the system partition's files with those that are wanted.
func espFiles(t *testing.T, tree, up string, want map[string]string) {
	t.Helper()
	esp, found := filepath.Join(up, "boot/efi/EFI"), []string{}
	err := filepath.WalkDir(esp, func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(esp, name)
			found = append(found, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range found {
		from, ok := want[name]
		switch got := read(t, filepath.Join(esp, name)); {
		case !ok:
			t.Errorf("%s is too much", name)
		case from == "":
			if string(got) != "search.fs_uuid "+rootUUID+" root hd0,gpt3\nset prefix=($root)'/boot/grub'\nconfigfile $prefix/grub.cfg\n" {
				t.Errorf("%s is %q", name, got)
			}
		default:
			file := filepath.Join(up, from)
			if _, err := os.Stat(file); err != nil {
				file = filepath.Join(tree, from)
			}
			if !bytes.Equal(got, read(t, file)) {
				t.Errorf("%s is not %s", name, from)
			}
		}
	}
	for name := range want {
		if !slices.Contains(found, name) {
			t.Errorf("%s is missing", name)
		}
	}
}

func TestInstallWhereNoBIOSStarts(t *testing.T) {
	tree := debianTree(t, "bookworm")
	layout := plannedEFI("ext4")
	layout.NoBIOS = "its sectors have 4096 bytes"
	script := strings.Replace(efiScript, "--target=x86_64-efi OPTIONS", "--target=i386-pc > /said 2>&1", 1)
	up := finalise(t, tree, layout, script)
	if said := read(t, filepath.Join(up, "said")); !bytes.Contains(said, []byte("warning: nothing is installed for i386-pc: no BIOS starts this disk, its sectors have 4096 bytes.")) {
		t.Errorf("said %q", said)
	}
	if _, err := os.Stat(filepath.Join(up, "boot/grub/i386-pc")); err == nil {
		t.Error("something was installed for BIOS")
	}
	layout.FileSystems = layout.FileSystems[1:]
	up = finalise(t, tree, layout, strings.Replace(script, "grub-install", "! grub-install", 1))
	if said := read(t, filepath.Join(up, "said")); !bytes.Contains(said, []byte("and it has no EFI system partition")) {
		t.Errorf("said %q", said)
	}
}
