package boot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"

	"github.com/spf13/pflag"
)

// efiOptions are grub-install's options about the EFI system partition.
type efiOptions struct {
	dir       string // --efi-directory: where it is mounted
	id        string // --bootloader-id: the distribution's folder below EFI
	removable bool   // only the path that firmware finds by itself
	noExtra   bool   // not that path
	secure    bool   // the signed files are wanted
	notSecure bool   // the signed files are not wanted
}

func (o *efiOptions) flags(flags *pflag.FlagSet) {
	flags.StringVar(&o.dir, "efi-directory", "", "")
	flags.StringVar(&o.id, "bootloader-id", "", "")
	flags.BoolVar(&o.removable, "removable", false, "")
	flags.BoolVar(&o.noExtra, "no-extra-removable", false, "")
	flags.Bool("force-extra-removable", false, "") // done anyway: an image has no firmware variables to name another path
	flags.BoolVar(&o.secure, "uefi-secure-boot", false, "")
	flags.BoolVar(&o.notSecure, "no-uefi-secure-boot", false, "")
}

// findESP finds the system partition's mount point and the distribution's name.
func (in *installer) findESP(ctx context.Context) error {
	o := &in.esp
	if o.dir == "" {
		if f, ok := in.Layout.systemPartition(); ok {
			o.dir = f.Mount
		}
	}
	if o.dir == "" {
		return errors.New("finding the EFI system partition: the layout of the disk mounts no vfat at /boot/efi; block-device-efi does")
	}
	if err := os.MkdirAll(in.host(o.dir), 0o755); err != nil {
		return fmt.Errorf("finding the EFI system partition: %w", err)
	}
	dir, err := in.real(o.dir)
	if err != nil {
		return err
	}
	o.dir = dir
	if f, err := in.Layout.at(dir); err != nil || !f.isFAT() {
		return fmt.Errorf("finding the EFI system partition: --efi-directory=%q lies on the %s at %q, a vfat is wanted: %w", dir, f.Type, f.Mount, errors.Join(err, ErrNoDevice))
	}
	if o.id == "" {
		o.id, err = in.distributor(ctx)
	}
	return err
}

// distributor is the name that GRUB gives the distribution's folder: the first
// word of GRUB_DISTRIBUTOR, which is a line of shell.
func (in *installer) distributor(ctx context.Context) (string, error) {
	out, err := in.outputInTarget(ctx, "/bin/sh", "-c", `if [ -e /etc/default/grub ]; then . /etc/default/grub; fi; echo "$GRUB_DISTRIBUTOR"`)
	if err != nil {
		return "", fmt.Errorf("reading GRUB_DISTRIBUTOR: %w", err)
	}
	word, _, _ := strings.Cut(strings.TrimSpace(out), " ")
	if word = strings.ToLower(word); word == "" || strings.ContainsAny(word, "/\\") {
		return "grub", nil
	}
	return word, nil
}

// Where Debian and its kin keep the signed files.
const (
	shimDir      = "/usr/lib/shim"
	signedSuffix = ".signed"
)

// fillESP writes the system partition's files: of the signed chain where it is
// installed, else the core image made for this disk.
//
//	EFI/BOOT/BOOTX64.EFI   what firmware starts by itself: shim, or GRUB
//	EFI/BOOT/grubx64.efi   what that shim starts
//	EFI/ID/…               the same under the distribution's name, for an entry in the firmware
//
// shim's fallback program (fbx64.efi) is left out of EFI/BOOT: it would make
// such entries and reset the machine at the first start, on some machines at every one.
func (in *installer) fillESP(context.Context) error {
	signed, err := in.signed()
	if err != nil {
		return err
	}
	for _, at := range in.espFolders() {
		files := map[string]string{at.first: path.Join(in.modulesAt(), in.core)}
		if signed != "" {
			files = in.signedFiles(signed, at)
		}
		for name, from := range files {
			if err := copyFile(in.host(from), in.host(path.Join(at.dir, name))); err != nil {
				return fmt.Errorf("filling the EFI system partition: %w", err)
			}
		}
	}
	if signed == "" {
		return nil
	}
	fmt.Fprintln(in.Stderr, "Secure Boot: shim and the signed GRUB are installed.")
	return in.writeSignedConfigs(signed)
}

