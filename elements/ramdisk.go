package elements

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// ramdiskFile is where an element says, at its top, what it wants in a ramdisk.
const ramdiskFile = "ramdisk.yaml"

// The phases of hooks that run in the target while a ramdisk is made, beside the
// contract's ten.
const (
	// RamdiskBuild hooks fill the ramdisk's tree in the place of the driver.
	RamdiskBuild Phase = "ramdisk-build"
	// RamdiskInstall hooks change the ramdisk's tree when it is there.
	RamdiskInstall Phase = "ramdisk-install"
)

// RamdiskDirs are the folders of the hooks tree that only the making of a ramdisk
// reads. ramdisk-files is for what elements' ramdisk.yaml names.
func RamdiskDirs() []string {
	return []string{"binary-deps.d", "dracut-drivers.d", "init.d", RamdiskBuild.Dir(), "ramdisk-files", RamdiskInstall.Dir(), "udev.d"}
}

// Ramdisk is what the elements of a build want in its ramdisk.
type Ramdisk struct {
	// Begin and End are what /init begins and ends with, nil without an element
	// that has them.
	Begin, End []byte
	Fragments  []RamdiskText // of init.d, in the order in which /init has them
	Rules      []RamdiskText // of udev.d
	Binaries   []RamdiskWant
	Modules    []RamdiskWant
	Firmware   []RamdiskWant
	Drivers    []RamdiskWant // of dracut-drivers.d
	Files      []RamdiskFile
}

// RamdiskText is a file of the hooks tree.
type RamdiskText struct {
	Name, Element string
	Data          []byte
}

// RamdiskWant is something that an element asks for by name.
type RamdiskWant struct {
	Name     string
	From     string // element, file, line: for people
	Optional bool   // what is not there is left out
	// Listed: it is a word of binary-deps.d, where busybox' own applets come
	// before programs.
	Listed bool
}

// RamdiskFile is a file that an element asks for.
type RamdiskFile struct {
	RamdiskWant             // Name is a path in the image, or of the element where Data is set
	To          string      // a path in the ramdisk; "" means Name
	Mode        fs.FileMode // 0: as it is
	Data        []byte
}

