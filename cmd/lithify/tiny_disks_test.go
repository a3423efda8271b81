package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lithify/lithify/blockdev/blockdevtest"
)

// twoDisks is the manual's example: a disk for /, and one of a size and a
// folder of its own for data.
func twoDisks(directory string) string {
	return `DIB_BLOCK_DEVICE_CONFIG=[
[["local_loop", {"name": "rootdisk"}],
 ["local_loop", {"name": "datadisk", "size": "7.5GiB", "directory": "` + directory + `"}]],
[["partitioning", {"base": "rootdisk", "label": "mbr", "partitions": [{"name": "root", "flags": ["boot", "primary"], "size": "100%"}]}],
 ["partitioning", {"base": "datadisk", "label": "gpt", "partitions": [{"name": "data", "size": "100%"}]}]],
[["mkfs", {"base": "root", "name": "mkfs_root"}], ["mkfs", {"base": "data", "name": "mkfs_data", "type": "ext4", "label": "data"}]],
[["mount", {"base": "mkfs_root", "name": "mount_root", "mount_point": "/"}], ["mount", {"base": "mkfs_data", "name": "mount_data", "mount_point": "/var"}]],
[["fstab", {"base": "mount_root", "name": "fstab_root", "options": "defaults", "fsck-passno": 1}], ["fstab", {"base": "mount_data", "name": "fstab_data"}]]]`
}

func TestTinyTwoDisks(t *testing.T) {
	t.Parallel()
	blockdevtest.Need(t, "qemu-img")
	for _, backend := range []string{"loop", "file"} {
		w := newTiny(t, nil)
		data := filepath.Join(w.dir, "data")
		must(t, os.Mkdir(data, 0o755))
		w = w.with(twoDisks(data))
		r := w.build("web", "raw,qcow2,vhd,vhd-fixed,tar", "--backend", backend)
		for _, disk := range []string{w.path("web"), filepath.Join(data, "web-datadisk")} {
			foreign(t, w.out, "qemu-img", "check", disk+".qcow2")
			for format, file := range map[string]string{"qcow2": "qcow2", "vpc": "vhd"} {
				foreign(t, w.out, "qemu-img", "compare", "-f", "raw", "-F", format, disk+".raw", disk+"."+file)
			}
		}
		sizes := map[string]int64{filepath.Join(data, "web-datadisk.raw"): 15 * gib / 2, filepath.Join(data, "web-datadisk.qcow2"): 15 * gib / 2}
		for file, want := range sizes {
			var info struct {
				Size int64 `json:"virtual-size"`
			}
			must(t, json.Unmarshal([]byte(foreign(t, w.out, "qemu-img", "info", "--output=json", file)), &info))
			if info.Size != want {
				t.Errorf("%s has %d bytes, want %d", file, info.Size, want)
			}
		}
		sameTree(t, "raw:"+w.path("web.raw")+":"+filepath.Join(data, "web-datadisk.raw"), "tar:"+w.path("web.tar"), ofDisk)
		for _, dir := range []string{w.out, data} {
			if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		}
		if again := w.build("web", "raw,qcow2,vhd,vhd-fixed,tar", "--backend", backend); !again.nothing {
			t.Errorf("made again: %v after %v", again, r)
		}
	}
}

// Mistakes about disks are found before anything is built.
func TestTinyDiskMistakes(t *testing.T) {
	t.Parallel()
	w := newTiny(t, nil)
	for _, c := range []struct{ config, want string }{
		{twoDisks("/no/such/folder"), `the directory of disk "datadisk"`},
		{strings.Replace(twoDisks("/var/tmp"), `"size": "7.5GiB"`, `"size": "7.5GIB"`, 1), `did you mean "GiB"?`},
		{strings.Replace(twoDisks("/var/tmp"), `"mount_point": "/"}`, `"mount_point": "/x"}`, 1), "no mount has mount_point /"},
	} {
		broken := w.with(c.config)
		broken.fails(2, broken.create("web", "raw"), c.want)
	}
	xfs := w.with("FS_TYPE=xfs")
	xfs.fails(2, xfs.create("web", "raw", "--backend", "file"), "xfs", "--backend loop")
	if left, _ := os.ReadDir(w.out); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// A disk's folder may be the one where the outputs are anyway, by another name.
func TestTinyDiskInTheSameFolder(t *testing.T) {
	t.Parallel()
	w := newTiny(t, nil)
	same := filepath.Join(w.dir, "same")
	must(t, os.Symlink(w.out, same))
	config := strings.Replace(twoDisks(same), `"name": "rootdisk"`, `"name": "rootdisk", "directory": "`+same+`"`, 1)
	w = w.with(strings.Replace(config, "7.5GiB", "20MiB", 1))
	w.build("web", "raw,tar")
	for _, file := range []string{"web.raw", "web-datadisk.raw", "web.tar"} {
		if _, err := os.Stat(w.path(file)); err != nil {
			t.Error(err)
		}
	}
}
