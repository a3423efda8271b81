package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lithify/lithify/blockdev/boot/boottest"
	"github.com/lithify/lithify/elements"
	"golang.org/x/crypto/ssh"
)

// togetherWords are elements of the library that one image can have at once,
// beside bootWords, and one of the test's own that uses their services. Left out
// are other operating systems and layouts, and what docs/elements.md says does not
// go together.
var togetherWords = strings.Fields(`block-device-gpt apt-conf apt-preferences apt-sources autoupdates baremetal cache-url cleanup-kernel-initrd
	cloud-init cloud-init-datasources cloud-init-growpart cloud-init-nocloud
	dhcp-all-interfaces dib-python disable-nouveau dkms dynamic-login element-manifest ensure-venv
	fail2ban growvols install-static journal-to-console local-config manifests modprobe
	openstack-ci-mirrors pip-and-virtualenv pip-cache posix pypi runtime-ssh-host-keys
	source-repositories svc-map sysctl sysprep together`)

// files are those of the build host that elements ask for, with the
// variable that names each; "" is where local-config looks.
func (i together) files() map[string][2]string {
	return map[string][2]string{
		"apt.conf":      {"DIB_APT_CONF", "Lithify::Together \"apt-conf\";\n"},
		"manifest.json": {"DIB_DPKG_MANIFEST", `{"packages": [{"package": "libacl1:amd64", "version": "2.3.*"}]}`},
		"sources.list": {"DIB_APT_SOURCES", "deb http://deb.debian.org/debian bookworm main\n" +
			"deb http://deb.debian.org/debian-security bookworm-security main\n"},
		"updates.conf":         {"DIB_DEB_UPDATES_CONF", "Unattended-Upgrade::Origins-Pattern { \"origin=Debian,codename=${distro_codename}-security\"; };\n"},
		"jail.local":           {"DIB_FAIL2BAN_CONF", "[sshd]\nenabled = true\nbackend = systemd\nmaxretry = 9\n"},
		".ssh/authorized_keys": {"", string(ssh.MarshalAuthorizedKey(i.root.PublicKey()))},
	}
}

// rootPassword is the hash of "together" by "openssl passwd -6".
const rootPassword = "$6$together$mNDdCtH4UDm8Bphp6dqr0lsheOBNxUVVCfilsDraiGrBiVaqvg0itK7A559Mi1mLLL5Ybj9Ia5k1u9tWxEJtt1"

// together is what the image of all these elements needs beside the others'.
type together struct {
	*debianBuild
	home   string     // of the builder
	seeded ssh.Signer // the key of the user that the seed disk asks for
	root   ssh.Signer // the key that local-config takes from the builder's home
	names  []string   // of all elements, sorted
}

// newTogether writes what the elements want of the build host, and tells the build.
func newTogether(b *debianBuild) *together {
	b.t.Helper()
	i := &together{debianBuild: b, home: b.path("home"), seeded: newKey(b.t), root: newKey(b.t)}
	i.prepare()
	i.names = i.resolved()
	return i
}

func newKey(t *testing.T) ssh.Signer {
	t.Helper()
	key, _, err := boottest.NewKey()
	must(t, err)
	return key
}

// prepare writes what the elements want of the build host, and says where it is.
func (i *together) prepare() {
	i.t.Helper()
	here, err := filepath.Abs("testdata/elements")
	must(i.t, err)
	i.env = append(slices.Clone(i.env), "HOME="+i.home, "ELEMENTS_PATH="+here+":"+i.elementsPath(), "DIB_TOGETHER_SOURCE="+here+"/together/README.md",
		"DIB_CLOUD_INIT_GROWPART_DEVICES=/", "DIB_CLOUD_INIT_ETC_HOSTS=localhost", "DIB_MODPROBE_BLACKLIST=pcspkr", "DIB_INSTALLTYPE_pip_and_virtualenv=package",
		"DIB_PYPI_MIRROR_URL=http://pypi.invalid/simple",
		"DIB_BOOTLOADER_DEFAULT_CMDLINE=nofb nomodeset gfxpayload=text rootpwd="+base64.StdEncoding.EncodeToString([]byte(rootPassword)))
	for name, f := range i.files() {
		path := filepath.Join(i.home, name)
		must(i.t, os.MkdirAll(filepath.Dir(path), 0o755))
		mustWrite(i.t, path, f[1])
		if f[0] != "" {
			i.env = append(i.env, f[0]+"="+path)
		}
	}
}

