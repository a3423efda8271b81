package boot

import (
	"context"
	"fmt"
	"os"
	"path"
	"strings"

	"github.com/spf13/pflag"
)

// installer is one run of the stand-in for grub-install.
type installer struct {
	Env
	platform
	modules string // beyond those that reading the boot file system needs
	from    string // folder of the platform's modules, in the target
	grub    string // GRUB's folder below the boot directory, in the target
	mkimage string // the target's grub-mkimage
	squeeze string // grub-mkimage's compression
	fs      FileSystem
	esp     efiOptions
}

// installOptions are the command line as it was typed.
type installOptions struct {
	target, bootDir, rootDir string
	version                  bool
}

// grubInstall does what grub-install does to files: modules, fonts, translations,
// an environment block, a core image; for EFI the files of the system partition.
// Boot sectors are written later, by [Place]; a device argument is therefore not
// needed and not looked at, nor are the firmware's variables.
func grubInstall(ctx context.Context, e Env, args []string) error {
	in := installer{Env: e}
	flags, o := in.flags()
	if err := parse(e, flags, args); err != nil {
		return fmt.Errorf("%w (%w)", err, ErrNoDevice)
	}
	if o.version {
		return printVersion(e)
	}
	if flags.NArg() > 1 {
		return fmt.Errorf("reading the arguments of %s: more than one device: %q", e.Name, flags.Args())
	}
	var err error
	if in.platform, err = e.platformOf(o.target); err != nil {
		return err
	}
	in.defaults(o)
	return in.run(ctx)
}

func (in *installer) flags() (*pflag.FlagSet, *installOptions) {
	flags, o := pflag.NewFlagSet(in.Name, pflag.ContinueOnError), &installOptions{}
	flags.StringVar(&o.target, "target", "", "")
	flags.StringVar(&o.bootDir, "boot-directory", "", "")
	flags.StringVar(&o.rootDir, "root-directory", "", "")
	flags.BoolVarP(&o.version, "version", "V", false, "")
	flags.StringVar(&in.modules, "modules", "", "")
	flags.StringVarP(&in.from, "directory", "d", "", "")
	flags.StringVar(&in.mkimage, "grub-mkimage", "", "")
	flags.StringVar(&in.squeeze, "core-compress", "auto", "")
	in.esp.flags(flags)
	withoutEffect(flags)
	return flags, o
}

// withoutEffect takes the options that change nothing while there is no device:
// they are about probing, firmware variables, or boot sectors of old disks.
func withoutEffect(flags *pflag.FlagSet) {
	for _, name := range []string{
		"force", "recheck", "no-floppy", "no-nvram", "auto-nvram", "skip-fs-probe", "no-rs-codes", "allow-floppy", "debug", "disable-shim-lock",
	} {
		flags.Bool(name, false, "")
	}
	flags.BoolP("verbose", "v", false, "")
}

// defaults fills in what the options left open; grub2-install keeps its files in /boot/grub2.
func (in *installer) defaults(o *installOptions) {
	family, _, _ := strings.Cut(path.Base(in.Name), "-")
	if o.bootDir == "" {
		o.bootDir = path.Join("/", o.rootDir, "boot")
	}
	in.grub = path.Join(o.bootDir, family)
	if in.from == "" {
		in.from = path.Join(modulesDir, in.name)
	}
	if in.mkimage == "" {
		in.mkimage = "/usr/bin/" + family + "-mkimage"
	}
}

func (in *installer) run(ctx context.Context) error {
	if _, err := os.Stat(in.host(path.Join(in.from, "moddep.lst"))); err != nil {
		return fmt.Errorf("installing GRUB: looking for its modules (package %s) in %q: %w", in.pack, in.from, err)
	}
	fmt.Fprintf(in.Stderr, "Installing for %s platform.\n", in.name)
	if err := os.MkdirAll(in.host(in.grub), 0o755); err != nil {
		return fmt.Errorf("making GRUB's folder: %w", err)
	}
	if err := in.locate(); err != nil {
		return err
	}
	if why := in.Layout.NoBIOS; why != "" && !in.efi() {
		if _, efi := in.Layout.systemPartition(); !efi {
			return fmt.Errorf("installing for %s: no BIOS starts this disk, %s; and it has no EFI system partition", in.name, why)
		}
		fmt.Fprintf(in.Stderr, "%s: warning: nothing is installed for %s: no BIOS starts this disk, %s. EFI does.\n", in.Name, in.name, why)
		return nil
	}
	if err := in.install(ctx); err != nil {
		return err
	}
	fmt.Fprintln(in.Stderr, "Installation finished. No error reported.")
	return nil
}

func (in *installer) install(ctx context.Context) error {
	steps := []func(context.Context) error{in.copyModules, in.copyFont, in.copyLocales, in.writeEnvironment, in.makeCore}
	if in.efi() {
		steps = append([]func(context.Context) error{in.findESP}, append(steps, in.fillESP)...)
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// modulesAt is the folder of the platform's modules and images below /boot.
func (in *installer) modulesAt() string { return path.Join(in.grub, in.name) }

// locate finds the file system that GRUB will read its files from.
func (in *installer) locate() error {
	grub, err := in.real(in.grub)
	if err != nil {
		return err
	}
	in.grub = grub
	if in.fs, err = in.Layout.at(grub); err != nil {
		return err
	}
	if in.fs.UUID == "" {
		return fmt.Errorf("telling the UUID of the file system at %q: %w", in.fs.Mount, ErrNoDevice)
	}
	return nil
}
