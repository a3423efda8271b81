package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// toolPackages are the Debian packages of programs that builds call.
var toolPackages = map[string]string{
	"mmdebstrap":     "mmdebstrap",
	"debootstrap":    "debootstrap",
	"mke2fs":         "e2fsprogs",
	"mkfs.ext4":      "e2fsprogs",
	"e2fsck":         "e2fsprogs",
	"debugfs":        "e2fsprogs",
	"tune2fs":        "e2fsprogs",
	"resize2fs":      "e2fsprogs",
	"mkfs.xfs":       "xfsprogs",
	"mkfs.btrfs":     "btrfs-progs",
	"mksquashfs":     "squashfs-tools",
	"newuidmap":      "uidmap",
	"newgidmap":      "uidmap",
	"fuse-overlayfs": "fuse-overlayfs",
	"qemu-img":       "qemu-utils",
	"fstrim":         "util-linux",
	"losetup":        "util-linux",
	"lvm":            "lvm2",
	"cryptsetup":     "cryptsetup-bin",
	"mdadm":          "mdadm",
	"git":            "git",
	"curl":           "curl",
	"wget":           "wget",
	"gpg":            "gpg",
	"gpgv":           "gpgv",
	"xz":             "xz-utils",
	"zstd":           "zstd",
	"bash":           "bash",
	"tar":            "tar",
}

// missingToolsError names every program that is missing, in one message.
type missingToolsError struct {
	tools []string // as asked for: a name, or names joined by |
	root  bool     // the caller may install them
}

// Error says which programs are missing and the command that brings them.
func (e *missingToolsError) Error() string {
	var lines, packages []string
	for _, t := range e.tools {
		first, _, _ := strings.Cut(t, "|")
		name := orList(strings.Split(t, "|"))
		p, known := toolPackages[first]
		if !known {
			lines = append(lines, "  "+name)
			continue
		}
		lines = append(lines, fmt.Sprintf("  %s (Debian package %s)", name, p))
		if !slices.Contains(packages, p) {
			packages = append(packages, p)
		}
	}
	text := "this machine lacks what the build needs:\n" + strings.Join(lines, "\n")
	if len(packages) == 0 {
		return text
	}
	return text + "\nto install it: " + installCommand(e.root, packages...)
}

// installCommand is what root types, or somebody else, to install packages.
func installCommand(root bool, packages ...string) string {
	command := "apt-get install --no-install-recommends -y " + strings.Join(packages, " ")
	if !root {
		command = "sudo " + command
	}
	return command
}

// checkHostTools looks for programs on the PATH that hooks outside the target
// get. A need is a program's name, or several joined by "|" of which one is
// enough. The error is a *missingToolsError.
func checkHostTools(o Options, needs ...string) error {
	path := hostPath(o.Environment["PATH"])
	var missing []string
	for _, need := range needs {
		found := slices.ContainsFunc(strings.Split(need, "|"), func(name string) bool { return findProgram(path, name) != "" })
		if !found && !slices.Contains(missing, need) {
			missing = append(missing, need)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return &missingToolsError{tools: missing, root: os.Geteuid() == 0}
}

// hostPath is the caller's PATH with the folders added that ordinary users'
// often lacks and mke2fs is in.
func hostPath(path string) string {
	dirs := filepath.SplitList(path)
	for _, d := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		if !slices.Contains(dirs, d) {
			dirs = append(dirs, d)
		}
	}
	return strings.Join(dirs, ":")
}

// findProgram returns the first executable file of that name on path.
func findProgram(path, name string) string {
	for _, dir := range filepath.SplitList(path) {
		file := filepath.Join(dir, name)
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return file
		}
	}
	return ""
}
