package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lithify/lithify/blockdev"
)

// TestBlockDeviceConfigForms: text and files, absolute and relative, in every
// form, are one and the same disk.
func TestBlockDeviceConfigForms(t *testing.T) {
	const text = "- local_loop: {name: d, mkfs: {mount: {mount_point: /}}}\n"
	t.Chdir(t.TempDir())
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("disk: 1.yaml", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	prints := map[string]bool{}
	for _, config := range []string{
		text,
		"file://" + filepath.Join(dir, "disk: 1.yaml"), "file://./disk: 1.yaml", "file://disk: 1.yaml",
		"- local_loop: {name: d}\n- mkfs: {base: d}\n- mount: {base: mkfs_d, mount_point: /}\n",
		`[{"local_loop": {"name": "d", "mkfs": {"mount": {"mount_point": "/"}}}}]`,
		`[[["local_loop", {"name": "d"}]], [], [["mkfs", {"base": "d"}]], [["mount", {"base": "mkfs_d", "mount_point": "/"}]]]`,
	} {
		j := job{o: parsed(t, []string{"el"}, "DIB_BLOCK_DEVICE_CONFIG="+config)}
		_, c, err := j.blockDevices()
		if err != nil {
			t.Errorf("%s: %v", config, err)
			continue
		}
		g, err := c.Graph(blockdev.Defaults{})
		if err != nil {
			t.Fatal(err)
		}
		prints[g.Fingerprint()] = true
	}
	if len(prints) != 1 {
		t.Errorf("%d different disks", len(prints))
	}
}

// TestBlockDeviceConfigMistake: the message says which file.
func TestBlockDeviceConfigMistake(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk.yaml")
	if err := os.WriteFile(path, []byte("- local_loop:\n    name: d\n    sise: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	j := job{o: parsed(t, []string{"el"}, "DIB_BLOCK_DEVICE_CONFIG=file://"+path)}
	_, _, err := j.blockDevices()
	want := path + `: block-device configuration: [0].local_loop.sise (line 3, node "d"): unknown key "sise"`
	if err == nil || !strings.HasPrefix(err.Error(), want) || !strings.HasSuffix(err.Error(), `did you mean "size"?`) || exitCode(err) != exitUsage {
		t.Errorf("got  %v (exit %d)\nwant %s", err, exitCode(err), want)
	}
}
