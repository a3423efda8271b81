package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lithify/lithify/blockdev/blockdevtest"
)

// hooks writes a whole element: a text by path; what is in a phase's folder is
// made a bash hook unless it says what runs it.
func (w *tiny) hooks(element string, files map[string]string) {
	w.t.Helper()
	for name, text := range files {
		if strings.Contains(name, ".d/") && !strings.HasPrefix(name, "environment.d/") && !strings.HasPrefix(text, "#!") {
			text = "#!/bin/bash\nset -eu\nset -o pipefail\n" + text
		}
		if strings.Contains(name, "install.d/") || strings.HasPrefix(name, "finalise.d/") { // inside there is no bash
			text = strings.NewReplacer("#!/bin/bash\n", "#!/bin/sh\n", "set -o pipefail\n", "").Replace(text)
		}
		w.write(element+"/"+name, text)
		if strings.HasPrefix(text, "#!") {
			must(w.t, os.Chmod(filepath.Join(w.lib, element, name), 0o755))
		}
	}
	w.names = append(w.names, element)
}

// inTar is the content of a file of an image.
func (w *tiny) inTar(name, file string) string {
	w.t.Helper()
	return foreign(w.t, w.out, "tar", "--extract", "--to-stdout", "--file", name+".tar", "./"+file)
}

// TestTinyServices: elements that rely on everything the contract promises to
// hooks, as people have them lying about.
func TestTinyServices(t *testing.T) {
	t.Parallel()
	blockdevtest.Need(t, "python3", "git")
	for name, as := range tinyPeople(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTiny(t, as)
			w.serviceElements()
			r := w.build("web", "tar")
			if want := "warning: element 'install-static': " + w.lib + "/install-static is used, not (built in)/install-static\n"; strings.Count(r.stdout, want) != 1 {
				t.Errorf("not said once: %q: %v", want, r)
			}
			for file, want := range map[string]string{
				"etc/seen/sudo":      "set by sudo /root\n",
				"etc/seen/python":    "amd64 app\n",
				"etc/seen/tool":      "the tool of environment.d\n",
				"etc/seen/override":  "not the built-in element\n",
				"etc/seen/other":     "data of another element\n",
				"etc/seen/daemons":   "none\n",
				"etc/seen/resolv":    "nameserver 198.51.100.7\n",
				"etc/resolv.conf":    "nameserver 203.0.113.1\n",
				"etc/seen/chroot":    "proc and null\n",
				"etc/seen/functions": "tiny app: 2 and more\n",
				"etc/seen/cache":     "kept\n",
				".autorelabel":       "at the very top\n",
			} {
				if got := w.inTar("web", file); got != want {
					t.Errorf("%s: %q, want %q", file, got, want)
				}
			}
			if got := foreign(t, w.out, "tar", "--list", "--file", "web.tar"); strings.Contains(got, "var/cache/things/") && strings.Contains(got, "things/kept") {
				t.Error("what was written to a mount is in the image")
			}
			if data, err := os.ReadFile(filepath.Join(w.dir, "home/.cache/image-create/things/kept")); err != nil || string(data) != "kept\n" {
				t.Errorf("the mounted cache: %q, %v", data, err)
			}
		})
	}
}

