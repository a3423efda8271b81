package boot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/pflag"
)

// biosPlatform is GRUB's name of what this package can install.
const biosPlatform = "i386-pc"

// installer is one run of the stand-in for grub-install.
type installer struct {
	Env
	modules string // beyond those that reading the boot file system needs
	from    string // folder of the platform's modules, in the target
	grub    string // GRUB's folder below the boot directory, in the target
	mkimage string // the target's grub-mkimage
	squeeze string // grub-mkimage's compression
	fs      FileSystem
}

// grubInstall does what grub-install does to files: modules, fonts, translations,
// an environment block, core.img. Boot sectors are written later, by [Place]; a
// device argument is therefore not needed and not looked at.
func grubInstall(ctx context.Context, e Env, args []string) error {
	flags := pflag.NewFlagSet(e.Name, pflag.ContinueOnError)
	in := installer{Env: e}
	target := flags.String("target", biosPlatform, "")
	bootDir := flags.String("boot-directory", "", "")
	rootDir := flags.String("root-directory", "", "")
	version := flags.BoolP("version", "V", false, "")
	flags.StringVar(&in.modules, "modules", "", "")
	flags.StringVarP(&in.from, "directory", "d", "", "")
	flags.StringVar(&in.mkimage, "grub-mkimage", "", "")
	flags.StringVar(&in.squeeze, "core-compress", "auto", "")
	withoutEffect(flags)
	if err := parse(e, flags, args); err != nil {
		return fmt.Errorf("%w (%w)", err, ErrNoDevice)
	}
	if *version {
		return printVersion(e)
	}
	if *target != biosPlatform {
		return fmt.Errorf("installing for --target=%q, only %s is: %w", *target, biosPlatform, ErrNoDevice)
	}
	if flags.NArg() > 1 {
		return fmt.Errorf("reading the arguments of %s: more than one device: %q", e.Name, flags.Args())
	}
	in.defaults(*bootDir, *rootDir)
	return in.run(ctx)
}

// withoutEffect takes the options that change nothing while there is no device:
// they are about probing, firmware variables, or boot sectors of old disks.
func withoutEffect(flags *pflag.FlagSet) {
	for _, name := range []string{"force", "recheck", "no-floppy", "no-nvram", "auto-nvram", "skip-fs-probe", "no-rs-codes"} {
		flags.Bool(name, false, "")
	}
	flags.BoolP("verbose", "v", false, "")
}

// defaults fills in what the options left open; grub2-install keeps its files in /boot/grub2.
func (in *installer) defaults(bootDir, rootDir string) {
	family, _, _ := strings.Cut(path.Base(in.Name), "-")
	if bootDir == "" {
		bootDir = path.Join("/", rootDir, "boot")
	}
	in.grub = path.Join(bootDir, family)
	if in.from == "" {
		in.from = "/usr/lib/grub/" + biosPlatform
	}
	if in.mkimage == "" {
		in.mkimage = "/usr/bin/" + family + "-mkimage"
	}
}

func (in *installer) run(ctx context.Context) error {
	if _, err := os.Stat(in.host(path.Join(in.from, "moddep.lst"))); err != nil {
		return fmt.Errorf("installing GRUB: looking for its modules (package grub-pc-bin) in %q: %w", in.from, err)
	}
	fmt.Fprintf(in.Stderr, "Installing for %s platform.\n", biosPlatform)
	if err := os.MkdirAll(in.host(in.platform()), 0o755); err != nil {
		return fmt.Errorf("making GRUB's folder: %w", err)
	}
	if err := in.locate(); err != nil {
		return err
	}
	for _, step := range []func() error{in.copyModules, in.copyFont, in.copyLocales, in.writeEnvironment} {
		if err := step(); err != nil {
			return err
		}
	}
	if err := in.makeCore(ctx); err != nil {
		return err
	}
	fmt.Fprintln(in.Stderr, "Installation finished. No error reported.")
	return nil
}

// platform is the folder of modules and images in the target.
func (in *installer) platform() string { return path.Join(in.grub, biosPlatform) }

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
	return in.fs.plain()
}

