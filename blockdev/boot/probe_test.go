package boot

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const rootUUID, bootUUID = "3f1c2d4e-0a1b-4c2d-8e3f-112233445566", "77777777-0a1b-4c2d-8e3f-112233445566"

// planned is a disk with /boot, / and /var/log apart.
func planned() Layout {
	part := func(n int, mount, label, uuid string) FileSystem {
		return FileSystem{Mount: mount, Type: "ext4", Label: label, UUID: uuid, Table: "msdos", DiskID: "0x1A2B3C4D", Partition: n, PartType: "83"}
	}
	log := FileSystem{Mount: "/var/log", Type: "vfat", Label: "LOG", UUID: "ABCD-1234", Disk: 1}
	lvm := FileSystem{Mount: "/srv", Type: "xfs", UUID: "88888888-0a1b-4c2d-8e3f-112233445566",
		Volume: &Volume{Drive: "lvmid/vg/lv", Device: "/dev/mapper/vg-srv", Modules: []string{"lvm", "cryptodisk", "luks2"}, Tables: []string{"gpt"}, Unlock: []string{"99"}}}
	return Layout{FileSystems: []FileSystem{part(2, "/", "cloudimg-rootfs", rootUUID), part(1, "/boot", "BOOT", bootUUID), log, lvm}}
}

// inTree runs a stand-in over a small tree.
func inTree(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	root := t.TempDir()
	for _, dir := range []string{"boot/grub", "boots", "var/log/deep", "srv"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("boot/grub", filepath.Join(root, "menu")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../../../../../../../../etc", filepath.Join(root, "out")); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err := Run(context.Background(), name, Env{Layout: planned(), Root: root, Stdout: &out, Stderr: &out}, args)
	return out.String(), err
}

func TestProbeAnswers(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"--target=device /", "UUID=" + rootUUID + "\n"},
		{"-t device /boot", "UUID=" + bootUUID + "\n"},
		{"--target=device /boots", "UUID=" + rootUUID + "\n"},
		{"-t device /menu", "UUID=" + bootUUID + "\n"},
		{"-t fs /boot/grub", "ext2\n"},
		{"/", "ext2\n"},
		{"--target fs /var/log/deep", "fat\n"},
		{"--device UUID=" + rootUUID + " --target=fs_uuid", rootUUID + "\n"},
		{"-d UUID=" + rootUUID + " UUID=" + bootUUID + " -t fs_uuid", rootUUID + "\n" + bootUUID + "\n"},
		{"--target=fs_label /", "cloudimg-rootfs\n"},
		{"--target=partuuid /", "1a2b3c4d-02\n"},
		{"--target=partmap /", "msdos\n"},
		{"--target=partmap /var/log", ""},
		{"--target=abstraction /", ""},
		{"--target=cryptodisk_uuid /", ""},
		{"--target=drive /boot", "(hd0,msdos1)\n"},
		{"--target=drive /var/log", "(hd1)\n"},
		{"--target=compatibility_hint /", ""},
		{"--target=bios_hints /", ""},
		{"--target=baremetal_hints /", ""},
		{"--target=hints_string /", ""},
		{"--target=msdos_parttype /", "83\n"},
		{"--target=gpt_parttype /", ""},
		{"--target=drive /srv", "(lvmid/vg/lv)\n"},
		{"--target=abstraction /srv", "lvm\ncryptodisk\nluks2\n"},
		{"--target=device /srv", "/dev/mapper/vg-srv\n"},
		{"--target=fs -d /dev/mapper/vg-srv", "xfs\n"},
		{"--target=partmap /srv", "gpt\n"},
		{"--target=cryptodisk_uuid /srv", "99\n"},
		{"--target=compatibility_hint /srv", "lvmid/vg/lv\n"},
		{"--target=hints_string /srv", "--hint='lvmid/vg/lv' \n"},
		{"-0 -t fs /", "ext2\x00"},
	} {
		got, err := inTree(t, "grub-probe", strings.Fields(c.args)...)
		if err != nil || got != c.want {
			t.Errorf("grub-probe %s: %q, %v; want %q", c.args, got, err, c.want)
		}
	}
}

func TestProbeRefuses(t *testing.T) {
	for _, c := range []struct {
		args     string
		noDevice bool
	}{
		{"--target=disk /", true},
		{"--target=zero_check /", true},
		{"--target=partuuid /var/log", true},
		{"--target=fs_uuid -d /dev/loop0p1", true},
		{"--target=fs_uuid -d LABEL=cloudimg-rootfs", true},
		{"--target=fs", false},
		{"--target=fs /missing", false},
		{"--target=fs /out", false},
		{"--nonsense /", false},
	} {
		got, err := inTree(t, "grub-probe", strings.Fields(c.args)...)
		if err == nil || got != "" || errors.Is(err, ErrNoDevice) != c.noDevice {
			t.Errorf("grub-probe %s: %q, %v", c.args, got, err)
		}
		if c.noDevice && !strings.Contains(err.Error(), "--backend loop") {
			t.Errorf("grub-probe %s: %v does not name the way out", c.args, err)
		}
	}
}

func TestMkrelpath(t *testing.T) {
	for path, want := range map[string]string{"/boot": "\n", "/boot/grub": "/grub\n", "/": "\n", "/boots": "/boots\n", "/menu": "/grub\n"} {
		if got, err := inTree(t, "grub2-mkrelpath", path); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", path, got, err, want)
		}
	}
}

func TestInstallRefuses(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"--target=sparc64-ieee1275", "allowed are arm64-efi, i386-efi, i386-pc, x86_64-efi"},
		{"--no-bootsector", "unknown flag"},
		{"/dev/sda /dev/sdb", "more than one device"},
		{"", "package grub-pc-bin"},
		{"--target=x86_64-efi", "package grub-efi-amd64-bin"},
		{"--target=x86_64-efi --directory=MODULES", "mounts no vfat at /boot/efi"},
		{"--target=x86_64-efi --directory=MODULES --efi-directory=/boot", `lies on the ext4 at "/boot", a vfat is wanted`},
	} {
		root := t.TempDir()
		for _, dir := range []string{"boot", "srv"} {
			if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(root, "moddep.lst"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		args := strings.Fields(strings.ReplaceAll(c.args, "MODULES", "/"))
		var out bytes.Buffer
		err := Run(context.Background(), "grub-install", Env{Layout: planned(), Root: root, Stdout: &out, Stderr: &out}, args)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("grub-install %s: %v; want %s", c.args, err, c.want)
		}
	}
	if _, err := inTree(t, "grub-install", "--target=mips-arc"); !errors.Is(err, ErrNoDevice) {
		t.Errorf("--target=mips-arc: %v", err)
	}
}

func TestRunKnowsItsNames(t *testing.T) {
	err := Run(context.Background(), "grub-mkimage", Env{}, nil)
	if err == nil || !strings.Contains(err.Error(), "grub-probe") {
		t.Errorf("an unknown command gave %v; the names are to be listed", err)
	}
	for _, c := range Covers() {
		if commands[c.Command] == nil || !c.Optional {
			t.Errorf("cover %+v", c)
		}
	}
}

// A stand-in gets words from hooks: any of them may be wrong, none may crash it.
func FuzzProbe(f *testing.F) {
	f.Add("--target=fs /")
	f.Add("-d UUID=x -t hints_string")
	root := f.TempDir()
	f.Fuzz(func(t *testing.T, line string) {
		var out bytes.Buffer
		_ = Run(context.Background(), "grub-probe", Env{Layout: planned(), Root: root, Stdout: &out, Stderr: &out}, strings.Fields(line))
	})
}
