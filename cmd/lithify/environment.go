package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/lithify/lithify/convert"
	"github.com/lithify/lithify/elements"
)

// applyEnvironment applies the variables that have an option, unless the option
// was given, and then those that have none.
func applyEnvironment(o *Options, given []occurrence) error {
	for _, p := range optionTable() {
		v := o.Environment[p.env]
		overridden := slices.ContainsFunc(given, func(g occurrence) bool { return g.option.long == p.long })
		if p.env == "" || v == "" || overridden && !p.counted() {
			continue
		}
		set := p.set
		if p.fromEnv != nil {
			set = p.fromEnv
		}
		if err := set(o, p.env, v); err != nil {
			return err
		}
	}
	logfile := slices.ContainsFunc(given, func(g occurrence) bool { return g.option.long == "logfile" })
	return applyVariables(o, logfile)
}

// applyVariables reads the variables that have no option.
func applyVariables(o *Options, logfile bool) error {
	if err := o.refuseVariables(); err != nil {
		return err
	}
	o.warnVariables()
	env := o.Environment
	o.Quiet = logfile || o.LogFile != ""
	o.LockFiles = firstNonEmpty(env["DIB_LOCKFILES"], o.LockFiles)
	if path := env["ELEMENTS_PATH"]; path != "" {
		o.ElementsPath = strings.Split(path, ":")
	}
	for _, read := range []func(*Options) error{
		readSwitches, readFSType, readBlockDeviceConfig, readBlockSize, readEpoch,
	} {
		if err := read(o); err != nil {
			return err
		}
	}
	return nil
}

// refuseVariables names what would change a build if it worked already.
func (o *Options) refuseVariables() error {
	for _, v := range []struct{ name, what string }{
		{"DIB_SHOW_IMAGE_USAGE", "the report on what fills the image"},
		{"DIB_SHOW_IMAGE_USAGE_FULL", "the report on what fills the image"},
		{"DUMP_CONFIG_GRAPH", "drawing the block-device graph"},
		{"EXTRA_DETACH", "commands of the user's for taking the image apart"},
		{"EXTRA_UNMOUNT", "commands of the user's for taking the image apart"},
	} {
		if value := o.Environment[v.name]; value != "" && value != "0" {
			return notYetf("%s=%s: %s", v.name, value, v.what)
		}
	}
	return nil
}

// warnVariables names what was set and does nothing, here or in DIB.
func (o *Options) warnVariables() {
	for _, v := range []struct{ name, what string }{
		{"IMAGE_ELEMENT", "elements are taken from the command line only"},
		{"IMAGE_TYPES", "formats are taken from -t only"},
		{"INSTALL_PACKAGES", "packages are taken from -p only"},
		{"DIB_PYTHON_LOGGING_CONFIG_FILE", "there is no Python here whose log it could set up"},
	} {
		if o.Environment[v.name] != "" {
			o.warnf("%s is set in the environment and has no effect: %s", v.name, v.what)
		}
	}
}

func (o *Options) warnf(format string, args ...any) {
	o.Warnings = append(o.Warnings, fmt.Sprintf(format, args...))
}

// readSwitches reads variables that are numbers used as yes and no. Only 1 says
// yes to DIB_QUIET and DIB_NO_TIMESTAMP; anything but 0 to OVERWRITE_OLD_IMAGE.
func readSwitches(o *Options) error {
	for _, v := range []struct {
		name string
		to   *bool
		all  bool // any number but 0 counts
	}{
		{"DIB_QUIET", &o.Quiet, false},
		{"DIB_NO_TIMESTAMP", &o.NoTimestamp, false},
		{"OVERWRITE_OLD_IMAGE", &o.Overwrite, true},
	} {
		value := o.Environment[v.name]
		if value == "" {
			continue
		}
		n, err := strconv.Atoi(value)
		if err != nil {
			return usagef("%s: %q is not a number; give 0 or 1", v.name, value)
		}
		*v.to = n == 1 || v.all && n != 0
	}
	return nil
}

func readFSType(o *Options) error {
	known := []string{"ext2", "ext3", "ext4", "xfs", "btrfs"}
	v := o.Environment["FS_TYPE"]
	switch {
	case v == "":
		return nil
	case !slices.Contains(known, v):
		return usagef("FS_TYPE: unknown file system %q for /%s; allowed are %s", v, didYouMean(v, known), orList(known))
	}
	o.FSType = v
	return nil
}

// readBlockDeviceConfig: a text, or file:// and a path, which is everything
// after the two slashes.
func readBlockDeviceConfig(o *Options) error {
	const name = "DIB_BLOCK_DEVICE_CONFIG"
	o.BlockDeviceConfig, o.BlockDeviceSource = o.Environment[name], name
	path, ok := strings.CutPrefix(o.BlockDeviceConfig, "file://")
	if !ok {
		return nil
	}
	text, err := readSmall(path, mib)
	if err != nil {
		return usagef("%s: reading the configuration: %w", name, err)
	}
	if strings.TrimSpace(text) == "" {
		return usagef("%s: %q is empty", name, path)
	}
	o.BlockDeviceConfig, o.BlockDeviceSource = text, path
	return nil
}

