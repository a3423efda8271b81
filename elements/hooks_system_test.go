package elements

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPyPIMirrors(t *testing.T) {
	t.Parallel()
	const pip, distutils = "root/.config/pip/pip.conf", "root/.pydistutils.cfg"
	set := func(mirrors, noPyPI, retries string) []string {
		return []string{"DIB_PYPI_MIRRORS=" + mirrors, "DIB_NO_PYPI_PIP=" + noPyPI, "DIB_PIP_RETRIES=" + retries}
	}
	for _, c := range []struct {
		env                  []string
		pip, distutils, mine string
	}{
		{set("", "", ""), "", "", ""},
		{set(" http://m:3141/a   https://n/b ", "", "0"),
			"[global]\nindex-url = http://m:3141/a\nextra-index-url =\n    https://n/b\n    https://pypi.org/simple\ntrusted-host =\n    m\nretries = 0\n",
			"[easy_install]\nindex_url = https://n/b\n", ""},
		{set("https://n/b", "1", ""), "[global]\nindex-url = https://n/b\n", "[easy_install]\nindex_url = https://n/b\n", ""},
		{append(set("https://n/b", "", ""), "DIB_OFFLINE=1"), "[global]\nindex-url = https://n/b\n", "[easy_install]\nindex_url = https://n/b\n", "[global]\nmine\n"},
		{append(set("", "", ""), "DIB_OFFLINE=1"), "[global]\nindex-url = file:///tmp/pypi\n", "[easy_install]\nindex_url = file:///tmp/pypi\n", ""},
	} {
		w := newWorld(t, "pypi")
		if c.mine != "" {
			w.write(map[string]string{pip: c.mine})
		}
		if strings.Contains(c.pip, "/tmp/pypi") {
			w.write(map[string]string{"tmp/pypi/simple/index.html": ""})
		}
		w.must(c.env, "pre-install.d/04-configure-pypi-mirror")
		w.has(pip, c.pip)
		w.has(distutils, c.distutils)
		w.must(c.env, "post-install.d/00-unconfigure-pypi-mirror")
		w.has(pip, c.mine)
		w.has(distutils, "")
	}
	text := builtinFiles(t)["pypi"]["environment.d/10-pypi"]
	env, _, err := source(t, []string{"PATH=/usr/bin:/bin", "DIB_PYPI_MIRROR_URL=a", "DIB_PYPI_MIRROR_URL_9=c", "DIB_PYPI_MIRROR_URL_1=b"}, map[string]string{"10-pypi": string(text)})
	if err != nil || strings.Join(strings.Fields(env["DIB_PYPI_MIRRORS"]), " ") != "a b c" {
		t.Errorf("%v: %q", err, env["DIB_PYPI_MIRRORS"])
	}
}

func TestDibPython(t *testing.T) {
	t.Parallel()
	need(t, "python3")
	w := newWorld(t, "dib-python")
	w.must([]string{"DIB_PYTHON=python3"}, "pre-install.d/01-dib-python")
	w.write(map[string]string{"tmp/script": "#!/usr/local/bin/dib-python\nprint('it runs')\n"})
	if out := w.must(nil, "/tmp/script"); out != "it runs\n" {
		t.Errorf("printed %q", out)
	}
	w.must(nil, "finalise.d/50-dib-python")
	if code, _ := w.run(nil, "/usr/local/bin/dib-python"); code == 0 {
		t.Error("the link is still there")
	}
	// A Python that is missing is installed, by the command of the packaging element.
	w.write(map[string]string{"tmp/in_target.d/bin/install-packages": "#!/bin/sh\necho \"$*\" > /calls\nprintf '#!/bin/sh\\n' > /usr/local/bin/$1\nchmod 755 /usr/local/bin/$1\n"})
	w.must([]string{"DIB_PYTHON=python2"}, "pre-install.d/01-dib-python")
	if got := w.calls(); got != "python2\n" {
		t.Errorf("called %q", got)
	}
}

const grubKernels = "boot/vmlinuz-6.1.0-9-amd64 boot/initrd.img-6.1.0-9-amd64 boot/vmlinuz-6.1.0-10-amd64 boot/initrd.img-6.1.0-10-amd64 boot/config-6.1.0-9-amd64 boot/initrd.img-6.1.0-10-amd64.old"

