package elements

import (
	"slices"
	"strings"
	"testing"
)

// contractDependencies are what the elements of the library bring along, and
// provide, in diskimage-builder. Elements elsewhere count on it without naming
// it themselves. Left out: epel, of pip-and-virtualenv, which is Red Hat's only.
const contractDependencies = `
autoupdates: package-installs pkg-map
base: dib-init-system install-types pkg-map
block-device-efi: -> block-device
block-device-efi-4k: -> block-device
block-device-gpt: -> block-device
block-device-mbr: -> block-device
cache-url: package-installs
cloud-init: package-installs
cloud-init-growpart: package-installs pkg-map
cloud-init-nocloud: cloud-init-datasources
debian: debian-minimal openssh-server sysprep
debian-minimal: debootstrap pkg-map -> operating-system
debootstrap: dpkg modprobe pkg-map sysprep
devuser: package-installs
dhcp-all-interfaces: dib-init-system package-installs pkg-map
disable-nouveau: modprobe
dkms: package-installs
dpkg: install-bin manifests package-installs
dynamic-login: dib-init-system install-static openssh-server
element-manifest: manifests
ensure-venv: package-installs
fail2ban: package-installs
growroot: dib-init-system install-static
growvols: dib-init-system install-static
install-static: package-installs
local-config: package-installs
openssh-server: dib-init-system package-installs runtime-ssh-host-keys
package-installs: install-bin pkg-map
pip-and-virtualenv: dib-python install-types package-installs source-repositories
posix: openssh-server
runtime-ssh-host-keys: dib-init-system install-static
simple-init: cloud-init-datasources dib-init-system ensure-venv install-types runtime-ssh-host-keys source-repositories
source-repositories: cache-url manifests package-installs
svc-map: dib-python
ubuntu: cache-url cloud-init-datasources dkms dpkg ubuntu-common -> operating-system
ubuntu-common: sysprep
ubuntu-minimal: debootstrap package-installs ubuntu-common -> operating-system
vm: block-device bootloader`

func TestElementsBringWhatTheyBring(t *testing.T) {
	library := builtinFiles(t)
	for line := range strings.Lines(strings.TrimSpace(contractDependencies)) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		deps, provides, _ := strings.Cut(rest, "->")
		if library[name] == nil {
			t.Errorf("%s is not in the library", name)
		}
		for _, dep := range strings.Fields(deps) {
			if !dependsOn(library, name, dep, 0) {
				t.Errorf("%s does not bring %s", name, dep)
			}
		}
		for _, virtual := range strings.Fields(provides) {
			if !slices.Contains(parseNames(library[name]["element-provides"]), virtual) {
				t.Errorf("%s does not provide %s", name, virtual)
			}
		}
	}
}
