package main

import (
	"errors"
	"fmt"
	"strings"
)

// imageEntry is one image of the list: the values of its keys.
type imageEntry struct {
	name   string
	values map[string]imageValue
}

// imageText is a file of images, as it was read.
type imageText struct {
	file string
	data []byte
}

// parseImages reads files as one list, checks it, and merges entries of one name.
// An entry without a name has that of the one before, the first one "image". The
// error tells of every mistake, with file, line and key.
func parseImages(texts []imageText) ([]imageEntry, error) {
	var all []imageEntry
	var mistakes []error
	for _, t := range texts {
		entries, errs := parseImageFile(t)
		all, mistakes = append(all, entries...), append(mistakes, errs...)
	}
	if err := errors.Join(mistakes...); err != nil {
		return nil, err
	}
	return mergeImages(all), nil
}

func parseImageFile(t imageText) (entries []imageEntry, errs []error) {
	root, err := readYAMLTree(t.data)
	if err != nil {
		return nil, []error{fmt.Errorf("%s: %w", t.file, err)}
	}
	if root.kind != yamlList {
		return nil, []error{fmt.Errorf("%s: line %d: %s, want a list of images: - imagename: …", t.file, max(1, root.line), root.found())}
	}
	for i, item := range root.items {
		where := fmt.Sprintf("%s: line %d: image %d", t.file, item.line, i+1)
		if item.kind != yamlMap {
			errs = append(errs, fmt.Errorf("%s: %s, want a map of keys", where, item.found()))
			continue
		}
		e := imageEntry{values: map[string]imageValue{}}
		for k, key := range item.keys {
			if err := e.set(key.name, item.items[k]); err != nil {
				errs = append(errs, fmt.Errorf("%s: line %d: %w", t.file, key.line, err))
			}
		}
		e.name = e.values["imagename"].text
		entries = append(entries, e)
	}
	return entries, errs
}

func (e *imageEntry) set(name string, v *yamlValue) error {
	for _, k := range imageKeys {
		if k.name != name {
			continue
		}
		if k.kind == wantsAddress {
			return notYetf("%s: an image that starts from another", name)
		}
		value, err := k.read(v)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		e.values[name] = value
		return nil
	}
	return fmt.Errorf("unknown key %.60q%s; allowed: %s", name, didYouMean(name, imageKeyNames()), strings.Join(imageKeyNames(), ", "))
}

// mergeImages keeps the order of first appearance.
func mergeImages(all []imageEntry) []imageEntry {
	var merged []imageEntry
	at := map[string]int{}
	last := "image"
	for _, e := range all {
		if e.name == "" {
			e.name = last
		}
		last = e.name
		i, known := at[e.name]
		if !known {
			at[e.name] = len(merged)
			e.values["imagename"] = imageValue{text: e.name}
			merged = append(merged, e)
			continue
		}
		for name, v := range e.values {
			merged[i].values[name] = merged[i].values[name].merge(v)
		}
		merged[i].values["imagename"] = imageValue{text: e.name}
	}
	return merged
}

// program is the name of the program that builds the image.
func (e imageEntry) program() string {
	if e.values["ramdisk"].flag {
		return "ramdisk-image-create"
	}
	return "disk-image-create"
}

// arguments are the program's, without its name.
func (e imageEntry) arguments() []string {
	var args []string
	for _, k := range imageKeys {
		if k.option != "" {
			args = append(args, k.arguments(e.values[k.name])...)
		}
	}
	return append(args, e.values["elements"].list...)
}

// environment is what the image adds to the caller's.
func (e imageEntry) environment() []string {
	var env []string
	for _, p := range e.values["environment"].pairs {
		env = append(env, p[0]+"="+p[1])
	}
	return env
}

// String is the command, for a shell.
func (e imageEntry) String() string {
	var words []string
	for _, p := range e.values["environment"].pairs {
		words = append(words, p[0]+"="+shellWord(p[1]))
	}
	for _, word := range append([]string{e.program()}, e.arguments()...) {
		words = append(words, shellWord(word))
	}
	return strings.Join(words, " ")
}