func TestSelectBootKernelInitrd(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ distro, files, env, want string }{
		{"debian", grubKernels, "", "vmlinuz-6.1.0-10-amd64:initrd.img-6.1.0-10-amd64"},
		{"ubuntu", "boot/vmlinuz-6.8.0-9-generic boot/initrd.img-6.8.0-9-generic boot/vmlinuz-6.9.0-1-kvm boot/initrd.img-6.9.0-1-kvm", "",
			"vmlinuz-6.8.0-9-generic:initrd.img-6.8.0-9-generic"},
		{"ubuntu", "boot/vmlinuz-4.4.0-1-generic boot/vmlinuz-4.4.0-1-generic.efi.signed boot/initrd.img-4.4.0-1-generic", "", "vmlinuz-4.4.0-1-generic:initrd.img-4.4.0-1-generic"},
		{"rocky", "boot/vmlinuz-5.14.0-70.el9.x86_64 boot/initramfs-5.14.0-70.el9.x86_64.img boot/vmlinuz-5.14.0-8.el9.x86_64 boot/initramfs-5.14.0-8.el9.x86_64.img" +
			" boot/vmlinuz-0-rescue-abc boot/vmlinuz-6.0-1.x86_64+debug", "", "vmlinuz-5.14.0-70.el9.x86_64:initramfs-5.14.0-70.el9.x86_64.img"},
		{"fedora", "boot/vmlinuz-6.0 boot/vmlinuz-5.9PAE boot/initramfs-5.9PAE.img", "", "vmlinuz-5.9PAE:initramfs-5.9PAE.img"},
		{"gentoo", "boot/vmlinuz-6.6.9-gentoo boot/vmlinuz-6.6.10-gentoo boot/initramfs-6.6.10-gentoo", "", "vmlinuz-6.6.10-gentoo:initramfs-6.6.10-gentoo"},
		{"odd", "boot/kernel-2 boot/kernel-10 boot/rd-2 boot/rd-10", "DIB_BAREMETAL_KERNEL_PATTERN=kernel-* DIB_BAREMETAL_INITRD_PATTERN=rd-*", "kernel-10:rd-10"},
		{"odd", "boot/kernel-2", "DIB_BAREMETAL_KERNEL_PATTERN=kernel-* DIB_BAREMETAL_INITRD_PATTERN=rd-*", "nothing in /boot fits"},
		{"odd", "boot/vmlinuz-1", "", "DISTRO_NAME is \"odd\""},
		{"debian", "", "", "no kernel"},
		{"debian", "boot/vmlinuz-6.1", "", "no initial ramdisk for vmlinuz-6.1"},
		{"centos", "boot/vmlinuz-6.1 boot/initramfs-6.0.img", "", "no initial ramdisk"},
	} {
		w := newWorld(t, "select-boot-kernel-initrd")
		for _, file := range strings.Fields(c.files) {
			w.write(map[string]string{file: file})
		}
		env := append(strings.Fields(c.env), "DISTRO_NAME="+c.distro)
		if !strings.Contains(c.want, ":") {
			w.refuses(env, c.want, "bin/select-boot-kernel-initrd")
			continue
		}
		if out := w.must(env, "bin/select-boot-kernel-initrd"); out != c.want+"\n" {
			t.Errorf("%s: %q, want %q", c.distro, out, c.want)
		}
	}
}

func TestCleanupKernelInitrd(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "select-boot-kernel-initrd", "cleanup-kernel-initrd")
	for _, file := range strings.Fields(grubKernels) {
		w.write(map[string]string{file: file})
	}
	w.write(map[string]string{"usr/local/bin/x": "", "boot/grub/grub.cfg": "menu"})
	w.stub("", "install-packages")
	w.stub("echo linux-image-6.1.0-9-amd64: $3", "dpkg-query")
	w.stub("exec /tmp/in_target.d/bin/select-boot-kernel-initrd", "select-boot-kernel-initrd")
	w.must([]string{"DISTRO_NAME=debian"}, "finalise.d/30-cleanup-kernel-initrd")
	if got := w.calls(); !strings.HasSuffix(got, "install-packages -e linux-image-6.1.0-9-amd64\n") {
		t.Errorf("called %q", got)
	}
	left, err := filepath.Glob(filepath.Join(w.root, "boot/*"))
	if err != nil {
		t.Fatal(err)
	}
	want := "grub initrd.img-6.1.0-10-amd64 initrd.img-6.1.0-10-amd64.old vmlinuz-6.1.0-10-amd64"
	for i := range left {
		left[i] = filepath.Base(left[i])
	}
	if got := strings.Join(left, " "); got != want {
		t.Errorf("left: %s, want %s", got, want)
	}
}

