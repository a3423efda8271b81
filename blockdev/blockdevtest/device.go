package blockdevtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Device makes a block device of so many bytes, all zeros, for the time of a test:
// a loop device over a file, which takes the place of a disk that is there.
func Device(t testing.TB, size int64, options ...string) string {
	t.Helper()
	NeedRoot(t)
	Need(t, "losetup")
	image := filepath.Join(t.TempDir(), "device.img")
	f, err := os.Create(image)
	if err == nil {
		err = f.Truncate(size)
		f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("losetup", append(options, "-f", "--show", image)...).CombinedOutput()
	if err != nil {
		Missing(t, "losetup: "+string(out))
	}
	device := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "-d", device).CombinedOutput(); err != nil {
			t.Errorf("losetup -d %s: %v: %s", device, err, out)
		}
	})
	return device
}
