package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/lithify/lithify/convert"
	"github.com/lithify/lithify/convert/ramdisk"
	"github.com/lithify/lithify/elements"
	"github.com/lithify/lithify/rootfs"
)

// A ramdisk is made of the finished tree, and no disk:
//
//	what elements want (ramdisk.yaml, init.d, binary-deps.d …) → which files of the tree these are
//	→ hooks of ramdisk-install.d, where there are some, in a copy of just these files
//	→ NAME.initramfs, compressed while it is read; NAME.kernel, as it is in the tree

// ramdiskParts are the outputs of ramdisk-image-create.
const (
	kernelPart    = "kernel"
	initramfsPart = "initramfs"
)

// ramdiskJob is what a build of a ramdisk knows beside others.
type ramdiskJob struct {
	archive *ramdisk.Archive
	kernel  string // path in the tree
	// stage is a copy of the tree that hooks work in, which is no output; nil until
	// it is wanted.
	stage rootfs.Container
}

// stageFolder is where the ramdisk is laid out in the tree for hooks.
const stageFolder = "/tmp/ramdisk"

// stageInit is where hooks that make a ramdisk find the elements' fragments, composed.
const stageInit = "/tmp/ramdisk-init"

// readRamdisk gathers what the elements want in the ramdisk, by the hooks tree as it
// is now.
func (j *job) readRamdisk() (elements.Ramdisk, error) {
	return elements.ReadRamdisk(j.elements, j.builder.Hooks(), j.builder.Environment())
}

