package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/lithify/lithify/blockdev/blockdevtest"
)

// judgeVar makes the test binary the judge of two trees, in a mount namespace
// of its own: its mounts and loop devices end with it, even when it is killed.
const judgeVar = "LITHIFY_TEST_JUDGE"

// verdict is what the judge is asked, and what it answers.
type verdict struct {
	A, B    string // KIND:PATH with KIND raw, tar or dir
	Work    string // an empty folder
	Options blockdevtest.CompareOptions

	Differences []string
	Files       int
	Error       string
}

// sameTree compares two trees, each KIND:PATH: a raw disk of one or two
// partitions, a tar archive or a folder.
func sameTree(t testing.TB, a, b string, o blockdevtest.CompareOptions) {
	t.Helper()
	blockdevtest.Need(t, "sfdisk", "mount", "tar")
	ask, err := json.Marshal(verdict{A: a, B: b, Work: openDir(t), Options: o})
	must(t, err)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), judgeVar+"="+string(ask))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.Output()
	var v verdict
	if err := errors.Join(err, json.Unmarshal(out, &v)); err != nil {
		t.Fatalf("comparing %s with %s: %v: %s", a, b, err, out)
	}
	if v.Error != "" {
		t.Fatalf("comparing %s with %s: %s", a, b, v.Error)
	}
	if v.Files < 1000 { // there are so many in any tree of these tests
		t.Errorf("%s has %d files only", a, v.Files)
	}
	if len(v.Differences) > 0 {
		t.Errorf("%s and %s differ:\n%s", a, b, strings.Join(v.Differences, "\n"))
	}
}

// judge is the main function of the judge.
func judge(ask string) int {
	var v verdict
	err := json.Unmarshal([]byte(ask), &v)
	if err == nil {
		err = v.compare()
	}
	if err != nil {
		v.Error = err.Error()
	}
	if err := json.NewEncoder(os.Stdout).Encode(v); err != nil {
		return 1
	}
	return 0
}

func (v *verdict) compare() error {
	a, err := openTree(v.A, filepath.Join(v.Work, "a"))
	if err != nil {
		return err
	}
	b, err := openTree(v.B, filepath.Join(v.Work, "b"))
	if err != nil {
		return err
	}
	differences, err := blockdevtest.CompareTrees(a, b, v.Options)
	for _, d := range differences {
		v.Differences = append(v.Differences, d.String())
	}
	if err != nil {
		return err
	}
	return filepath.WalkDir(a, func(string, os.DirEntry, error) error { v.Files++; return nil })
}

func openTree(tree, at string) (string, error) {
	kind, path, _ := strings.Cut(tree, ":")
	if kind == "dir" {
		return path, nil
	}
	if err := os.Mkdir(at, 0o755); err != nil {
		return "", err
	}
	switch kind {
	case "tar":
		return at, hostRun("tar", "--acls", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-C", at, "-xpf", path)
	case "flat": // an image's: ACLs are attributes there, which --acls would undo
		return at, hostRun("tar", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-C", at, "-xpf", path)
	case "raw":
		return at, mountDisk(path, at)
	}
	return "", fmt.Errorf("unknown kind of tree %q", tree)
}

// mountDisk mounts the first partition of some disks, parted by colons, and the
// second, where there is one, at /var; a disk without partitions is one file
// system.
func mountDisk(paths, at string) error {
	points := []string{at, at + "/var"}
	for _, path := range strings.Split(paths, ":") {
		parts, err := partitions(path)
		if err != nil {
			return err
		}
		if len(parts) == 0 {
			err = hostRun("mount", "-o", "ro,noload,loop", path, points[0])
			points = points[1:]
		}
		for _, p := range parts {
			err = errors.Join(err, hostRun("mount", "-o", p.mountOptions(), path, points[0]))
			points = points[1:]
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// partition is one line of `sfdisk --json`, in sectors of 512 bytes.
type partition struct{ Start, Size int64 }

func (p partition) mountOptions() string {
	return fmt.Sprintf("ro,noload,loop,offset=%d,sizelimit=%d", p.Start*512, p.Size*512)
}

// partitions are those of a disk; none where it has no table.
func partitions(path string) ([]partition, error) {
	out, err := exec.Command("sfdisk", "--json", path).CombinedOutput()
	if err != nil && strings.Contains(string(out), "does not contain a recognized partition table") {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("sfdisk --json %s: %w: %s", path, err, out)
	}
	var table struct {
		PartitionTable struct{ Partitions []partition }
	}
	return table.PartitionTable.Partitions, json.Unmarshal(out, &table)
}

func hostRun(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %q: %w: %s", name, args, err, out)
	}
	return nil
}
