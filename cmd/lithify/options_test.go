package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lithify/lithify/rootfs/runner"
)

// parsed parses a command line that must be right, in an environment of its own.
func parsed(t *testing.T, args []string, env ...string) Options {
	t.Helper()
	o, err := parseOptions(imageCommand, args, append([]string{"HOME=/home/u", "TMPDIR=" + os.TempDir()}, env...))
	if err != nil {
		t.Fatalf("%q with %q: %v", args, env, err)
	}
	return o
}

// TestOptions: each option, its variable, and that the option wins over it.
func TestOptions(t *testing.T) {
	arch := hostArch()
	for _, c := range []struct {
		args, env string // args may be empty where there is only a variable
		field     string
		want      any
	}{
		{"-a " + arch, "ARCH=" + arch, "Arch", arch},
		{"-a aarch64", "ARCH=arm64", "Arch", "arm64"},
		{"-a armv7l", "ARCH=armhf", "Arch", "armhf"},
		{"-a i686", "ARCH=i386", "Arch", "i386"},
		{"-a ppc64le", "ARCH=ppc64el", "Arch", "ppc64el"},
		{"-a s390x", "ARCH=s390x", "Arch", "s390x"},
		{"-o web", "IMAGE_NAME=web", "Name", "web"},
		{"-t raw,qcow2,raw", "", "Formats", []string{"raw", "qcow2"}},
		{"-x -x", "DIB_DEBUG_TRACE=2", "Trace", 2},
		{"-u", "", "Uncompressed", true},
		{"-n", "SKIP_BASE=1", "SkipBase", true},
		{"-p vim,less -p git", "", "Packages", []string{"vim", "less", "git"}},
		{"--checksum", "DIB_CHECKSUM=1", "Checksums", []string{"md5", "sha256"}},
		{"", "DIB_CHECKSUM=sha256", "Checksums", []string{"sha256"}},
		{"", "DIB_CHECKSUM=sha256,md5", "Checksums", []string{"sha256", "md5"}},
		{"", "DIB_CHECKSUM=0", "Checksums", []string(nil)},
		{"--image-size 5", "DIB_IMAGE_SIZE=5", "ImageSize", 5 * gib},
		{"--image-size 2.5", "DIB_IMAGE_SIZE=2.5", "ImageSize", 5 * gib / 2},
		{"--image-size 900MiB", "DIB_IMAGE_SIZE=900MiB", "ImageSize", 900 * mib},
		{"--image-size 1GB", "DIB_IMAGE_SIZE=1GB", "ImageSize", int64(1e9)},
		{"--image-extra-size 100", "DIB_IMAGE_EXTRA_SIZE=100", "ImageExtraSize", 100 * mib},
		{"--image-extra-size 1GiB", "DIB_IMAGE_EXTRA_SIZE=1GiB", "ImageExtraSize", gib},
		{"--image-extra-size 0", "DIB_IMAGE_EXTRA_SIZE=0", "HasExtraSize", true},
		{"--image-cache /c", "DIB_IMAGE_CACHE=/c", "ImageCache", "/c"},
		{"--max-online-resize 123", "MAX_ONLINE_RESIZE=123", "MaxOnlineResize", int64(123)},
		{"--mkfs-journal-size 32", "DIB_JOURNAL_SIZE=32", "JournalSize", 32 * mib},
		{"--mkfs-options=-O", "MKFS_OPTS=-O", "MkfsOptions", "-O"},
		{"--min-tmpfs 7", "DIB_MIN_TMPFS=7", "MinTmpfs", 7 * gib},
		{"--no-tmpfs", "DIB_NO_TMPFS=1", "NoTmpfs", true},
		{"", "DIB_NO_TMPFS=0", "NoTmpfs", false},
		{"--offline", "DIB_OFFLINE=1", "Offline", true},
		{"--qemu-img-options compression_type=zlib,cluster_size=2M", "QEMU_IMG_OPTIONS=compression_type=zlib,cluster_size=2M",
			"QemuImgOptions", map[string]string{"compression_type": "zlib", "cluster_size": "2M"}},
		{"--root-label lbl", "ROOT_LABEL=lbl", "RootLabel", "lbl"},
		{"--install-type package", "DIB_DEFAULT_INSTALLTYPE=package", "InstallType", "package"},
		{"-t docker --docker-target h/r:t", "", "DockerTarget", "h/r:t"},
		{"-t docker", "DOCKER_TARGET=h/r:t", "DockerTarget", "h/r:t"},
		{"-t docker -o /tmp/web", "", "DockerTarget", "web"},
		{"--logfile /l", "LOGFILE=/l", "LogFile", "/l"},
		{"--logfile /l", "LOGFILE=/l", "Quiet", true},
		{"--logfile /l", "DIB_QUIET=0", "Quiet", false},
		{"", "DIB_QUIET=1", "Quiet", true},
		{"", "DIB_NO_TIMESTAMP=1", "NoTimestamp", true},
		{"", "OVERWRITE_OLD_IMAGE=2", "Overwrite", true},
		{"", "ELEMENTS_PATH=/etc:/usr", "ElementsPath", []string{"/etc", "/usr"}},
		{"", "FS_TYPE=ext4", "FSType", "ext4"},
		{"", "FS_TYPE=btrfs", "FSType", "btrfs"},
		{"", "DIB_BLOCK_SIZE=4096", "BlockSize", 4096},
		{"", "DIB_LOCKFILES=/l", "LockFiles", "/l"},
		{"", "DIB_BLOCK_DEVICE_CONFIG=- local_loop:", "BlockDeviceConfig", "- local_loop:"},
		{"--no-layers", "", "NoLayers", true},
		{"--max-age 90m", "", "MaxAge", 90 * time.Minute},
		{"--max-age 1.5d", "", "MaxAge", 36 * time.Hour},
		{"--backend loop", "", "Backend", "loop"},
		{"--reproducible", "", "Reproducible", true},
		{"--reproducible", "", "Epoch", new(time.Unix(firstDate, 0).UTC())},
	} {
		field := func(o Options) any { return reflect.ValueOf(o).FieldByName(c.field).Interface() }
		if c.args != "" {
			o := parsed(t, append(strings.Fields(c.args), "el"), strings.Fields(both(c.args, c.env))...)
			if got := field(o); !reflect.DeepEqual(got, c.want) {
				t.Errorf("%s: %s = %#v, want %#v", c.args, c.field, got, c.want)
			}
		}
		if c.env != "" && (c.args == "" || !strings.Contains(c.env, "DIB_QUIET")) {
			args := []string{"el"}
			if strings.Contains(c.env, "DOCKER") {
				args = []string{"el", "-t", "docker"}
			}
			if got := field(parsed(t, args, c.env)); !reflect.DeepEqual(got, c.want) {
				t.Errorf("%s: %s = %#v, want %#v", c.env, c.field, got, c.want)
			}
		}
	}
}

