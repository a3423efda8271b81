package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lithify/lithify/blockdev/blockdevtest"
)

// withMemory makes a build see a control group that allows so many bytes. What
// it is told is all that is faked: the tmpfs that it makes of it is real.
func (w *tiny) withMemory(limit int64) (run func(args ...string) result) {
	blockdevtest.Need(w.t, "unshare", "mount")
	script := filepath.Join(w.dir, "with-memory")
	must(w.t, os.WriteFile(script, fmt.Appendf(nil, `#!/bin/sh
set -e
mount -t tmpfs tmpfs /sys/fs/cgroup
mkdir /sys/fs/cgroup/memory
echo %[1]d >/sys/fs/cgroup/memory.max
echo %[1]d >/sys/fs/cgroup/memory/memory.limit_in_bytes
echo 0 >/sys/fs/cgroup/memory.current
echo 0 >/sys/fs/cgroup/memory/memory.usage_in_bytes
exec "$@"
`, limit), 0o755))
	return func(args ...string) result {
		w.t.Helper()
		cmd := w.create("web", "raw", args...)
		cmd.Args = append([]string{"unshare", "-m", script, cmd.Path}, cmd.Args[1:]...)
		cmd.Path = "/usr/bin/unshare"
		r := w.runCommand(cmd)
		if r.code != 0 {
			w.t.Fatal(r)
		}
		w.nothingLeft()
		return r
	}
}

// TestTinyTmpfs: a build without layers works in memory while that lasts, and
// else on disk.
func TestTinyTmpfs(t *testing.T) {
	t.Parallel()
	const again = "starts again on disk"
	w := newTiny(t, nil)
	w.edit("app/install.d/50-app", "dd if=/dev/zero of=/big bs=1M count=24 status=none\n")
	ample := w.withMemory(4*gib)("--no-layers", "--min-tmpfs", "1")
	if strings.Contains(ample.stderr, again) {
		t.Errorf("4 GiB were not enough: %v", ample)
	}
	if _, err := os.Stat(filepath.Join(w.store, "overlay")); err == nil {
		t.Error("layers are in the store on disk")
	}
	tight := w.withMemory(48*mib)("--no-layers", "--min-tmpfs", "0")
	if !strings.Contains(tight.stderr, again) {
		t.Errorf("24 MiB of tmpfs took everything: %v", tight)
	}
	none := w.withMemory(48*mib)("--no-layers", "--min-tmpfs", "0", "--no-tmpfs")
	if strings.Contains(none.stderr, again) {
		t.Errorf("--no-tmpfs worked in memory: %v", none)
	}
}