// readSmall reads a file that a person wrote. More than limit bytes are a
// mistake: somebody named an image. A pipe can be read once, but the command
// line is parsed again in the build's own session.
func readSmall(path string, limit int64) (string, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe must not hold us up
	if err != nil {
		return "", err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return "", errors.Join(err, fmt.Errorf("%q is no regular file", path))
	}
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("%q holds more than %s", path, sizeText(limit))
	}
	return string(text), err
}

func readBlockSize(o *Options) (err error) {
	o.BlockSize, err = sectorSize(o.Environment["DIB_BLOCK_SIZE"])
	return err
}

// sectorSize reads DIB_BLOCK_SIZE; 0 leaves it to the configuration.
func sectorSize(text string) (int, error) {
	switch text {
	case "":
		return 0, nil
	case "512":
		return 512, nil
	case "4096":
		return 4096, nil
	}
	return 0, usagef("DIB_BLOCK_SIZE: %q is no sector size; allowed are 512 and 4096", text)
}

func readEpoch(o *Options) error {
	v := o.Environment["SOURCE_DATE_EPOCH"]
	if v == "" {
		return nil
	}
	seconds, err := strconv.ParseInt(v, 10, 64)
	if err != nil || seconds < 0 {
		return usagef("SOURCE_DATE_EPOCH: %q is not a number of seconds since 1970", v)
	}
	t := time.Unix(seconds, 0).UTC()
	if t.After(time.Now()) {
		return usagef("SOURCE_DATE_EPOCH: %s (%s) is yet to come; it is the time that nothing in the image is younger than", v, t.Format(time.RFC3339))
	}
	o.Epoch = &t
	return nil
}

// applyGiven applies the command line, in order, so that the last one wins.
func applyGiven(o *Options, line commandLine) error {
	o.Elements = line.elements
	for _, g := range line.given {
		if err := g.option.set(o, g.where, g.value); err != nil {
			return err
		}
	}
	return nil
}

// check looks at what only shows when everything has been read.
func (o *Options) check() error {
	for _, f := range o.Formats {
		if name, ok := strings.CutSuffix(o.Name, "."+f); ok && name != "" && !strings.HasSuffix(name, "/") {
			o.Name = name
			break
		}
	}
	for _, check := range []func(*Options) error{checkElements, checkFormats, checkSizes, checkFolders} {
		if err := check(o); err != nil {
			return err
		}
	}
	return nil
}

func checkElements(o *Options) error {
	if len(o.Elements) == 0 && o.Base == nil {
		example := " -o debian debian-minimal vm"
		if o.Ramdisk {
			example = " -o agent debian-minimal my-agent"
		}
		return usagef("no element given: name at least an operating system's, for instance: %s%s", o.Command, example)
	}
	for _, e := range o.Elements {
		if e == "" || strings.ContainsAny(e, "/ \t\n") {
			return usagef("%q is no element name; set ELEMENTS_PATH to the folder that holds the element and give its name", e)
		}
	}
	return nil
}

func checkFormats(o *Options) error {
	docker := slices.Contains(o.Formats, "docker")
	if docker && o.DockerTarget == "" {
		if err := defaultDockerTarget(o); err != nil {
			return err
		}
	}
	if !docker && o.DockerTarget != "" {
		o.warnf("a docker target has no effect without -t docker")
	}
	takesOptions := slices.ContainsFunc(o.Formats, func(name string) bool {
		f, err := convert.Lookup(name)
		return err == nil && f.HasOptions()
	})
	if len(o.QemuImgOptions) > 0 && !takesOptions {
		o.warnf("--qemu-img-options has no effect: of the formats asked for none has options, as qcow2 has")
	}
	return nil
}

func checkSizes(o *Options) error {
	if o.ImageSize > 0 && o.HasExtraSize {
		o.warnf("room beside the content has no effect: the size of the image is fixed")
	}
	return nil
}

func checkFolders(o *Options) error {
	if err := needFolder("the folder of the outputs", filepath.Dir(o.Name)); err != nil {
		return err
	}
	if err := needFolder("the folder for work files (TMPDIR)", o.TmpDir); err != nil {
		return err
	}
	if _, err := elements.Open(strings.Join(o.ElementsPath, ":")); err != nil {
		return usagef("%w", err)
	}
	if info, err := os.Stat(o.Name + ".d"); err == nil && !info.IsDir() {
		return usagef("%q is in the way: the manifests go into a folder of that name", o.Name+".d")
	}
	return nil
}

func needFolder(what, path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return usagef("%s: %w", what, err)
	case !info.IsDir():
		return usagef("%s: %q is a file", what, path)
	}
	return nil
}
