package main

import (
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/lithify/lithify/"

// reach lists what each package of ours may import of ours, tests left out. What
// is not listed may import nothing of ours.
var reach = map[string][]string{
	"cmd/lithify":             {"*"},
	"oci":                     {"rootfs", "rootfs/runner", "elements"},
	"rootfs":                  {"rootfs/runner", "elements"},
	"blockdev":                diskFormats,
	"blockdev/loop":           append([]string{"blockdev", "blockdev/physical"}, diskFormats...),
	"blockdev/file":           append([]string{"blockdev", "blockdev/file/ext4", "blockdev/physical"}, diskFormats...),
	"blockdev/physical":       append([]string{"blockdev"}, diskFormats...),
	"blockdev/file/ext4":      {"blockdev/sparse"},
	"blockdev/boot":           append([]string{"blockdev"}, diskFormats...),
	"blockdev/boot/boottest":  {},
	"blockdev/compare":        {"blockdev/fat", "blockdev/extread"},
	"blockdev/blockdevtest":   append([]string{"blockdev", "blockdev/guest", "blockdev/physical"}, diskFormats...),
	"contrib/bench.d/convert": {"convert"},
}

// diskFormats are the packages below blockdev: each knows one format, or files
// with holes, and nothing of ours.
var diskFormats = []string{"blockdev/btrfs", "blockdev/fat", "blockdev/luks", "blockdev/lvm", "blockdev/md", "blockdev/sparse"}

// TestImportsRunOneWay holds the packages against the design: imports run from
// cmd over oci and rootfs to elements, and only oci and cmd reach buildah.
func TestImportsRunOneWay(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}}:{{join .Deps " "}}`, module+"...").CombinedOutput()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		name, deps, _ := strings.Cut(strings.TrimSpace(line), ":")
		name = strings.TrimPrefix(name, module)
		for _, dep := range strings.Fields(deps) {
			checkImport(t, name, dep)
		}
	}
}

func checkImport(t *testing.T, name, dep string) {
	t.Helper()
	for _, theirs := range []string{"github.com/containers/", "github.com/google/go-containerregistry"} {
		if strings.HasPrefix(dep, theirs) && name != "oci" && name != "cmd/lithify" {
			t.Errorf("%s reaches %s: only oci and cmd may", name, dep)
		}
	}
	ours, found := strings.CutPrefix(dep, module)
	if !found {
		return
	}
	for _, allowed := range reach[name] {
		if allowed == "*" || allowed == ours {
			return
		}
	}
	t.Errorf("%s imports %s against the design", name, ours)
}
