package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestTinyHookOrder: phases in the contract's order, and in each the files of all
// elements that are hooks, as `LC_ALL=C sort -n` has them; with RUN_PARTS_REGEX
// the files that it names.
func TestTinyHookOrder(t *testing.T) {
	t.Parallel()
	w := newTiny(t, nil)
	phases := []string{"extra-data", "pre-install", "install", "post-install", "post-root", "pre-finalise", "finalise", "cleanup"}
	hooks := map[string][]string{
		"first":  {"9-i", "10-j", "010-k", "100-l", "zero", "-20-m", "10-J"},
		"second": {"8-n", "0009-o", "_low", "10-jj", "99999999999999999999-p"},
	}
	const note = `echo "${0%.d/*}" "${0##*/}" >> "${TMP_MOUNT_PATH-}/order"` + "\n"
	for element, names := range hooks {
		files := map[string]string{}
		for _, phase := range phases {
			for _, name := range append(names, "15-"+element+".sh", "16-"+element+"~", "17-plain-"+element) {
				files[phase+".d/"+name] = note
			}
			files[phase+".d/sub-"+element+"/10-never"] = "exit 1\n"
		}
		w.hooks(element, files)
		for _, phase := range phases {
			must(t, os.Chmod(filepath.Join(w.lib, element, phase+".d/17-plain-"+element), 0o644))
		}
		must(t, os.Symlink("9-i", filepath.Join(w.lib, element, "install.d/11-link-"+element)))
	}
	must(t, os.Remove(filepath.Join(w.lib, "second/install.d/11-link-second"))) // it would lead nowhere
	w.build("web", "tar")
	w.checkOrder(t, phases, append(slices.Concat(hooks["first"], hooks["second"]), ""))
	w.with(`RUN_PARTS_REGEX=\.sh$|^10-`).build("web", "tar")
	w.checkOrder(t, phases, []string{"10-j", "10-jj", "10-J", "15-first.sh", "15-second.sh"})
}

// checkOrder compares what the hooks wrote with what sort(1) makes of their
// names; an empty name stands for the link of install.d.
func (w *tiny) checkOrder(t *testing.T, phases, names []string) {
	t.Helper()
	var want []string
	for _, phase := range phases {
		var own []string
		for _, name := range names {
			if name == "" && phase == "install" {
				name = "11-link-first"
			}
			if name != "" {
				own = append(own, name)
			}
		}
		list := filepath.Join(w.dir, "names")
		must(t, os.WriteFile(list, []byte(strings.Join(own, "\n")+"\n"), 0o644))
		for name := range strings.FieldsSeq(foreign(t, w.dir, "env", "LC_ALL=C", "sort", "-n", list)) {
			want = append(want, phase+" "+name)
		}
	}
	var got []string
	for line := range strings.Lines(w.inTar("web", "order")) {
		path, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		got = append(got, filepath.Base(path)+" "+name)
	}
	if !slices.Equal(got, want) {
		t.Errorf("ran in the order\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