// espFolder is a folder of the system partition.
type espFolder struct {
	dir    string // in the target
	first  string // file that firmware starts
	vendor bool   // the distribution's own
}

func (in *installer) espFolders() []espFolder {
	efi := path.Join(in.esp.dir, "EFI")
	own := espFolder{path.Join(efi, in.esp.id), "grub" + in.suffix + ".efi", true}
	removable := espFolder{path.Join(efi, "BOOT"), in.removable, false}
	switch {
	case in.esp.removable:
		return []espFolder{removable}
	case in.esp.noExtra:
		return []espFolder{own}
	}
	return []espFolder{removable, own}
}

// signed is the target's signed GRUB image, "" where the chain is not there or not wanted.
func (in *installer) signed() (string, error) {
	if in.esp.notSecure {
		return "", nil
	}
	grub := path.Join(modulesDir, in.name+"-signed", "grub"+in.suffix+".efi"+signedSuffix)
	for _, name := range []string{grub, in.shim("shim") + signedSuffix} {
		_, err := os.Stat(in.host(name))
		if errors.Is(err, fs.ErrNotExist) && !in.esp.secure {
			return "", nil
		}
		if err != nil {
			return "", fmt.Errorf("looking for shim and the signed GRUB (packages shim-signed and grub-efi-*-signed) for --uefi-secure-boot: %w", err)
		}
	}
	return grub, nil
}

// shim is a program of shim's package, without the suffix of the signed form.
func (in *installer) shim(program string) string {
	return path.Join(shimDir, program+in.suffix+".efi")
}

// signedFiles are the files of the signed chain in one folder, by name.
func (in *installer) signedFiles(grub string, at espFolder) map[string]string {
	files := map[string]string{"grub" + in.suffix + ".efi": grub}
	first := at.first
	if at.vendor {
		first = path.Base(in.shim("shim"))
	}
	files[first] = in.shim("shim") + signedSuffix
	if keys := in.shim("mm"); in.exists(keys + signedSuffix) {
		files[path.Base(keys)] = keys + signedSuffix
	}
	list := "BOOT" + strings.ToUpper(in.suffix) + ".CSV" // tells fallback, on other media, what to name this folder
	if at.vendor && in.exists(path.Join(shimDir, list)) {
		files[list] = path.Join(shimDir, list)
	}
	return files
}

func (in *installer) exists(name string) bool {
	_, err := os.Stat(in.host(name))
	return err == nil
}

// bakedPrefix is the folder that a signed GRUB reads its configuration from,
// wherever it was started.
var bakedPrefix = regexp.MustCompile(`/EFI/([A-Za-z0-9._-]+)\x00`)

// writeSignedConfigs writes the few lines that lead a signed GRUB, which knows no
// UUID, to the real configuration: where its builder fixed the place, and beside it.
func (in *installer) writeSignedConfigs(signed string) error {
	image, err := os.ReadFile(in.host(signed))
	if err != nil {
		return fmt.Errorf("reading the signed GRUB: %w", err)
	}
	dirs := map[string]bool{}
	for _, at := range in.espFolders() {
		dirs[at.dir] = true
	}
	if m := bakedPrefix.FindSubmatch(image); m != nil {
		dirs[path.Join(in.esp.dir, "EFI", string(m[1]))] = true
	}
	text := []byte(in.loadConfig() + "configfile $prefix/grub.cfg\n")
	for dir := range dirs {
		if err := os.MkdirAll(in.host(dir), 0o755); err != nil {
			return fmt.Errorf("writing the signed GRUB's configuration: %w", err)
		}
		if err := os.WriteFile(in.host(path.Join(dir, "grub.cfg")), text, 0o644); err != nil {
			return fmt.Errorf("writing the signed GRUB's configuration: %w", err)
		}
	}
	return nil
}
