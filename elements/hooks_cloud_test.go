package elements

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

func TestCloudInitDatasources(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "cloud-init-datasources")
	const hook, file = "install.d/05-set-cloud-init-sources", "etc/cloud/cloud.cfg.d/91-dib-cloud-init-datasources.cfg"
	for _, c := range []struct{ given, want string }{
		{"NoCloud", "datasource_list: [ NoCloud, None ]\n"},
		{"OpenStack,None", "datasource_list: [ OpenStack, None ]\n"},
		{" Ec2 , ConfigDrive", "datasource_list: [ Ec2, ConfigDrive, None ]\ndatasource:\n  Ec2:\n    strict_id: false\ndisable_network_activation: true\n"},
		{"None", "datasource_list: [ None ]\n"},
	} {
		w.must([]string{"DIB_CLOUD_INIT_DATASOURCES=" + c.given}, hook)
		w.has(file, c.want)
		var parsed map[string]any
		if err := yaml.Unmarshal([]byte(w.read(file)), &parsed); err != nil {
			t.Error(err)
		}
	}
	w.refuses(nil, "DIB_CLOUD_INIT_DATASOURCES is not set", hook)
	w.refuses([]string{"DIB_CLOUD_INIT_DATASOURCES=Ec2;OpenStack"}, `"Ec2;OpenStack" is no data source`, hook)
}

func TestCloudInitServices(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ units, want string }{
		{"cloud-init-local cloud-init cloud-config cloud-final", "cloud-init-local.service cloud-init.service cloud-config.service cloud-final.service"},
		{"cloud-init-main cloud-init-local cloud-init-network cloud-config cloud-final",
			"cloud-init-main.service cloud-init-local.service cloud-init-network.service cloud-config.service cloud-final.service"},
	} {
		w := newWorld(t, "cloud-init")
		w.stub("", "systemctl")
		for _, unit := range strings.Fields(c.units) {
			w.write(map[string]string{"units/" + unit + ".service": "[Unit]\n"})
		}
		w.must(nil, "post-install.d/20-enable-cloud-init")
		if got, want := w.calls(), "systemctl enable "+c.want+"\n"; got != want {
			t.Errorf("called %q, want %q", got, want)
		}
		w.must(nil, "post-install.d/22-cloud-init-ssh-pwauth")
		w.has("etc/cloud/cloud.cfg.d/50-dib-ssh-pwauth.cfg", "")
		w.must([]string{"DIB_CLOUD_INIT_ALLOW_SSH_PWAUTH=1"}, "post-install.d/22-cloud-init-ssh-pwauth")
		w.has("etc/cloud/cloud.cfg.d/50-dib-ssh-pwauth.cfg", "ssh_pwauth: true\n")
	}
	w := newWorld(t, "cloud-init")
	w.stub("", "systemctl", "rc-update")
	w.refuses(nil, "none of its services", "post-install.d/20-enable-cloud-init")
	w.must([]string{"DIB_INIT_SYSTEM=openrc"}, "post-install.d/20-enable-cloud-init")
	if got := w.calls(); !strings.HasPrefix(got, "rc-update add cloud-init-local boot\n") || strings.Count(got, "\n") != 4 {
		t.Errorf("openrc: called %q", got)
	}
}