// ReadRamdisk gathers what elements want: their files ramdisk.yaml, and the folders
// init.d, udev.d, binary-deps.d and dracut-drivers.d of the hooks tree, which hooks
// may have added to. Texts of ramdisk.yaml may hold ${NAME} for a variable of env.
// A mistake says in which element, file and line it is.
func ReadRamdisk(els []Element, t *Tree, env map[string]string) (Ramdisk, error) {
	var r Ramdisk
	var errs []error
	for _, e := range els {
		data, err := fs.ReadFile(e.FS, ramdiskFile)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = (&ramdiskReader{r: &r, e: e, env: env}).read(data)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("element '%s', %s: %w", e.Name, ramdiskFile, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return r, err
	}
	for _, f := range t.Files() {
		dir, name := path.Split(f.Path)
		if err := r.take(t, f, dir, name); err != nil {
			return r, err
		}
	}
	return r, nil
}

// take adds a file of the hooks tree.
func (r *Ramdisk) take(t *Tree, f File, dir, name string) error {
	switch dir {
	case "init.d/", "udev.d/", "binary-deps.d/", "dracut-drivers.d/":
	default:
		return nil
	}
	data, err := t.Open(f.Path)
	if err != nil {
		return err
	}
	switch text := (RamdiskText{name, f.Element, data}); dir {
	case "init.d/":
		r.Fragments = append(r.Fragments, text)
	case "udev.d/":
		r.Rules = append(r.Rules, text)
	case "binary-deps.d/":
		r.Binaries = append(r.Binaries, words(f, data)...)
	case "dracut-drivers.d/":
		r.Drivers = append(r.Drivers, words(f, data)...)
	}
	return nil
}

// words are those of a list, which may have comments.
func words(f File, data []byte) (wants []RamdiskWant) {
	owner := fmt.Sprintf("element '%s'", f.Element)
	if f.Element == "" {
		owner = "a hook"
	}
	line := 0
	for text := range strings.Lines(string(data)) {
		line++
		text, _, _ = strings.Cut(text, "#")
		for _, word := range strings.Fields(text) {
			wants = append(wants, RamdiskWant{Name: word, From: fmt.Sprintf("%s, %s, line %d", owner, f.Path, line), Listed: true})
		}
	}
	return wants
}

// ramdiskReader reads the ramdisk.yaml of one element.
type ramdiskReader struct {
	r   *Ramdisk
	e   Element
	env map[string]string
}

var ramdiskKeys = []string{"init", "binaries", "modules", "firmware", "files"}

func (d *ramdiskReader) read(data []byte) error {
	doc, err := parseDocument(data)
	if err != nil || doc.kind == isNothing {
		return err
	}
	if doc.kind != isMapping {
		return fmt.Errorf("line %d: found %s; want a mapping with some of %s", doc.line, doc.describe(), strings.Join(ramdiskKeys, ", "))
	}
	for _, f := range doc.fields {
		switch f.key {
		case "init":
			err = d.init(f.value)
		case "binaries":
			err = d.wants(&d.r.Binaries, f)
		case "modules":
			err = d.wants(&d.r.Modules, f)
		case "firmware":
			err = d.wants(&d.r.Firmware, f)
		case "files":
			err = d.files(f.value)
		default:
			err = fmt.Errorf("line %d: unknown key %q; allowed: %s%s", f.line, f.key, strings.Join(ramdiskKeys, ", "), didYouMean(f.key, ramdiskKeys))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// init reads which files of the element /init begins and ends with.
func (d *ramdiskReader) init(v value) error {
	if v.kind != isMapping {
		return fmt.Errorf("line %d: init: found %s; want a mapping with begin and end", v.line, v.describe())
	}
	for _, f := range v.fields {
		var to *[]byte
		switch f.key {
		case "begin":
			to = &d.r.Begin
		case "end":
			to = &d.r.End
		default:
			return fmt.Errorf("line %d: init: unknown key %q; allowed: begin, end%s", f.line, f.key, didYouMean(f.key, []string{"begin", "end"}))
		}
		if *to != nil {
			return fmt.Errorf("line %d: init: another element has said how /init %ss; one may", f.line, f.key)
		}
		name, err := d.text(f.value)
		if err == nil {
			*to, err = d.own(name)
		}
		if err != nil {
			return fmt.Errorf("line %d: %s: %w", f.line, f.key, err)
		}
	}
	return nil
}

// own reads a file of the element; never nil without an error.
func (d *ramdiskReader) own(name string) ([]byte, error) {
	if !fs.ValidPath(name) {
		return nil, fmt.Errorf("%q is no path inside the element", name)
	}
	data, err := fs.ReadFile(d.e.FS, name)
	if err != nil {
		return nil, fmt.Errorf("reading a file of the element: %w", err)
	}
	return append([]byte{}, data...), nil
}

// items are those of a list, or a single one.
func items(v value) []value {
	switch v.kind {
	case isList:
		return v.items
	case isNothing:
		return nil
	}
	return []value{v}
}

func (d *ramdiskReader) from(v value) string {
	return fmt.Sprintf("element '%s', %s, line %d", d.e.Name, ramdiskFile, v.line)
}

// wants reads a list of names, or of mappings with name and optional.
func (d *ramdiskReader) wants(to *[]RamdiskWant, f field) error {
	for _, v := range items(f.value) {
		w := RamdiskWant{From: d.from(v)}
		var err error
		if v.kind == isMapping {
			err = d.fill(v, "name", map[string]func(value) error{
				"name":     func(v value) error { return d.set(&w.Name, v) },
				"optional": func(v value) (err error) { w.Optional, err = boolean(v); return err },
			})
		} else {
			err = d.set(&w.Name, v)
		}
		if err != nil {
			return fmt.Errorf("line %d: %s: %w", v.line, f.key, err)
		}
		*to = append(*to, w)
	}
	return nil
}

func (d *ramdiskReader) set(to *string, v value) (err error) {
	*to, err = d.text(v)
	return err
}

// fill reads a mapping by the function of each key; need must be there.
func (d *ramdiskReader) fill(v value, need string, keys map[string]func(value) error) error {
	var allowed []string
	for key := range keys {
		allowed = append(allowed, key)
	}
	found := false
	for _, f := range v.fields {
		read, ok := keys[f.key]
		if !ok {
			return fmt.Errorf("unknown key %q; allowed: %s%s", f.key, strings.Join(slices.Sorted(slices.Values(allowed)), ", "), didYouMean(f.key, allowed))
		}
		if err := read(f.value); err != nil {
			return fmt.Errorf("%s: %w", f.key, err)
		}
		found = found || f.key == need
	}
	if !found && need != "" {
		return fmt.Errorf("key %q is missing", need)
	}
	return nil
}

// text is a word or text that is not empty, with variables put in.
func (d *ramdiskReader) text(v value) (string, error) {
	s, ok := v.scalar()
	if !ok || s == "" {
		return "", fmt.Errorf("found %s; want a name", v.describe())
	}
	var out strings.Builder
	for {
		before, rest, ok := strings.Cut(s, "${")
		out.WriteString(before)
		if !ok {
			return out.String(), nil
		}
		name, after, ok := strings.Cut(rest, "}")
		if !ok {
			return "", fmt.Errorf("found %q: \"${\" without \"}\"", v.text)
		}
		value, set := d.env[name]
		if !set {
			return "", fmt.Errorf("found %q: no variable %s is set; environment.d of the element may give it a default", v.text, name)
		}
		out.WriteString(value)
		s = after
	}
}

// files reads the list of files: paths of the image, or mappings.
func (d *ramdiskReader) files(v value) error {
	for _, item := range items(v) {
		f := RamdiskFile{RamdiskWant: RamdiskWant{From: d.from(item)}}
		var err error
		if item.kind == isMapping {
			err = d.file(&f, item)
		} else {
			err = d.set(&f.Name, item)
		}
		if err == nil && f.Data == nil && !path.IsAbs(f.Name) {
			err = fmt.Errorf("%q is no absolute path in the image; a file of the element is written {element: %s, to: …}", f.Name, f.Name)
		}
		if err != nil {
			return fmt.Errorf("line %d: files: %w", item.line, err)
		}
		d.r.Files = append(d.r.Files, f)
	}
	return nil
}

func (d *ramdiskReader) file(f *RamdiskFile, v value) error {
	err := d.fill(v, "", map[string]func(value) error{
		"image": func(v value) error { return d.set(&f.Name, v) },
		"element": func(v value) (err error) {
			if err = d.set(&f.Name, v); err == nil {
				f.Data, err = d.own(f.Name)
			}
			return err
		},
		"to":       func(v value) error { return d.set(&f.To, v) },
		"mode":     func(v value) error { return mode(&f.Mode, v) },
		"optional": func(v value) (err error) { f.Optional, err = boolean(v); return err },
	})
	switch {
	case err != nil:
		return err
	case f.Name == "":
		return errors.New("neither image nor element is given; one of them says which file is meant")
	case f.Data != nil && f.To == "":
		return fmt.Errorf("%q of the element: key \"to\" is missing", f.Name)
	case f.To != "" && !path.IsAbs(f.To):
		return fmt.Errorf("to: %q is no absolute path", f.To)
	case f.To != "" && f.Data == nil && strings.ContainsAny(f.Name, "*?["):
		return fmt.Errorf("%q is a pattern: what fits has the path that it has in the image, so \"to\" has no meaning", f.Name)
	}
	return nil
}

// mode reads permissions, in octal digits.
func mode(to *fs.FileMode, v value) error {
	text, _ := v.scalar()
	n, err := strconv.ParseUint(strings.TrimPrefix(text, "0o"), 8, 32)
	if err != nil || n == 0 || n > 0o777 {
		return fmt.Errorf("found %s; want permissions in octal digits, 0755 for example", v.describe())
	}
	*to = fs.FileMode(n)
	return nil
}
