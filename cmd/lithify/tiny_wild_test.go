package main

import (
	"cmp"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lithify/lithify/blockdev/blockdevtest"
)

// oldStyle are elements written the way people wrote them for
// diskimage-builder before it had package-installs.yaml, and still do: each does
// what some published element does.
func (w *tiny) oldStyle() {
	w.hooks("old-env", map[string]string{
		"environment.d/30-old.bash": "export DISTRO_NAME=debian\nOLD_WORD=${DIB_OLD_WORD:-plain}\nexport OLD_WORD\nold_say() { echo \"$1 says $OLD_WORD\"; }\nexport -f old_say\n",
	})
	w.hooks("old-deps", map[string]string{
		"element-deps":           "# what it stands on\n\nold-env   # for OLD_WORD\n\tinstall-types\npkg-map\n",
		"environment.d/40-later": "export OLD_LATER=\"$OLD_WORD and later\"\n",
		"extra-data.d/30-old-deps": "source $_LIB/die\n[ -n \"$TMP_HOOKS_PATH\" ] || die \"no hooks\"\nold_say outside > $TMP_HOOKS_PATH/old-said\n" +
			"echo \"$OLD_LATER\" >> $TMP_HOOKS_PATH/old-said\n",
		"install.d/50-old-deps": "mkdir -p /etc/old\ncp $(dirname $0)/../old-said /etc/old/said\n",
	})
	w.hooks("old-parts", map[string]string{
		"install.d/60-old-parts":               "mkdir -p /etc/old\ncp -r $(dirname $0)/../os-refresh-config /etc/old/orc\ndib-run-parts /etc/old/orc/configure.d\n",
		"os-refresh-config/configure.d/20-two": "#!/bin/sh\necho two >> /etc/old/parts\n",
		"os-refresh-config/configure.d/9-one":  "#!/bin/sh\necho one >> /etc/old/parts\n",
		"os-refresh-config/configure.d/x.conf": "#!/bin/sh\necho never >> /etc/old/parts\n",
	})
	w.hooks("old-map", map[string]string{
		"pkg-map":              `{"default": {"tool": "tool-package", "none": ""}}`,
		"install.d/60-old-map": "mkdir -p /etc/old\necho \"$(pkg-map --element old-map tool)\" > /etc/old/map\n",
	})
	w.hooks("old-types", map[string]string{
		"install.d/old-types-package-install/70-old": "mkdir -p /etc/old\necho package > /etc/old/type\n",
		"install.d/old-types-source-install/70-old":  "mkdir -p /etc/old\necho source > /etc/old/type\n",
	})
	w.hooks("old-generator", map[string]string{
		"extra-data.d/10-generate": "for v in $(compgen -v); do\n    if [[ $v =~ ^DIB_OLDGEN_(.*)_SCRIPT$ ]]; then\n" +
			"        printf '%s\\n' \"${!v}\" > \"$TMP_HOOKS_PATH/install.d/80-${BASH_REMATCH[1]}\"\n        chmod +x \"$TMP_HOOKS_PATH/install.d/80-${BASH_REMATCH[1]}\"\n    fi\ndone\n",
	})
	w.hooks("old-tmp", map[string]string{
		"root.d/60-old-tmp":    "echo fetched | sudo tee $TARGET_ROOT/tmp/old-archive\n",
		"install.d/60-old-tmp": "mkdir -p /etc/old\nmv /tmp/old-archive /etc/old/archive\n",
	})
	w.hooks("old-sources", map[string]string{
		"element-deps":            "source-repositories\n",
		"extra-data.d/20-sources": "echo \"made git /opt/made $DIB_OLD_ORIGIN *\" > $TMP_HOOKS_PATH/source-repository-made\n",
	})
	for _, name := range []string{"cache-url", "manifests", "package-installs"} { // what sources need has no use here: no bash, no packages
		w.write(name+"/README.md", name+"\n")
	}
	w.hooks("old-keys", map[string]string{
		"extra-data.d/62-keys": "sudo -Hiu ${HOST_USERNAME} dd if=/dev/null of=${TMP_HOOKS_PATH}/id_rsa\n",
		"install.d/62-keys":    "test -f $(dirname $0)/../id_rsa\n",
	})
	w.write("old-off/install.d/50-off", "#!/bin/sh\necho ran > /etc/off\n")
	must(w.t, os.Chmod(w.lib+"/old-off/install.d/50-off", 0o644))
	w.names = append(w.names, "old-off")
}

