package boot

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// answer gives what grub-probe prints for one file system: any number of lines.
type answer func(FileSystem) ([]string, error)

// answers holds grub-probe's targets that the plan can answer. The words and
// forms are those of GRUB 2.06 and 2.12's util/grub-probe.
var answers = map[string]answer{
	"device":             func(f FileSystem) ([]string, error) { return []string{f.device()}, nil },
	"fs":                 func(f FileSystem) ([]string, error) { return one(f.grubModule()) },
	"fs_uuid":            func(f FileSystem) ([]string, error) { return known(f, "UUID", f.UUID) },
	"fs_label":           func(f FileSystem) ([]string, error) { return known(f, "label", f.Label) },
	"partuuid":           func(f FileSystem) ([]string, error) { return known(f, "partition id", f.partUUID()) },
	"partmap":            partmap,
	"abstraction":        func(f FileSystem) ([]string, error) { return f.modules(), nil },
	"cryptodisk_uuid":    unlock,
	"drive":              func(f FileSystem) ([]string, error) { return []string{"(" + f.drive() + ")"}, nil },
	"compatibility_hint": volumeHint,
	"bios_hints":         noHint,
	"efi_hints":          noHint,
	"baremetal_hints":    noHint,
	"hints_string":       hintOption,
	"msdos_parttype":     func(f FileSystem) ([]string, error) { return partType(f, "msdos") },
	"gpt_parttype":       func(f FileSystem) ([]string, error) { return partType(f, "gpt") },
}

func one(s string, err error) ([]string, error) { return []string{s}, err }

func known(f FileSystem, what, value string) ([]string, error) {
	if value == "" {
		return nil, fmt.Errorf("telling the %s of %q: %w", what, f.Mount, ErrNoDevice)
	}
	return []string{value}, nil
}

func partmap(f FileSystem) ([]string, error) { return f.tables(), nil }

// unlock names the encrypted volumes that GRUB has to open.
func unlock(f FileSystem) ([]string, error) {
	if f.Volume == nil {
		return nil, nil
	}
	return f.Volume.Unlock, nil
}

// volumeHint is the name of a volume, by which it is found without a search.
func volumeHint(f FileSystem) ([]string, error) {
	if f.Volume == nil {
		return nil, nil
	}
	return []string{f.Volume.Drive}, nil
}

// hintOption is volumeHint as an option of GRUB's search, with the blank that the
// real one leaves.
func hintOption(f FileSystem) ([]string, error) {
	if f.Volume == nil {
		return nil, nil
	}
	return []string{"--hint='" + f.Volume.Drive + "' "}, nil
}

// noHint leaves GRUB to search by UUID alone. Where the disk will turn up is the
// guest's matter: the real grub-probe gives no hint for a virtio disk, so that
// grub.cfg stays the same at the guest's first update-grub.
func noHint(FileSystem) ([]string, error) { return nil, nil }

func partType(f FileSystem, table string) ([]string, error) {
	if f.Table != table || f.Partition == 0 {
		return nil, nil
	}
	return known(f, "partition type", strings.TrimPrefix(strings.ToLower(f.PartType), "0x"))
}

// grubProbe is grub-probe: of a path, or of devices named by -d.
func grubProbe(_ context.Context, e Env, args []string) error {
	flags := pflag.NewFlagSet(e.Name, pflag.ContinueOnError)
	byDevice := flags.BoolP("device", "d", false, "")
	target := flags.StringP("target", "t", "fs", "")
	version := flags.BoolP("version", "V", false, "")
	flags.BoolP("verbose", "v", false, "")
	zero := flags.BoolP("null", "0", false, "")
	flags.StringP("device-map", "m", "", "")
	if err := parse(e, flags, args); err != nil {
		return err
	}
	if *version {
		return printVersion(e)
	}
	ask, ok := answers[*target]
	if !ok {
		return fmt.Errorf("answering %s --target=%s: %w", e.Name, *target, ErrNoDevice)
	}
	found, err := subjects(e, flags.Args(), *byDevice)
	if err != nil {
		return err
	}
	return tell(e, found, ask, *zero)
}

// subjects finds the file systems that the arguments mean.
func subjects(e Env, args []string, byDevice bool) ([]FileSystem, error) {
	if len(args) == 0 {
		return nil, fmt.Errorf("reading the arguments of %s: no path or device given", e.Name)
	}
	var found []FileSystem
	for _, arg := range args {
		f, err := subject(e, arg, byDevice)
		if err != nil {
			return nil, err
		}
		found = append(found, f)
	}
	return found, nil
}

func subject(e Env, arg string, byDevice bool) (FileSystem, error) {
	if byDevice {
		return e.Layout.device(arg)
	}
	name, err := e.real(arg)
	if err != nil {
		return FileSystem{}, err
	}
	return e.Layout.at(name)
}

// tell prints the answers, once everything could be answered.
func tell(e Env, found []FileSystem, ask answer, zero bool) error {
	var lines []string
	for _, f := range found {
		more, err := ask(f)
		if err != nil {
			return err
		}
		lines = append(lines, more...)
	}
	end := "\n"
	if zero {
		end = "\x00"
	}
	for _, line := range lines {
		if _, err := fmt.Fprint(e.Stdout, line, end); err != nil {
			return fmt.Errorf("printing the answer of %s: %w", e.Name, err)
		}
	}
	return nil
}