func (w *tiny) serviceElements() {
	w.hooks("sudoer", map[string]string{"extra-data.d/10-sudo": `
sudo mkdir -p "$TMP_MOUNT_PATH/etc/seen"
sudo chmod 1777 "$TMP_MOUNT_PATH/etc/seen"
sudo -E -H -n -u root WORD="set by sudo" -- bash -c 'echo "$WORD $HOME"' | sudo tee "$TMP_MOUNT_PATH/etc/seen/sudo"
code=0
sudo -- sh -c 'exit 9' || code=$?
[ "$code" = 9 ]
`})
	w.hooks("snake", map[string]string{"extra-data.d/20-python": `#!/usr/bin/env python3
import os
with open(os.path.join(os.environ["TMP_MOUNT_PATH"], "etc/seen/python"), "w") as f:
    f.write(os.environ["ARCH"] + " " + " ".join(n for n in os.environ["IMAGE_ELEMENT"].split() if n == "app") + "\n")
`})
	w.hooks("pathy", map[string]string{
		"environment.d/10-path": "export PATH=/opt/tools:$PATH\n",
		"install.d/10-path":     "mkdir -p /opt/tools\nprintf '#!/bin/sh\\necho the tool of environment.d\\n' > /opt/tools/my-tool\nchmod 755 /opt/tools/my-tool\n",
		"install.d/20-path":     "my-tool > /etc/seen/tool\n",
		"post-root.d/20-path":   `case "$PATH" in /opt/tools:/*) ;; *) exit 1 ;; esac` + "\ncommand -v sudo | grep -v ^/usr/bin/\n",
	})
	w.hooks("install-static", map[string]string{"install.d/10-install-static-files": "echo not the built-in element > /etc/seen/override\n"})
	w.hooks("daemon", map[string]string{
		"install.d/30-daemon":      "(while true; do sleep 7; done) > /dev/null 2>&1 &\n",
		"install.d/31-daemon-gone": "if grep -l '[s]leep' /proc/[0-9]*/cmdline 2> /dev/null; then exit 1; fi\necho none > /etc/seen/daemons\n",
	})
	w.hooks("mounter", map[string]string{
		"root.d/50-mounter":    "mkdir -p \"$DIB_IMAGE_CACHE/things\" \"$TARGET_ROOT/var/cache/things\"\nsudo mount --bind \"$DIB_IMAGE_CACHE/things\" \"$TARGET_ROOT/var/cache/things\"\n",
		"install.d/40-mounter": "echo kept > /var/cache/things/kept\n",
		// What was mounted is let go of before imaging, so authors mount it again.
		"pre-finalise.d/50-mounter": "sudo mount --bind \"$DIB_IMAGE_CACHE/things\" \"$TMP_MOUNT_PATH/var/cache/things\"\n",
		"finalise.d/40-mounter":     "cat /var/cache/things/kept > /etc/seen/cache\n",
	})
	w.hooks("giver", map[string]string{"shared/words": "data of another element\n", "post-install.d/40-giver": "echo at the very top > /.autorelabel\n"})
	w.hooks("reader", map[string]string{"install.d/40-reader": "cat \"$(head -n 0 /dev/null; echo ${0%/*}/../shared/words)\" > /etc/seen/other\n"})
	w.hooks("resolver", map[string]string{
		"install.d/50-resolver":      "echo nameserver 198.51.100.7 > /etc/resolv.conf\necho nameserver 203.0.113.1 > /etc/resolv.conf.ORIG\n",
		"post-install.d/50-resolved": "cat /etc/resolv.conf > /etc/seen/resolv\n",
	})
	w.hooks("functions", map[string]string{
		"extra-data.d/60-functions": `
source "$_LIB/common-functions"
eval declare -A elements=($(get_image_element_array))
[ "${elements[giver]}" = "$(cd "${ELEMENTS_PATH%%:*}/giver" && pwd)" ]
message=$( (false || die "the last words") 2>&1) && exit 1
[ "$message" = "the last words" ]
echo "tiny app: 2 and more" > "$TMP_MOUNT_PATH/etc/seen/functions"
`,
		"extra-data.d/61-exported": "(exit 5) || (die no) && exit 1\n[ -n \"$(get_image_element_array)\" ]\n",
		"post-root.d/60-chroot": `
chroot "$TMP_MOUNT_PATH" /bin/sh -c 'head -c 1 /proc/self/status > /dev/null && : > /dev/null && echo proc and null' > "$TMP_MOUNT_PATH/etc/seen/chroot"
`,
	})
}

// contractVariables are those that hooks find in both places, in table B.7 of
// the contract; by literal name, as hooks have them.
const contractVariables = "${ARCH?} ${IMAGE_NAME?} ${IMAGE_TYPE?} ${FS_TYPE?} ${LC_ALL?} ${PATH?} ${DIB_IMAGE_CACHE?} ${DIB_LOCKFILES?} ${DIB_OFFLINE?} " +
	"${DIB_DEBUG_TRACE?} ${DIB_CHECKSUM?} ${DIB_NO_TMPFS?} ${DIB_MIN_TMPFS?} ${DIB_ARGS?} ${DIB_ENV?} ${IMAGE_ELEMENT?} ${IMAGE_ELEMENT_YAML?} " +
	"${ELEMENTS_PATH?} ${DIB_ROOT_LABEL?} ${DIB_ROOT_FSTYPE?} ${DIB_BOOT_LABEL?} ${DIB_MOUNTPOINTS?} ${HOME?} ${DIB_CALLERS?}"

