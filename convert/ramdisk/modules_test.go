package ramdisk

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lithify/lithify/blockdev/blockdevtest"
	"github.com/lithify/lithify/blockdev/guest"
)

// TestModulesAsModprobe compares what a module needs with what modprobe would load,
// for all modules that the tests' kernel has.
func TestModulesAsModprobe(t *testing.T) {
	blockdevtest.Need(t, "modprobe")
	dir, version := guest.Kernel(t).Modules()
	m, err := readModules(newTree(dir), "/lib/modules/"+version)
	must(t, err)
	if len(m.order) < 200 {
		t.Fatalf("only %d modules", len(m.order))
	}
	for i, file := range m.order {
		if i%3 != 0 && len(m.soft[moduleName(file)]) == 0 { // modprobe is slow
			continue
		}
		out, err := exec.Command("modprobe", "--dirname", dir, "--set-version", version, "--config", "/dev/null", "--show-depends", moduleName(file)).Output()
		if err != nil {
			t.Errorf("modprobe %s: %v", file, err)
			continue
		}
		var want []string
		for line := range strings.Lines(string(out)) {
			if words := strings.Fields(line); words[0] == "insmod" {
				_, below, _ := strings.Cut(words[1], "/lib/modules/"+version+"/")
				want = append(want, below)
			}
		}
		slices.Sort(want)
		want = slices.Compact(want)
		got := m.withNeeds([]string{file})
		if len(m.soft[moduleName(file)]) > 1 {
			// Of several lines of modules.softdep modprobe looks at the first; the
			// module asks the kernel for the others.
			got = slices.DeleteFunc(got, func(f string) bool { return !slices.Contains(want, f) })
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got\n%q, modprobe loads\n%q", file, got, want)
		}
	}
}

func moduleTree(t *testing.T) *modules {
	t.Helper()
	dir := t.TempDir()
	at := filepath.Join(dir, "lib/modules/6.1")
	must(t, os.MkdirAll(at, 0o755))
	for name, text := range map[string]string{
		"modules.dep": "kernel/drivers/net/virtio_net.ko.xz: kernel/net/core/failover.ko.xz\nkernel/net/core/failover.ko.xz:\n" +
			"kernel/drivers/net/phy/fixed-phy.ko:\nkernel/drivers/video/fbdev/radeonfb.ko:\nextra/own.ko:\nkernel/crypto/crc32c_generic.ko:\nkernel/fs/btrfs.ko:\n",
		"modules.softdep": "# soft\nsoftdep btrfs pre: crc32c nowhere\nsoftdep own post: fixed_phy\n",
		"modules.alias":   "alias crc32c crc32c_generic\nalias virtio:d00000001v* virtio_net\nalias fs-* btrfs\n",
		"modules.builtin": "kernel/fs/ext4/ext4.ko\n",
	} {
		must(t, os.WriteFile(filepath.Join(at, name), []byte(text), 0o644))
	}
	m, err := readModules(newTree(dir), "/lib/modules/6.1")
	must(t, err)
	return m
}

func TestModulesNamed(t *testing.T) {
	m := moduleTree(t)
	for word, want := range map[string]string{
		"virtio-net":                       "[kernel/drivers/net/virtio_net.ko.xz]",
		"ext4":                             "[]",
		"fs-btrfs":                         "[kernel/fs/btrfs.ko]",
		"virtio:d00000001v0000abcd":        "[kernel/drivers/net/virtio_net.ko.xz]",
		"drivers/net":                      "[kernel/drivers/net/virtio_net.ko.xz kernel/drivers/net/phy/fixed-phy.ko]",
		"kernel/drivers/net/":              "[kernel/drivers/net/virtio_net.ko.xz kernel/drivers/net/phy/fixed-phy.ko]",
		"drivers/**/*phy":                  "[kernel/drivers/net/phy/fixed-phy.ko]",
		"/drivers/net/virtio_net":          "[kernel/drivers/net/virtio_net.ko.xz]",
		"extra/own":                        "[extra/own.ko]",
		"drivers/netz":                     "no module of this kernel",
		"virtio_nte":                       "no module of this kernel",
		"drivers/[":                        "\"drivers/[\" is no pattern: syntax error in pattern",
		"drivers/net/virtio_net.ko.xz/too": "no module of this kernel",
	} {
		files, err := m.named(word)
		got := fmt.Sprint(files)
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %s, want %s", word, got, want)
		}
	}
	if got := fmt.Sprint(m.withNeeds([]string{"kernel/fs/btrfs.ko", "extra/own.ko"})); got != "[extra/own.ko kernel/crypto/crc32c_generic.ko kernel/drivers/net/phy/fixed-phy.ko kernel/fs/btrfs.ko]" {
		t.Errorf("with soft needs: %s", got)
	}
	if slices.ContainsFunc(m.all(), func(f string) bool { return strings.Contains(f, "radeonfb") }) || len(m.all()) != 6 {
		t.Errorf("all: %q", m.all())
	}
}

func TestCompareVersions(t *testing.T) {
	versions := []string{"6.1.0-44-amd64", "6.1.0-5-amd64", "6.10.0", "6.9.0-rc1", "6.9", "5.19", "6.1.0-5-cloud-amd64"}
	slices.SortFunc(versions, CompareVersions)
	if got := strings.Join(versions, " "); got != "5.19 6.1.0-5-amd64 6.1.0-5-cloud-amd64 6.1.0-44-amd64 6.9 6.9.0-rc1 6.10.0" {
		t.Error(got)
	}
}
