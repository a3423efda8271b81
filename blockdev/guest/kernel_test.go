package guest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestKernel starts a guest once: a module, a tool with libraries, a file, a disk
// that keeps what is written, the exit code.
func TestKernel(t *testing.T) {
	k := Kernel(t)
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(disk, make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	hello := filepath.Join(t.TempDir(), "hello")
	if err := os.WriteFile(hello, []byte("from outside\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	ran := k.Run(t, Guest{
		Modules: []string{"virtio_pci", "virtio_blk", "ext4"}, Tools: []string{"mke2fs"},
		Files: map[string]string{"/data/hello": hello}, Disks: []string{disk},
		Script: "cat /data/hello\ngrep ext4 /proc/filesystems\n/usr/sbin/mke2fs -V 2>&1 | grep -c mke2fs\nprintf kept | dd of=/dev/vda conv=fsync 2>/dev/null\nexit 7\n",
	})
	if ran.Status != 7 || !strings.Contains(ran.Output, "from outside\n") || !strings.Contains(ran.Output, "ext4\n") {
		t.Errorf("status %d, output %q", ran.Status, ran.Output)
	}
	written, err := os.ReadFile(disk)
	if err != nil {
		t.Fatal(err)
	}
	if string(written[:4]) != "kept" {
		t.Errorf("the disk begins with %q", written[:4])
	}
}