// TestTinyVariables: every variable that the contract promises is there, and
// those that it takes away are not.
func TestTinyVariables(t *testing.T) {
	t.Parallel()
	w := newTiny(t, nil)
	outside := ": " + contractVariables + " ${_LIB:?} ${DIB_PYTHON_EXEC:?} ${TMP_BUILD_DIR:?} ${TMP_IMAGE_DIR:?} ${TMP_HOOKS_PATH:?} ${TMP_MOUNT_PATH:?}\n"
	withRoot := outside + ": ${TARGET_ROOT:?}\n"
	without := outside + "[ -z \"${TARGET_ROOT+x}\" ]\n: ${DIB_DEFAULT_INSTALLTYPE:?}\n"
	inside := ": " + contractVariables + " ${DIB_DEFAULT_INSTALLTYPE:?}\n[ -z \"${TARGET_ROOT+x}${TMPDIR+x}${VIRTUAL_ENV+x}\" ]\n[ \"$HOME\" = /root ]\n[ \"$(pwd)\" = / ]\n"
	files := map[string]string{}
	for phase, text := range map[string]string{"root": withRoot, "extra-data": without, "pre-install": inside, "install": inside, "post-install": inside,
		"post-root": without, "pre-finalise": without, "finalise": inside, "cleanup": withRoot} {
		files[phase+".d/70-variables"] = text
	}
	w.hooks("variables", files)
	w.with("DIB_CALLERS=1", "VIRTUAL_ENV=/nowhere").build("web", "tar")
}

// TestTinyHookNames: RUN_PARTS_REGEX says which files are hooks.
func TestTinyHookNames(t *testing.T) {
	t.Parallel()
	w := newTiny(t, nil)
	w.hooks("dots", map[string]string{"install.d/60-dots.sh": "echo ran > /dotted\n"})
	w.build("web", "tar")
	if got := foreign(t, w.out, "tar", "--list", "--file", "web.tar"); strings.Contains(got, "dotted") {
		t.Error("a name with a dot is a hook")
	}
	w.with("RUN_PARTS_REGEX=^[0-9]+-[a-z.]+$").build("web", "tar")
	if got := w.inTar("web", "dotted"); got != "ran\n" {
		t.Errorf("%q", got)
	}
	w.fails(2, w.with("RUN_PARTS_REGEX=(").create("web", "tar"), "RUN_PARTS_REGEX", "missing closing")
}

// TestTinyNamesCollide: a hook of one name from two elements is a mistake that
// names both.
func TestTinyNamesCollide(t *testing.T) {
	t.Parallel()
	w := newTiny(t, nil)
	w.hooks("one", map[string]string{"install.d/50-same": "true\n"})
	w.hooks("two", map[string]string{"install.d/50-same": "true\n"})
	w.fails(2, w.create("web", "tar"), "install.d/50-same", "one", "two")
}

// TestTinyGitSource: a branch that has not moved costs nothing, one that has
// costs what comes after it.
func TestTinyGitSource(t *testing.T) {
	t.Parallel()
	o := newOrigin(t)
	must(t, os.Chmod(filepath.Dir(o.dir), 0o755))
	must(t, os.Chmod(o.dir, 0o755))
	w := newTiny(t, nil)
	for _, name := range []string{"cache-url", "manifests", "package-installs"} { // there is no package manager in tiny
		w.hooks(name, map[string]string{"README.md": name + "\n"})
	}
	w.names = append(w.names[:2:2], "source-repositories", "lib")
	w.write("lib/source-repository-lib", "lib git /opt/lib $ORIGIN_OF_LIB\n")
	w.env = append(w.env, "ORIGIN_OF_LIB="+o.dir)
	w.build("web", "tar")
	if got := w.inTar("web", "opt/lib/sub/data"); got != "first\n" {
		t.Fatalf("%q", got)
	}
	if r := w.build("web", "tar"); !r.nothing {
		t.Errorf("nothing has changed: %v", r)
	}
	o.commit("second")
	r := w.build("web", "tar")
	if got := w.inTar("web", "opt/lib/sub/data"); got != "second\n" || slices.Contains(r.hooks, "root.d/10-tiny") || !slices.Contains(r.hooks, "pre-install.d/10-app") {
		t.Errorf("%q: %v", got, r)
	}
	r = w.with("DIB_REPOREF_lib="+o.git("rev-parse", "HEAD~1")).build("web", "tar")
	if got := w.inTar("web", "opt/lib/sub/data"); got != "first\n" || slices.Contains(r.hooks, "root.d/10-tiny") {
		t.Errorf("%q: %v", got, r)
	}
	if r := w.build("web", "tar", "--offline"); w.inTar("web", "opt/lib/sub/data") != "second\n" || len(r.hooks) > 0 {
		t.Errorf("offline: %v", r)
	}
}
