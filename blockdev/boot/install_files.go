package boot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
)

// copyModules copies what GRUB loads at run time, and boot.img.
func (in *installer) copyModules(context.Context) error {
	var names []string
	for _, pattern := range []string{"*.mod", "*.lst", "modinfo.sh", "efiemu*.o", "boot.img"} {
		found, err := filepath.Glob(filepath.Join(in.host(in.from), pattern))
		if err != nil {
			return fmt.Errorf("listing GRUB's modules: %w", err)
		}
		names = append(names, found...)
	}
	for _, name := range names {
		if err := copyFile(name, filepath.Join(in.host(in.modulesAt()), filepath.Base(name))); err != nil {
			return fmt.Errorf("copying GRUB's modules: %w", err)
		}
	}
	return nil
}

// copyFont copies the font that grub-mkconfig's gfxterm lines load; a target without it boots too.
func (in *installer) copyFont(context.Context) error {
	err := copyFile(in.host("/usr/share/grub/unicode.pf2"), in.host(path.Join(in.grub, "fonts/unicode.pf2")))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("copying GRUB's font: %w", err)
	}
	return nil
}

// copyLocales copies the translations of GRUB's own messages, one file per language.
func (in *installer) copyLocales(context.Context) error {
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

func (in *installer) writeEnvironment(context.Context) error {
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
