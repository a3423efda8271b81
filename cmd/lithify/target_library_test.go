package main

import (
	"bytes"
	"io/fs"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/lithify/lithify/elements"
)

// library is every built-in element's files.
func library(t *testing.T) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	from := elements.Builtin().FS
	err := fs.WalkDir(from, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files[name], err = fs.ReadFile(from, name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 80 {
		t.Fatalf("%d files only: the library is not there", len(files))
	}
	return files
}

func isScript(text []byte) bool { return bytes.HasPrefix(text, []byte("#!")) }

// phaseDir tells whether a file is directly in a phase's folder of an element.
func phaseDir(name string) (phase string, ok bool) {
	parts := strings.Split(name, "/")
	if len(parts) != 3 || !strings.HasSuffix(parts[1], ".d") || parts[1] == "environment.d" {
		return "", false
	}
	return parts[1], true
}

func TestLibraryHooksFollowTheRules(t *testing.T) {
	allowed := []string{"cache-key.d", "root.d", "pre-install.d", "install.d", "post-install.d", "finalise.d",
		"ramdisk-build.d"} // whose work is in no layer
	device := regexp.MustCompile(`\bIMAGE_BLOCK_DEVICES?\b`)
	// Naming one of these makes steps depend on who builds, or on the output.
	private := regexp.MustCompile(`\b(IMAGE_NAME|DIB_ARGS|DIB_ENV)\b`)
	for name, text := range library(t) {
		phase, ok := phaseDir(name)
		if strings.HasPrefix(path.Base(name), "README") {
			continue
		}
		if private.Match(text) || device.Match(text) {
			t.Errorf("%s names a variable that keeps steps from being shared", name)
		}
		if !ok || !isScript(text) || strings.Contains(path.Base(name), ".") {
			continue
		}
		// This one is as good as native: cache-key.d answers for it.
		if !slices.Contains(allowed, phase) && name != "source-repositories/extra-data.d/98-source-repositories" {
			t.Errorf("%s: the library has no hooks in %s", name, phase)
		}
		head, _, _ := bytes.Cut(text, []byte("\n"))
		if string(head) != "#!/bin/bash" {
			t.Errorf("%s begins with %q", name, head)
		}
		for _, line := range []string{"\nset -eu\n", "\nset -o pipefail\n", "DIB_DEBUG_TRACE"} {
			if !bytes.Contains(text, []byte(line)) {
				t.Errorf("%s has no %q", name, strings.TrimSpace(line))
			}
		}
		if bytes.Contains(text, []byte("sudo ")) && bytes.Contains(text, []byte("\nsudo ")) {
			t.Errorf("%s calls sudo: hooks run as root", name)
		}
	}
}

func TestLibraryScriptsParse(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Fatal("bash is needed, as by every build")
	}
	for name, text := range library(t) {
		if !isScript(text) && !strings.Contains(name, "/environment.d/") && !strings.Contains(name, "/init.d/") && !strings.HasSuffix(name, ".sh") {
			continue
		}
		cmd := exec.Command(bash, "-n")
		cmd.Stdin = bytes.NewReader(text)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", name, err, out)
		}
		for i, line := range strings.Split(string(text), "\n") {
			if strings.HasPrefix(line, "\t") && !strings.HasSuffix(name, "dpkg-build.sh") {
				t.Errorf("%s:%d: a tab; indentation is four blanks", name, i+1)
			}
		}
	}
}

// Every element explains itself, names its variables, and has what its
// element-deps name.
func TestLibraryIsComplete(t *testing.T) {
	files := library(t)
	setting := regexp.MustCompile(`(?m)^export (DIB_[A-Z_]+)=\$\{(DIB_[A-Z_]+)`)
	for _, name := range (elements.Library{elements.Builtin()}).Names() {
		readme, ok := files[name+"/README.md"]
		if !ok {
			t.Errorf("%s has no README.md", name)
		}
		for file, text := range files {
			if !strings.HasPrefix(file, name+"/environment.d/") {
				continue
			}
			for _, m := range setting.FindAllSubmatch(text, -1) {
				if bytes.Equal(m[1], m[2]) && !bytes.Contains(readme, m[1]) {
					t.Errorf("%s: README.md does not tell of %s", name, m[1])
				}
			}
		}
	}
	all := (elements.Library{elements.Builtin()})
	names := append(all.Names(), "block-device")
	for _, name := range all.Names() {
		for _, dep := range strings.Fields(string(files[name+"/element-deps"])) {
			if !slices.Contains(names, dep) {
				t.Errorf("%s depends on %q, which is not there", name, dep)
			}
		}
	}
	if _, err := all.Resolve("base", "debian-minimal", "vm", "block-device-mbr", "growroot", "openssh-server", "devuser", "enable-serial-console"); err != nil {
		t.Error(err)
	}
}