func TestCloudInitModules(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "cloud-init-disable-resizefs", "cloud-init-nocloud", "cloud-init-growpart")
	const before = "cloud_init_modules:\n - migrator\n - growpart\n - resizefs\n - set_hostname\ngrowpart:\n  mode: auto\n"
	w.write(map[string]string{"etc/cloud/cloud.cfg": before})
	w.must(nil, "post-install.d/50-disable-resizefs")
	w.must(nil, "post-install.d/51-disable-growpart")
	w.has("etc/cloud/cloud.cfg", "cloud_init_modules:\n - migrator\n - set_hostname\ngrowpart:\n  mode: auto\n")

	w.write(map[string]string{"var/lib/cloud/seed/nocloud/user-data": "#cloud-config\n"})
	w.must(nil, "install.d/05-cloud-init-nocloud-seed")
	w.has("var/lib/cloud/seed/nocloud/user-data", "#cloud-config\n") // an element's own seed stays
	w.has("var/lib/cloud/seed/nocloud/meta-data", "")

	const hook = "post-install.d/55-cloud-init-growpart"
	for given, want := range map[string]string{
		"/":                       "['/']",
		"/, /dev/vda3":            "['/', '/dev/vda3']",
		"['/', \"/dev/vda3\"]":    "['/', '/dev/vda3']",
		"\n- /dev/sda1\n- /srv\n": "['/dev/sda1', '/srv']",
	} {
		w.must([]string{"DIB_CLOUD_INIT_GROWPART_DEVICES=" + given}, hook)
		w.has("etc/cloud/cloud.cfg.d/50-dib-growpart.cfg", "growpart:\n  mode: auto\n  devices: "+want+"\n  ignore_growroot_disabled: false\n")
	}
	w.refuses(nil, "is not set", hook)
	w.refuses([]string{"DIB_CLOUD_INIT_GROWPART_DEVICES=vda1"}, `"vda1" is neither`, hook)
}

func TestDynamicLogin(t *testing.T) {
	t.Parallel()
	const hash = "$6$salt$verysecret/hash."
	for _, c := range []struct{ line, key, called string }{
		{"ro quiet", "", ""},
		{`ro sshkey="ssh-ed25519 AAAA me@here" quiet`, "ssh-ed25519 AAAA me@here\n", ""},
		{`ro "sshkey=ssh-rsa BBBB you" quiet`, "ssh-rsa BBBB you\n", ""},
		{"rootpwd=" + hash, "", "usermod --password " + hash + " root\n"},
		{`rootpwd="` + hash + `" x`, "", "usermod --password " + hash + " root\n"},
		{`rootpwd="` + strings.ReplaceAll(hash, "$", `\$`) + `"`, "", "usermod --password " + hash + " root\n"},
		{`rootpwd="JDYkc2FsdCR2ZXJ5c2VjcmV0L2hhc2gu" sshkey="k 1"`, "k 1\n", "usermod --password " + hash + " root\n"},
		{`notsshkey="k 1"`, "", ""},
	} {
		w := newWorld(t, "dynamic-login")
		w.stub("", "usermod")
		w.write(map[string]string{"line": c.line + "\n"})
		for range 2 { // at every boot
			w.must(nil, "static/usr/local/sbin/dynamic-login", "/line")
		}
		w.has("root/.ssh/authorized_keys", c.key)
		if got := w.calls(); got != c.called+c.called {
			t.Errorf("%s: called %q", c.line, got)
		}
	}
	w := newWorld(t, "dynamic-login")
	w.stub("", "usermod")
	w.write(map[string]string{"line": "rootpwd=secret"})
	w.refuses(nil, "neither the hash", "static/usr/local/sbin/dynamic-login", "/line")
}

func TestLocalConfig(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "local-config")
	proxies := []string{"DIB_LOCAL_CONFIG_HTTP_PROXY=http://p:3128", "DIB_LOCAL_CONFIG_HTTPS_PROXY=", "DIB_LOCAL_CONFIG_NO_PROXY=localhost, .example.org,10.0.0.1",
		"DIB_LOCAL_CONFIG_USERNAME=root"}
	w.write(map[string]string{
		"etc/apt/apt.conf.d/keep": "", "etc/dnf/dnf.conf": "[main]\nproxy=old\ngpgcheck=1\n", "etc/sysconfig/proxy": "PROXY_ENABLED=\"no\"\nHTTP_PROXY=\"\"\n",
		"etc/passwd": "root:x:0:0:root:/root:/bin/bash\nstack:x:0:0::/srv/stack:/bin/sh\n", "srv/stack/.profile": "umask 022\n",
		"tmp/in_target.d/install.d/local-config.authorized-keys": "ssh-ed25519 AAAA\n",
	})
	w.must(proxies, "pre-install.d/02-local-config-proxies")
	w.has("etc/apt/apt.conf.d/60local-config-proxy", "Acquire::http::Proxy \"http://p:3128\";\n"+
		"Acquire::http::Proxy::localhost \"DIRECT\";\nAcquire::https::Proxy::localhost \"DIRECT\";\n"+
		"Acquire::http::Proxy::10.0.0.1 \"DIRECT\";\nAcquire::https::Proxy::10.0.0.1 \"DIRECT\";\n")
	w.has("etc/dnf/dnf.conf", "[main]\nproxy=http://p:3128\ngpgcheck=1\n")
	w.has("etc/sysconfig/proxy", "PROXY_ENABLED=\"yes\"\nHTTP_PROXY=\"http://p:3128\"\n")
	w.must(proxies, "install.d/62-local-config-keys")
	w.has("root/.ssh/authorized_keys", "ssh-ed25519 AAAA\n")
	w.has("srv/stack/.profile", "umask 022\nexport http_proxy=http://p:3128\nexport no_proxy=localhost, .example.org,10.0.0.1\n")
	w.refuses(append(proxies, "DIB_LOCAL_CONFIG_USERNAME=nobodyhere"), "no such user", "install.d/62-local-config-keys")
}

