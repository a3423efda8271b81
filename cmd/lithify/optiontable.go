package main

import (
	"strings"

	"github.com/lithify/lithify/convert"
)

// option is one row of the table that the parser, the help and the completions
// are made from.
type option struct {
	long  string // without dashes
	short string // one letter, or empty
	value string // the value's name in the help; empty when it takes none
	env   string // the environment variable with the same effect, or empty
	ours  bool   // DIB has no such long option: it never makes one of DIB's abbreviations ambiguous
	help  string
	// set takes a value that the user gave. where is what they typed it after,
	// "--image-size" or "DIB_IMAGE_SIZE", for messages.
	set func(o *Options, where, value string) error
	// fromEnv reads the variable where it is read in another way than the
	// option's value; nil means set.
	fromEnv func(o *Options, where, value string) error
}

// counted options add up; their variable counts even where the option is given.
func (p option) counted() bool { return p.short == "x" }

// optionTable lists every option in the order of the help.
func optionTable() []option {
	return append(append(append(whatOptions(), sizeOptions()...), howOptions()...), otherOptions()...)
}

func whatOptions() []option {
	return []option{
		{long: "arch", short: "a", value: "ARCH", env: "ARCH", ours: true, set: setArch,
			help: "architecture of the image; another than this machine's needs qemu-user-static"},
		{long: "output", short: "o", value: "NAME", env: "IMAGE_NAME", ours: true, set: setName,
			help: "base name of the outputs, may be a path (image)"},
		{long: "formats", short: "t", value: "LIST", ours: true, set: setFormats,
			help: "formats, separated by commas: " + strings.Join(formatNames(), ", ") + " (qcow2)"},
		{long: "packages", short: "p", value: "LIST", ours: true, set: setPackages,
			help: "more packages to install, separated by commas; may be repeated"},
		{long: "skip-base", short: "n", env: "SKIP_BASE", ours: true, set: setSkipBase, fromEnv: envSkipBase,
			help: "do not add the element base"},
		{long: "uncompressed", short: "u", ours: true, set: setUncompressed,
			help: "do not compress qcow2"},
		{long: "qemu-img-options", value: "K=V,…", env: "QEMU_IMG_OPTIONS", set: setQemuImgOptions,
			help: "options of the qcow2 writer: compression_type, cluster_size"},
		{long: "checksum", env: "DIB_CHECKSUM", set: setChecksum, fromEnv: envChecksum,
			help: "write .md5 and .sha256 beside each output (the variable may name one of them)"},
		{long: "docker-target", value: "REF", env: "DOCKER_TARGET", set: setDockerTarget,
			help: "where format docker goes: HOST/REPO:TAG, NAME:TAG for the local images, docker-archive:FILE, oci-archive:FILE or oci:FOLDER; default: the outputs' name"},
		{long: "install-type", value: "TYPE", env: "DIB_DEFAULT_INSTALLTYPE", set: setInstallType,
			help: "how elements install by default: source or package (source)"},
		{long: "ramdisk-element", value: "ELEMENT", env: "RAMDISK_ELEMENT", set: setRamdiskElement,
			help: "element that makes a ramdisk (ramdisk)"},
		{long: "ramdisk-compression", value: "KIND", ours: true, set: setRamdiskCompression,
			help: "how a ramdisk is compressed: " + strings.Join(convert.StreamKinds(), ", ") + " (" + convert.StreamKinds()[0] + ")"},
	}
}

