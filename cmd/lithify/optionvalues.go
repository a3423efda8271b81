package main

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lithify/lithify/convert"
	"github.com/lithify/lithify/rootfs/runner"
)

func setArch(o *Options, where, v string) error {
	arch, known := debianArch(v), runner.Architectures()
	switch {
	case v == "":
		return usagef("%s: an architecture is needed, such as %s", where, hostArch())
	case arch != hostArch() && !slices.Contains(known, arch):
		return usagef("%s: unknown architecture %q%s; allowed are %s", where, v, didYouMean(v, known), orList(known))
	}
	o.Arch = arch
	return nil
}

func setName(o *Options, where, v string) error {
	if v == "" || strings.HasSuffix(v, "/") {
		return usagef("%s: %q is no file name; give the base name of the outputs, such as web or images/web", where, v)
	}
	o.Name = v
	return nil
}

func setFormats(o *Options, where, v string) error {
	var formats []string
	for _, word := range splitList(v) {
		f, err := convert.Lookup(word)
		if err != nil {
			return usagef("%s: %w", where, err)
		}
		if !slices.Contains(formats, f.Name) {
			formats = append(formats, f.Name)
		}
	}
	if len(formats) == 0 {
		return usagef("%s: no format in %q; formats are %s", where, v, orList(formatNames()))
	}
	o.Formats = formats
	return nil
}

func formatNames() []string {
	var names []string
	for _, f := range convert.Formats() {
		names = append(names, f.Name)
	}
	return names
}

func setPackages(o *Options, where, v string) error {
	words := splitList(v)
	if len(words) == 0 {
		return usagef("%s: no package in %q", where, v)
	}
	for _, w := range words {
		if strings.HasPrefix(w, "-") {
			return usagef("%s: %q is no package name", where, w)
		}
	}
	o.Packages = append(o.Packages, words...)
	return nil
}

func setSkipBase(o *Options, _, _ string) error {
	o.SkipBase = true
	return nil
}

// envSkipBase: only the word 1 counts, as in DIB.
func envSkipBase(o *Options, _, v string) error {
	o.SkipBase = v == "1"
	return nil
}

func setUncompressed(o *Options, _, _ string) error {
	o.Uncompressed = true
	return nil
}

func setQemuImgOptions(o *Options, where, v string) error {
	options := map[string]string{}
	for _, pair := range strings.Split(v, ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		key, value, ok := strings.Cut(strings.TrimSpace(pair), "=")
		if !ok || key == "" || value == "" {
			return usagef("%s: %q is not of the form key=value", where, pair)
		}
		options[key] = value
	}
	o.QemuImgOptions = options
	return nil
}

func setChecksum(o *Options, _, _ string) error {
	o.Checksums = []string{"md5", "sha256"}
	return nil
}

// envChecksum: 0 none, 1 both, else a list of kinds.
func envChecksum(o *Options, where, v string) error {
	o.Checksums = nil
	switch v {
	case "0":
		return nil
	case "1":
		return setChecksum(o, where, v)
	}
	for _, word := range splitList(v) {
		if word != "md5" && word != "sha256" {
			return usagef("%s: unknown kind of checksum %q; allowed are 0, 1, md5 and sha256", where, word)
		}
		if !slices.Contains(o.Checksums, word) {
			o.Checksums = append(o.Checksums, word)
		}
	}
	return nil
}

func setInstallType(o *Options, where, v string) error {
	if v != "source" && v != "package" {
		return usagef("%s: unknown install type %q%s; allowed are source and package", where, v,
			didYouMean(v, []string{"source", "package"}))
	}
	o.InstallType = v
	return nil
}

// setRamdiskElement: only ramdisk-image-create looks at it.
func setRamdiskElement(o *Options, where, v string) error {
	if v == "" || strings.ContainsAny(v, "/ \t\n") {
		return usagef("%s: %q is no element name", where, v)
	}
	o.RamdiskElement = v
	return nil
}

func setRamdiskCompression(o *Options, where, v string) error {
	if !slices.Contains(convert.StreamKinds(), v) {
		return usagef("%s: unknown compression %q%s; allowed are %s", where, v, didYouMean(v, convert.StreamKinds()), strings.Join(convert.StreamKinds(), ", "))
	}
	o.RamdiskCompression = v
	return nil
}

func setImageSize(o *Options, where, v string) (err error) {
	if o.ImageSize, err = parseSize(where, v, gib, "GiB"); err == nil && o.ImageSize == 0 {
		return usagef("%s: an image of size %s holds nothing", where, v)
	}
	return err
}

func setImageExtraSize(o *Options, where, v string) (err error) {
	o.HasExtraSize = true
	o.ImageExtraSize, err = parseSize(where, v, mib, "MiB")
	return err
}

func setRootLabel(o *Options, where, v string) error {
	if strings.ContainsAny(v, "/\n\x00") {
		return usagef("%s: the label %q holds a character that udev and fstab cannot name", where, v)
	}
	o.RootLabel = v
	return nil
}

func setMkfsOptions(o *Options, _, v string) error {
	o.MkfsOptions = v
	return nil
}