// copyModules copies what GRUB loads at run time, and boot.img.
func (in *installer) copyModules() error {
	var names []string
	for _, pattern := range []string{"*.mod", "*.lst", "modinfo.sh", "efiemu*.o", "boot.img"} {
		found, err := filepath.Glob(filepath.Join(in.host(in.from), pattern))
		if err != nil {
			return fmt.Errorf("listing GRUB's modules: %w", err)
		}
		names = append(names, found...)
	}
	for _, name := range names {
		if err := copyFile(name, filepath.Join(in.host(in.platform()), filepath.Base(name))); err != nil {
			return fmt.Errorf("copying GRUB's modules: %w", err)
		}
	}
	return nil
}

// copyFont copies the font that grub-mkconfig's gfxterm lines load; a target without it boots too.
func (in *installer) copyFont() error {
	err := copyFile(in.host("/usr/share/grub/unicode.pf2"), in.host(path.Join(in.grub, "fonts/unicode.pf2")))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("copying GRUB's font: %w", err)
	}
	return nil
}

// copyLocales copies the translations of GRUB's own messages, one file per language.
func (in *installer) copyLocales() error {
	for _, dir := range []string{"/usr/share/locale", "/usr/share/locale-langpack"} {
		found, err := filepath.Glob(filepath.Join(in.host(dir), "*/LC_MESSAGES/grub.mo"))
		if err != nil {
			return fmt.Errorf("listing GRUB's translations: %w", err)
		}
		for _, name := range found {
			language := filepath.Base(filepath.Dir(filepath.Dir(name)))
			if err := copyFile(name, in.host(path.Join(in.grub, "locale", language+".mo"))); err != nil {
				return fmt.Errorf("copying GRUB's translations: %w", err)
			}
		}
	}
	return nil
}

// environmentSize is the size in bytes of GRUB's environment block, which GRUB
// overwrites in place and which therefore never changes its size.
const environmentSize = 1024

func (in *installer) writeEnvironment() error {
	name := in.host(path.Join(in.grub, "grubenv"))
	if _, err := os.Stat(name); err == nil {
		return nil
	}
	block := []byte("# GRUB Environment Block\n")
	block = append(block, bytes.Repeat([]byte{'#'}, environmentSize-len(block))...)
	if err := os.WriteFile(name, block, 0o644); err != nil {
		return fmt.Errorf("writing GRUB's environment block: %w", err)
	}
	return nil
}

// loadConfig is the script inside core.img: it finds the file system by its UUID, wherever the disk turns up.
func (in *installer) loadConfig() string {
	return fmt.Sprintf("search.fs_uuid %s root %s\nset prefix=($root)'%s'\n", in.fs.UUID, in.fs.drive(), in.fs.relative(in.grub))
}

// makeCore has the target's grub-mkimage make core.img. load.cfg stays beside it,
// as the real grub-install leaves it; [Place] reads there whose core.img this is.
func (in *installer) makeCore(ctx context.Context) error {
	config := path.Join(in.platform(), "load.cfg")
	if err := os.WriteFile(in.host(config), []byte(in.loadConfig()), 0o644); err != nil {
		return fmt.Errorf("writing core.img's configuration: %w", err)
	}
	module, err := in.fs.grubModule()
	if err != nil {
		return err
	}
	core := path.Join(in.platform(), "core.img")
	args := []string{
		"--directory=" + in.from, "--format=" + biosPlatform, "--output=" + core, "--config=" + config,
		"--prefix=" + in.fs.relative(in.grub), "--compression=" + in.squeeze,
	}
	return in.inTarget(ctx, in.mkimage, append(args, in.coreModules(module)...)...)
}

// coreModules are the modules inside core.img, each once.
func (in *installer) coreModules(fsModule string) []string {
	want := append(strings.Fields(in.modules), fsModule, "biosdisk", "search_fs_uuid")
	if in.fs.Table != "" {
		want = append(want, "part_"+in.fs.Table)
	}
	var out []string
	seen := map[string]bool{}
	for _, name := range want {
		if !seen[name] {
			out = append(out, name)
		}
		seen[name] = true
	}
	return out
}

// inTarget runs one of the target's commands to its end. Its environment is
// small and fixed, so that the caller's language does not show in files.
func (in *installer) inTarget(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	cmd.Dir = "/"
	if in.Root != "/" {
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: in.Root}
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("running %q: %w: %s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// copyFile copies a regular file with its mtime, so that installing twice gives the same tree.
func copyFile(from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(to, data, 0o644); err != nil {
		return err
	}
	return os.Chtimes(to, info.ModTime(), info.ModTime())
}
