package boot

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"strings"
	"syscall"
)

// tries is how often the core image asks for a passphrase: to an open volume
// cryptomount says nothing. After that there is GRUB's rescue shell.
const tries = 3

// loadConfig is the script inside the core image: it finds the file system by
// its UUID, wherever the disk turns up.
func (in *installer) loadConfig() string {
	open := ""
	if in.fs.Volume != nil {
		for _, id := range in.fs.Volume.Unlock {
			open += strings.Repeat("cryptomount -u "+id+"\n", tries)
		}
	}
	return fmt.Sprintf("%ssearch.fs_uuid %s root %s\nset prefix=($root)'%s'\n", open, in.fs.UUID, in.fs.drive(), in.fs.relative(in.grub))
}

// makeCore has the target's grub-mkimage make the core image. load.cfg stays
// beside it, as the real grub-install leaves it; [Place] reads there whose
// core.img this is.
func (in *installer) makeCore(ctx context.Context) error {
	config := path.Join(in.modulesAt(), "load.cfg")
	if err := os.WriteFile(in.host(config), []byte(in.loadConfig()), 0o644); err != nil {
		return fmt.Errorf("writing the core image's configuration: %w", err)
	}
	module, err := in.fs.grubModule()
	if err != nil {
		return err
	}
	args := []string{
		"--directory=" + in.from, "--format=" + in.name, "--output=" + path.Join(in.modulesAt(), in.core), "--config=" + config,
		"--prefix=" + in.fs.relative(in.grub), "--compression=" + in.squeeze,
	}
	return in.inTarget(ctx, in.mkimage, append(args, in.coreModules(module)...)...)
}

// coreModules are the modules inside the core image, each once.
func (in *installer) coreModules(fsModule string) []string {
	want := append(strings.Fields(in.modules), fsModule, "search_fs_uuid")
	if !in.efi() { // EFI's own disk driver is in GRUB's kernel
		want = append(want, "biosdisk")
	}
	for _, table := range in.fs.tables() {
		want = append(want, "part_"+table)
	}
	want = append(want, in.fs.modules()...)
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
	_, err := in.outputInTarget(ctx, name, args...)
	return err
}

// outputInTarget is inTarget with what the command printed.
func (in *installer) outputInTarget(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	cmd.Dir = "/"
	if in.Root != "/" {
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: in.Root}
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("running %q: %w: %s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(append(stdout.Bytes(), stderr.Bytes()...)))
	}
	return stdout.String(), nil
}
