package rootfs_test

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// What only ramdisks are made of is hidden from hooks, inside and outside, that do
// not name its folder, and a change of it makes no step run; who names it sees it,
// and runs again. The image's own /etc/init.d is something else.
func TestRamdiskFoldersAreHidden(t *testing.T) {
	w := newWorld(t)
	w.write("app/init.d/80-app", "one\n", 0o644)
	w.write("app/binary-deps.d/app", "tool\n", 0o644)
	w.write("app/install.d/60-blind", "#!/bin/sh\nset -e\nmkdir -p /etc/init.d\ncat /tmp/in_target.d/i*it.d/* > /etc/init.d/blind 2>/dev/null || true\n", 0o755)
	w.write("app/extra-data.d/10-blind", "#!/bin/sh\ncat $TMP_HOOKS_PATH/i*it.d/* > $TMP_MOUNT_PATH/etc/outside 2>/dev/null || true\n", 0o755)
	w.write("app/finalise.d/95-sees", "#!/bin/sh\ncat /tmp/in_target.d/init.d/80-app > /etc/sees\n", 0o755)
	first := w.must(nil)
	for name, want := range map[string]string{"/etc/init.d/blind": "", "/etc/outside": "", "/etc/sees": "one\n"} {
		_, rest, _ := strings.Cut(first.tree, fmt.Sprintf("%q ", name))
		if lines := strings.SplitN(rest, "\n", 3); len(lines) < 3 || lines[1] != fmt.Sprintf("%x", sha256.Sum256([]byte(want))) {
			t.Errorf("%s is not %q:\n%s", name, want, first.tree)
		}
	}
	w.write("app/init.d/80-app", "two\n", 0o644)
	w.write("app/binary-deps.d/app", "other\n", 0o644)
	second := w.must(nil)
	var ran []string
	for _, e := range second.events {
		if phase, _, _ := strings.Cut(e, "/"); !slices.Contains(ran, phase) {
			ran = append(ran, phase)
		}
	}
	if slices.Contains(ran, "install") || slices.Contains(ran, "root") || !slices.Contains(ran, "finalise") || second.tree == first.tree {
		t.Errorf("a changed fragment made %q run", second.events)
	}
}