// TestTinyOldStyle builds with all of them, as root and as an ordinary user.
func TestTinyOldStyle(t *testing.T) {
	t.Parallel()
	blockdevtest.Need(t, "git")
	o := newOrigin(t)
	must(t, os.Chmod(o.dir, 0o755)) // for the ordinary user
	must(t, os.Chmod(filepath.Dir(o.dir), 0o755))
	for name, as := range tinyPeople(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTiny(t, as)
			w.oldStyle()
			w = w.with("DIB_OLD_WORD=hello", "DIB_INSTALLTYPE_old_types=package", "DIB_OLD_ORIGIN="+o.dir, "HOST_USERNAME="+cmp.Or(as, &user.User{Username: "root"}).Username,
				"DIB_OLDGEN_made_SCRIPT=#!/bin/sh\nmkdir -p /etc/old; echo made > /etc/old/generated")
			w.build("web", "tar")
			for file, want := range map[string]string{
				"said":      "outside says hello\nhello and later\n",
				"parts":     "one\ntwo\n",
				"map":       "tool-package\n",
				"type":      "package\n",
				"generated": "made\n",
				"archive":   "fetched\n",
			} {
				if got := w.inTar("web", "etc/old/"+file); got != want {
					t.Errorf("%s: %q, want %q", file, got, want)
				}
			}
			list := foreign(t, w.out, "tar", "--list", "--file", "web.tar")
			if !strings.Contains(list, "./opt/made/.git/HEAD\n") {
				t.Error("what a hook listed as a source was not fetched")
			}
			if strings.Contains(list, "./etc/off\n") {
				t.Error("a hook without the run bit ran")
			}
		})
	}
}

// TestTinyRamdisk: an element that makes a ramdisk of the tree in cleanup.d and
// wants no image, as those of bare-metal deployment do.
func TestTinyRamdisk(t *testing.T) {
	t.Parallel()
	blockdevtest.Need(t, "cpio", "gzip")
	for name, as := range tinyPeople(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTiny(t, as)
			w.hooks("maker", map[string]string{
				"element-deps":         "no-final-image\n",
				"environment.d/10-m":   "export DISTRO_NAME=debian\n",
				"install.d/50-kernels": "mkdir -p /boot\nfor v in 6.9 6.10; do echo \"kernel $v\" > /boot/vmlinuz-$v; echo > /boot/initrd.img-$v; done\n",
				"cleanup.d/99-maker": `
[ -n "$TARGET_ROOT" ]
[ "$DIB_CHECKSUM" == "1" ]
source $_LIB/img-functions
IMAGE_PATH=$(readlink -f $IMAGE_NAME)
cd $TARGET_ROOT
sudo ln -s ./sbin/init ./
sudo find . -xdev -path './boot/*' -prune -o -print | sudo cpio -o -H newc | gzip > ${IMAGE_PATH}.initramfs
select_boot_kernel_initrd $TARGET_ROOT
sudo cp $BOOTDIR/$KERNEL ${IMAGE_PATH}.kernel
echo "$RAMDISK" > ${IMAGE_PATH}.name
`})
			for range 2 { // what hooks make is never taken for finished
				r := w.build("agent", "qcow2", "--checksum")
				if !strings.Contains(r.stderr, "-t qcow2 is left out") {
					t.Errorf("not said: %v", r)
				}
				w.noOutput("agent.qcow2")
				list := foreign(t, w.out, "bash", "-c", "gzip -dc agent.initramfs | cpio --list --quiet")
				if !strings.Contains("\n"+list, "\ninit\n") || strings.Contains(list, "vmlinuz") {
					t.Errorf("the ramdisk has\n%s", list)
				}
				if got := foreign(t, w.out, "cat", "agent.kernel", "agent.name"); got != "kernel 6.10\ninitrd.img-6.10\n" {
					t.Errorf("kernel and ramdisk: %q", got)
				}
				must(t, os.Remove(w.path("agent.initramfs")))
			}
		})
	}
}