func setJournalSize(o *Options, where, v string) (err error) {
	if o.JournalSize, err = parseSize(where, v, mib, "MiB"); err == nil && o.JournalSize == 0 {
		return usagef("%s: a journal of size %s is none; use --mkfs-options '-O ^has_journal' for a file system without", where, v)
	}
	return err
}

func setMaxOnlineResize(o *Options, where, v string) error {
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n <= 0 {
		return usagef("%s: %q is not a number of file system blocks", where, v)
	}
	o.MaxOnlineResize = n
	return nil
}

func setBackend(o *Options, where, v string) error {
	allowed := []string{"auto", "loop", "file"}
	if !slices.Contains(allowed, v) {
		return usagef("%s: unknown back end %q%s; allowed are %s", where, v, didYouMean(v, allowed), orList(allowed))
	}
	o.Backend = v
	return nil
}

func setReproducible(o *Options, _, _ string) error {
	o.Reproducible = true
	return nil
}

func setImageCache(o *Options, where, v string) error {
	if v == "" {
		return usagef("%s: a folder is needed", where)
	}
	o.ImageCache = v
	return nil
}

func setOffline(o *Options, _, _ string) error {
	o.Offline = true
	return nil
}

func setNoLayers(o *Options, _, _ string) error {
	o.NoLayers = true
	return nil
}

func setMaxAge(o *Options, where, v string) error {
	d, err := parseAge(v)
	if err != nil {
		return usagef("%s: %q is no duration; write one like 90m, 24h or 7d", where, v)
	}
	if d <= 0 {
		return usagef("%s: %q leaves nothing to reuse; --no-layers builds everything anew", where, v)
	}
	o.MaxAge = d
	return nil
}

// parseAge is time.ParseDuration, and whole or broken days (7d).
func parseAge(v string) (time.Duration, error) {
	days, ok := strings.CutSuffix(v, "d")
	if !ok {
		return time.ParseDuration(v)
	}
	n, err := strconv.ParseFloat(days, 64)
	if err != nil || !(n < 1e5) || n < 0 { // 1e5 days still fit a Duration
		return 0, strconv.ErrSyntax
	}
	return time.Duration(n * 24 * float64(time.Hour)), nil
}

func setNoTmpfs(o *Options, _, _ string) error {
	o.NoTmpfs = true
	return nil
}

// envNoTmpfs: anything but 0 says no, as in DIB.
func envNoTmpfs(o *Options, _, v string) error {
	o.NoTmpfs = v != "0"
	return nil
}

func setMinTmpfs(o *Options, where, v string) error {
	n, err := strconv.ParseInt(v, 10, 32)
	if err != nil || n < 0 {
		return usagef("%s: %q is not a whole number of GiB", where, v)
	}
	o.MinTmpfs = n * gib
	return nil
}

func countTrace(o *Options, _, _ string) error {
	o.Trace++
	return nil
}

func envTrace(o *Options, where, v string) error {
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 {
		return usagef("%s: %q is not a trace level; give 0, 1 or 2", where, v)
	}
	o.Trace = n
	return nil
}

func setLogFile(o *Options, where, v string) error {
	if v == "" {
		return usagef("%s: a file is needed", where)
	}
	o.LogFile = v
	return nil
}

// setClearEnv has nothing left to do: see clears.
func setClearEnv(*Options, string, string) error { return nil }

// clears says whether the environment is not to count. Of CLEAR_ENV only the
// word 1 does so, as in DIB.
func (l commandLine) clears(env map[string]string) bool {
	return env["CLEAR_ENV"] == "1" || slices.ContainsFunc(l.given, func(g occurrence) bool { return g.option.long == "clear-env" })
}

// keptByClear are the variables that -c leaves: who builds, where, with which
// elements and through which proxies. LITHIFY_* stay too.
var keptByClear = strings.Fields(`PATH HOME USER LOGNAME SHELL TERM COLUMNS LINES SSH_AUTH_SOCK
	TMPDIR TMP_DIR XDG_CACHE_HOME XDG_RUNTIME_DIR ELEMENTS_PATH
	http_proxy https_proxy ftp_proxy no_proxy all_proxy HTTP_PROXY HTTPS_PROXY FTP_PROXY NO_PROXY ALL_PROXY`)

func keptVariables(env []string) (kept []string) {
	for _, line := range env {
		name, _, _ := strings.Cut(line, "=")
		if slices.Contains(keptByClear, name) || strings.HasPrefix(name, "LITHIFY_") {
			kept = append(kept, line)
		}
	}
	return kept
}

// splitList splits at commas and blanks, as DIB's shell did.
func splitList(v string) []string {
	return strings.FieldsFunc(v, func(r rune) bool {
		return r == ',' || r == ' ' || r == '\t' || r == '\n'
	})
}

// didYouMean is the end of a message: the nearest allowed word, if one is near.
func didYouMean(typed string, allowed []string) string {
	if near := nearest(typed, allowed); near != "" {
		return " (did you mean " + near + "?)"
	}
	return ""
}