func TestSysctl(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "sysctl")
	const set, write = "bin/sysctl-set-value", "bin/sysctl-write-value"
	w.must(nil, set, "vm.swappiness", "10", "less")
	w.has("etc/sysctl.d/vm.swappiness.conf", "# less\nvm.swappiness = 10\n")
	w.must(nil, set, "vm.swappiness", "10")
	w.refuses(nil, `set to "10" already`, set, "vm.swappiness", "20")
	w.refuses(nil, "no parameter", set, "vm.swapines", "20")
	w.must(nil, write, "net.bridge.made-up", "1 2")
	w.has("etc/sysctl.d/net.bridge.made-up.conf", "net.bridge.made-up = 1 2\n")
	for _, name := range []string{"", "../x", "a b", "/etc/x", "a..b"} {
		w.refuses(nil, "no kernel parameter", write, name, "1")
	}
	w.refuses(nil, "Usage", write, "vm.swappiness")
}

// Elements that need something from the user say so when the environment is
// sourced, before anything runs.
func TestEnvironmentsRefuse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		element, file, complaint string
		env                      []string
	}{
		{"fail2ban", "50-fail2ban", "DIB_FAIL2BAN_CONF is not set", nil},
		{"fail2ban", "50-fail2ban", "", []string{"DIB_FAIL2BAN_CONF=/x"}},
		{"autoupdates", "50-autoupdates", "DIB_DEB_UPDATES_CONF is not set", []string{"DISTRO_NAME=debian"}},
		{"autoupdates", "50-autoupdates", "DIB_YUM_UPDATES_CONF is not set", []string{"DISTRO_NAME=rocky"}},
		{"autoupdates", "50-autoupdates", "both set", []string{"DISTRO_NAME=debian", "DIB_DEB_UPDATES_CONF=/a", "DIB_YUM_UPDATES_CONF=/b"}},
		{"autoupdates", "50-autoupdates", "", []string{"DISTRO_NAME=debian", "DIB_DEB_UPDATES_CONF=/a"}},
		{"growvols", "10-growvols", "allowed are manual and systemd", []string{"DIB_GROWVOLS_TRIGGER=cron"}},
		{"ubuntu-minimal", "20-ubuntu-minimal.bash", "DIB_UBUNTU_KERNEL is linux", []string{"DIB_UBUNTU_KERNEL=linux"}},
		{"dib-python", "50-dib-python", "allowed are 2 and 3", []string{"DIB_PYTHON_VERSION=4"}},
	} {
		text := builtinFiles(t)[c.element][filepath.Join("environment.d", c.file)]
		_, trace, err := source(t, append(c.env, "PATH=/usr/bin:/bin"), map[string]string{c.file: string(text)})
		if (err == nil) != (c.complaint == "") || !strings.Contains(trace, c.complaint) {
			t.Errorf("%s with %v: %v, %q; want %q", c.element, c.env, err, trace, c.complaint)
		}
	}
}

