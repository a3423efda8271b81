package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lithify/lithify/rootfs"
)

// linkBases finds the image that each image's key base names.
func linkBases(images []imageEntry) []error {
	var errs []error
	for i := range images {
		e := &images[i]
		name := e.values["base"].text
		if name == "" {
			continue
		}
		at := slices.IndexFunc(images, func(other imageEntry) bool { return other.name == name })
		if at < 0 {
			errs = append(errs, fmt.Errorf("%s: base: found %.60q; allowed are the other images: %s%s", e.places["base"], name, otherNames(images, e.name), didYouMean(name, imageNames(images))))
			continue
		}
		e.base = &images[at]
	}
	for i := range images {
		if err := images[i].checkBase(); err != nil {
			errs = append(errs, fmt.Errorf("%s: base: %w", images[i].places["base"], err))
		}
	}
	return errs
}

func imageNames(images []imageEntry) []string {
	var names []string
	for _, e := range images {
		names = append(names, e.name)
	}
	return names
}

func otherNames(images []imageEntry, name string) string {
	names := slices.DeleteFunc(imageNames(images), func(n string) bool { return n == name })
	if len(names) == 0 {
		return "there is none"
	}
	return strings.Join(names, ", ")
}

func (e *imageEntry) checkBase() error {
	if e.base == nil {
		return nil
	}
	chain, seen := e.name, map[*imageEntry]bool{}
	for b := e.base; b != nil && !seen[b]; b = b.base { // one in a circle of others is theirs to tell
		if chain += " → " + b.name; b == e {
			return fmt.Errorf("%s: an image cannot start from itself", chain)
		}
		seen[b] = true
	}
	own, theirs := e.values["arch"].text, e.base.values["arch"].text
	switch {
	case e.values["ramdisk"].flag || e.base.values["ramdisk"].flag:
		return notYetf("%s: ramdisks start from nothing, and nothing from them", chain)
	case own != "" && theirs != "" && own != theirs:
		return fmt.Errorf("%q is for %s, this image for %s", e.base.name, theirs, own)
	}
	return nil
}

// environ is the environment of the image's build, for a caller's: with what its
// base adds, then its own.
func (e *imageEntry) environ(caller map[string]string) map[string]string {
	env, base := e.variables(caller)
	if base != nil {
		env[baseVariable] = base.String()
	}
	return env
}

// variables are the environment of the image's build and, apart from it, what it
// starts from.
func (e *imageEntry) variables(caller map[string]string) (env map[string]string, base *baseCommand) {
	own := caller
	var below *baseCommand
	if e.base != nil {
		own, below = e.base.variables(caller)
	}
	env = map[string]string{}
	maps.Copy(env, own)
	delete(env, baseVariable)
	for _, p := range e.values["environment"].pairs {
		env[p[0]] = p[1]
	}
	if e.base != nil {
		base = e.base.commandFor(own, env)
		base.Base = below
	}
	return env, base
}

// commandFor is the image's command in its own environment, for a build in env.
func (e *imageEntry) commandFor(own, env map[string]string) *baseCommand {
	c := &baseCommand{Arguments: e.arguments(), Set: map[string]string{}}
	for name, value := range own {
		if there, ok := env[name]; !ok || there != value {
			c.Set[name] = value
		}
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if _, ok := own[name]; !ok {
			c.Unset = append(c.Unset, name)
		}
	}
	return c
}

// shellText is the command of the image's build, for a shell with the caller's
// environment. Masked, it shows no value that may be secret.
func (e *imageEntry) shellText(caller map[string]string, masked bool) string {
	if masked {
		e, caller = e.masked(), maps.Clone(caller)
		for name := range caller {
			if rootfs.IsSecret(name) {
				caller[name] = hiddenValue
			}
		}
	}
	env := e.environ(caller)
	var words []string
	for _, name := range e.assigned() {
		words = append(words, name+"="+shellWord(env[name]))
	}
	for _, word := range append([]string{e.program()}, e.arguments()...) {
		words = append(words, shellWord(word))
	}
	return strings.Join(words, " ")
}

const hiddenValue = "***"

// masked is a copy of the image, and of those that it starts from, whose secrets
// are stars.
func (e *imageEntry) masked() *imageEntry {
	m := &imageEntry{name: e.name, values: maps.Clone(e.values), places: e.places}
	v := m.values["environment"]
	v.pairs = slices.Clone(v.pairs)
	for i, p := range v.pairs {
		if rootfs.IsSecret(p[0]) {
			v.pairs[i][1] = hiddenValue
		}
	}
	m.values["environment"] = v
	if e.base != nil {
		m.base = e.base.masked()
	}
	return m
}

// assigned are the variables that the image, or what it starts from, sets.
func (e *imageEntry) assigned() []string {
	var names []string
	for b := e; b != nil; b = b.base {
		var own []string
		for _, p := range b.values["environment"].pairs {
			if !slices.Contains(names, p[0]) {
				own = append(own, p[0])
			}
		}
		names = append(own, names...)
	}
	if e.base != nil {
		names = append(names, baseVariable)
	}
	return names
}
