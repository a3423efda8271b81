package boot

import (
	"fmt"
	"os"
	"path"
	"sort"
	"strings"
)

// platform is a kind of firmware that this package can install for.
type platform struct {
	name      string // GRUB's name of it
	pack      string // Debian's package of its modules
	core      string // file that grub-mkimage makes
	removable string // file that EFI firmware starts without being told; "" for BIOS
	suffix    string // of EFI file names: shimx64.efi
}

func (p platform) efi() bool { return p.removable != "" }

// biosPlatform is GRUB's name for PCs that start by BIOS.
const biosPlatform = "i386-pc"

// platforms are in the order in which one is chosen where --target is missing.
// File names of removable media are those of the UEFI specification 2.10, 3.5.1.1.
var platforms = []platform{
	{biosPlatform, "grub-pc-bin", "core.img", "", ""},
	{"x86_64-efi", "grub-efi-amd64-bin", "core.efi", "BOOTX64.EFI", "x64"},
	{"arm64-efi", "grub-efi-arm64-bin", "core.efi", "BOOTAA64.EFI", "aa64"},
	{"i386-efi", "grub-efi-ia32-bin", "core.efi", "BOOTIA32.EFI", "ia32"},
}

// platformOf is the platform called name; "" means the first whose modules the target has.
func (e Env) platformOf(name string) (platform, error) {
	var names []string
	for _, p := range platforms {
		if p.name == name {
			return p, nil
		}
		if _, err := os.Stat(e.host(path.Join(modulesDir, p.name, "moddep.lst"))); err == nil && name == "" {
			return p, nil
		}
		names = append(names, p.name)
	}
	if name == "" {
		return platforms[0], nil // whose absence is told later
	}
	sort.Strings(names)
	return platform{}, fmt.Errorf("installing for --target=%q, allowed are %s: %w", name, strings.Join(names, ", "), ErrNoDevice)
}

// modulesDir holds a folder of modules for each platform, in the target.
const modulesDir = "/usr/lib/grub"
