package loop

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/lithify/lithify/blockdev"
)

// MissingError is all that a machine lacks for the volumes of a graph.
type MissingError struct{ What []string }

func (e *MissingError) Error() string { return strings.Join(e.What, "; ") }

// Check says whether this back end can make the volumes of a graph on this
// machine: one *MissingError names all that is missing. A build asks before it
// begins. Modules of the kernel that are there are loaded.
func Check(ctx context.Context, g *blockdev.Graph) error {
	for _, e := range g.Encrypted() {
		if e.Seed.Given() {
			return errSeed(e.Name())
		}
	}
	if disks := g.PhysicalDisks(); g.HasVolumes() && len(disks) > 0 {
		return fmt.Errorf("disk %q is a device that is there: LVM, md and LUKS are written onto it by --backend file only", disks[0].Name())
	}
	var missing []string
	for _, name := range blockdev.VolumeTools(g) {
		if _, err := blockdev.FindTool(name); err != nil {
			missing = append(missing, err.Error())
		}
	}
	for _, f := range features(g) {
		if !f.there(ctx) {
			missing = append(missing, f.what)
		}
	}
	if missing == nil {
		return nil
	}
	return &MissingError{missing}
}

// feature is something of the kernel that volumes need.
type feature struct {
	what string
	file string // is there, and holds the word, when the feature is
	word string
	mods []string
	// A module that is asked for by its name comes by itself, and where no list of
	// modules says otherwise it is taken to be there.
	demand bool
}

// features are what the volumes of a graph need of the kernel.
func features(g *blockdev.Graph) []feature {
	var all []feature
	kinds := g.NeededElements()
	if slices.Contains(kinds, "lvm") || slices.Contains(kinds, "cryptsetup") {
		all = append(all, feature{"this kernel has no device mapper (module dm_mod)", "/proc/misc", "device-mapper", []string{"dm_mod"}, false})
	}
	if slices.Contains(kinds, "cryptsetup") {
		all = append(all, feature{"the device mapper of this kernel cannot encrypt (module dm_crypt)", "/sys/module/dm_crypt/initstate", "", []string{"dm_crypt"}, true})
	}
	if len(g.Thin()) > 0 {
		all = append(all, feature{"the device mapper of this kernel has no thin pools (module dm_thin_pool)", "/sys/module/dm_thin_pool/initstate", "", []string{"dm_thin_pool"}, true})
	}
	if slices.Contains(kinds, "mdadm") {
		all = append(all, feature{"this kernel has no md arrays (module md_mod)", "/proc/mdstat", "", []string{"md_mod"}, false})
	}
	for _, a := range g.Arrays() {
		name := "raid" + strconv.Itoa(a.Level)
		module := strings.Replace(name, "raid5", "raid456", 1)
		f := feature{"the md driver of this kernel knows no " + name + " (module " + module + ")", "/proc/mdstat", "[" + name + "]", []string{module}, true}
		if !slices.ContainsFunc(all, func(other feature) bool { return other.what == f.what }) {
			all = append(all, f)
		}
	}
	return all
}

// there looks for a feature, and loads its modules where it is not.
func (f feature) there(ctx context.Context) bool {
	if f.found() {
		return true
	}
	for _, m := range f.mods {
		if modprobe, err := blockdev.FindTool("modprobe"); err == nil {
			_ = exec.CommandContext(ctx, modprobe, "-q", m).Run() // whether it helped shows below
		}
	}
	return f.found() || f.demand && f.builtIn()
}

func (f feature) found() bool {
	data, err := os.ReadFile(f.file)
	return err == nil && strings.Contains(string(data), f.word)
}

// builtIn says whether the module is a part of the kernel, or may be.
func (f feature) builtIn() bool {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return true
	}
	list, err := os.ReadFile(filepath.Join("/lib/modules", strings.TrimSpace(string(release)), "modules.builtin"))
	for line := range strings.Lines(string(list)) {
		name, _, _ := strings.Cut(filepath.Base(line), ".")
		if slices.Contains(f.mods, strings.ReplaceAll(name, "-", "_")) {
			return true
		}
	}
	return err != nil
}
