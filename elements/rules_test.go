package elements

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// builtinFiles is every file of the library, by element.
func builtinFiles(t *testing.T) map[string]map[string][]byte {
	t.Helper()
	files := map[string]map[string][]byte{}
	from := Builtin().FS
	err := fs.WalkDir(from, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		element, rest, _ := strings.Cut(name, "/")
		if files[element] == nil {
			files[element] = map[string][]byte{}
		}
		files[element][rest], err = fs.ReadFile(from, name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// given are variables that the driver sets, or that hooks of every element may
// read: an element's README need not tell of them.
var given = strings.Fields(`DIB_DEBUG_TRACE DIB_OFFLINE DIB_IMAGE_CACHE DIB_RELEASE DIB_INIT_SYSTEM DIB_MANIFEST_IMAGE_DIR
	DIB_DEFAULT_INSTALLTYPE DIB_ROOT_LABEL DIB_BOOT_LABEL DIB_ROOT_FSTYPE DIB_MOUNTPOINTS DIB_DISTRIBUTION_MIRROR DIB_PYTHON DIB_BLOCK_DEVICE DIB_EXTLINUX DIB_UBUNTU_MIRROR_GIVEN`)

var (
	// A variable with a default: who reads it so owns it.
	withDefault = regexp.MustCompile(`\$\{(DIB_[A-Za-z0-9_]+|BASE_IMAGE_FILE|SHA256SUMS)(:?[-=])`)
	variable    = regexp.MustCompile(`\$\{?(DIB_[A-Za-z0-9_]+|BASE_IMAGE_FILE|SHA256SUMS)\b`)
	setHere     = regexp.MustCompile(`(?m)^\s*(?:export )?(DIB_[A-Za-z0-9_]+)\+?=`)
	hostFile    = regexp.MustCompile(`\$(DIB_[A-Za-z0-9_]+)`)
)

// TestReadmesTellOfEveryVariable looks for the variables that the files of an
// element give a default, and those that nobody else's environment.d sets: the
// README has a row for each, with the default. What an element computes for
// its own hooks and nobody sets is let alone.
func TestReadmesTellOfEveryVariable(t *testing.T) {
	library := builtinFiles(t)
	exported := map[string]bool{}
	for _, files := range library {
		for name, text := range files {
			if strings.HasPrefix(name, "environment.d/") {
				for _, m := range setHere.FindAllSubmatch(text, -1) {
					exported[string(m[1])] = true
				}
			}
		}
	}
	for element, files := range library {
		readme := string(files["README.md"])
		for name, text := range files {
			if name == "README.md" || strings.HasPrefix(name, "static/") {
				continue
			}
			wanted := withDefault
			if strings.HasPrefix(name, "host-files") {
				wanted = hostFile
			}
			for _, m := range append(wanted.FindAllStringSubmatch(string(text), -1), notExported(text, exported)...) {
				if v := m[1]; !slices.Contains(given, v) && !tellsDefault(readme, v) && !ownersTell(library, element, v) {
					t.Errorf("%s/%s reads %s: README.md has no row with it and its default", element, name, v)
				}
			}
		}
	}
}

func notExported(text []byte, exported map[string]bool) (matches [][]string) {
	for _, m := range variable.FindAllStringSubmatch(string(text), -1) {
		// What the same file computes is no setting.
		if !exported[m[1]] && !bytes.Contains(text, []byte("\n"+m[1]+"=")) {
			matches = append(matches, m)
		}
	}
	return matches
}

// tellsDefault: a row of a table names the variable in its first column and has
// something in the second; NAME_1 may be part of "NAME_1 to NAME_9".
func tellsDefault(readme, name string) bool {
	row := regexp.MustCompile("(?m)^\\|[^|]*`" + name + "`[^|]*\\|\\s*[^|\\s]")
	if row.MatchString(readme) {
		return true
	}
	if stem, digit := name[:len(name)-1], name[len(name)-1]; digit > '1' && digit <= '9' && strings.HasSuffix(stem, "_") {
		return strings.Contains(readme, "`"+stem+"1` to `"+stem+"9`")
	}
	return false
}

// ownersTell: an element that this one depends on, or that depends on it, has
// the row: variables that belong together are explained once.
func ownersTell(library map[string]map[string][]byte, element, variable string) bool {
	for other, files := range library {
		if other == element || !tellsDefault(string(files["README.md"]), variable) {
			continue
		}
		if dependsOn(library, element, other, 0) || dependsOn(library, other, element, 0) {
			return true
		}
	}
	return false
}

func dependsOn(library map[string]map[string][]byte, element, other string, depth int) bool {
	deps := parseNames(library[element]["element-deps"])
	if slices.Contains(deps, other) {
		return true
	}
	return depth < 8 && slices.ContainsFunc(deps, func(d string) bool { return dependsOn(library, d, other, depth+1) })
}

// TestBuiltinHooksAreSafe: every program of the library that is a shell script
// ends at its first error, and parses; what is in a phase's folder is a hook or
// data, never something that is nearly a hook.
func TestBuiltinHooksAreSafe(t *testing.T) {
	bash := need(t, "bash")
	name := regexp.MustCompile(`^[0-9A-Za-z_-]+$`)
	count := 0
	for element, files := range builtinFiles(t) {
		for file, text := range files {
			where := element + "/" + file
			script := bytes.HasPrefix(text, []byte("#!"))
			shell, _, _ := bytes.Cut(text, []byte("\n"))
			dir := path.Dir(file)
			phase := slices.ContainsFunc(Phases(), func(p Phase) bool { return dir == p.Dir() }) || dir == "cache-key.d"
			hook := phase && name.MatchString(path.Base(file))
			if hook && !script || phase && script && !hook && !strings.HasSuffix(file, ".sh") {
				t.Errorf("%s: a hook has #! and a name without dots, data has dots and no #!", where)
			}
			parses := script && (string(shell) == "#!/bin/bash" || string(shell) == "#!/bin/sh")
			if script && !parses && string(shell) != "#!/sbin/openrc-run" {
				t.Errorf("%s begins with %q: hooks are bash or sh", where, shell)
			}
			if parses {
				count++
				flags := regexp.MustCompile(`(?m)^set -eu$`)
				if !flags.Match(text) || string(shell) == "#!/bin/bash" && !bytes.Contains(text, []byte("\nset -o pipefail\n")) {
					t.Errorf("%s has no \"set -eu\" and \"set -o pipefail\"", where)
				}
				if (hook || strings.HasPrefix(file, "bin/")) && !bytes.Contains(text, []byte("DIB_DEBUG_TRACE")) {
					t.Errorf("%s does not know DIB_DEBUG_TRACE", where)
				}
			}
			if parses || strings.HasPrefix(file, "environment.d/") || strings.HasSuffix(file, ".sh") {
				cmd := exec.Command(bash, "-n")
				cmd.Stdin = bytes.NewReader(text)
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%s: %v: %s", where, err, out)
				}
			}
		}
	}
	if count < 100 {
		t.Errorf("%d scripts only: the library is not there", count)
	}
}

// TestEveryElementGoesWithEveryOther merges the whole library: no two elements
// may have a file of one name, but for those that are chosen one at a time.
func TestEveryElementGoesWithEveryOther(t *testing.T) {
	l := Library{Builtin()}
	for _, layout := range []string{"block-device-mbr", "block-device-gpt", "block-device-efi", "block-device-efi-4k"} {
		var all []Element
		for _, name := range l.Names() {
			e, _, err := l.load(name)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(name, "block-device-") || name == layout {
				all = append(all, e)
			}
		}
		if _, err := Merge(all); err != nil {
			t.Error(err)
		}
	}
}

// starred are the elements that the contract marks as those that most people
// use, without those of the rpm, suse and gentoo families.
const starred = `ubuntu ubuntu-minimal ubuntu-common debian-minimal debian debootstrap containerfile
	dpkg openstack-ci-mirrors sysprep
	base vm package-installs pkg-map install-bin install-static install-types source-repositories cache-url dib-init-system manifests ensure-venv
	block-device-mbr block-device-gpt block-device-efi bootloader select-boot-kernel-initrd baremetal
	cloud-init cloud-init-datasources simple-init growroot growvols dhcp-all-interfaces openssh-server runtime-ssh-host-keys devuser journal-to-console
	modprobe sysctl`

// others are the rest of what the contract lists.
const others = `ubuntu-systemd-container ubuntu-signed debian-systemd debian-upstart centos centos-minimal fedora fedora-minimal fedora-container
	rocky-container almalinux-container docker rhel openeuler-minimal opensuse opensuse-minimal gentoo replace-partition replace-partition-redhat
	apt-conf apt-preferences apt-sources yum yum-minimal redhat-common rpm-distro rhel-common epel elrepo zypper zypper-minimal
	selinux-fixfiles-restore selinux-permissive disable-selinux
	svc-map dib-python dib-run-parts element-manifest no-final-image pip-and-virtualenv pip-cache pypi python-stow-versions posix
	block-device-efi-4k block-device-efi-lvm lvm zipl grub2 uboot iso dracut-regenerate dracut-network iscsi-boot cleanup-kernel-initrd
	cloud-init-nocloud cloud-init-growpart cloud-init-disable-resizefs nm-dhcp-ib-interfaces ibft-interfaces stable-interface-names dynamic-login
	local-config enable-serial-console autoupdates fail2ban fips
	modprobe-blacklist disable-nouveau dkms mellanox hpdsa ilo proliant-tools rax-nova-agent oat-client keylime-agent tpm-emulator python-brickclient
	ramdisk-base ramdisk dracut-ramdisk deploy-baremetal deploy-kexec deploy-targetcli deploy-tgtadm hwburnin hwdiscovery`

// waiting are starred elements that are not here yet, and what they come with.
var waiting = map[string]string{
	"containerfile": "starting from images",
}

// TestElementsOfTheContract: each starred element is a folder or waits for
// something, and the table in docs/elements.md tells the truth about every one.
func TestElementsOfTheContract(t *testing.T) {
	names := (Library{Builtin()}).Names()
	for _, name := range strings.Fields(starred) {
		if reason, waits := waiting[name]; slices.Contains(names, name) == waits {
			t.Errorf("%s: in the library is %v, waiting for %q", name, slices.Contains(names, name), reason)
		}
	}
	text, err := os.ReadFile("../docs/elements.md")
	if err != nil {
		t.Fatal(err)
	}
	states := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (here|not yet|left out)\\b(.*) \\|$").FindAllStringSubmatch(string(text), -1) {
		if states[m[1]] != "" {
			t.Errorf("docs/elements.md has two rows of %s", m[1])
		}
		states[m[1]] = m[2]
		if m[2] != "here" && len(strings.Trim(m[3], ": ")) < 5 {
			t.Errorf("docs/elements.md: %s is %s: no reason", m[1], m[2])
		}
	}
	for _, name := range strings.Fields(starred + " " + others) {
		if here := states[name] == "here"; states[name] == "" || here != slices.Contains(names, name) {
			t.Errorf("docs/elements.md says %q of %s; in the library: %v", states[name], name, slices.Contains(names, name))
		}
		delete(states, name)
	}
	for _, name := range names {
		if !slices.Contains(strings.Fields(starred+" "+others), name) && states[name] != "here" {
			t.Errorf("%s is in the library, and neither in the contract's list nor in docs/elements.md", name)
		}
		delete(states, name)
	}
	for name := range states {
		t.Errorf("docs/elements.md has %s, which is neither in the contract nor in the library", name)
	}
}