// both is the environment that a row's option is tried in: only where a row
// needs both.
func both(args, env string) string {
	if strings.Contains(env, "DIB_QUIET") || strings.HasPrefix(env, "DOCKER_TARGET") {
		return env
	}
	return ""
}

func TestOptionWinsOverVariable(t *testing.T) {
	o := parsed(t, []string{"-o", "a", "--image-size=3", "--root-label=x", "-x", "el"},
		"IMAGE_NAME=b", "DIB_IMAGE_SIZE=nonsense", "ROOT_LABEL=y", "DIB_DEBUG_TRACE=2")
	if o.Name != "a" || o.ImageSize != 3*gib || o.RootLabel != "x" || o.Trace != 3 {
		t.Errorf("got %q %d %q %d", o.Name, o.ImageSize, o.RootLabel, o.Trace)
	}
}

func TestShapes(t *testing.T) {
	for line, want := range map[string]Options{
		"-o a el -u more":                {Name: "a", Uncompressed: true, Elements: []string{"el", "more"}},
		"el more -uoa":                   {Name: "a", Uncompressed: true, Elements: []string{"el", "more"}},
		"-oa -u -- el more":              {Name: "a", Uncompressed: true, Elements: []string{"el", "more"}},
		"-o b -o a el":                   {Name: "a", Elements: []string{"el"}},
		"-o =a el":                       {Name: "=a", Elements: []string{"el"}},
		"-o=a el":                        {Name: "=a", Elements: []string{"el"}},
		"-o -u el":                       {Name: "-u", Elements: []string{"el"}},
		"--off el --image-s 1":           {Name: "image", Offline: true, ImageSize: gib, Elements: []string{"el"}},
		"--root=x el":                    {Name: "image", RootLabel: "x", Elements: []string{"el"}},
		"--no el":                        {Name: "image", NoTmpfs: true, Elements: []string{"el"}}, // as with DIB, in spite of --no-layers
		"--no-l el":                      {Name: "image", NoLayers: true, Elements: []string{"el"}},
		"--o el":                         {Name: "image", Offline: true, Elements: []string{"el"}}, // likewise --output
		"--root-label= el":               {Name: "image", Elements: []string{"el"}},
		"--mkfs-options -- el":           {Name: "image", MkfsOptions: "--", Elements: []string{"el"}},
		"--mkfs-options=a=b el":          {Name: "image", MkfsOptions: "a=b", Elements: []string{"el"}},
		"-o x.qcow2 el":                  {Name: "x", Elements: []string{"el"}},
		"-o x.qcow2 -t raw,qcow2 el":     {Name: "x", Elements: []string{"el"}},
		"-o x.raw el":                    {Name: "x.raw", Elements: []string{"el"}},
		"-o x.raw.qcow2 -t qcow2 el":     {Name: "x.raw", Elements: []string{"el"}},
		"-t tar -o .tar el":              {Name: ".tar", Elements: []string{"el"}},
		"--image-size 1 --image-si 2 el": {Name: "image", ImageSize: 2 * gib, Elements: []string{"el"}},
	} {
		o := parsed(t, strings.Fields(line))
		got := Options{Name: o.Name, Uncompressed: o.Uncompressed, Offline: o.Offline, ImageSize: o.ImageSize, NoTmpfs: o.NoTmpfs,
			NoLayers: o.NoLayers, RootLabel: o.RootLabel, MkfsOptions: o.MkfsOptions, Elements: o.Elements}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %+v\nwant %+v", line, got, want)
		}
	}
}

