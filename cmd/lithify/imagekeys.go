package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// imageKey is a key of an image in the list that diskimage-builder reads.
type imageKey struct {
	name   string
	kind   valueKind
	option string // before its value; "" for keys that become no argument
	words  func() []string
	least  int // of numbers
	most   int // of numbers; 0: no limit
	help   string
}

type valueKind string

// The names are for messages: "wants a whole number".
const (
	wantsText   valueKind = "a text"
	wantsFlag   valueKind = "true or false"
	wantsNumber valueKind = "a whole number"
	wantsRepeat valueKind = "a whole number " // how often the option is given
	wantsList   valueKind = "a list of texts"
	wantsMap    valueKind = "a map of texts"
)

// imageKeys are all keys, in the order of their arguments.
var imageKeys = []imageKey{
	{name: "imagename", kind: wantsText, option: "-o", help: "name of the image; entries of one name are merged; without it: that of the entry before"},
	{name: "arch", kind: wantsText, option: "-a", words: imageArchs, help: "architecture"},
	{name: "types", kind: wantsList, option: "-t", words: imageTypes, help: "formats to write"},
	{name: "environment", kind: wantsMap, help: "variables for this image's build"},
	{name: "ramdisk", kind: wantsFlag, help: "make a ramdisk: ramdisk-image-create instead of disk-image-create"},
	{name: "debug-trace", kind: wantsRepeat, option: "-x", most: 2, help: "level of tracing"},
	{name: "uncompressed", kind: wantsFlag, option: "-u", help: "do not compress the image"},
	{name: "clear", kind: wantsFlag, option: "-c", help: "start from an empty environment"},
	{name: "logfile", kind: wantsText, option: "--logfile", help: "write the log to this file"},
	{name: "checksum", kind: wantsFlag, option: "--checksum", help: "write checksums beside the image"},
	{name: "image-size", kind: wantsNumber, option: "--image-size", least: 1, help: "size in GiB"},
	{name: "image-extra-size", kind: wantsNumber, option: "--image-extra-size", least: 1, help: "free room beside the content in MiB"},
	{name: "image-cache", kind: wantsText, option: "--image-cache", help: "folder of downloads"},
	{name: "max-online-resize", kind: wantsNumber, option: "--max-online-resize", least: 1, help: "blocks that the file system can grow to online"},
	{name: "min-tmpfs", kind: wantsNumber, option: "--min-tmpfs", least: 1, help: "GiB of memory below which no tmpfs is used"},
	{name: "mkfs-journal-size", kind: wantsNumber, option: "--mkfs-journal-size", least: 1, help: "size of the journal in MiB"},
	{name: "mkfs-options", kind: wantsText, option: "--mkfs-options", help: "options for making the root file system"},
	{name: "no-tmpfs", kind: wantsFlag, option: "--no-tmpfs", help: "never use a tmpfs"},
	{name: "offline", kind: wantsFlag, option: "--offline", help: "refresh no downloads"},
	{name: "qemu-img-options", kind: wantsMap, option: "--qemu-img-options", help: "options of the output format"},
	{name: "root-label", kind: wantsText, option: "--root-label", help: "label of the root file system"},
	{name: "ramdisk-element", kind: wantsText, option: "--ramdisk-element", help: "main element of a ramdisk"},
	{name: "install-type", kind: wantsText, option: "--install-type", words: func() []string { return []string{"source", "package"} }, help: "how elements install by default"},
	{name: "docker-target", kind: wantsText, option: "--docker-target", help: "repository and tag of a docker image"},
	{name: "packages", kind: wantsList, option: "-p", help: "packages to install besides"},
	{name: "skip-base", kind: wantsFlag, option: "-n", help: "leave out the element base"},
	{name: "elements", kind: wantsList, help: "elements of the image"},
	{name: "base", kind: wantsText, help: "imagename of another image that this one starts from"},
}

func imageArchs() []string {
	return strings.Fields("aarch64 amd64 arm64 armhf powerpc ppc64 ppc64el ppc64le s390x x86_64")
}

// imageTypes are diskimage-builder's formats and those that we have besides.
func imageTypes() []string {
	types := strings.Fields("qcow2 tar tgz squashfs vhd docker aci raw")
	for _, name := range formatNames() {
		if !slices.Contains(types, name) {
			types = append(types, name)
		}
	}
	return types
}

func imageKeyNames() []string {
	var names []string
	for _, k := range imageKeys {
		names = append(names, k.name)
	}
	return names
}

// imageValue is the value of a key: one of these, by the key's kind.
type imageValue struct {
	text  string
	flag  bool
	n     int
	list  []string
	pairs [][2]string // in the order of the file
}

