package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const goodScript = "#!/bin/bash\nif [ ${DIB_DEBUG_TRACE:-1} -gt 0 ]; then\n    set -x\nfi\nset -eu\nset -o pipefail\n"

// good is an element that has nothing to find, with what looks like a finding
// and is none.
var good = map[string]string{
	"README.rst":                "good\n====\n",
	"element-deps":              "# z first\na\n\nb # c\n",
	"pkg-map":                   "{\"default\": {}}\n",
	"package-installs.yaml":     "a:\nb:\n  phase: install.d\n",
	"install.d/10-good":         goodScript + "cat <<EOF\n  text\nEOF\nfoo \\\n  --bar\necho 'a\n  b'\n# which one\ncat <<<\"x\"\nexport N=$((1 + 2))\nhash which\n",
	"root.d/10-sudo":            goodScript + "sudo cp a $TARGET_ROOT/etc\n# sudo is fine here\nsudo modprobe x # dib-lint: safe_sudo\nuse_sudo x\nsudo sh \\\n    $TMP_MOUNT_PATH\n",
	"environment.d/10-good":     "export A=1\n",
	"install.d/20-python.py":    "#!/usr/bin/env python3\n  x\n",
	"static/etc/empty":          "",
	"source-repository-good":    "good git /opt/good https://example.org/good\n",
	"install.d/data.service":    "[Unit]\n",
	"cleanup.d/10-unsafe":       "#!/bin/bash\n# dib-lint: disable=safe_sudo,which sete\n# dib-lint: disable=dibdebugtrace\nset -u\nset -o pipefail\nsudo rm x\nwhich y\n",
	"post-install.d/10-sh":      "#!/bin/sh\necho no options needed\n",
	"post-install.d/50-errexit": "#!/bin/bash\nset -o errexit\nset -o nounset\nset -o pipefail\n: $DIB_DEBUG_TRACE\n",
}

// elementWith writes the good element with some files changed; a name that begins
// with "-x " is not executable.
func elementWith(t *testing.T, change map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) {
		name, plain := strings.CutPrefix(name, "-x ")
		mode := os.FileMode(0o644)
		if strings.HasPrefix(text, "#!") && !plain || strings.HasPrefix(text, "+x ") {
			mode = 0o755
		}
		file := filepath.Join(dir, "elements/good", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(strings.TrimPrefix(text, "+x ")), mode); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range good {
		if _, changed := change[name]; !changed {
			write(name, text)
		}
	}
	for name, text := range change {
		if text != "gone" {
			write(name, text)
		}
	}
	return dir
}

func lint(t *testing.T, dir string, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	t.Chdir(dir)
	var out, complaint bytes.Buffer
	code = lintMain(context.Background(), args, env, nil, &out, &complaint)
	return code, out.String(), complaint.String()
}

func TestLintFindsNothing(t *testing.T) {
	if code, stdout, stderr := lint(t, elementWith(t, nil), nil); code != 0 || stdout != "PASS\n" || stderr != "" {
		t.Errorf("code %d, stdout %s, stderr %s", code, stdout, stderr)
	}
}