// TestMistakes: what is wrong exits 2 and names what was found.
func TestMistakes(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ args, env, says string }{
		{"", "", "no element given"},
		{"--frobnicate el", "", `unknown option "--frobnicate"`},
		{"--ofline el", "", "did you mean --offline?"},
		{"--image el", "", "--image-size, --image-extra-size or --image-cache"},
		{"--= el", "", `unknown option "--"`},
		{"-z el", "", `unknown option "-z"`},
		{"-é el", "", `unknown option "-é"`},
		{"el -o", "", "option -o needs a value"},
		{"el --image-size", "", "option --image-size needs a value"},
		{"--offline=1 el", "", "takes no value"},
		{"-t qcow3 el", "", "did you mean"},
		{"-t , el", "", "no format"},
		{"-o dir/ el", "", "no file name"},
		{"-o " + dir + "/no/x el", "", "no such file or directory"},
		{"-o " + file + "/x el", "", "is a file"},
		{"--image-size 5Gb el", "", `unknown unit "Gb"`},
		{"--image-size 0 el", "", "holds nothing"},
		{"--image-size -1 el", "", "not a size"},
		{"--image-size 1e9 el", "", "not a size"},
		{"--image-size 99999999999 el", "", "more than any disk"},
		{"el", "DIB_IMAGE_SIZE=x", "DIB_IMAGE_SIZE: \"x\" is not a size"},
		{"--mkfs-journal-size 0 el", "", "journal"},
		{"--max-online-resize 1G el", "", "number of file system blocks"},
		{"--min-tmpfs 1.5 el", "", "whole number of GiB"},
		{"--backend loo el", "", "did you mean loop?"},
		{"--install-type rpm el", "", "source and package"},
		{"--max-age 0 el", "", "--no-layers"},
		{"--max-age NaNd el", "", "no duration"},
		{"--root-label a/b el", "", "udev"},
		{"--qemu-img-options zlib el", "", "key=value"},
		{"-t docker -o Web el", "", "--docker-target"},
		{"-t docker --docker-target Web el", "", "lower-case"},
		{"-t docker --docker-target docker-daemon:web el", "", "HOST/REPOSITORY"},
		{"el", "DIB_CHECKSUM=sha1", "sha1"},
		{"el", "DIB_QUIET=yes", "DIB_QUIET"},
		{"el", "DIB_DEBUG_TRACE=yes", "trace level"},
		{"el", "FS_TYPE=ext5", "unknown file system"},
		{"el", "SOURCE_DATE_EPOCH=yesterday", "seconds since 1970"},
		{"el", "SOURCE_DATE_EPOCH=99999999999", "yet to come"},
		{"--reproducible --backend loop el", "", "use --backend file"},
		{"el", "DIB_BLOCK_DEVICE_CONFIG=file://" + dir + "/none", "no such file"},
		{"el", "DIB_BLOCK_DEVICE_CONFIG=file://" + file, "is empty"},
		{"el", "DIB_BLOCK_DEVICE_CONFIG=file:///dev/zero", "no regular file"},
		{"el", "DIB_BLOCK_SIZE=513", "sector size"},
		{"el", "TMPDIR=" + file, "is a file"},
		{"dir/el", "", "ELEMENTS_PATH"},
		{"el", "ELEMENTS_PATH=/etc:/no/such", "/no/such"},
		{"el", "ELEMENTS_PATH=/etc::/usr", "ELEMENTS_PATH"},
		{"-p --x el", "", "no package name"},
		{"-a mips el", "", `-a: unknown architecture "mips"; allowed are amd64, arm64,`},
		{"el", "ARCH=arm46", `ARCH: unknown architecture "arm46" (did you mean arm64?)`},
	} {
		_, err := parseOptions(imageCommand, strings.Fields(c.args), []string{"TMPDIR=" + dir, c.env})
		if err == nil || exitCode(err) != exitUsage || !errors.Is(err, errUsage) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s %s: %v (exit %d), want %q", c.args, c.env, err, exitCode(err), c.says)
		}
	}
}

