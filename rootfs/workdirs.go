package rootfs

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/lithify/lithify/elements"
)

// workDirs are the folders of one build.
type workDirs struct{ root string }

func (d workDirs) hooks() string    { return filepath.Join(d.root, "hooks") }
func (d workDirs) mount() string    { return filepath.Join(d.root, "mnt") }
func (d workDirs) images() string   { return filepath.Join(d.root, "image") }
func (d workDirs) commands() string { return filepath.Join(d.root, "commands") }
func (d workDirs) resolv() string   { return filepath.Join(d.root, "resolv.conf") }
func (d workDirs) lib() string      { return filepath.Join(d.root, "lib") }
func (d workDirs) hostBin() string  { return filepath.Join(d.root, "bin") }
func (d workDirs) data(phase elements.Phase) string {
	return filepath.Join(d.root, "data", string(phase))
}

// make lays out the folders of a build and the commands for its targets.
func (d workDirs) make(o Options) error {
	for _, dir := range []string{d.hooks(), d.mount(), d.images(), d.commands() + "/bin", d.commands() + "/last", d.commands() + "/data", d.hostBin()} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	for _, links := range []struct {
		dir, program string
		names        []string
	}{
		{d.commands() + "/bin", programPath, o.Commands},
		{d.commands() + "/last", programPath, o.LastCommands},
		{d.hostBin(), o.Binary, o.Commands},
		{d.hostBin(), o.Binary, o.HostCommands},
	} {
		for _, name := range links.names {
			if err := os.Symlink(links.program, filepath.Join(links.dir, name)); err != nil {
				return err
			}
		}
	}
	if err := os.WriteFile(filepath.Join(d.commands(), "program"), nil, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(d.commands(), "resolv.conf"), o.ResolvConf, 0o644); err != nil {
		return err
	}
	return writeShellLibrary(d.lib())
}

// outsidePath puts our commands first and sees that the sbin folders are there.
func (d workDirs) outsidePath(path string) string {
	parts := []string{d.hostBin()}
	have := map[string]bool{}
	for _, p := range strings.Split(path, ":") {
		if p != "" {
			parts, have[p] = append(parts, p), true
		}
	}
	for _, p := range []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"} {
		if !have[p] {
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, ":")
}