// ramdiskKey names what the ramdisk depends on beside the tree.
func (j *job) ramdiskKey() (string, error) {
	if !j.o.Ramdisk {
		return "", nil
	}
	wanted, err := j.readRamdisk()
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(wanted)
	if err != nil {
		return "", fmt.Errorf("encoding what the ramdisk holds: %w", err)
	}
	h := sha256.New()
	fmt.Fprintf(h, "1 %s %s\n", j.o.RamdiskCompression, text)
	if j.o.Epoch != nil {
		fmt.Fprintf(h, "epoch %d\n", j.o.Epoch.Unix())
	}
	env := j.builder.Environment()
	for _, name := range []string{"DIB_KERNEL_VERSION", "DIB_MODULE_ROOT", "DIB_LIB_UDEV_ROOT", "BUSYBOX", "DIB_RAMDISK_ALL_MODULES"} {
		fmt.Fprintf(h, "%s=%q\n", name, env[name])
	}
	for _, phase := range []elements.Phase{elements.RamdiskBuild, elements.RamdiskInstall} {
		for _, hook := range j.builder.Hooks().Hooks(phase) {
			data, err := j.builder.Hooks().Open(hook.Path)
			if err != nil {
				return "", err
			}
			fmt.Fprintf(h, "%s %q\n", hook.Path, data)
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// checkRamdisk refuses what a ramdisk cannot have, before anything is built.
func (j *job) checkRamdisk() error {
	if !j.o.Ramdisk {
		return nil
	}
	if j.onDisk {
		return usagef("an element's hook works on IMAGE_BLOCK_DEVICE, and a ramdisk has no disk; leave the element out")
	}
	wanted, err := j.readRamdisk()
	if err != nil {
		return usagef("%w", err)
	}
	if wanted.Begin == nil && len(j.builder.Hooks().Hooks(elements.RamdiskBuild)) == 0 {
		return usagef("no element says how the ramdisk begins (init: of ramdisk.yaml, or ramdisk-build.d): %q does not; --ramdisk-element ramdisk does", j.o.RamdiskElement)
	}
	return nil
}

// assembleRamdisk finds out which files the ramdisk has.
func (j *job) assembleRamdisk(ctx context.Context) (err error) {
	wanted, err := j.readRamdisk()
	if err != nil {
		return err
	}
	version, err := j.chooseKernel()
	if err != nil {
		return err
	}
	if j.ramdisk.archive, err = j.fillRamdisk(ctx, wanted, version); err != nil {
		return err
	}
	if j.ramdisk.archive, err = j.changeRamdisk(ctx, j.ramdisk.archive); err != nil {
		return err
	}
	j.ramdisk.archive.Devices()
	count, size := j.ramdisk.archive.Files()
	fmt.Fprintf(j.ui.Log(), "ramdisk: kernel %s, %d files, %d bytes\n", version, count, size)
	return nil
}

var kernelName = regexp.MustCompile(`^vmlinu[xz]-(.+)$`)

// chooseKernel gives the version that DIB_KERNEL_VERSION asks for, or the newest in
// /boot.
func (j *job) chooseKernel() (string, error) {
	names, err := namesInTree(j.tree, "/boot")
	if err != nil {
		return "", fmt.Errorf("looking for a kernel in the image: %w", err)
	}
	var versions []string
	for _, name := range names {
		if m := kernelName.FindStringSubmatch(name); m != nil && !strings.HasSuffix(name, ".old") {
			versions = append(versions, m[1])
		}
	}
	slices.SortFunc(versions, ramdisk.CompareVersions)
	if len(versions) == 0 {
		return "", errors.New("the image has no kernel: there is no /boot/vmlinuz-VERSION; add an element that installs one, or -p with its package")
	}
	chosen := versions[len(versions)-1]
	if asked := j.builder.Environment()["DIB_KERNEL_VERSION"]; asked != "" {
		if !slices.Contains(versions, asked) {
			return "", usagef("DIB_KERNEL_VERSION: the image has no kernel %q; it has %s", asked, strings.Join(versions, ", "))
		}
		chosen = asked
	}
	for _, name := range names {
		if m := kernelName.FindStringSubmatch(name); m != nil && m[1] == chosen {
			j.ramdisk.kernel = path.Join("/boot", name)
		}
	}
	return chosen, nil
}

// namesInTree lists a folder of the tree; one that is missing has nothing in it.
func namesInTree(tree, folder string) ([]string, error) {
	dir, err := openInTree(tree, folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	names, err := dir.Readdirnames(-1)
	return names, errors.Join(err, dir.Close())
}

// fillRamdisk asks the elements' own hooks for the tree of the ramdisk, or plans it
// from what they want.
func (j *job) fillRamdisk(ctx context.Context, wanted elements.Ramdisk, version string) (*ramdisk.Archive, error) {
	if len(j.builder.Hooks().Hooks(elements.RamdiskBuild)) > 0 {
		return j.ramdiskByHooks(ctx, wanted, version)
	}
	request, err := j.ramdiskRequest(ctx, wanted, version)
	if err != nil {
		return nil, err
	}
	a, err := ramdisk.Plan(request)
	if err != nil {
		return nil, fmt.Errorf("putting the ramdisk together: %w", err)
	}
	a.Data("init", 0o755, initScript(wanted))
	return a, nil
}

// initScript is /init: what it begins with, the fragments, each below its name, and
// what it ends with.
func initScript(wanted elements.Ramdisk) []byte {
	text := slices.Clone(wanted.Begin)
	for _, f := range wanted.Fragments {
		text = append(endLine(text), fmt.Sprintf("\n# init.d/%s, of %s\n", f.Name, ownerOf(f))...)
		text = append(text, f.Data...)
	}
	return append(append(endLine(text), '\n'), wanted.End...)
}

func ownerOf(f elements.RamdiskText) string {
	if f.Element == "" {
		return "a hook"
	}
	return "element " + f.Element
}

func endLine(text []byte) []byte {
	if len(text) > 0 && text[len(text)-1] != '\n' {
		return append(text, '\n')
	}
	return text
}

// ramdiskRequest puts into the words of package ramdisk what the elements want.
func (j *job) ramdiskRequest(ctx context.Context, wanted elements.Ramdisk, version string) (r ramdisk.Request, err error) {
	env := j.builder.Environment()
	r = ramdisk.Request{Tree: j.tree, Version: version, ModuleRoot: env["DIB_MODULE_ROOT"], AllModules: env["DIB_RAMDISK_ALL_MODULES"] == "1",
		Modules: wants(wanted.Modules), Firmware: wants(wanted.Firmware)}
	for _, b := range wanted.Binaries {
		r.Binaries = append(r.Binaries, ramdisk.Binary{Want: want(b), AppletDoes: b.Listed && path.Base(b.Name) != "ip"})
	}
	for _, f := range wanted.Files {
		r.Files = append(r.Files, ramdisk.File{Want: want(f.RamdiskWant), To: f.To, Mode: f.Mode, Data: f.Data})
	}
	for _, rule := range wanted.Rules {
		r.Files = append(r.Files, ramdisk.File{Want: ramdisk.Want{Name: rule.Name, From: ownerOf(rule)}, To: "/lib/udev/rules.d/" + rule.Name, Data: append([]byte{}, rule.Data...)})
	}
	versions, err := ramdisk.Kernels(j.tree, r.ModuleRoot)
	if err != nil {
		return r, fmt.Errorf("looking for kernel modules in the image: %w", err)
	}
	if !slices.Contains(versions, version) { // all it needs may be built in
		r.Version = ""
	}
	r.Busybox, r.Applets, err = j.busybox(ctx)
	return r, err
}

func want(w elements.RamdiskWant) ramdisk.Want {
	return ramdisk.Want{Name: w.Name, From: w.From, Optional: w.Optional}
}

func wants(list []elements.RamdiskWant) (out []ramdisk.Want) {
	for _, w := range list {
		out = append(out, want(w))
	}
	return out
}

// busybox finds it in the tree, where BUSYBOX says or in the usual folders, and asks
// what it can do; a tree may have none.
func (j *job) busybox(ctx context.Context) (at string, applets []string, err error) {
	places := []string{"/bin/busybox", "/usr/bin/busybox", "/sbin/busybox", "/usr/local/bin/busybox"}
	asked := j.builder.Environment()["BUSYBOX"]
	if asked != "" {
		places = []string{asked}
	}
	for _, at := range places {
		f, err := openInTree(j.tree, at)
		if err != nil {
			continue
		}
		if err := f.Close(); err != nil {
			return "", nil, err
		}
		list, err := j.builder.Output(ctx, j.scratch, at, "--list")
		if err != nil {
			return "", nil, fmt.Errorf("asking the image's %s what it can do: %w", at, err)
		}
		return at, strings.Fields(list), nil
	}
	if asked != "" {
		return "", nil, usagef("BUSYBOX: the image has no %q", asked)
	}
	return "", nil, nil
}

// changeRamdisk runs the hooks of ramdisk-install.d on the ramdisk's files, laid out
// in the tree.
func (j *job) changeRamdisk(ctx context.Context, a *ramdisk.Archive) (*ramdisk.Archive, error) {
	if len(j.builder.Hooks().Hooks(elements.RamdiskInstall)) == 0 {
		return a, nil
	}
	byHooks := j.ramdisk.stage != nil // then it is laid out already
	at, err := j.openStage(ctx)
	if err == nil && !byHooks {
		err = a.Extract(ctx, at)
	}
	if err == nil {
		err = j.builder.RunExtra(ctx, j.ramdisk.stage, elements.RamdiskInstall, rootfs.Environment{"TMP_MOUNT_PATH": stageFolder})
	}
	if err != nil {
		return nil, err
	}
	return ramdisk.ReadTree(at)
}

// openStage makes the copy of the tree that hooks work in, with an empty folder for
// the ramdisk, whose path on this host it gives.
func (j *job) openStage(ctx context.Context) (string, error) {
	if j.ramdisk.stage == nil {
		c, err := j.store.Scratch(ctx, j.result.Layer)
		if err != nil {
			return "", err
		}
		j.undo = append(j.undo, c.Close)
		j.ramdisk.stage = c
		if err := j.inStage(func(root *os.Root) error { return root.MkdirAll(stageFolder[1:], 0o755) }); err != nil {
			return "", fmt.Errorf("making the folder of the ramdisk: %w", err)
		}
	}
	return filepath.Join(j.ramdisk.stage.Dir(), stageFolder), nil
}

// inStage does something in the copy of the tree, which no link leads out of.
func (j *job) inStage(do func(*os.Root) error) error {
	root, err := os.OpenRoot(j.ramdisk.stage.Dir())
	if err != nil {
		return err
	}
	return errors.Join(do(root), root.Close())
}

// ramdiskByHooks lets hooks of ramdisk-build.d make the tree, and adds what elements
// want and the hooks did not bring.
func (j *job) ramdiskByHooks(ctx context.Context, wanted elements.Ramdisk, version string) (*ramdisk.Archive, error) {
	request, err := j.ramdiskRequest(ctx, wanted, version)
	if err != nil {
		return nil, err
	}
	request.Busybox, request.Applets = "", nil
	request.Modules = append(request.Modules, wants(wanted.Drivers)...)
	more, err := ramdisk.Plan(request)
	if err != nil { // before the hooks, which take long
		return nil, fmt.Errorf("putting the ramdisk together: %w", err)
	}
	at, err := j.openStage(ctx)
	if err != nil {
		return nil, err
	}
	if err := j.inStage(func(root *os.Root) error { return root.WriteFile(stageInit[1:], initScript(wanted), 0o755) }); err != nil {
		return nil, fmt.Errorf("writing the fragments for the hooks: %w", err)
	}
	env := rootfs.Environment{"TMP_MOUNT_PATH": stageFolder, "RAMDISK_INIT": stageInit, "RAMDISK_KERNEL_VERSION": version}
	if err := j.builder.RunExtra(ctx, j.ramdisk.stage, elements.RamdiskBuild, env); err != nil {
		return nil, err
	}
	return j.addToStage(ctx, at, more, version)
}

// addToStage adds to the tree at at, which hooks have made, what it does not have of
// more.
func (j *job) addToStage(ctx context.Context, at string, more *ramdisk.Archive, version string) (*ramdisk.Archive, error) {
	made, err := ramdisk.ReadTree(at)
	if err != nil {
		return nil, err
	}
	if !made.Has("init") {
		return nil, fmt.Errorf("the hooks of %s left no init in %s", elements.RamdiskBuild.Dir(), stageFolder)
	}
	if made.IsDir("lib") { // of an image whose /usr is not merged
		more.Move("usr/lib/modules", "lib/modules")
		more.Move("usr/lib/firmware", "lib/firmware")
	}
	for _, name := range more.Names() { // lists of modules: ours know the modules of both
		if path.Base(path.Dir(name)) == version && strings.HasPrefix(path.Base(name), "modules.") && made.Has(name) {
			if err := os.Remove(filepath.Join(at, name)); err != nil {
				return nil, fmt.Errorf("replacing a list of modules: %w", err)
			}
			made.Remove(name)
		}
	}
	if err := more.Without(made).Extract(ctx, at); err != nil {
		return nil, err
	}
	return ramdisk.ReadTree(at)
}

// writeRamdisk writes one of the two outputs.
func (j *job) writeRamdisk(ctx context.Context, out *output, p product) error {
	if p.part == kernelPart {
		in, err := openInTree(j.tree, j.ramdisk.kernel)
		if err != nil {
			return fmt.Errorf("opening the kernel: %w", err)
		}
		defer in.Close()
		if _, err := io.Copy(out.File(), in); err != nil {
			return fmt.Errorf("copying %q: %w", j.ramdisk.kernel, err)
		}
		return nil
	}
	z, err := convert.Compress(j.o.RamdiskCompression, out.File())
	if err != nil {
		return err
	}
	_, total := j.ramdisk.archive.Files()
	progress := j.progressOf(out, total)
	o := ramdisk.Options{Progress: func(done int64) { progress(done, total) }}
	if j.o.Epoch != nil {
		o.Time = *j.o.Epoch
	}
	return errors.Join(j.ramdisk.archive.Write(ctx, z, o), z.Close())
}

// planRamdisk adds the outputs of a ramdisk.
func (j *job) planRamdisk() {
	if !j.o.Ramdisk {
		return
	}
	for _, part := range []string{kernelPart, initramfsPart} {
		j.products = append(j.products, product{format: convert.Format{Name: part, Extension: part}, base: j.o.Name, part: part})
	}
}