func TestManifestsAndServices(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "element-manifest", "journal-to-console", "dkms", "growvols")
	w.stub("", "systemctl")
	w.must([]string{"IMAGE_ELEMENT=vm base  debian", "DIB_ELEMENT_MANIFEST_PATH=/etc/m/list"}, "finalise.d/97-element-manifest")
	w.has("etc/m/list", "base\ndebian\nvm\n")
	w.must(nil, "post-install.d/30-journal-to-console")
	w.has("etc/systemd/journald.conf.d/dib-journal-to-console.conf", "[Journal]\nForwardToConsole=yes\n")
	w.refuses([]string{"DIB_INIT_SYSTEM=sysv"}, "only systemd", "post-install.d/30-journal-to-console")

	grow := func(trigger, args, group, device string) []string {
		return []string{"DIB_GROWVOLS_TRIGGER=" + trigger, "DIB_GROWVOLS_ARGS=" + args, "DIB_GROWVOLS_GROUP=" + group, "DIB_GROWVOLS_DEVICE=" + device}
	}
	w.must(grow("manual", "/=1%", "", ""), "post-install.d/80-growvols")
	if got := w.calls(); got != "" {
		t.Errorf("called %q", got)
	}
	w.must(grow("systemd", "/var=50% /=1GB", "vg", "sda"), "post-install.d/80-growvols")
	w.has("etc/default/growvols", "GROWVOLS_OPTIONS=\"--device sda --group vg /var=50% /=1GB\"\n")
	if got := w.calls(); got != "systemctl enable growvols.service\n" {
		t.Errorf("called %q", got)
	}
	w.refuses(append(grow("systemd", "", "", ""), "DIB_INIT_SYSTEM=openrc"), "DIB_INIT_SYSTEM is openrc", "post-install.d/80-growvols")
}

// TestDKMSSigning asks the settings as dkms does: a file in its own language, read
// after all others.
func TestDKMSSigning(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "dkms")
	w.must(nil, "pre-install.d/05-dkms-signing")
	ask := func(before string) string {
		return w.must(nil, "/bin/bash", "-c", before+"\n. /etc/dkms/framework.conf.d/zz-dib-signing.conf\nprintf %s \"${sign_file:-dkms}\"")
	}
	w.write(map[string]string{"root/own.key": "x"})
	for before, want := range map[string]string{
		"": "/nonexistent/sign-file", "mok_signing_key=/root/none.key": "/nonexistent/sign-file",
		"mok_signing_key=/root/own.key": "dkms", "mok_signing_key=pkcs11:token": "dkms",
	} {
		if got := ask(before); got != want {
			t.Errorf("with %q: signed by %q, want %q", before, got, want)
		}
	}
	w.write(map[string]string{"var/lib/dkms/mok.key": "x", "var/lib/dkms/a/1/k/x86_64/log/make.log": "today", "var/lib/dkms/a/1/source": "kept"})
	if got := ask(""); got != "dkms" {
		t.Errorf("with a key: signed by %q", got)
	}
	w.must(nil, "finalise.d/30-dkms-signing")
	for _, name := range []string{"etc/dkms/framework.conf.d/zz-dib-signing.conf", "var/lib/dkms/a/1/k/x86_64/log/make.log"} {
		if _, err := os.Stat(filepath.Join(w.root, name)); err == nil {
			t.Errorf("%s is left", name)
		}
	}
	w.has("var/lib/dkms/a/1/source", "kept")
	w.has("var/lib/dkms/mok.key", "x")
}

func TestUbuntuPrivacy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "ubuntu-common")
	w.write(map[string]string{"etc/sysctl.d/10-ipv6-privacy.conf": "# x\nnet.ipv6.conf.all.use_tempaddr = 2\nnet.ipv6.conf.default.use_tempaddr=2\n"})
	w.must(nil, "install.d/80-disable-rfc3041")
	w.has("etc/sysctl.d/10-ipv6-privacy.conf", "# x\nnet.ipv6.conf.all.use_tempaddr = 0\nnet.ipv6.conf.default.use_tempaddr=0\n")
}

