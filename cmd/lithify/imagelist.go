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
	places map[string]string // where each value is, for messages
	base   *imageEntry       // the image of the list that this one starts from
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
	images := mergeImages(all)
	if err := errors.Join(linkBases(images)...); err != nil {
		return nil, err
	}
	return images, nil
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
		e := imageEntry{values: map[string]imageValue{}, places: map[string]string{}}
		for k, key := range item.keys {
			place := fmt.Sprintf("%s: line %d", t.file, key.line)
			if err := e.set(key.name, item.items[k]); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", place, err))
			}
			e.places[key.name] = place
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
			merged[i].places[name] = e.places[name]
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