// TestLintChecks: each check finds its mistake, and nothing else does. Those that
// have an id are silent when the file or the project switches them off.
func TestLintChecks(t *testing.T) {
	script := func(more string) string { return goodScript + more }
	for _, c := range []struct {
		file, text string
		want       string // after "ERROR: elements/good"; "" is the last part of
		id         string
	}{
		{"README.rst", "gone", ": the element has no README.rst", ""},
		{"source-repository-good", "x git /x y", "/source-repository-good: a file of source repositories ends without a newline", ""},
		{"-x install.d/11-x", script(""), "/install.d/11-x: begins with #! and is not executable", "executable"},
		{"install.d/11-x", script("if a; then\n  b\nfi\n"), "/install.d/11-x:8: indented by blanks that are no multiple of 4", "indent"},
		{"element-deps", "b\na\n", "/element-deps:2: not sorted: \"a\" after \"b\"", ""},
		{"install.d/11-x", "#!/usr/bin/env bash\n" + script(""), "/install.d/11-x:1: bash scripts begin with #!/bin/bash, this one with \"#!/usr/bin/env bash\"", ""},
		{"install.d/11-x", strings.Replace(script(""), "-eu", "-u", 1), "/install.d/11-x: no line begins with set -e", "sete"},
		{"install.d/11-x", strings.Replace(script(""), "-eu", "-e", 1), "/install.d/11-x: no line begins with set -u", "setu"},
		{"install.d/11-x", strings.Replace(script(""), "pipefail", "posix", 1), "/install.d/11-x: no line begins with set -o pipefail", "setpipefail"},
		{"install.d/11-x", strings.ReplaceAll(script(""), "DIB_DEBUG_TRACE", "TRACE"), "/install.d/11-x: DIB_DEBUG_TRACE is nowhere", "dibdebugtrace"},
		{"environment.d/11-x", "set -eux\n", "/environment.d/11-x:1: set -x in environment.d", ""},
		{"environment.d/11-x", "+x export A=1\n", "/environment.d/11-x: files of environment.d are sourced: no x bit", ""},
		{"environment.d/11-x", "export A=$(b)\n", "/environment.d/11-x:1: export and $( ) on one line", ""},
		{"install.d/11-x", script("    export A=\"$(b)\"\n"), "/install.d/11-x:7: export and $( ) on one line", ""},
		{"root.d/11-x", script("sudo rm -r /x\n"), "/root.d/11-x:7: sudo without a path", "safe_sudo"},
		{"install.d/11-x", script("x=$(which y)\n"), "/install.d/11-x:7: which is not everywhere", "which"},
		{"install.d/11-x", script("cat <<-EOF\n\ta\n\tEOF\n"), "/install.d/11-x:8: indented by a tab", "tabindent"},
		{"README.rst", "good\n\t- x\n", "/README.rst:2: indented by a tab", "tabindent"},
		{"static/x", "+x a", "/static/x: ends without a newline", "newline"},
		{"doc.md", "a\n", "/doc.md: documents of elements are .rst files", "mddocs"},
		{"x.yaml", "a: [\n", "/x.yaml: not YAML: ", ""},
		{"x.yaml", strings.Repeat("[", 5000) + "\n", "/x.yaml: not YAML: line 1: nested too deeply", ""},
		{"pkg-map", "{'a': 1}\n", "/pkg-map: not JSON: ", ""},
	} {
		code, stdout, _ := lint(t, elementWith(t, map[string]string{c.file: c.text}), nil)
		if lines := strings.SplitAfter(stdout, "\n"); code != 1 || !strings.HasPrefix(stdout, "ERROR: elements/good"+c.want) ||
			!strings.HasSuffix(stdout, "\nFAIL: "+count(len(lines)-2, "finding")+"\n") {
			t.Errorf("%s %.300q: code %d, stdout %s", c.file, c.text, code, stdout)
		}
		if c.id == "" {
			continue
		}
		if !strings.Contains(stdout, "("+c.id+")\n") {
			t.Errorf("%s: no id %s in %s", c.file, c.id, stdout)
		}
		off := elementWith(t, map[string]string{c.file: strings.TrimSuffix(c.text, "\n") + "\n# dib-lint: disable=" + c.id + "\n"})
		if c.id != "newline" {
			if code, stdout, _ := lint(t, off, nil); code != 0 {
				t.Errorf("%s, switched off in the file: %s", c.id, stdout)
			}
		}
		project := elementWith(t, map[string]string{c.file: c.text, "../../tox.ini": "[tox]\nignore = x\n[dib-lint]\n# why\nignore = mdocs\n   " + c.id + "\n"})
		code, stdout, stderr := lint(t, project, nil)
		if code != 0 || !strings.Contains(stderr, `tox.ini:5: there is no check "mdocs"`) {
			t.Errorf("%s, switched off in tox.ini: %s%s", c.id, stdout, stderr)
		}
	}
}

