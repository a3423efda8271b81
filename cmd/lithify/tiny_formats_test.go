package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/lithify/lithify/blockdev/blockdevtest"
)

// TestTinyFormatsTogether: no format takes another one's place, compression or
// file away, wherever it stands in the list (rows 22 to 27 of the contract's
// sharp edges).
func TestTinyFormatsTogether(t *testing.T) {
	t.Parallel()
	blockdevtest.Need(t, "qemu-img", "unsquashfs")
	w := newTiny(t, nil)
	w.build("web.qcow2", "vhd,tgz,squashfs,tar,qcow2", "--checksum")
	for _, file := range []string{"web.vhd", "web.tgz", "web.squash", "web.tar", "web.qcow2"} {
		foreign(t, w.out, "md5sum", "--check", "--strict", file+".md5")
		foreign(t, w.out, "sha256sum", "--check", "--strict", file+".sha256")
	}
	if got := foreign(t, w.out, "qemu-img", "check", "web.qcow2"); !regexp.MustCompile(`[1-9][0-9.]*% compressed`).MatchString(got) {
		t.Errorf("the qcow2 is not compressed: %s", got)
	}
	foreign(t, w.out, "qemu-img", "compare", "-f", "vpc", "-F", "qcow2", "web.vhd", "web.qcow2")
	lists := map[string]string{
		"web.tar":    foreign(t, w.out, "tar", "--list", "--file", "web.tar"),
		"web.tgz":    foreign(t, w.out, "tar", "--list", "--gzip", "--file", "web.tgz"),
		"web.squash": foreign(t, w.out, "unsquashfs", "-no-progress", "-lls", "-dest", ".", "web.squash"),
	}
	for file, list := range lists {
		for _, dir := range []string{"proc", "sys", "dev"} {
			if n := strings.Count(list, "./"+dir); n != 1 {
				t.Errorf("%s has %s and what is in it %d times, want an empty folder:\n%.2000s", file, dir, n, list)
			}
		}
	}
	entries, err := os.ReadDir(w.out)
	must(t, err)
	if len(entries) != 5*3+1 { // with checksums, and web.d
		t.Errorf("outputs: %v", entries)
	}
}