// TestNotYet: what a later version does says so, and is not ignored.
func TestNotYet(t *testing.T) {
	for _, c := range []struct{ args, env string }{
		{"el", "DIB_SHOW_IMAGE_USAGE=1"},
		{"el", "DUMP_CONFIG_GRAPH=1"},
	} {
		_, err := parseOptions(imageCommand, strings.Fields(c.args), []string{c.env})
		if err == nil || exitCode(err) != exitUsage || !strings.Contains(err.Error(), "not supported yet: ") {
			t.Errorf("%s %s: %v", c.args, c.env, err)
		}
	}
}

// TestRamdiskOptions: a ramdisk has its own element and compression, and no format
// unless one is asked for.
func TestRamdiskOptions(t *testing.T) {
	env := []string{"HOME=/h", "TMPDIR=" + os.TempDir(), "RAMDISK_ELEMENT=mine"}
	o, err := parseOptions(ramdiskCommand, []string{"-o", "a", "--ramdisk-compression", "xz", "os", "agent"}, env)
	if err != nil || !o.Ramdisk || len(o.Formats) != 0 || o.RamdiskCompression != "xz" {
		t.Errorf("%v, %+v", err, o)
	}
	if names, _ := o.allElements(); !reflect.DeepEqual(names, []string{"mine", "os", "agent"}) {
		t.Errorf("elements %q", names)
	}
	if o, err = parseOptions(imageCommand, []string{"os"}, env); err != nil || o.Ramdisk {
		t.Errorf("%v, %+v", err, o)
	}
	if names, _ := o.allElements(); !reflect.DeepEqual(names, []string{"os"}) {
		t.Errorf("an image has elements %q", names)
	}
	if o, err = parseOptions(ramdiskCommand, []string{"os"}, nil); err != nil || o.RamdiskElement != "ramdisk" || o.RamdiskCompression != "gzip" {
		t.Errorf("%v, %+v", err, o)
	}
	for args, complaint := range map[string]string{
		"--ramdisk-compression gzop os": `--ramdisk-compression: unknown compression "gzop" (did you mean gzip?); allowed are gzip, zstd, xz, none`,
		"--ramdisk-element a/b os":      `--ramdisk-element: "a/b" is no element name`,
		"--ramdisk-compression none":    "no element given: name at least an operating system's, for instance: ramdisk-image-create -o agent debian-minimal my-agent",
	} {
		if _, err := parseOptions(ramdiskCommand, strings.Fields(args), nil); err == nil || exitCode(err) != exitUsage || !strings.Contains(err.Error(), complaint) {
			t.Errorf("%s: %v", args, err)
		}
	}
}

// TestRefusedFormat: a format that will never be made is no promise of a later
// version.
func TestRefusedFormat(t *testing.T) {
	_, err := parseOptions(imageCommand, []string{"-t", "aci", "el"}, nil)
	if err == nil || exitCode(err) != exitUsage || !strings.Contains(err.Error(), `format "aci" is not made: `) || strings.Contains(err.Error(), "yet") {
		t.Errorf("aci: %v", err)
	}
}

// TestClearEnv: the environment does not count, but for what says who builds, and
// options stay.
func TestClearEnv(t *testing.T) {
	env := []string{"DIB_IMAGE_SIZE=x", "IMAGE_NAME=other", "DIB_X=1", "QEMU_IMG_OPTIONS=a", "ELEMENTS_PATH=/etc", "http_proxy=p", "TMP_DIR=/var/tmp", "LITHIFY_STORE=/s"}
	for _, c := range []struct{ args, more string }{{"-c --root-label=l el", "X=1"}, {"el --clear-env --root-label l", "CLEAR_ENV=0"}, {"--root-label l el", "CLEAR_ENV=1"}} {
		o, err := parseOptions(imageCommand, strings.Fields(c.args), append([]string{"HOME=/h", c.more}, env...))
		want := map[string]string{"HOME": "/h", "ELEMENTS_PATH": "/etc", "http_proxy": "p", "TMP_DIR": "/var/tmp", "TMPDIR": "/var/tmp", "LITHIFY_STORE": "/s"}
		if err != nil || o.Name != "image" || o.RootLabel != "l" || o.ImageSize != 0 || !reflect.DeepEqual(o.Environment, want) {
			t.Errorf("%s, %s: %v, %+v", c.args, c.more, err, o)
		}
	}
	o := parsed(t, []string{"el"}, "CLEAR_ENV=yes", "IMAGE_NAME=n")
	if o.Name != "n" {
		t.Error("only 1 clears")
	}
}

