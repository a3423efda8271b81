package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/boot"
	"github.com/lithify/lithify/blockdev/loop"
	"github.com/lithify/lithify/convert"
	"github.com/lithify/lithify/elements"
	"github.com/lithify/lithify/oci"
	"github.com/lithify/lithify/rootfs"
	"github.com/lithify/lithify/rootfs/runner"
)

// job is one build on its way.
type job struct {
	o    Options
	ui   *ui
	undo []func() error // in order of the deeds

	base     *job // the image that this one starts from, resolved; nil: none
	elements []elements.Element
	hooks    *elements.Tree
	image    string         // reference of the base image, with its variables; empty: none
	pulled   *oci.BaseImage // what it stands for
	planned  bool           // nothing is built
	graph    *blockdev.Graph
	formats  []convert.Format
	format   convert.FormatOptions
	secrets  secrets

	diskSource string // of the block-device configuration, for messages

	work    string
	memory  workMemory
	store   *oci.Store
	cache   *oci.Cache // steps of other machines; nil: none
	records outputRecords
	builder *rootfs.Builder

	products []product
	folders  map[string]*outputFolder // by product.place
	own      *outputFolder            // that of NAME

	upToDate    bool
	onDisk      bool   // hooks work on the disk itself: it is mounted until they and the formats of the tree are done
	key         string // what the outputs are made of
	result      rootfs.Result
	tree        string // the finished tree, mounted
	scratch     rootfs.Container
	ramdisk     ramdiskJob
	measureTree sync.Once
	treeSize    int64 // bytes of files, once measured
	treeErr     error
	disks       blockdev.Disk
	diskPlan    *blockdev.Plan
	made        []*output
	manifests   bool // there are some to publish
	files       []OutputFile
	ran, reused int
	observe     func(rootfs.Event) // of the image that starts from this one
}

// check finds every mistake that can be found before anything is built.
func (j *job) check(ctx context.Context) error {
	for _, step := range []func() error{j.resolve, j.configureDisks, j.chooseFormats, j.readSecrets, j.hideSecrets, j.planProducts, j.checkStoreLimit, j.checkTravel} {
		if err := step(); err != nil {
			return err
		}
	}
	return j.checkHost(ctx)
}

// resolve finds the elements and merges their hooks.
func (j *job) resolve() error {
	if err := j.resolveBase(); err != nil {
		return err
	}
	library, err := elements.Open(strings.Join(j.o.ElementsPath, ":"))
	if err != nil {
		return err
	}
	asked, skipBase := j.o.allElements()
	names := elements.Assemble(asked, elements.AssembleOptions{SkipBase: skipBase, Arch: j.o.Arch})
	if j.elements, err = library.Resolve(names...); err != nil {
		return err
	}
	j.tellOverrides(library)
	if err := j.checkBase(); err != nil {
		return err
	}
	if j.hooks, err = elements.MergeOnto(j.baseElements(), j.elements); err != nil {
		return err
	}
	if text := j.o.Environment["RUN_PARTS_REGEX"]; text != "" {
		names, err := regexp.Compile(text)
		if err != nil {
			return usagef("RUN_PARTS_REGEX: %w", err)
		}
		j.hooks.NameHooks(names)
	}
	if err := j.chooseImage(); err != nil {
		return err
	}
	return j.hooks.LinkInstallTypes(j.installTypes())
}

// tellOverrides names the elements that hide others of their name, whole. Those
// of the image to start from are named already.
func (j *job) tellOverrides(library elements.Library) {
	for _, e := range j.elements {
		if hasElement(j.baseElements(), e.Name) {
			continue
		}
		for _, hidden := range library.Shadowed(e.Name) {
			fmt.Fprintf(j.ui.Log(), "warning: element '%s': %s is used, not %s\n", e.Name, e.Path, hidden)
		}
	}
}

