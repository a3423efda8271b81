package main

import (
	"errors"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/lithify/lithify/convert"
)

// Options is everything a user asked for, checked and typed. Sizes are in
// bytes. Nothing in it needs to be looked up in the environment again, except
// what elements define, which is in Environment.
type Options struct {
	Command string   // the name this program was called by
	Args    []string // the command line as given, without the program's name

	Elements     []string // as named by the user, without those added by habit
	ElementsPath []string // ELEMENTS_PATH, in order; the built-in library is not in it
	SkipBase     bool     // do not put element base first
	Base         *Options // the image that this one starts from; nil: none
	Packages     []string // installed between install and post-install

	Arch           string   // Debian's word for it: amd64
	Name           string   // base name of all outputs, a path; no suffix
	Formats        []string // distinct, in the order asked for
	Uncompressed   bool     // qcow2 without compression
	QemuImgOptions map[string]string
	Checksums      []string // of "md5", "sha256"
	Overwrite      bool     // replace old outputs instead of keeping them under a dated name
	DockerTarget   string   // as oci.ParseTarget reads it; set when Formats has docker

	ImageSize         int64    // zero: computed from the content
	ImageExtraSize    int64    // fixed room beside the content, when HasExtraSize
	HasExtraSize      bool     // ImageExtraSize replaces the usual share of free room
	BlockDeviceConfig string   // YAML or JSON; empty: the elements' or the built-in one
	BlockDeviceSource string   // where BlockDeviceConfig came from, for messages
	FSType            string   // of the root file system, where the configuration names none
	BlockSize         int      // of a sector of every disk in bytes; zero: the configuration's
	RootLabel         string   // empty: the file system's usual one
	MkfsOptions       string   // appended to the computed options, shell words
	JournalSize       int64    // ext4
	MaxOnlineResize   int64    // file system blocks; zero: mkfs decides
	Backend           string   // auto, loop or file
	Wipe              []string // devices whose content may go, absolute paths

	InstallType string        // source or package
	Offline     bool          // do not refresh caches
	ImageCache  string        // folder for downloads
	LockFiles   string        // folder for locks of downloads
	TmpDir      string        // parent of work folders
	NoTmpfs     bool          // never work in memory
	MinTmpfs    int64         // least memory to set aside before working in memory
	NoLayers    bool          // build everything anew and keep no step
	MaxAge      time.Duration // how long a foreign step without cache-key.d is reused
	Travel      TravelOptions // of steps through registries

	Trace       int    // DIB_DEBUG_TRACE plus the number of -x
	LogFile     string // appended to; empty: a fresh one in the log folder
	Quiet       bool   // nothing on standard output
	NoTimestamp bool   // no time in front of lines on standard output

	Ramdisk            bool   // a kernel and its initial ramdisk are made, and no disk
	RamdiskElement     string // comes first among the elements of a ramdisk
	RamdiskCompression string // one of convert.StreamKinds

	Reproducible bool // refuse what would not repeat to the bit; Epoch is set

	Epoch       *time.Time        // SOURCE_DATE_EPOCH
	Environment map[string]string // the caller's, whole
	Warnings    []string          // said once, when the build starts
}

// The two programs that make something of elements.
const (
	imageCommand   = "disk-image-create"
	ramdiskCommand = "ramdisk-image-create"
)

// Sentinels for command lines that ask for something else than a build.
var (
	errHelp    = errors.New("help was asked for")
	errVersion = errors.New("the version was asked for")
)

const (
	kib = int64(1) << (10 * (iota + 1))
	mib
	gib
)

// parseOptions reads a command line of disk-image-create and its environment
// twins. It reads the file that DIB_BLOCK_DEVICE_CONFIG names and looks whether
// folders exist; it changes nothing. Mistakes are usage errors, which wrap
// errUsage or errNotYet.
func parseOptions(command string, args, env []string) (Options, error) {
	o := defaultOptions(command, args, env)
	line, err := splitCommandLine(args)
	if err != nil {
		return o, err
	}
	if line.clears(o.Environment) {
		o = defaultOptions(command, args, keptVariables(env))
	}
	for _, g := range line.given { // nothing else matters to who asks for help
		if g.option.long == "help" || g.option.long == "version" {
			return o, g.option.set(&o, g.where, g.value)
		}
	}
	if err := applyEnvironment(&o, line.given); err != nil {
		return o, err
	}
	if err := applyGiven(&o, line); err != nil {
		return o, err
	}
	if err := applyReproducible(&o); err != nil {
		return o, err
	}
	if err := applyBase(&o, line); err != nil {
		return o, err
	}
	return o, o.check()
}

func defaultOptions(command string, args, env []string) Options {
	o := Options{
		Command:     command,
		Ramdisk:     command == ramdiskCommand,
		Args:        args,
		Arch:        hostArch(),
		Name:        "image",
		Formats:     []string{"qcow2"},
		FSType:      "ext4",
		JournalSize: 64 * mib,
		Backend:     "auto",
		InstallType: "source",
		MinTmpfs:    2 * gib,
		MaxAge:      24 * time.Hour,
		Environment: environmentMap(env),
	}
	if o.Ramdisk {
		o.Formats = nil
	}
	o.RamdiskElement, o.RamdiskCompression = "ramdisk", convert.StreamKinds()[0]
	o.ImageCache = filepath.Join(o.cacheDir(), "image-create")
	o.LockFiles = filepath.Join(o.cacheDir(), "dib", "lockfiles")
	o.TmpDir = firstNonEmpty(o.Environment["TMPDIR"], o.Environment["TMP_DIR"], "/tmp")
	if o.Environment["TMPDIR"]+o.Environment["TMP_DIR"] != "" { // elements look at one or the other
		o.Environment["TMPDIR"], o.Environment["TMP_DIR"] = o.TmpDir, o.TmpDir
	}
	return o
}

// environmentMap turns KEY=value lines into a map; the last of a name wins, as
// in a shell.
func environmentMap(env []string) map[string]string {
	m := make(map[string]string, len(env))
	for _, line := range env {
		if k, v, ok := strings.Cut(line, "="); ok && k != "" {
			m[k] = v
		}
	}
	return m
}

// home is the caller's home folder; root's when a bare environment names none.
func (o Options) home() string { return firstNonEmpty(o.Environment["HOME"], "/root") }

// cacheDir is where caches and logs of this user go.
func (o Options) cacheDir() string {
	if d := o.Environment["XDG_CACHE_HOME"]; filepath.IsAbs(d) {
		return d
	}
	return filepath.Join(o.home(), ".cache")
}

func firstNonEmpty(words ...string) string {
	for _, w := range words {
		if w != "" {
			return w
		}
	}
	return ""
}

// hostArch is this machine's architecture by Debian's name.
func hostArch() string { return debianArch(runtime.GOARCH) }

func debianArch(name string) string {
	switch name {
	case "x86_64":
		return "amd64"
	case "aarch64":
		return "arm64"
	case "arm", "armv6l", "armv7l":
		return "armhf"
	case "386", "i686":
		return "i386"
	case "ppc64le":
		return "ppc64el"
	}
	return name
}

// goArch is what images for containers call an architecture of Debian's.
func goArch(name string) string {
	switch name {
	case "i386":
		return "386"
	case "armel", "armhf":
		return "arm"
	case "ppc64el":
		return "ppc64le"
	}
	return name
}
