package main

import (
	"os"
	"testing"
)

// An element asks for files of the tree beside the image, as baremetal does for
// kernel and initial ramdisk.
func TestTinyTreeFiles(t *testing.T) {
	t.Parallel()
	w := newTiny(t, nil)
	w.names = append(w.names, "starter")
	hook := func(kernel string) {
		w.write("starter/finalise.d/97-starter", "#!/bin/sh\nset -e\nmkdir -p /boot /etc/k\necho content-of-1 > /boot/vmlinuz-1\nln -sf /boot/vmlinuz-1 /boot/link\necho "+
			kernel+" > /etc/k/kernel\n")
	}
	w.write("starter/output-files", "# what a network start needs\nvmlinuz /etc/k/kernel\n")
	hook("/boot/link")
	r := w.build("web", "tar", "--checksum")
	foreign(t, w.out, "sha256sum", "--check", "--strict", "web.vmlinuz.sha256")
	if text, err := os.ReadFile(w.path("web.vmlinuz")); err != nil || string(text) != "content-of-1\n" {
		t.Errorf("%v: %q; %v", err, text, r)
	}
	must(t, os.Remove(w.path("web.vmlinuz")))
	if r = w.build("web", "tar"); r.ran != 0 {
		t.Errorf("a lost copy made steps run: %v", r)
	}
	if text, err := os.ReadFile(w.path("web.vmlinuz")); err != nil || string(text) != "content-of-1\n" {
		t.Errorf("%v: %q", err, text)
	}

	// Links lead nowhere outside of the tree, and what is no file is no output.
	for named, complaint := range map[string]string{"/boot/none": "no such file", "/boot": "is no plain file", "../../../../etc/hostname-of-nobody": "no such file"} {
		hook(named)
		w.fails(1, w.create("bad", "tar"), named, complaint)
		w.noOutput("bad.vmlinuz", "bad.tar")
	}
	for file, complaint := range map[string]string{"vmlinuz": "line 1", "x\n\n../y /z": "", "vmlinuz boot/x": "an absolute path", "tar /etc/k/kernel": "another output has this name"} {
		w.write("starter/output-files", file+"\n")
		w.fails(exitUsage, w.create("bad", "tar"), "starter", complaint)
	}
	w.nothingLeft()
}