func TestWarnings(t *testing.T) {
	for env, says := range map[string]string{
		"IMAGE_ELEMENT=x":                  "IMAGE_ELEMENT",
		"DIB_PYTHON_LOGGING_CONFIG_FILE=x": "Python",
		"QEMU_IMG_OPTIONS=cluster_size=2M": "qcow2",
	} {
		o := parsed(t, []string{"-t", "raw", "el"}, env)
		if len(o.Warnings) != 1 || !strings.Contains(o.Warnings[0], says) {
			t.Errorf("%s: %q", env, o.Warnings)
		}
	}
}

func TestHelpAndVersionBeforeMistakes(t *testing.T) {
	for args, want := range map[string]error{
		"-h": errHelp, "--help": errHelp, "--he -t nonsense": errHelp, "-xh": errHelp, "--version": errVersion, "--vers": errVersion,
	} {
		if _, err := parseOptions(imageCommand, strings.Fields(args), []string{"DUMP_CONFIG_GRAPH=1"}); err != want {
			t.Errorf("%s: %v", args, err)
		}
	}
}

// TestHelpIsWhole: every option, variable of an option and exit code is in the
// help.
func TestHelpIsWhole(t *testing.T) {
	help := helpText(imageCommand)
	for _, p := range optionTable() {
		if !strings.Contains(help, "--"+p.long) || p.short != "" && !strings.Contains(help, "-"+p.short+",") || !strings.Contains(help, p.env) {
			t.Errorf("the help lacks %s", p.long)
		}
	}
}

func TestBlockDeviceConfigFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(path, []byte("- local_loop: {name: image0}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := parsed(t, []string{"el"}, "DIB_BLOCK_DEVICE_CONFIG=file://"+path)
	if o.BlockDeviceConfig != "- local_loop: {name: image0}\n" || o.BlockDeviceSource != path {
		t.Errorf("%q from %q", o.BlockDeviceConfig, o.BlockDeviceSource)
	}
}

func FuzzParseOptions(f *testing.F) {
	f.Add("-xuo name el", "DIB_IMAGE_SIZE=1")
	f.Add("--image-size 1.5GiB --no-t el -- -x", "SOURCE_DATE_EPOCH=0")
	f.Add("-t qcow2,raw -p a,b --max-age 7d é", "DIB_CHECKSUM=md5")
	f.Fuzz(func(t *testing.T, line, env string) {
		args := strings.Split(line, " ")
		o, err := parseOptions(imageCommand, args, []string{env})
		if err == nil && (len(o.Elements) == 0 || len(o.Formats) == 0 || o.Name == "" || o.ImageSize < 0 || o.MaxAge <= 0) {
			t.Errorf("accepted %q with %q: %+v", args, env, o)
		}
		if err != nil && err != errHelp && err != errVersion && exitCode(err) != exitUsage {
			t.Errorf("%q with %q: exit %d: %v", args, env, exitCode(err), err)
		}
	})
}

// TestManualHasExitCodes: docs/cli.md prints the same table as --help.
func TestManualHasExitCodes(t *testing.T) {
	manual := content(t, "../../docs/cli.md")
	for _, row := range exitCodes {
		if line := fmt.Sprintf("\n| %d | %s |\n", row.code, row.meaning); !strings.Contains(manual, line) {
			t.Errorf("docs/cli.md lacks %q", line)
		}
	}
}

// TestGoArch: images for containers name architectures as Go does, whose own
// list judges. Nobody makes such images for powerpc, which Go does not know.
func TestGoArch(t *testing.T) {
	list, err := exec.Command("go", "tool", "dist", "list").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, arch := range runner.Architectures() {
		if arch != "powerpc" && !slices.Contains(strings.Fields(string(list)), "linux/"+goArch(arch)) {
			t.Errorf("%s: %s is not Go's", arch, goArch(arch))
		}
	}
}