func (j *job) installTypes() map[string]string {
	types := maps.Clone(j.o.Environment)
	types["DIB_DEFAULT_INSTALLTYPE"] = j.o.InstallType
	return types
}

// configureDisks chooses the block-device configuration: the user's, an
// element's, or the built-in one.
func (j *job) configureDisks() error {
	source, config, err := j.blockDevices()
	if err != nil {
		return err
	}
	j.diskSource = source
	shell, err := blockdev.SplitWords(j.o.MkfsOptions)
	if err != nil {
		return usagef("--mkfs-options: %w", err)
	}
	j.graph, err = config.Graph(blockdev.Defaults{
		RootFSType: j.o.FSType, RootLabel: j.o.RootLabel, RootOptions: shell, Release: j.o.Environment["DIB_RELEASE"],
		JournalMiB: int(j.o.JournalSize / mib), MaxOnlineResize: j.o.MaxOnlineResize, BlockSize: j.o.BlockSize,
	})
	if err != nil {
		return fmt.Errorf("%s: %w", source, err)
	}
	if hasElement(j.elements, "bootloader") {
		if err := j.graph.CheckBoot(); err != nil {
			return fmt.Errorf("%s: %w", source, err)
		}
	}
	return j.addNeeded()
}

// addNeeded adds the elements without which a system that boots would not find
// its volumes. They come last, so that what the user named is resolved as ever.
func (j *job) addNeeded() error {
	var missing []string
	for _, name := range j.graph.NeededElements() {
		if !hasElement(j.elements, name) {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 || !hasElement(j.elements, "bootloader") {
		return nil
	}
	j.o.Elements = append(slices.Clone(j.o.Elements), missing...)
	return j.resolve()
}

// blockDevices reads the configuration; source says to people where it stands.
func (j *job) blockDevices() (source string, c blockdev.Config, err error) {
	if j.o.BlockDeviceConfig != "" {
		c, err = blockdev.Parse([]byte(j.o.BlockDeviceConfig))
		if err != nil {
			err = fmt.Errorf("%s: %w", j.o.BlockDeviceSource, err)
		}
		return j.o.BlockDeviceSource, c, err
	}
	element, file, data, err := elements.BlockDeviceConfig(j.elements, j.o.Arch)
	switch {
	case err != nil:
		return "", c, err
	case data == nil:
		return "the usual block devices", blockdev.Default(), nil
	}
	source = fmt.Sprintf("element '%s', %s", element, file)
	if c, err = blockdev.Parse(data); err != nil {
		err = fmt.Errorf("%s: %w", source, err)
	}
	return source, c, err
}

func (j *job) chooseFormats() error {
	var options []string
	for _, name := range slices.Sorted(maps.Keys(j.o.QemuImgOptions)) {
		options = append(options, name+"="+j.o.QemuImgOptions[name])
	}
	for _, name := range j.o.Formats {
		f, err := convert.Lookup(name)
		if err != nil {
			return usagef("-t: %w", err)
		}
		if f.NeedsDisk && j.o.Ramdisk {
			j.ui.Warn(fmt.Sprintf("-t %s is left out: a ramdisk is no disk", name))
			continue
		}
		if f.NeedsDisk && j.noFinalImage() {
			j.ui.Warn(fmt.Sprintf("-t %s is left out: the element %s writes no disk", name, noFinalImage))
			continue
		}
		j.formats = append(j.formats, f)
	}
	var err error
	if j.format, err = convert.ParseAllOptions(j.formats, strings.Join(options, ",")); err != nil {
		return usagef("--qemu-img-options: %w", err)
	}
	return nil
}

// noFinalImage is the element whose presence says that hooks in cleanup.d make
// what the build is for.
const noFinalImage = "no-final-image"

func (j *job) noFinalImage() bool { return hasElement(j.elements, noFinalImage) }

func hasElement(els []elements.Element, name string) bool {
	return slices.ContainsFunc(els, func(e elements.Element) bool { return e.Name == name })
}

func (j *job) needsDisk() bool {
	return slices.ContainsFunc(j.formats, func(f convert.Format) bool { return f.NeedsDisk })
}

// bootable says whether a disk is made that has a boot loader.
func (j *job) bootable() bool {
	return j.needsDisk() && hasElement(j.elements, "vm")
}

// checkHost looks for the programs that this build will call.
func (j *job) checkHost(ctx context.Context) error {
	if err := j.emulate(); err != nil {
		return err
	}
	needs := []string{"bash"}
	for _, e := range j.elements {
		switch e.Name {
		case "debootstrap":
			if j.image != "" {
				break
			}
			needs = append(needs, "mmdebstrap|debootstrap")
		case "source-repositories":
			needs = append(needs, "git", "tar")
		}
	}
	if j.needsDisk() {
		if err := errors.Join(j.checkReproducible(), j.checkBackend(ctx), j.lookAtDevices()); err != nil {
			return err
		}
		if err := j.checkSizes(); err != nil {
			return err
		}
		needs = append(needs, j.diskTools()...)
	}
	for _, f := range j.formats {
		needs = append(needs, f.Tools...)
	}
	return checkHostTools(j.o, needs...)
}

// storeRoot is where this user's layers are.
func storeRoot(env map[string]string) string {
	if dir := env["LITHIFY_STORE"]; dir != "" {
		return dir
	}
	if os.Geteuid() == 0 && runner.KeepsIDs() {
		return "/var/lib/lithify"
	}
	if dir := env["XDG_DATA_HOME"]; filepath.IsAbs(dir) {
		return filepath.Join(dir, "lithify")
	}
	return filepath.Join(firstNonEmpty(env["HOME"], "/root"), ".local/share/lithify")
}

// plan opens the store, plans the steps and finds out whether the outputs that
// are there already are what they would become.
func (j *job) plan(ctx context.Context) error {
	j.records = outputRecords{Dir: filepath.Join(j.o.storeRoot(), "outputs")}
	if err := j.prepare(ctx, false); err != nil {
		return err
	}
	intent, err := j.builder.Intent()
	if err != nil {
		return err
	}
	j.onDisk = intent.OnDisk
	if err := errors.Join(j.checkRamdisk(), j.checkOnDisk(ctx)); err != nil {
		return err
	}
	if j.key, err = j.outputKey(intent.Key); err != nil {
		return err
	}
	if err := j.openFolders(ctx); err != nil {
		return err
	}
	return j.lookForOutputs()
}

// prepare makes the work folder, opens the store and reads the elements'
// environment; preview is for a build that is only planned.
func (j *job) prepare(ctx context.Context, preview bool) error {
	root := j.o.storeRoot()
	if !preview && os.Geteuid() == 0 && !runner.InUserNamespace() {
		if err := loop.Sweep(ctx, ""); err != nil {
			j.ui.Warn(err.Error())
		}
	}
	work, remove, err := newWork(j.o.TmpDir)
	if err != nil {
		return err
	}
	j.work, j.undo = work, append(j.undo, remove)
	if err := j.openStore(ctx, root); err != nil {
		return err
	}
	if !preview {
		if err := j.openCache(ctx); err != nil {
			return err
		}
	}
	j.builder, err = j.newBuilder(ctx, root, preview)
	return err
}

func (j *job) newBuilder(ctx context.Context, root string, preview bool) (*rootfs.Builder, error) {
	options, err := j.treeOptions(root)
	if err != nil {
		return nil, err
	}
	options.Preview, j.planned = preview, preview
	if j.image != "" {
		options.Image = j.findImage
	}
	if j.base != nil {
		if options.Base, err = j.baseBuilder(ctx, root, preview, options.Observe); err != nil {
			return nil, err
		}
	}
	return rootfs.New(ctx, options)
}

// openStore opens the store, or one in memory for a build that keeps no layer.
func (j *job) openStore(ctx context.Context, root string) error {
	dir, err := j.layersInMemory()
	if err != nil {
		return err
	}
	if dir != "" {
		root = dir
	}
	if j.store, err = oci.Open(ctx, oci.Options{Root: root}); err != nil {
		return err
	}
	j.undo = append(j.undo, j.store.Close)
	return nil
}

func (j *job) treeOptions(store string) (rootfs.Options, error) {
	program, err := os.Executable()
	if err != nil {
		return rootfs.Options{}, fmt.Errorf("finding this program: %w", err)
	}
	var covers []rootfs.Cover
	for _, c := range boot.Covers() {
		covers = append(covers, rootfs.Cover{Target: c.Target, Command: c.Command})
	}
	resolv, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		resolv = []byte("nameserver 8.8.8.8\n") // as the contract has it
	}
	o := rootfs.Options{
		Store: j.store, Elements: j.elements, Hooks: j.hooks, Environment: contractEnvironment(j), Packages: j.o.Packages,
		Work: j.work, Binary: program, Commands: targetCommandNames(), LastCommands: lastCommandNames(), HostCommands: hostCommandNames(),
		CommandVariables: commandVariables, Breaks: breaksOf(j.o.Environment), Covers: covers, ResolvConf: resolv,
		Epoch: j.o.Epoch, MaxAge: j.o.MaxAge, Fresh: j.o.NoLayers, Offline: j.o.Offline,
		Answers: filepath.Join(store, "answers"), Output: j.ui.Log(), Observe: j.observer(), Logger: j.ui.Logger(),
	}
	// A tar has an fstab too: it may become a disk later, and its last steps are
	// those of the disk's.
	if j.cache != nil {
		o.Cache = j.cache
	}
	o.Fingerprint, o.Disk = j.graph.Fingerprint(), j.layoutFor
	return o, nil
}

// layoutFor gives what hooks learn of the disk, with ids derived from seed.
func (j *job) layoutFor(seed rootfs.Key) (string, []byte, error) {
	j.graph.Identify(string(seed))
	text, err := json.Marshal(boot.LayoutOf(j.graph))
	return j.graph.Fstab(), text, err
}

// observer turns the builder's events into lines.
func (j *job) observer() func(rootfs.Event) {
	if j.observe != nil {
		return j.observe
	}
	var done func(error)
	return func(e rootfs.Event) {
		switch {
		case e.Reused:
			j.reused++
			j.ui.Hook(e.Phase, e.Element, e.Name, true)
		case e.Done:
			j.ran++
			if done != nil {
				done(nil)
			}
			done = nil
		default:
			done = j.ui.Hook(e.Phase, e.Element, e.Name, false)
		}
	}
}

// outputVersion is raised by hand when equal trees and plans give other outputs.
const outputVersion = "1"

// outputKey names everything that the outputs depend on.
func (j *job) outputKey(intent rootfs.Key) (string, error) {
	ramdisk, err := j.ramdiskKey()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	if ramdisk != "" {
		fmt.Fprintf(h, "ramdisk %s\n", ramdisk)
	}
	fmt.Fprintf(h, "%q %t %q %q %v %v %v %d %d %t\n", outputVersion, j.byLoop(), intent, j.graph.Fingerprint(), j.o.Formats, j.format,
		j.o.Uncompressed, j.o.ImageSize, j.o.ImageExtraSize, j.o.HasExtraSize)
	return hex.EncodeToString(h.Sum(nil)), nil
}

// buildTree makes or finds the finished tree and mounts it.
func (j *job) buildTree(ctx context.Context) error {
	res, err := j.builder.Run(ctx)
	if err != nil {
		return err
	}
	j.result = res
	c, err := j.store.Scratch(ctx, res.Layer)
	if err != nil {
		return err
	}
	j.undo = append(j.undo, c.Close)
	j.scratch, j.tree = c, c.Dir()
	return nil
}