// elementsPath is the build's ELEMENTS_PATH; what is set last counts.
func (i together) elementsPath() (path string) {
	for _, e := range i.env {
		if value, ok := strings.CutPrefix(e, "ELEMENTS_PATH="); ok {
			path = value
		}
	}
	return path
}

// resolved is the names of all elements of the image. Thirty at least must have
// been asked for by name and come from the library.
func (i together) resolved() []string {
	i.t.Helper()
	words := slices.Concat(bootWords[2:], togetherWords)
	library, err := elements.Open(i.elementsPath())
	must(i.t, err)
	all, err := library.Resolve(elements.Assemble(words, elements.AssembleOptions{})...)
	must(i.t, err)
	var names []string
	chosen := 0
	for _, e := range all {
		names = append(names, e.Name)
		if e.Builtin && slices.Contains(words, e.Name) {
			chosen++
		}
	}
	if chosen < 30 {
		i.t.Errorf("%d elements of the library were chosen, 30 are wanted", chosen)
	}
	slices.Sort(names)
	i.t.Logf("%d elements, %d of them of the library and asked for by name", len(names), chosen)
	return names
}

// seed writes a NoCloud seed disk: a vfat with the label that cloud-init looks for.
func (i together) seed() string {
	i.t.Helper()
	disk := i.path("seed.img")
	mustRun(i.t, "mkfs.fat", "-C", "-n", "CIDATA", disk, "1024")
	for name, text := range map[string]string{
		"meta-data": "instance-id: together-1\nlocal-hostname: thirty\n",
		"user-data": "#cloud-config\nusers:\n- name: seeded\n  gecos: Made by cloud-init\n  groups: [adm]\n  shell: /bin/bash\n" +
			"  sudo: 'ALL=(ALL) NOPASSWD:ALL'\n  ssh_authorized_keys:\n  - " + string(ssh.MarshalAuthorizedKey(i.seeded.PublicKey())) +
			"write_files:\n- {path: /etc/seeded, content: 'by user-data'}\nruncmd:\n- [touch, /run/seeded]\n",
	} {
		mustWrite(i.t, i.path(name), text)
		mustRun(i.t, "mcopy", "-i", disk, i.path(name), "::"+name)
	}
	return disk
}

// blank is a disk with nothing on it.
func (i together) blank() string {
	i.t.Helper()
	disk := i.path("blank.img")
	mustWrite(i.t, disk, "")
	must(i.t, os.Truncate(disk, 512<<20))
	return disk
}

// plugIn gives the machine what the elements see to: the seed disk as /dev/vdc, a
// blank one as /dev/vdd, and a second serial port.
func (i together) plugIn(o *boottest.Options) {
	o.ExtraDisks = append(o.ExtraDisks, boottest.Disk{Image: i.seed(), Format: "raw"}, boottest.Disk{Image: i.blank(), Format: "raw"})
	o.Args = append(o.Args, "-serial", "null")
}

// check looks into a guest that has come up, as the users who got their keys from
// the seed disk and from the build host.
func (i together) check(ctx context.Context, vm *boottest.VM) {
	for _, user := range []struct {
		name     string
		key      ssh.Signer
		promises []promise
	}{
		{"root", i.root, []promise{{"local-config", "id -un", "root"}}},
		{"seeded", i.seeded, slices.Concat(i.promises(), togetherPromises)},
	} {
		shell, err := vm.SSH(ctx, user.name, user.key, 2*time.Minute)
		if err != nil {
			i.t.Errorf("%v\n%s", err, tail(vm.Log()))
			return
		}
		for _, p := range user.promises {
			i.see(ctx, shell, p)
		}
		must(i.t, shell.Close())
	}
	if _, err := vm.WaitFor(ctx, regexp.MustCompile(`together\S*: to-the-console`), 2*time.Minute); err != nil {
		i.t.Errorf("journal-to-console: %v", err)
	}
}

// promise is what an element promises, as far as it can be seen in the guest.
type promise struct {
	element, command string
	want             string // a pattern for all that the command prints, without white space around it
}

func (i together) see(ctx context.Context, shell *boottest.Shell, p promise) {
	got, err := shell.Run(ctx, p.command, 5*time.Minute)
	text := strings.TrimSpace(got.Stdout)
	if err != nil || got.Exit != 0 || !regexp.MustCompile(`^(?:`+p.want+`)$`).MatchString(text) {
		i.t.Errorf("%s: %s: %v, exit code %d\nfound %q\nwanted %q\n%s", p.element, p.command, err, got.Exit, text, p.want, got.Stderr)
	}
}