// simple-init runs the hooks of the chosen type and no others.
func TestSimpleInit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		env         map[string]string
		hooks, call string
	}{
		{map[string]string{}, "40-simple-init-venv 50-simple-init-glean 60-simple-init", "glean-install "},
		{map[string]string{"DIB_INSTALLTYPE_simple_init": "repo"}, "40-simple-init-venv-repo 50-simple-init-glean-repo 60-simple-init", "glean-install "},
		{map[string]string{"DIB_INSTALLTYPE_simple_init": "package", "DIB_SIMPLE_INIT_NO_DHCP_FALLBACK": "1"},
			"50-simple-init-glean-package 60-simple-init", "install-packages glean\nglean-install --no-dhcp-fallback"},
		{map[string]string{"DIB_INSTALLTYPE_simple_init": "package", "DISTRO_NAME": "rocky"}, "50-simple-init-glean-package 60-simple-init", "install-packages glean\nglean-install --use-nm"},
	} {
		w := newWorld(t, "simple-init")
		l := Library{Builtin()}
		e, _, err := l.load("simple-init")
		if err != nil {
			t.Fatal(err)
		}
		given := []string{"PATH=/usr/bin:/bin", "DIB_DEFAULT_INSTALLTYPE=source"}
		for name, value := range c.env {
			given = append(given, name+"="+value)
		}
		env, trace, err := source(t, given, map[string]string{"50-simple-init": string(builtinFiles(t)["simple-init"]["environment.d/50-simple-init"])})
		if err != nil {
			t.Fatalf("%v\n%s", err, trace)
		}
		if fetch := env["DIB_INSTALLTYPE_glean"]; (fetch == "source") != (c.env["DIB_INSTALLTYPE_simple_init"] == "repo") {
			t.Errorf("%v: the repository's install type is %q", c.env, fetch)
		}
		tree := mustMerge(t, e)
		if err := tree.LinkInstallTypes(env); err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, h := range tree.Hooks(Install) {
			names = append(names, h.Name)
		}
		if got := strings.Join(names, " "); got != c.hooks {
			t.Errorf("%v: hooks %s, want %s", c.env, got, c.hooks)
		}
		w.stub("", "glean-install", "install-packages", "python3")
		var list []string
		for name, value := range env {
			if strings.HasPrefix(name, "DIB_") {
				list = append(list, name+"="+value)
			}
		}
		if strings.HasSuffix(names[0], "-package") {
			w.must(list, "install.d/simple-init-package-install/"+names[0])
		}
		w.must(list, "install.d/60-simple-init")
		if got := strings.TrimSpace(w.calls()); got != strings.TrimSpace(c.call) {
			t.Errorf("%v: called %q, want %q", c.env, got, c.call)
		}
	}
}

func TestBaremetal(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "select-boot-kernel-initrd", "baremetal")
	for _, file := range strings.Fields(grubKernels) {
		w.write(map[string]string{file: file})
	}
	w.stub("exec /tmp/in_target.d/bin/select-boot-kernel-initrd", "select-boot-kernel-initrd")
	w.must([]string{"DISTRO_NAME=debian"}, "finalise.d/97-baremetal")
	w.has("etc/dib-manifests/dib-boot-kernel", "/boot/vmlinuz-6.1.0-10-amd64\n")
	w.has("etc/dib-manifests/dib-boot-initrd", "/boot/initrd.img-6.1.0-10-amd64\n")
	for line := range strings.Lines(string(builtinFiles(t)["baremetal"]["output-files"])) {
		if named := strings.Fields(line)[1]; w.read(named[1:]) == "" {
			t.Errorf("output-files asks for %s, which no hook writes", named)
		}
	}
	w.refuses([]string{"DISTRO_NAME=odd"}, "DISTRO_NAME is", "finalise.d/97-baremetal")
}

// TestManyElementsTogether plans an image of every element that Debian can have
// at once: names, environments and package lists agree.
func TestManyElementsTogether(t *testing.T) {
	t.Parallel()
	names := []string{"debian", "vm", "block-device-efi"}
	l := Library{Builtin()}
	for _, name := range l.Names() {
		switch {
		case strings.HasPrefix(name, "ubuntu"), strings.HasPrefix(name, "block-device-"), name == "debian-minimal", name == "docker":
		default:
			names = append(names, name)
		}
	}
	els, err := l.Resolve(names...)
	if err != nil {
		t.Fatal(err)
	}
	if len(els) < 50 {
		t.Errorf("%d elements only", len(els))
	}
	tree := mustMerge(t, els...)
	env := sourceTree(t, tree, "DIB_DEB_UPDATES_CONF=/x", "DIB_FAIL2BAN_CONF=/y")
	if got := env["DIB_CLOUD_INIT_DATASOURCES"]; got != "NoCloud" {
		t.Errorf("data sources: %q", got)
	}
	if _, err := PackageInstalls(els, env); err != nil {
		t.Error(err)
	}
	if err := tree.LinkInstallTypes(env); err != nil {
		t.Error(err)
	}
}
