package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// call runs a command of the target as a hook would.
func call(t *testing.T, env []string, name string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	p, ok := targetCommand(name)
	if !ok {
		t.Fatalf("no command %q", name)
	}
	var out, complaint bytes.Buffer
	code = p(context.Background(), args, env, strings.NewReader(""), &out, &complaint)
	return code, out.String(), complaint.String()
}

// put writes files below a fresh folder.
func put(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// swap sets a variable for the time of a test.
func swap[T any](t *testing.T, p *T, v T) {
	t.Helper()
	old := *p
	*p = v
	t.Cleanup(func() { *p = old })
}

const testMap = `{
  "default": {"ssh": "openssh", "two": "a  b", "none": ""},
  "family": {"debian": {"ssh": "openssh-server"}},
  "release": {"debian": {"bookworm": {"kernel": "linux-6.1"}}}
}`

func TestPkgMap(t *testing.T) {
	dir := put(t, map[string]string{"map/web": testMap, "map/bad": "{", "file": testMap})
	swap(t, &pkgMapDirs, []string{filepath.Join(dir, "none"), filepath.Join(dir, "map")})
	debian := []string{"DISTRO_NAME=debian", "DIB_RELEASE=bookworm"}
	for _, c := range []struct {
		args, stdout string
		env          []string
		code         int
	}{
		{"--element web ssh two", "openssh-server\na b\n", debian, 0},
		{"--element web none ssh", "openssh-server\n", debian, 0},
		{"--element web kernel", "linux-6.1\n", debian, 0},
		{"--element web --release trixie kernel", "", debian, 1},
		{"--element web --distro fedora ssh", "openssh\n", debian, 0},
		{"--element web ssh unknown two", "openssh-server\n", debian, 1},
		{"--element web --missing-ok unknown", "unknown\n", debian, 0},
		{"--prefix - --element web two", "-a b\n", debian, 0},
		{"--element other ssh", "", debian, 2},
		{"--element other --missing-ok ssh", "ssh\n", debian, 0},
		{"--element bad ssh", "", debian, 1},
		{"--element ../file ssh", "", debian, 1},
		{"--pkg-map " + dir + "/file ssh", "openssh-server\n", debian, 0},
		{"--pkg-map " + dir + "/file --element web ssh", "", debian, 1},
		{"ssh", "", debian, 1},
		{"--element web ssh", "", nil, 1},
		{"--elephant web", "", debian, 1},
	} {
		code, stdout, stderr := call(t, c.env, "pkg-map", strings.Fields(c.args)...)
		if code != c.code || stdout != c.stdout || (code != 0) != strings.HasPrefix(stderr, "pkg-map: ") {
			t.Errorf("pkg-map %s: code %d, stdout %q, stderr %q; want %d, %q", c.args, code, stdout, stderr, c.code, c.stdout)
		}
	}
}

// fakeInstaller puts an install-packages on PATH that notes its arguments.
func fakeInstaller(t *testing.T, code string) (notes string) {
	t.Helper()
	dir := put(t, map[string]string{"install-packages": "#!/bin/sh\necho \"$@\" >> \"$NOTES\"\nexit " + code + "\n"})
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return filepath.Join(dir, "notes")
}

func TestPackageInstalls(t *testing.T) {
	dir := put(t, map[string]string{
		"map/web": testMap,
		"list": `{"install.d": {"install": [["ssh","web"],["two","web"],["a","other"],["none","web"]], "uninstall": [["two","web"]]},
			"pre-install.d": {"install": [["none","web"]]}}`,
		"broken":   `{"install.d": {"install": [["ssh"]]}}`,
		"unmapped": `{"install.d": {"install": [["ssh","bad"]]}}`,
		"map/bad":  "{",
	})
	swap(t, &pkgMapDirs, []string{filepath.Join(dir, "map")})
	for _, c := range []struct {
		args, list, exit, called, stdout string
		code                             int
	}{
		{"--phase install.d", "list", "0", "openssh-server a b\n", "", 0},
		{"--phase install.d --uninstall", "list", "0", "-e a b\n", "", 0},
		{"--phase install.d --noop", "list", "0", "", "install-packages openssh-server a b\n", 0},
		{"--phase post-install.d", "list", "0", "", "Nothing to install\n", 0},
		{"--phase pre-install.d", "list", "0", "", "", 0},
		{"--phase install.d", "list", "100", "openssh-server a b\n", "", 1},
		{"--phase install.d", "broken", "0", "", "", 1},
		{"--phase install.d", "unmapped", "0", "", "", 1},
		{"--phase install.d", "missing", "0", "", "", 1},
		{"", "list", "0", "", "", exitUsage},
	} {
		notes := fakeInstaller(t, c.exit)
		env := []string{"DISTRO_NAME=debian", "DIB_RELEASE=bookworm", "NOTES=" + notes}
		args := append(strings.Fields(c.args), filepath.Join(dir, c.list))
		code, stdout, stderr := call(t, env, "package-installs-v2", args...)
		called, _ := os.ReadFile(notes)
		if code != c.code || string(called) != c.called || stdout != c.stdout {
			t.Errorf("package-installs-v2 %s %s: code %d, called %q, stdout %q, stderr %q", c.args, c.list, code, called, stdout, stderr)
		}
	}
}

func TestLegacyPackageInstalls(t *testing.T) {
	dir := put(t, map[string]string{
		"map/web":                        testMap,
		"install.d/package-installs-web": "# comment\nssh\n\n-two\n",
		"install.d/package-installs-x":   "vim\n  -ssh",
		"install.d/10-hook":              "#!/bin/sh\n",
		"empty.d/10-hook":                "#!/bin/sh\n",
	})
	swap(t, &pkgMapDirs, []string{filepath.Join(dir, "map")})
	for _, c := range []struct{ command, dir, called string }{
		{"package-installs", "install.d", "openssh-server a b vim ssh\n"},
		{"package-uninstalls", "install.d", "-e a b ssh\n"},
		{"package-installs", "empty.d", ""},
		{"package-uninstalls", "empty.d", ""},
	} {
		notes := fakeInstaller(t, "0")
		env := []string{"DISTRO_NAME=debian", "DIB_RELEASE=bookworm", "NOTES=" + notes}
		code, _, stderr := call(t, env, c.command, "-d", filepath.Join(dir, c.dir))
		if called, _ := os.ReadFile(notes); code != 0 || string(called) != c.called {
			t.Errorf("%s %s: code %d, called %q, want %q; %s", c.command, c.dir, code, called, c.called, stderr)
		}
	}
	if code, _, _ := call(t, nil, "package-installs"); code != 1 {
		t.Errorf("without -d: code %d", code)
	}
}

func TestSvcMap(t *testing.T) {
	dir := put(t, map[string]string{"json": `{"web": "apache2"}`, "yaml": "db: mariadb\n", "bad": "- a"})
	for _, c := range []struct {
		file, args, stdout string
		code               int
	}{
		{"json", "web db", "apache2\ndb\n", 0},
		{"yaml", "db", "mariadb\n", 0},
		{"missing", "db", "db\n", 0},
		{"bad", "db", "", 1},
	} {
		swap(t, &svcMapFiles, []string{filepath.Join(dir, "nothing"), filepath.Join(dir, c.file)})
		if code, stdout, _ := call(t, nil, "svc-map", strings.Fields(c.args)...); code != c.code || stdout != c.stdout {
			t.Errorf("svc-map %s with %s: code %d, %q", c.args, c.file, code, stdout)
		}
	}
}

func TestInitSystem(t *testing.T) {
	if code, stdout, _ := call(t, []string{"DIB_INIT_SYSTEM=openrc", "DIB_INIT_SYSTEM=systemd"}, "dib-init-system"); code != 0 || stdout != "systemd\n" {
		t.Errorf("code %d, %q", code, stdout)
	}
	if code, _, stderr := call(t, nil, "dib-init-system"); code != 1 || !strings.Contains(stderr, "DIB_INIT_SYSTEM") {
		t.Errorf("unset: code %d, %q", code, stderr)
	}
}