// promises are those that follow from this run.
func (i together) promises() []promise {
	sum := func(name string) string {
		data, err := os.ReadFile(i.path(name))
		must(i.t, err)
		return fmt.Sprintf("%x", sha256.Sum256(data))
	}
	readme, err := os.ReadFile("testdata/elements/together/README.md")
	must(i.t, err)
	return []promise{
		{"element-manifest", "sudo cat /etc/dib-manifests/dib-element-manifest", regexp.QuoteMeta(strings.Join(i.names, "\n"))},
		{"baremetal", "sudo sha256sum /boot/vmlinuz-$(uname -r) /boot/initrd.img-$(uname -r) | cut -d' ' -f1", sum("gpt.vmlinuz") + "\n" + sum("gpt.initrd")},
		{"source-repositories", "cat /usr/local/share/together/source", regexp.QuoteMeta(strings.TrimSpace(string(readme)))},
		{"cache-url", "cmp /usr/local/share/together/source /usr/local/share/together/fetched && echo same", "same"},
		{"dynamic-login", "sudo getent shadow root | cut -d: -f2", regexp.QuoteMeta(rootPassword)},
	}
}

// togetherPromises are those that are always the same.
var togetherPromises = []promise{
	{"cloud-init", "cloud-init status --wait", `\.*\n?status: done`},
	{"cloud-init", "sudo grep -hE 'WARNING|ERROR|CRITICAL|Traceback' /var/log/cloud-init.log /var/log/cloud-init-output.log || true", ""},
	{"cloud-init", "getent passwd seeded | cut -d: -f5,7; id -Gn | tr ' ' '\n' | grep -x adm; cat /etc/seeded; ls /run/seeded", "Made by cloud-init:/bin/bash\nadm\nby user-data/run/seeded"},
	{"cloud-init-nocloud", "hostname; cat /etc/hostname; sudo cat /run/cloud-init/result.json", `thirty\nthirty\n(?s:.*)DataSourceNoCloud \[seed=(?s:.*/dev/vdc.*)"errors": \[\](?s:.*)`},
	{"cloud-init-datasources", "cat /etc/cloud/cloud.cfg.d/91-dib-cloud-init-datasources.cfg", `datasource_list: \[ NoCloud, None \]`},
	{"cloud-init-growpart", "sudo grep -h 'growpart' /var/log/cloud-init.log | grep -c 'finish: .*SUCCESS'", `[1-9]\d*`},
	{"base", "getent hosts thirty | grep -c 127.0.1.1", "1"},
	{"units", "systemctl --failed --no-legend; systemctl is-system-running", "running"},
	{"apt-conf", "apt-config dump Lithify::Together", `Lithify::Together "apt-conf";`},
	{"apt-preferences", "apt-cache policy libacl1 | grep -E '^ [*]{3}' | cut -d' ' -f4", "1001"},
	{"apt-sources", "ls /etc/apt/sources.list.d; grep -c ^deb /etc/apt/sources.list", "2"},
	{"autoupdates", "apt-config dump APT::Periodic::Unattended-Upgrade; systemctl is-active unattended-upgrades apt-daily.timer apt-daily-upgrade.timer",
		`APT::Periodic::Unattended-Upgrade "1";\nactive\nactive\nactive`},
	{"cleanup-kernel-initrd", "ls /boot/vmlinuz-* /boot/initrd.img-* | wc -l", "2"},
	{"devuser", "getent passwd devuser | cut -d: -f6,7; sudo -l -U devuser | grep -o NOPASSWD:.*", "/home/devuser:/bin/bash\nNOPASSWD: ALL"},
	{"dhcp-all-interfaces", "systemctl show -P ActiveState,Result dhcp-interface@$(awk '$2 == \"00000000\" { print $1 }' /proc/net/route).service", "success\nactive"},
	{"dib-init-system", "ls /run/together/started; systemctl is-enabled together.service", "/run/together/started\nenabled"},
	{"dib-python", "cat /usr/local/share/together/python; ls /usr/local/bin/dib-python 2>&1 | grep -o 'No such file'", "3\nNo such file"},
	{"disable-nouveau", "/usr/sbin/modprobe --showconfig | grep '^[bo].* nouveau'", "blacklist nouveau\noptions nouveau modeset=0"},
	{"dkms", "sudo modprobe together && cat /sys/module/together/version && /usr/sbin/modinfo -F filename together && ls /var/lib/dkms", `1\.0\n/lib/modules/.*/updates/dkms/together\.ko.*(?:\ndkms_dbversion)?\ntogether`},
	{"modprobe", "cat /sys/module/together/parameters/word; /usr/sbin/modprobe --showconfig | grep '^blacklist pcspkr'", "modprobe\nblacklist pcspkr"},
	{"enable-serial-console", "systemctl is-active serial-getty@ttyS0.service serial-getty@ttyS1.service", "active\nactive"},
	{"ensure-venv", "python3 -m venv --without-pip /tmp/venv && /tmp/venv/bin/python -c 'import sys; print(sys.prefix)'", "/tmp/venv"},
	{"fail2ban", "sudo fail2ban-client get sshd maxretry; sudo fail2ban-client set sshd banip 192.0.2.1; for n in 1 2 3 4 5 6 7 8 9; do " +
		"{ sudo iptables -S f2b-sshd; sudo nft list ruleset; } 2>/dev/null | grep -om1 192.0.2.1 && break; sleep 2; done; sudo grep ERROR /var/log/fail2ban.log || true", "9\n1\n192.0.2.1"},
	{"growroot", "systemctl is-active growroot.service", "active"},
	{"install-static", "cat /usr/local/share/together/static; stat -c %U:%a /usr/local/share/together/static", "from the element together\nroot:644"},
	{"journal-to-console", "logger --tag together to-the-console", ""}, // see check
	{"manifests", "sudo stat -c %U:%a /etc/dib-manifests/dib_arguments /etc/dib-manifests/dib_environment; sudo grep -c fail2ban /etc/dib-manifests/dib_arguments", "root:600\nroot:600\n1"},
	{"dpkg", "sudo cat /etc/dib-manifests/dib-manifest-dpkg | python3 -c 'import json, sys; [print(p[\"package\"], p[\"version\"]) for p in json.load(sys.stdin)[\"packages\"]]' | " +
		"sort > /tmp/manifest; dpkg-query -W -f '${binary:Package} ${Version}\\n' | sort | cmp - /tmp/manifest && echo same", "same"},
	{"openssh-server", "sudo sshd -T | grep -E '^(macs|ciphers) ' | grep -cE 'sha1|cbc|umac-64' || true", "0"},
	{"openstack-ci-mirrors", "grep -v '^deb http://deb.debian.org/' /etc/apt/sources.list || true", ""},
	{"pip-and-virtualenv", "python3 -m pip --version | cut -d' ' -f1; virtualenv --version | cut -d' ' -f1; ls /opt/together/bin/python3", "pip\nvirtualenv\n/opt/together/bin/python3"},
	{"pypi", "grep index-url /usr/local/share/together/pip; sudo ls /root/.config/pip/pip.conf 2>&1 | grep -o 'No such file'", "(?s:.*)http://pypi.invalid/simple(?s:.*)No such file"},
	{"pip-cache", "tail -n 1 /usr/local/share/together/pip; ls /tmp/pip 2>&1 | grep -o 'No such file'", "/tmp/pip\nNo such file"},
	{"posix", "for c in ar at bc cal crontab ed fuser less m4 mailx man patch pax time uuencode vi; do command -v $c >/dev/null || echo $c; done", ""},
	{"runtime-ssh-host-keys", "for k in rsa ecdsa ed25519; do ls /etc/ssh/ssh_host_${k}_key; done; systemctl is-active ssh-keygen.service", "/etc/ssh/ssh_host_rsa_key\n/etc/ssh/ssh_host_ecdsa_key\n/etc/ssh/ssh_host_ed25519_key\nactive"},
	{"svc-map", "cat /usr/local/share/together/service", "ssh"},
	{"pkg-map", "cat /usr/local/share/together/package", "linux-headers-amd64"},
	{"sysctl", "cat /proc/sys/vm/swappiness /etc/sysctl.d/net.netfilter.nf_conntrack_max.conf", "7\nnet.netfilter.nf_conntrack_max = 65536"},
	{"sysprep", "cat /etc/machine-id", "[0-9a-f]{32}"},
	{"growvols", growvolsCommand, "(?s:.*)4[0-9]{8}"},
}

// growvolsCommand makes a volume on the first part of the blank disk, and lets
// growvols give it the rest, of which the file system then says the size in bytes.
const growvolsCommand = `set -e; exec 2>&1
echo 'start=2048, size=200MiB, type=8e' | sudo sfdisk -q --label dos /dev/vdd; sudo udevadm settle
sudo pvcreate -q /dev/vdd1; sudo vgcreate -q vg /dev/vdd1; sudo lvcreate -q -n data -l 100%FREE vg
sudo mkfs.ext4 -q /dev/vg/data; sudo mkdir /data; sudo mount /dev/vg/data /data
sudo growvols --device vdd --group vg /data=100%
df --output=size -B1 /data | tail -n 1`
