package main

import (
	"fmt"
	"strings"
	"testing"
)

// TestTinyPrunes: a store that takes more than it may loses what was not used
// of late, never what the last build stood on.
func TestTinyPrunes(t *testing.T) {
	t.Parallel()
	w := newTiny(t, nil)
	for i := range 3 {
		w.write("app/finalise.d/95-large", fmt.Sprintf("#!/bin/sh\n# %d\n/bin/busybox dd if=/dev/urandom of=/large bs=1M count=20 2>/dev/null\n", i))
		r := w.with("LITHIFY_STORE_MAX=30MiB").build("web", "tar")
		if i > 0 && r.reused == 0 {
			t.Errorf("build %d reused nothing: %v", i, r)
		}
	}
	if r := w.build("other", "tar"); r.ran != 0 {
		t.Errorf("the last build's steps are gone: %v", r)
	}
	list := w.runCommand(w.command("lithify", "cache", "ls"))
	if n := strings.Count(list.stdout, "95-large"); n != 1 {
		t.Errorf("%d large steps are left, want the last:\n%s", n, list.stdout)
	}
	w.fails(2, w.with("LITHIFY_STORE_MAX=lots").create("web", "tar"), "LITHIFY_STORE_MAX", "lots")
	w.fails(2, w.with("LITHIFY_STORE_MAX=0").create("web", "tar"), "LITHIFY_STORE_MAX")
}