func TestLintPlaces(t *testing.T) {
	dir := elementWith(t, map[string]string{"../../lib/common": "\tx\n", "../../lib/10-x": "#!/bin/bash\n", "x.md": "x\n", "../.hidden/x.md": "x", "../file": "x"})
	for _, c := range []struct {
		env, args, stdout, stderr string
		code                      int
	}{
		{"", "", "elements/good/x.md: documents", "", 1},
		{"", dirArg, "elements/good/x.md: documents", "", 1},
		{"ELEMENTS_DIR=elements LIB_DIR=lib", "", "ERROR: lib/common:1: indented by a tab (tabindent)\nFAIL: 2 findings\n", "", 1},
		{"ELEMENTS_DIR=no-such", "", "", `"no-such" is not a folder`, 1},
		{"LIB_DIR=no-such", "", "", `"no-such" is not a folder`, 1},
		{"", "no-such", "", `"no-such" is not a folder`, 1},
		{"", "--bogus", "", "unknown flag", exitUsage},
	} {
		code, stdout, stderr := lint(t, dir, strings.Fields(c.env), strings.Fields(c.args)...)
		if code != c.code || !strings.Contains(stdout, c.stdout) || !strings.Contains(stderr, c.stderr) {
			t.Errorf("%s %s: code %d, stdout %s, stderr %s", c.env, c.args, code, stdout, stderr)
		}
	}
}

const dirArg = "./elements"

// TestLintLeavesOutWhatGitIgnores needs git, as CI has it.
func TestLintLeavesOutWhatGitIgnores(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil && os.Getenv("CI") != "true" {
		t.Skip("no git")
	}
	dir := elementWith(t, map[string]string{"x.md": "x\n", "y.md": "y\n", "../../.gitignore": "x.md\n/elements/build\n", "../build/x": "x"})
	if out, err := exec.Command("git", "-C", dir, "init", "-q").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	_, stdout, _ := lint(t, dir, nil)
	if strings.Contains(stdout, "/x") || !strings.Contains(stdout, "elements/good/y.md") {
		t.Errorf("got %s", stdout)
	}
}

// TestLintAsksFlake8 puts one on PATH that finds something in every script.
func TestLintAsksFlake8(t *testing.T) {
	dir := elementWith(t, map[string]string{"install.d/30-py": "#!/usr/bin/env python3\nx\n"})
	bin := put(t, map[string]string{"flake8": "#!/bin/sh\nfor f; do echo \"$f:2:1: F821 undefined name 'x'\"; done\nexit 1\n"})
	path := os.Getenv("PATH")
	t.Setenv("PATH", bin+":"+path)
	const want = "ERROR: elements/good/install.d/30-py: flake8 says 2:1: F821 undefined name 'x'\nFAIL: 1 finding\n"
	if code, stdout, _ := lint(t, dir, nil); code != 1 || stdout != want {
		t.Errorf("got %s", stdout)
	}
	t.Setenv("PATH", t.TempDir())
	if code, stdout, stderr := lint(t, dir, nil); code != 0 || stdout != "PASS\n" || !strings.Contains(stderr, "flake8 is not installed: 1 Python script not checked") {
		t.Errorf("without flake8: code %d, %s%s", code, stdout, stderr)
	}
}

func FuzzLint(f *testing.F) {
	f.Add([]byte(goodScript+"cat <<'E'\n 'x\nE\n"), "10-x")
	f.Add([]byte("#!\n\\"), "element-deps")
	f.Add([]byte("#!/usr/bin/env -S\n<<<\"\n<<-\\X"), "a.yaml")
	f.Fuzz(func(t *testing.T, data []byte, name string) {
		if bytes.IndexByte(data, 0) >= 0 {
			return
		}
		file := &lintFile{path: name, name: name, folder: "root.d", data: data}
		for line := range strings.Lines(string(data)) {
			file.lines = append(file.lines, strings.TrimRight(line, "\r\n"))
		}
		var l linter
		l.check(file)
		for _, found := range l.found {
			if found.line > len(file.lines) || found.text == "" {
				t.Errorf("%+v", found)
			}
		}
	})
}
