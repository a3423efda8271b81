package main

import (
	"os/exec"
	"strings"
	"testing"
)

func TestElementInfo(t *testing.T) {
	dir := put(t, map[string]string{
		"a/sys/element-provides": "operating-system\n", "a/sys/element-deps": "# base of all\nweb\n",
		"a/web/README.rst": "", "b/web/element-deps": "zzz", "b/it's/README.rst": "", "file": "",
	})
	both := "ELEMENTS_PATH=" + dir + "/a:" + dir + "/b"
	const hides = "warning: element 'web': DIR/a/web is used, not DIR/b/web"
	for _, c := range []struct {
		words, env, stdout, says string
		code                     int
	}{
		{"sys", both, "sys web\n", hides, 0},
		{"web sys web", both, "web sys\n", hides, 0},
		{"sys", "ELEMENTS_PATH=" + dir + "/a", "sys web\n", "", 0},
		{"sys wbe", both, "", "Element 'wbe' not found; did you mean 'web'?", 1},
		{"web", both, "", "please include an operating system element", 1},
		{"sys operating-system", both, "", "already provided by ['sys']", 1},
		{"sys", "", "", "ELEMENTS_PATH must be set", 1},
		{"sys", "ELEMENTS_PATH=" + dir + "/a:", "", "ELEMENTS_PATH entry '' is not a directory", 1},
		{"sys", "ELEMENTS_PATH=" + dir + "/file", "", "ELEMENTS_PATH entry 'DIR/file' is not a directory", 1},
		{"", both, "", "name at least one element", exitUsage},
		{"--enviroment sys", both, "", "unknown flag", exitUsage},
	} {
		code, stdout, stderr := callProgram(t, []string{c.env}, dir, "element-info", c.words)
		if code != c.code || stdout != c.stdout || !strings.Contains(stderr, c.says) || c.says == "" && stderr != "" {
			t.Errorf("element-info %s (%s): code %d, stdout %q, stderr %q; want %d, %q, %q", c.words, c.env, code, stdout, stderr, c.code, c.stdout, c.says)
		}
	}
}

// TestElementInfoInAShell lets bash judge the text of --env, with names and
// paths that need quotes.
func TestElementInfoInAShell(t *testing.T) {
	dir := put(t, map[string]string{"a b/sys/element-provides": "operating-system\n", "a b/it's/README.rst": ""})
	for _, flag := range []string{"-e", "--env"} {
		_, text, stderr := callProgram(t, []string{"ELEMENTS_PATH=" + dir + "/a b"}, "DIR", "element-info", flag+" sys it's cache-url base")
		script := text + `
eval declare -A a=($(get_image_element_array))
for e in $IMAGE_ELEMENT; do echo "$e=${a[$e]}"; done
export a; bash -c 'get_image_element_array | wc -w; echo "$IMAGE_ELEMENT_YAML"'`
		out, err := exec.Command("bash", "-euc", script).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s%s\n%s", err, out, stderr, text)
		}
		for _, want := range []string{"sys=" + dir + "/a b/sys\n", "it's=" + dir + "/a b/it's\n", "cache-url=(built in)/cache-url\n", "\nsys: " + dir, "base: (built in)/base\n"} {
			if !strings.Contains(string(out), want) {
				t.Errorf("%s: got %s\nwant %q in it", flag, out, want)
			}
		}
	}
}
