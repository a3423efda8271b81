package loop_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lithify/lithify/blockdev/blockdevtest"
	"github.com/lithify/lithify/blockdev/guest"
)

// inside tells this program that it runs in the guest: "some" or "all" says how
// much it does there.
const inside = "LITHIFY_TEST_INSIDE"

// everything says that LITHIFY_TEST_VOLUMES=all asks for all there is to try.
func everything() bool { return os.Getenv(inside) == "all" }

// guestTools are what the tests run in the guest.
var guestTools = []string{"lvm", "dmsetup", "mdadm", "cryptsetup", "blkid", "losetup", "mke2fs", "e2fsck"}

// conformanceTools are what all layouts and the conformance suite need beside them.
var conformanceTools = []string{"mkfs.btrfs", "btrfs", "debugfs", "setfacl", "setcap", "mknod", "unshare", "dumpe2fs", "sfdisk", "sgdisk", "mount", "umount", "swaplabel", "mkfs.xfs", "xfs_repair", "mcopy", "fsck.fat", "env"}

const insideScript = `
mkdir -p /scratch /etc/lvm /run/lvm /run/lock /run/cryptsetup
/MKE2FS -q -t ext4 -I 1024 -O ^has_journal /dev/vda
mount -t ext4 /dev/vda /scratch
printf 'activation { udev_sync = 0\n udev_rules = 0 }\ndevices { use_devicesfile = 0 }\nglobal { thin_check_executable = "" }\n' > /etc/lvm/lvm.conf
export DM_DISABLE_UDEV=1 TMPDIR=/scratch HOME=/scratch CI=true LITHIFY_TEST_INSIDE=MUCH
cd /scratch
/loop.test -test.v -test.timeout 3h -test.run 'RUN'
`

// TestGuest runs the tests that need device-mapper and md in a guest, and this
// program is the judge there. Conformance runs there as well when all is asked for:
// Debian's kernel has vfat. (TestTwins would want Linux 6.7.)
func TestGuest(t *testing.T) {
	if os.Getenv(inside) != "" {
		t.Run("volumes", insideVolumes)
		t.Run("kill", insideKill)
		t.Run("thin", insideThin)
		return
	}
	blockdevtest.Need(t, append(guestTools, "truncate")...)
	much, which, tools, limit := "some", "^TestGuest", guestTools, 20*time.Minute
	if os.Getenv("LITHIFY_TEST_VOLUMES") == "all" {
		limit = 3 * time.Hour
		much, which, tools = "all", "^(TestGuest|TestConformance|TestKill)", append(tools, conformanceTools...)
		blockdevtest.Need(t, conformanceTools...)
	}
	if own := os.Getenv("LITHIFY_TEST_INSIDE_RUN"); own != "" {
		which = own
	}
	scratch := filepath.Join(t.TempDir(), "scratch")
	if err := os.WriteFile(scratch, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(scratch, 24<<30); err != nil {
		t.Fatal(err)
	}
	kernel := guest.Kernel(t)
	ran := kernel.Run(t, guest.Guest{
		Script: strings.NewReplacer("/MKE2FS", lookTool(t, "mke2fs"), "MUCH", much, "RUN", which).Replace(insideScript),
		Disks:  []string{scratch}, Memory: 2048, Limit: limit,
		Modules: []string{"virtio_pci", "virtio_blk", "crc32c_generic", "ext4", "xfs", "btrfs", "vfat", "nls_cp437", "nls_ascii", "nls_utf8", "loop",
			"dm_mod", "dm_crypt", "dm_thin_pool", "raid0", "raid1", "raid10", "raid456", "xts", "aesni_intel"},
		Tools: tools,
		Files: map[string]string{"/loop.test": "/proc/self/exe"},
	})
	if ran.Status != 0 || !strings.Contains(ran.Output, "\nPASS\n") {
		t.Errorf("status %d:\n%s", ran.Status, ran.Output)
	}
	t.Log(strings.TrimSpace(ran.Output))
}

func lookTool(t *testing.T, name string) string {
	t.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin") {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return filepath.Join(dir, name)
		}
	}
	t.Fatalf("%s is not there", name)
	return ""
}