func sizeOptions() []option {
	return []option{
		{long: "image-size", value: "SIZE", env: "DIB_IMAGE_SIZE", set: setImageSize,
			help: "size of the image: GiB, or a number with a unit such as 5GiB, 900MB (computed)"},
		{long: "image-extra-size", value: "SIZE", env: "DIB_IMAGE_EXTRA_SIZE", set: setImageExtraSize,
			help: "room beside the content instead of the usual share: MiB, or with a unit"},
		{long: "root-label", value: "LABEL", env: "ROOT_LABEL", set: setRootLabel,
			help: "label of the root file system (cloudimg-rootfs)"},
		{long: "mkfs-options", value: "OPTIONS", env: "MKFS_OPTS", set: setMkfsOptions,
			help: "options to add when the root file system is made"},
		{long: "mkfs-journal-size", value: "SIZE", env: "DIB_JOURNAL_SIZE", set: setJournalSize,
			help: "journal of an ext4 root: MiB, or with a unit (64)"},
		{long: "max-online-resize", value: "BLOCKS", env: "MAX_ONLINE_RESIZE", set: setMaxOnlineResize,
			help: "how far the root file system may grow while mounted"},
		{long: "backend", value: "NAME", ours: true, set: setBackend,
			help: "how disks are made: file (everybody), loop (root), or auto: file unless only loop can (auto)"},
		{long: "wipe", value: "DEVICE", ours: true, set: setWipe,
			help: "write a physical_disk onto this device although something is on it; may be repeated"},
		{long: "reproducible", ours: true, set: setReproducible,
			help: "equal inputs give equal bits: refuse what cannot repeat; no file is younger than SOURCE_DATE_EPOCH (1980)"},
	}
}

func howOptions() []option {
	return []option{
		{long: "image-cache", value: "DIR", env: "DIB_IMAGE_CACHE", set: setImageCache,
			help: "folder for downloads (~/.cache/image-create)"},
		{long: "offline", env: "DIB_OFFLINE", set: setOffline,
			help: "do not refresh caches"},
		{long: "no-layers", ours: true, set: setNoLayers,
			help: "build everything anew and keep no step"},
		{long: "cache-from", value: "REPO,…", env: "LITHIFY_CACHE_FROM", ours: true, set: setCacheFrom,
			help: "take steps that other machines made from these repositories of registries (HOST/NAME)"},
		{long: "cache-to", value: "REPO", env: "LITHIFY_CACHE_TO", ours: true, set: setCacheTo,
			help: "send the steps of this build there while it goes on"},
		{long: "cache-sign-key", value: "FILE", env: "LITHIFY_CACHE_SIGN_KEY", ours: true, set: setCacheSignKey,
			help: "sign what is sent with this ed25519 key (PEM)"},
		{long: "cache-verify-key", value: "FILE", env: "LITHIFY_CACHE_VERIFY_KEY", ours: true, set: setCacheVerifyKey,
			help: "take only what is signed; the public half of the key (PEM)"},
		{long: "max-age", value: "DURATION", ours: true, set: setMaxAge,
			help: "how long a step is reused whose element cannot say what the network holds: 90m, 24h, 7d (24h)"},
		{long: "no-tmpfs", env: "DIB_NO_TMPFS", set: setNoTmpfs, fromEnv: envNoTmpfs,
			help: "never work in memory"},
		{long: "min-tmpfs", value: "GIB", env: "DIB_MIN_TMPFS", set: setMinTmpfs,
			help: "work in memory only when this much can be set aside (2)"},
	}
}

func otherOptions() []option {
	return []option{
		{long: "trace", short: "x", env: "DIB_DEBUG_TRACE", ours: true, set: countTrace, fromEnv: envTrace,
			help: "show what hooks do; twice shows more"},
		{long: "logfile", value: "FILE", env: "LOGFILE", set: setLogFile,
			help: "append the log to FILE; nothing on standard output unless DIB_QUIET=0"},
		{long: "clear-env", short: "c", env: "CLEAR_ENV", ours: true, set: setClearEnv,
			help: "the environment does not count, but for what says who builds, with which elements, and by which proxies"},
		{long: "version", set: func(*Options, string, string) error { return errVersion },
			help: "print the version"},
		{long: "help", short: "h", set: func(*Options, string, string) error { return errHelp },
			help: "print this help"},
	}
}