// read checks a value. The error does not name the key.
func (k imageKey) read(v *yamlValue) (imageValue, error) {
	if text, zero := v.zeroByte(); zero {
		return imageValue{}, fmt.Errorf("found %.60q: no program can be given a zero byte", text)
	}
	switch k.kind {
	case wantsFlag:
		return readFlag(v)
	case wantsNumber, wantsRepeat:
		return k.readNumber(v)
	case wantsList:
		return k.readList(v)
	case wantsMap:
		return readPairs(v)
	}
	if v.kind != yamlText && v.kind != yamlWord {
		return imageValue{}, fmt.Errorf("%s, want %s", v.found(), k.kind)
	}
	return imageValue{text: v.text}, k.allowed(v.text)
}

func (k imageKey) allowed(text string) error {
	if k.words == nil || slices.Contains(k.words(), text) {
		return nil
	}
	return fmt.Errorf("found %.60q; allowed: %s%s", text, strings.Join(k.words(), ", "), didYouMean(text, k.words()))
}

// readFlag knows the words of YAML 1.1 too, which older tools read.
func readFlag(v *yamlValue) (imageValue, error) {
	if v.kind == yamlWord {
		switch strings.ToLower(v.text) {
		case "true", "yes", "on":
			return imageValue{flag: true}, nil
		case "false", "no", "off":
			return imageValue{}, nil
		}
	}
	return imageValue{}, fmt.Errorf("%s, want %s", v.found(), wantsFlag)
}

func (k imageKey) readNumber(v *yamlValue) (imageValue, error) {
	limits := fmt.Sprintf("of at least %d", k.least)
	if k.most > 0 {
		limits = fmt.Sprintf("from %d to %d", k.least, k.most)
	}
	n, err := strconv.Atoi(v.text)
	if v.kind != yamlWord || err != nil || n < k.least || k.most > 0 && n > k.most {
		return imageValue{}, fmt.Errorf("%s, want a whole number %s", v.found(), limits)
	}
	return imageValue{n: n}, nil
}

func (k imageKey) readList(v *yamlValue) (imageValue, error) {
	if v.kind != yamlList {
		return imageValue{}, fmt.Errorf("%s, want %s", v.found(), k.kind)
	}
	var list []string
	for i, item := range v.items {
		if item.kind != yamlText && item.kind != yamlWord {
			return imageValue{}, fmt.Errorf("item %d: %s, want a text", i+1, item.found())
		}
		if err := k.allowed(item.text); err != nil {
			return imageValue{}, fmt.Errorf("item %d: %w", i+1, err)
		}
		list = append(list, item.text)
	}
	return imageValue{list: list}, nil
}

// readPairs takes numbers and booleans as they are written.
func readPairs(v *yamlValue) (imageValue, error) {
	if v.kind != yamlMap {
		return imageValue{}, fmt.Errorf("%s, want %s", v.found(), wantsMap)
	}
	var pairs [][2]string
	for i, key := range v.keys {
		value := v.items[i]
		switch {
		case value.kind != yamlText && value.kind != yamlWord:
			return imageValue{}, fmt.Errorf("%s: %s, want a text; quotes make one of anything", key.name, value.found())
		case key.name == "" || strings.ContainsAny(key.name, "=\x00"):
			return imageValue{}, fmt.Errorf("%.60q: no name for a value", key.name)
		}
		pairs = append(pairs, [2]string{key.name, value.text})
	}
	return imageValue{pairs: pairs}, nil
}

// merge adds a later entry's value: lists grow, maps are updated, else the later
// one counts.
func (v imageValue) merge(later imageValue) imageValue {
	merged := later
	merged.list = slices.Concat(v.list, later.list)
	merged.pairs = slices.Clone(v.pairs)
	for _, p := range later.pairs {
		at := slices.IndexFunc(merged.pairs, func(old [2]string) bool { return old[0] == p[0] })
		if at < 0 {
			merged.pairs = append(merged.pairs, p)
		} else {
			merged.pairs[at] = p
		}
	}
	return merged
}

// arguments is what a value becomes on the command line. What is false or empty
// becomes nothing.
func (k imageKey) arguments(v imageValue) []string {
	var text string
	switch k.kind {
	case wantsFlag:
		if v.flag {
			return []string{k.option}
		}
	case wantsRepeat:
		return slices.Repeat([]string{k.option}, v.n)
	case wantsNumber:
		if v.n > 0 {
			text = strconv.Itoa(v.n)
		}
	case wantsList:
		text = strings.Join(v.list, ",")
	case wantsMap:
		var pairs []string
		for _, p := range v.pairs {
			pairs = append(pairs, p[0]+"="+p[1])
		}
		text = strings.Join(pairs, ",")
	default:
		text = v.text
	}
	if text == "" {
		return nil
	}
	return []string{k.option, text}
}
