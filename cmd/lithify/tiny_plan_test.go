package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestTinyPlan: lithify plan says what a build would do, and the build does so.
func TestTinyPlan(t *testing.T) {
	t.Parallel()
	w := newTiny(t, nil).with(twoPartitions)
	plan := func(more ...string) string {
		args := append(append([]string{"plan", "-o", "web", "-t", "raw"}, w.args...), more...)
		r := w.runCommand(w.command("lithify", append(args, w.names...)...))
		if r.code != 0 {
			t.Fatal(r)
		}
		return r.stdout
	}
	wants := func(text string, lines ...string) {
		t.Helper()
		for _, line := range lines {
			if !regexp.MustCompile(line).MatchString(text) {
				t.Errorf("no %q in\n%s", line, text)
			}
		}
	}
	first := plan()
	wants(first, `run +root/10-tiny \(tiny\)`, `0 of 10 steps are there, 10 would run`, `image0: at least .*, mbr`, `1 +root .*ext4 "cloudimg-rootfs" /`)
	if left, _ := os.ReadDir(w.out); len(left) > 0 {
		t.Errorf("it left %v", left)
	}
	w.build("web", "raw")
	wants(plan(), `10 of 10 steps are there\n`, `image0: \d+\.\d MiB, mbr`)
	w.edit("app/install.d/50-app", "# more\n")
	edited := plan()
	wants(edited, `reuse +install/10-app`, `run +install/50-app \(app\)\n +hook: was -rwxr-xr-x [0-9a-f]{8}, is -rwxr-xr-x [0-9a-f]{8}\n`)
	ran := strings.Count(edited, "\nrun ")
	if r := w.build("web", "raw"); r.ran != ran {
		t.Errorf("%d steps would run, %d did", ran, r.ran)
	}
	w.write("app/bin/helper", "#!/bin/sh\n")
	wants(plan(), `run +root/10-tiny`, `\n +file bin/helper: was not there, is`)
	must(t, os.Remove(filepath.Join(w.lib, "app/bin/helper")))
	wants(plan("--image-size", "1GiB"), `image0: 1\.0 GiB, mbr, sectors of 512 bytes\n +\[·?1█+2█+·?\]`)
	w.write("app/extra-data.d/10-host", "#!/bin/sh\nexit 9\n") // it would fail if it were run
	wants(plan(), `always +extra-data/10-host`)
}
