package elements

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestHostFiles(t *testing.T) {
	home := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(home, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("second.pub", "second")
	write("third.pub", "third")
	env := map[string]string{"HOME": home, "GIVEN": filepath.Join(home, "third.pub")}
	for line, want := range map[string]string{
		"# nothing\n\n": "",
		"keys.pub ~/first.pub ~/second.pub ~/third.pub":  "keys.pub second",
		"install.d/keys.pub $GIVEN ~/second.pub":         "install.d/keys.pub third",
		"install.d/keys.pub $UNSET/second.pub":           "",
		"keys.pub ~/first.pub":                           "",
		"keys.pub $GIVEN.old ~/second.pub":               "error which does not exist",
		"keys.pub ~/":                                    "error is no file",
		"../keys.pub ~/second.pub":                       "error a path in the hooks tree",
		"keys.pub":                                       "error a path in the hooks tree",
		"install.d/10-hook ~/second.pub":                 "error in the hooks tree already",
		"install.d/keys.pub ~/second.pub # and a remark": "install.d/keys.pub second",
	} {
		a := element(t, "a", map[string]string{"host-files": line, "install.d/10-hook": "#!/bin/sh\n"})
		tree := mustMerge(t, a)
		added, err := tree.AddHostFiles([]Element{a}, env)
		got := strings.Join(added, " ")
		for _, name := range added {
			text, err := tree.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			got += " " + string(text)
		}
		if err != nil {
			got = "error " + err.Error()
		}
		if rest, ok := strings.CutPrefix(want, "error "); ok && strings.Contains(got, rest) {
			continue
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", line, got, want)
		}
	}
}