func TestDebianCloudPackages(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ init, helper, called string }{
		{"systemd-sysv", "", ""},
		{"systemd-sysv", "ifupdown2", "install-packages systemd-sysv ifupdown2\n"},
		{"sysvinit-core", "", "install-packages sysvinit-core\n"},
	} {
		w := newWorld(t, "debian")
		w.stub("", "install-packages")
		w.must([]string{"DIB_DEBIAN_ALT_INIT_PACKAGE=" + c.init, "DIB_DEBIAN_CLOUD_INIT_HELPER=" + c.helper}, "install.d/10-debian-cloud")
		if got := w.calls(); got != c.called {
			t.Errorf("%+v: called %q", c, got)
		}
		w.has("etc/cloud/cloud.cfg.d/50-dib-debian-apt.cfg", "apt:\n  preserve_sources_list: true\n")
	}
}

func TestUbuntuMirrorDefaults(t *testing.T) {
	t.Parallel()
	text := string(builtinFiles(t)["ubuntu-common"]["environment.d/10-ubuntu-common"])
	for _, c := range []struct{ env, mirror, given string }{
		{"ARCH=amd64", "http://archive.ubuntu.com/ubuntu", "no"},
		{"ARCH=arm64", "http://ports.ubuntu.com/ubuntu-ports", "no"},
		{"ARCH=arm64 DIB_DISTRIBUTION_MIRROR=http://m", "http://m", "yes"},
		{"ARCH=amd64 DIB_DISTRIBUTION_MIRROR=http://m DIB_UBUNTU_DISTRIBUTION_MIRROR=http://u", "http://u", "yes"},
	} {
		env, trace, err := source(t, append(strings.Fields(c.env), "PATH=/usr/bin:/bin"), map[string]string{"10": text})
		if err != nil || env["DIB_DISTRIBUTION_MIRROR"] != c.mirror || env["DIB_UBUNTU_MIRROR_GIVEN"] != c.given || env["DISTRO_NAME"] != "ubuntu" {
			t.Errorf("%s: %v, %s\n%v", c.env, err, trace, env)
		}
		// Sourced once more, as some do for every phase: no other answer.
		again, _, err := source(t, []string{"PATH=/usr/bin:/bin", "ARCH=" + env["ARCH"], "DIB_DISTRIBUTION_MIRROR=" + env["DIB_DISTRIBUTION_MIRROR"],
			"DIB_UBUNTU_MIRROR_GIVEN=" + env["DIB_UBUNTU_MIRROR_GIVEN"]}, map[string]string{"10": text})
		if err != nil || again["DIB_UBUNTU_MIRROR_GIVEN"] != c.given {
			t.Errorf("%s: the second time %q", c.env, again["DIB_UBUNTU_MIRROR_GIVEN"])
		}
	}
}

// The mirrors of the CI are taken where its file is, unless the user has others.
func TestOpenstackCIMirrors(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "openstack-ci-mirrors")
	const script = "set -eu; source /tmp/in_target.d/environment.d/05-openstack-ci-mirrors; " +
		"echo \"${DIB_DEBIAN_DISTRIBUTION_MIRROR:-} ${DIB_UBUNTU_DISTRIBUTION_MIRROR:-} ${DIB_PYPI_MIRROR_URL:-}\""
	run := func(env ...string) string { return strings.TrimSpace(w.must(env, "/bin/bash", "-c", script)) }
	if got := run("ARCH=amd64"); got != "" {
		t.Errorf("elsewhere: %q", got)
	}
	w.write(map[string]string{"etc/ci/mirror_info.sh": "export NODEPOOL_MIRROR_HOST=${NODEPOOL_MIRROR_HOST:-h$UNSET}\n" +
		"export NODEPOOL_DEBIAN_MIRROR=http://h/debian\nexport NODEPOOL_UBUNTU_MIRROR=http://h/ubuntu\nexport NODEPOOL_UBUNTU_PORTS_MIRROR=http://h/ports\nexport NODEPOOL_PYPI_MIRROR=http://h/pypi\n"})
	for env, want := range map[string]string{
		"ARCH=amd64": "http://h/debian http://h/ubuntu http://h/pypi",
		"ARCH=arm64": "http://h/debian http://h/ports http://h/pypi",
		"ARCH=arm64 DIB_DISTRIBUTION_MIRROR=http://m DIB_PYPI_MIRROR_URL=http://p": "http://m http://m http://p",
	} {
		if got := run(strings.Fields(env)...); got != want {
			t.Errorf("%s: %q, want %q", env, got, want)
		}
	}
}
