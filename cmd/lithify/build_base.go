package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lithify/lithify/elements"
	"github.com/lithify/lithify/rootfs"
)

// baseVariable holds, as JSON, the command of the image that a build starts
// from. diskimage-builder sets it for an image with the key base.
const baseVariable = "LITHIFY_BASE"

// baseCommand is the command of an image, with what its environment has
// otherwise than that of the image which starts from it.
type baseCommand struct {
	Arguments []string          `json:"arguments"`
	Set       map[string]string `json:"set,omitempty"`
	Unset     []string          `json:"unset,omitempty"`
	Base      *baseCommand      `json:"base,omitempty"` // what that image starts from
}

func (c *baseCommand) String() string {
	text, _ := json.Marshal(c) // texts always go
	return string(text)
}

// parseBase reads the options of the image that env's starts from; nil without
// one.
func parseBase(env map[string]string) (*Options, error) {
	text := env[baseVariable]
	if text == "" {
		return nil, nil
	}
	var c baseCommand
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return nil, usagef("%s: %w; it is set by diskimage-builder, for images with a base", baseVariable, err)
	}
	theirs := maps.Clone(env)
	delete(theirs, baseVariable)
	for _, name := range c.Unset {
		delete(theirs, name)
	}
	maps.Copy(theirs, c.Set)
	if c.Base != nil {
		theirs[baseVariable] = c.Base.String()
	}
	var lines []string
	for name, value := range theirs {
		lines = append(lines, name+"="+value)
	}
	o, err := parseOptions(imageCommand, c.Arguments, lines)
	if err != nil {
		return nil, fmt.Errorf("the image to start from: %w", err)
	}
	return &o, nil
}

// applyBase takes the image to start from out of the environment, and over from
// it what cannot differ.
func applyBase(o *Options, line commandLine) (err error) {
	if o.Base, err = parseBase(o.Environment); err != nil || o.Base == nil {
		return err
	}
	delete(o.Environment, baseVariable) // hooks learn nothing of it
	given := slices.ContainsFunc(line.given, func(g occurrence) bool { return g.option.long == "arch" })
	if given && o.Arch != o.Base.Arch {
		return usagef("-a %s: the image to start from, %q, is for %s", o.Arch, o.Base.Name, o.Base.Arch)
	}
	o.Arch = o.Base.Arch
	for b := o.Base; b != nil; b = b.Base {
		b.NoLayers, b.Offline, b.Reproducible = o.NoLayers, o.Offline, o.Reproducible
	}
	return nil
}

// allElements are the names asked for, after those of the image to start from;
// whether element base is among them is that one's choice.
func (o Options) allElements() (names []string, skipBase bool) {
	if o.Ramdisk { // which cannot start from an image
		return append([]string{o.RamdiskElement}, o.Elements...), o.SkipBase
	}
	if o.Base == nil {
		return o.Elements, o.SkipBase
	}
	names, skipBase = o.Base.allElements()
	return slices.Concat(names, o.Elements), skipBase
}

// resolveBase finds the elements and the layout of the image to start from: what
// its hooks are told.
func (j *job) resolveBase() error {
	if j.o.Base == nil {
		return nil
	}
	j.base = &job{o: *j.o.Base, ui: j.ui}
	err := j.base.resolve()
	if err == nil {
		err = j.base.configureDisks()
	}
	if err != nil {
		return fmt.Errorf("the image to start from: %w", err)
	}
	return nil
}

// checkBase refuses an image that would not have what it starts from: the layout
// that goes with "vm" is in when no other one is named.
func (j *job) checkBase() error {
	for _, e := range j.baseElements() {
		if !hasElement(j.elements, e.Name) {
			return usagef("the image to start from has element %q, which goes with none of this image's: %s; name the layout with the image to start from",
				e.Name, strings.Join(j.o.Elements, " "))
		}
	}
	return nil
}

func (j *job) baseElements() []elements.Element {
	if j.base == nil {
		return nil
	}
	return j.base.elements
}

// baseBuilder builds the image to start from as far as it is shared. Its steps
// are counted and shown as this build's; the shells of break= are for the image
// that was asked for.
func (j *job) baseBuilder(ctx context.Context, root string, preview bool, observe func(rootfs.Event)) (*rootfs.Builder, error) {
	b := j.base
	b.store, b.cache, b.work, b.observe = j.store, j.cache, filepath.Join(j.work, "base"), observe
	if err := os.Mkdir(b.work, 0o755); err != nil {
		return nil, err
	}
	b.o.Environment = maps.Clone(b.o.Environment)
	maps.DeleteFunc(b.o.Environment, func(name, _ string) bool { return strings.HasPrefix(name, "break") })
	return b.newBuilder(ctx, root, preview)
}
